"""Tables 1 to 3 with the paper's values beside, as Markdown, CSV and LaTeX; statistics as tables."""

import csv
import math

import numpy as np
import pytest
from helpers.report_folder import write_study

from bundle.metrics import metric_of
from bundle.report.options import ReportOptions
from bundle.report.results import StudyResults
from bundle.report.statistics.comparison import compare_methods
from bundle.report.tables.paper import THRESHOLDS_HU, Published, published
from bundle.report.tables.paper_tables import MAIN_TABLES, paper_tables
from bundle.report.tables.statistics_tables import p_text, statistics_tables, write_statistics
from bundle.report.tables.table import Entry, Line, Table, latex_escape, metric_table, signed
from bundle.report.tables.write import write_report_tables
from bundle.report.tidy import Summary, read_rows


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    return StudyResults(write_study(tmp_path_factory.mktemp("study"), failed=[("n1", "siren")]))


def cell(table: Table, heads: tuple[str, ...], column: str) -> str:
    """The cell of a row."""
    return next(row for row in table.rows if row[: len(heads)] == heads)[table.columns.index(column)]


def test_the_papers_values_stand_in_rows_of_their_own_and_nowhere_else(results):
    tables = {table.name: table for table in paper_tables(results)}
    assert tuple(tables)[:3] == MAIN_TABLES
    one, two, three = (tables[name] for name in MAIN_TABLES)
    assert cell(one, ("field of view", "siren, paper"), "PSNR, dB") == "26.26"
    assert cell(one, ("tumour", "cubic, paper"), "MAE") == "0.084"
    assert cell(two, ("tumour", "truth, paper"), "kurtosis") == "4.62"
    assert cell(two, ("tumour", "siren, paper"), "sd ratio") == "1.10"
    assert cell(two, ("tumour", "siren, paper"), "sd, HU") == "–"
    assert cell(three, ("siren, paper", "-350"), "HD, mm") == "3.31"
    assert cell(three, ("morphological, paper", "–"), "ARVE") == "0.039 ± 0.048"
    assert cell(three, ("morphological, paper", "–"), "n") == "50"
    of_paper = {name: [row for row in table.rows if table.is_paper(row)] for name, table in tables.items()}
    # two methods in two regions; both methods' sd ratio and kurtosis and the truth's; five thresholds and Eq. 3
    assert {name: len(rows) for name, rows in of_paper.items() if rows} == {
        "table1": 4, "table2": 3, "table3": 11, "table3_all": 11,
    }  # fmt: skip
    assert not any(row[1].startswith("linear") for row in of_paper["table1"])


def test_every_published_number_of_table_3_is_found():
    found = [
        published(m, "roi", t, k) for m in ("cubic", "siren") for k in ("dsc", "hd_mm", "arve") for t in THRESHOLDS_HU
    ]
    assert None not in found
    assert np.isclose(sum(f.mean for f in found if f), sum(
        [0.696, 0.697, 0.691, 0.680, 0.662, 3.04, 3.04, 3.05, 3.08, 3.21, 0.674, 0.581, 0.517, 0.471, 0.444,
         0.691, 0.684, 0.672, 0.657, 0.635, 3.09, 3.11, 3.15, 3.31, 3.39, 0.582, 0.516, 0.483, 0.471, 0.471]
    ))  # fmt: skip
    assert published("cubic", "roi", -420, "dsc") is None
    assert published("morphological", "roi", -400, "dsc") is None
    assert published("siren", "tumour", None, "mean_hu") is None


def test_means_are_over_nodules_and_failures_are_counted(results):
    table = next(t for t in paper_tables(results) if t.name == "table1")
    # 0.1 (nodule + 1) (method + 1): linear 0.1, 0.2, 0.3; siren, the third, failed on the second nodule
    assert cell(table, ("field of view", "linear"), "MAE") == "0.200 ± 0.100"
    assert cell(table, ("field of view", "siren"), "MAE") == "0.600 ± 0.424"
    assert cell(table, ("field of view", "siren"), "n") == "2"
    assert cell(table, ("field of view", "siren"), "failed") == "1"


def test_every_caption_says_phantom_and_none_for_ct(results, tmp_path):
    assert all("phantom" in table.caption for table in paper_tables(results))
    assert all("phantom" in table.caption for table in statistics_tables(results, write_statistics(results)))
    ct = StudyResults(write_study(tmp_path, count=2, kind="lidc"))
    assert not any("phantom" in table.caption for table in paper_tables(ct))


def test_texture_measured_on_all_slices_alone_is_the_main_table(tmp_path):
    root = write_study(tmp_path, count=2)
    text = (root / "texture.csv").read_text().replace("unobserved", "all")
    (root / "texture.csv").write_text("\n".join(line for line in text.splitlines() if "interpolated" not in line))
    table = next(t for t in paper_tables(StudyResults(root)) if t.name == "table2")
    assert "whole crop" in table.caption
    assert cell(table, ("tumour", "siren, paper"), "sd ratio") == "1.10"


def test_files_agree_with_each_other(results):
    made = write_report_tables(results, ReportOptions(min_slices=1))
    for table in (*made.paper, *made.uncertainty, *made.methods):
        folder = results.root / "tables"
        with (folder / f"{table.name}.csv").open(newline="") as file:
            lines = list(csv.DictReader(file))
        assert len(lines) == len(table.records) > 0
        key = "n" if "n" in lines[0] else "mean"
        assert [float(line[key]) for line in lines] == pytest.approx([r[key] for r in table.records], nan_ok=True)
        markdown = (folder / f"{table.name}.md").read_text()
        latex = (folder / f"{table.name}.tex").read_text()
        for row in table.rows:
            assert "| " + " | ".join(row) + " |" in markdown
        body = latex.split(r"\midrule")[1].split(r"\bottomrule")[0]
        rows = [line for line in body.splitlines() if line.endswith(r"\\")]
        assert len(rows) == len(table.rows)
        assert {line.count(" & ") for line in rows} == {len(table.columns) - 1}
        assert all(latex.count(f"\\{word}{{") == 1 for word in ("caption", "label"))
        assert "phantom" in latex
        assert latex.count("{") == latex.count("}")


def test_a_cell_with_bars_or_line_breaks_does_not_break_markdown():
    table = Table("t", "A caption.", ("nodule", "reason"), (("a", "one | two\nthree"),))
    assert "| a | one \\| two three |" in table.markdown()


def test_latex_keeps_signs_and_escapes_markup():
    assert latex_escape("-400 HU, signed_distance 5 % < 1 – x-ray") == (
        r"$-$400 HU, signed\_distance 5 \% $<$ 1 -- x-ray"
    )
    assert latex_escape("\\") == r"\textbackslash{}"


def test_counts_that_differ_between_metrics_are_told_in_order():
    metrics = (metric_of("dsc"), metric_of("hd_mm"))
    line = Line(("m",), (Entry(Summary(1.0, 0.5, 3, 0)), Entry(Summary(2.0, math.nan, 1, 2), Published(9.0, 0.5))))
    table = metric_table("t", "c", ("method",), metrics, (line, Line(("x",), (Entry(None), Entry(None)))))
    assert table.columns == ("method", "DSC", "HD, mm", "n", "failed")
    assert table.rows == (
        ("m", "1.000 ± 0.500", "2.00, of 1", "3, 1", "0, 2"),
        ("m, paper", "–", "9.00 ± 0.50", "50", "–"),
        ("x", *["–"] * 4),
    )


def test_statistics_csv_has_every_comparison(results):
    found = write_statistics(results)
    with (results.root / "statistics.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == len(found)
    expected = compare_methods(read_rows(results.root / "metrics.csv"), results.methods)
    assert found[: len(expected)] == expected
    assert {(c.first, c.second) for c in found} >= {("linear", "cubic"), ("siren", "morphological")}
    assert not any("truth" in (c.first, c.second) for c in found)


def test_the_reference_is_always_subtracted(results):
    table = statistics_tables(results, write_statistics(results))[0]
    rows = {(row[0], row[1]): row for row in table.rows}
    assert all(row[1].endswith("− cubic") for row in table.rows)
    # linear 0.1, 0.2, 0.3 and cubic twice that: the difference is minus 0.2 on average, on all three nodules
    assert rows["SSIM tumour", "linear − cubic"][2] == "−0.200"
    assert rows["DSC", "morphological − cubic"][2] == "+0.400"
    assert rows["PSNR field, dB", "SIREN − cubic"][5:7] == ("2", "1")


def test_one_nodule_has_no_test_and_says_why(tmp_path):
    results = StudyResults(write_study(tmp_path, count=1))
    tables = statistics_tables(results, write_statistics(results))
    assert tables[0].columns[-1] == "remark"
    assert all("one nodule only" in row[-1] for row in tables[0].rows)
    assert all(row[4] == "–" for row in tables[0].rows)


def test_bins_by_gap_and_diameter_count_every_nodule(results):
    tables = statistics_tables(results, write_statistics(results))
    gap, diameter = (next(t for t in tables if t.columns[0].startswith(w)) for w in ("gap", "diameter"))
    assert {row[0] for row in gap.rows} == {">= 4 mm"}  # 5 slices of 1 mm
    # diameters 9, 10 and 11 mm
    counts = {row[0]: row[-2] for row in diameter.rows if row[1] == "linear"}
    assert counts == {"10 to 20 mm": "2"}
    alone = [row for row in diameter.rows if row[0] == "< 10 mm"]
    assert alone == [("< 10 mm", "one nodule: no mean", *["–"] * 6, "1", "–")]


def test_numbers_are_printed_as_papers_do():
    assert [p_text(p) for p in (0.0009, 0.001, 1.0)] == ["< 0.001", "0.001", "1.000"]
    assert [signed(v, 2) for v in (-0.004, 0.004, -0.006, math.nan)] == ["0.00", "0.00", "−0.01", "–"]
