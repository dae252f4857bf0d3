"""Which method is best: none that has a value on fewer nodules than another."""

import math

from bundle.report.options import ReportOptions
from bundle.report.page.answer import answers, forests
from bundle.report.page.overview import glance_table
from bundle.report.results import StudyResults
from bundle.report.tables.main_columns import MAIN_COLUMNS, best_first, set_back
from bundle.report.tidy import to_csv

HD = next(column for column in MAIN_COLUMNS if column.metric == "hd_mm")
PSNR = next(column for column in MAIN_COLUMNS if column.metric == "psnr")


def _study(tmp_path, values, column):
    place = {"slices": column.slices, "region": column.region, "threshold_hu": None, "metric": column.metric}
    rows = [
        {"nodule_id": f"n{i}", "method": method, "value": float(value)} | place
        for method, found in values.items()
        for i, value in enumerate(found)
    ]
    (tmp_path / "metrics.csv").write_text(to_csv(rows))
    return StudyResults(tmp_path)


def test_who_finds_one_nodule_of_three_is_not_the_best(tmp_path):
    nan = math.nan
    values = {"half": [0.5, nan, nan], "fair": [1.0, 1.2, 1.1], "poor": [4, 4, 4], "none": [nan] * 3}
    results = _study(tmp_path, values, HD)
    assert best_first(results, values, HD) == ["fair", "poor", "half"]
    assert set_back(results, ["fair", "poor", "half"], HD) == ["half"]
    table = glance_table(results)
    column = 1 + MAIN_COLUMNS.index(HD)
    assert [table.rows[row][0] for row, k in table.strong if k == column] == ["fair"]


def test_a_perfect_reconstruction_is_the_best(tmp_path):
    values = {"good": [40, 41], "truth_itself": [math.inf, math.inf], "poor": [20, 20]}
    assert best_first(_study(tmp_path, values, PSNR), values, PSNR) == ["truth_itself", "good", "poor"]


def test_who_failed_on_the_hard_nodule_is_told_and_comes_after(tmp_path):
    nan = math.nan
    values = {"pchip": [30, 10, 20], "bold": [31, nan, 21], "cubic": [29, 9, 19], "shy": [25, nan, nan]}
    results = _study(tmp_path, values, PSNR)
    assert best_first(results, values, PSNR) == ["pchip", "cubic", "bold", "shy"]
    (told,) = answers(results, ReportOptions())
    assert "PCHIP is best in the field of view: PSNR 20.00 dB" in told
    assert "bold has 26.00 dB, but over 2 of these 3 nodules: it comes after." in told
    assert "shy has 25.00 dB, but over 1 of these 3 nodules: it comes after." in told
    plot = forests(results, ReportOptions(reference="cubic"))[0]
    assert [(row.method, row.mean, row.n) for row in plot.rows][1:] == [("bold", 2.0, 2), ("shy", -4.0, 1)]


def test_where_all_lack_the_same_nodule_the_best_says_of_how_many(tmp_path):
    results = _study(tmp_path, {"pchip": [30, math.nan], "cubic": [20, math.nan]}, PSNR)
    (told,) = answers(results, ReportOptions())
    assert "PSNR 30.00 dB over 1 of 2 nodules" in told
