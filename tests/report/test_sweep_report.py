"""The report of a sweep against values that are known, and against sums by hand over its own CSV."""

import csv
import json
import math
import re

import numpy as np
import pytest
from helpers.report_folder import write_study
from hypothesis import given
from hypothesis import strategies as st

from bundle.errors import InputError
from bundle.report.__main__ import main
from bundle.report.figures import style
from bundle.report.figures.gaps import figure_gains, figure_trade_off
from bundle.report.figures.style import looks
from bundle.report.options import ReportOptions
from bundle.report.statistics.gaps import EDGES_MM, gap_bins, share_better, turns
from bundle.report.sweep import SweepResults
from bundle.report.tables.sweep_order import all_turns, answers
from bundle.report.tables.sweep_tables import by_gap, by_setting, common_nodules, sweep_tables
from bundle.report.tidy import to_csv

METHODS = ("linear", "cubic", "siren")
# (stride, average): spacing is 1 mm, so that a stride is a gap
SETTINGS = {"stride_2": (2, 1), "stride_3": (3, 1), "stride_8": (8, 1), "stride_5_average_5": (5, 5)}
OPTIONS = ReportOptions()


def gain(method: str, stride: int, region: str) -> float:
    """linear loses 0.1 dB a mm from 0.5, siren wins as much: they cross each other and cubic at 5 mm."""
    sign = {"linear": 1, "cubic": 0, "siren": -1}[method]
    return sign * (0.5 - 0.1 * stride) * (1 if region == "global" else 2)


def write_sweep(root, failed=(("n1", "siren", "stride_8"),), kind="phantom", count=6):
    for name, (stride, average) in SETTINGS.items():
        folder = write_study(root / name, count, METHODS, [(n, m) for n, m, where in failed if where == name], kind)
        study = json.loads((folder / "study.json").read_text())
        study["decimate"] |= {"stride": stride, "average": average, "profile": "box"}
        (folder / "study.json").write_text(json.dumps(study))
        rows = [
            {"nodule_id": f"n{i}", "method": m, "slices": "interpolated", "region": region, "threshold_hu": None}
            | {
                "metric": "psnr",
                "value": math.nan if (f"n{i}", m, name) in failed else 20 + i + gain(m, stride, region),
            }
            for i in range(count)
            for m in METHODS
            for region in ("global", "tumour")
        ]
        (folder / "metrics.csv").write_text(to_csv(rows))
    (root / "sweep.json").write_text(json.dumps({"command": "python -m x", "settings": list(SETTINGS)}))
    return root


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    return SweepResults(write_sweep(tmp_path_factory.mktemp("sweep")))


def test_gains_are_by_setting_and_by_gap(results):
    assert [setting.words for setting in results.settings][2:] == ["1 slice in 8", "1 slice in 5, averages of 5"]
    strata = {(one.where, one.method): one for one in by_setting(results, OPTIONS)}
    assert len(strata) == 8
    found = strata["stride_8", "siren"]
    assert (found.field.mean, found.tumour.mean) == (pytest.approx(0.3), pytest.approx(0.6))
    assert (found.field.n, found.field.patients, found.field.n_failed, found.both) == (5, 5, 1, 1.0)
    assert strata["stride_2", "linear"].gap_mm == 2
    gaps = {(one.where, one.method): one for one in by_gap(results, OPTIONS)}
    assert [where for where, method in gaps if method == "linear"] == ["1.5 to 2.5 mm", "2.5 to 3.5 mm", "6 to 8.5 mm"]
    assert gaps["6 to 8.5 mm", "linear"].field.mean == pytest.approx(-0.3)
    assert gaps["6 to 8.5 mm", "linear"].both == 0


def test_the_order_turns_where_the_lines_cross(results):
    found = {(t.first, t.second): t for t in all_turns(results, OPTIONS, "tumour")}
    assert found.keys() == {("linear", "siren"), ("linear", "cubic"), ("cubic", "siren")}
    for turn in found.values():
        assert turn.gap_mm == pytest.approx(5.0)
        assert turn.clear
        assert turn.before.mean > 0 > turn.after.mean
    assert found["linear", "siren"].after.n == 5
    sentences = list(answers(results, OPTIONS))
    assert "linear (1.5 to 3.5 mm: +0.20 to +0.30 dB, n = 6), then cubic (6 to 8.5 mm: 0.00 dB, n = 6)" in sentences[0]


def test_the_best_is_told_with_the_interval_of_its_gains(results, monkeypatch):
    gains = np.arange(6.0) / 10
    monkeypatch.setattr(SweepResults, "others", lambda self, options: ["linear"])
    monkeypatch.setattr(SweepResults, "points", lambda self, *_: np.concatenate([gains, gains + 1, -gains]))
    means = np.random.default_rng(0).choice(gains, (20_000, 6)).mean(axis=1)
    told = next(answers(results, OPTIONS))
    found = re.search(r"linear \(1.5 to 3.5 mm: \+0.25 \((.*) to (.*)\) to \+1.25 \((.*) to (.*)\) dB, n = 6\)", told)
    low, high = np.quantile(means, (0.025, 0.975))
    assert [float(end) for end in found.groups()] == pytest.approx([low, high, low + 1, high + 1], abs=0.02)
    assert told.endswith("gains against cubic, bootstrap 95 % interval over patients (5 or more).")


def test_a_bin_of_very_few_patients_is_no_ground_for_the_best(tmp_path):
    found = SweepResults(write_sweep(tmp_path / "a", [(f"n{i}", m, "stride_8") for i in (1, 2) for m in METHODS]))
    assert all("6 to 8.5 mm" not in told and "bins of fewer than 5 patients left out: 1" in told
               for told in answers(found, OPTIONS))  # fmt: skip
    order = next(table for table in sweep_tables(found, OPTIONS) if table.name == "sweep_order")
    assert [row[2:] for row in order.rows if row[1] == "6 to 8.5 mm"] == [("–", "4")] * 2
    assert "none where there are fewer than 5 patients" in order.caption
    drawn, caption, _ = figure_gains(found, OPTIONS)
    assert "Hollow, and joined by no line: fewer than 5 patients." in caption
    for place in drawn.axes[:3]:
        line, hollow = (line for line in place.get_lines() if line.get_color() == looks(METHODS)["linear"].color)
        assert np.isnan(line.get_ydata()).tolist() == [False, False, True]
        assert np.isnan(hollow.get_ydata()).tolist() == [True, True, False]
        assert (hollow.get_linestyle(), hollow.get_markerfacecolor()) == ("None", "none")
    few = SweepResults(write_sweep(tmp_path / "b", count=3))
    assert next(answers(few, OPTIONS)) == (
        "No method is the best in the field of view: no bin of gaps has 5 patients or more."
    )
    points = [line for place in figure_trade_off(few, OPTIONS)[0].axes for line in place.get_lines()]
    markers = {looks(METHODS)[method].marker for method in METHODS}
    assert {line.get_markerfacecolor() for line in points if line.get_marker() in markers} == {"none"}


@given(st.lists(st.floats(0.1, 30) | st.just(math.nan), min_size=1, max_size=40))
def test_every_gap_is_in_one_bin_and_within_it(gaps):
    bins = gap_bins(np.array(gaps))
    placed = sorted(i for one in bins for i in one.points)
    assert placed == [i for i, gap in enumerate(gaps) if not math.isnan(gap)]
    for one in bins:
        assert all(one.low - 1e-5 <= gaps[i] < one.high for i in one.points)
        assert one.low - 1e-5 <= one.centre <= one.high
    assert gap_bins(np.array([5 * 0.3, 3 * 1.5]), EDGES_MM)[0].low == 1.5  # though 5 * 0.3 is a hair less in some sums


def test_shares_and_turns_equal_a_loop():
    rng = np.random.default_rng(0)
    gaps, nodules = rng.uniform(1, 10, 200), [f"p{k % 20}_{k}" for k in range(200)]
    gains = {name: rng.normal(0, 1, 200) + slope * (gaps - 5) for name, slope in (("a", 0.0), ("b", 0.2), ("c", -0.2))}
    gains["c"][::7] = math.nan
    pairs = [(x, y) for x, y in zip(gains["b"], gains["c"], strict=True) if math.isfinite(y)]
    assert share_better(gains["b"], gains["c"]) == pytest.approx(sum(x > 0 and y > 0 for x, y in pairs) / len(pairs))
    bins, expected = gap_bins(gaps), set()
    for one, other in (("a", "b"), ("a", "c"), ("b", "c")):
        means = [np.nanmean([gains[one][i] - gains[other][i] for i in place.points]) for place in bins]
        for k in range(len(bins) - 1):
            if means[k] * means[k + 1] < 0:
                at = np.interp(
                    0, *zip(*sorted([(means[k], bins[k].centre), (means[k + 1], bins[k + 1].centre)]), strict=True)
                )
                expected.add((*((one, other) if means[k] > 0 else (other, one)), round(float(at), 6)))
    assert {(t.first, t.second, round(t.gap_mm, 6)) for t in turns(gains, nodules, bins)} == expected


def test_common_nodules_have_every_value_at_every_setting(results):
    assert common_nodules(results, OPTIONS) == {"n0", "n2", "n3", "n4", "n5"}
    table = next(t for t in sweep_tables(results, OPTIONS) if t.name == "sweep_common")
    assert {row[table.columns.index("n")] for row in table.rows} == {"5"}
    assert {row[table.columns.index("failed")] for row in table.rows} == {"0"}


def test_the_trade_off_has_the_papers_points_at_its_stride_alone(results, tmp_path):
    drawn, caption, _ = figure_trade_off(results, OPTIONS)
    assert "which are not in this figure" in caption
    root = write_sweep(tmp_path)
    study = json.loads((root / "stride_8" / "study.json").read_text())
    study["decimate"]["stride"] = 5
    (root / "stride_8" / "study.json").write_text(json.dumps(study))
    drawn, caption, _ = figure_trade_off(SweepResults(root), OPTIONS)
    assert "the paper's Table 1" in caption
    stars = [
        (place.get_title(loc="left").split("\n")[0], line.get_xdata()[0], line.get_ydata()[0])
        for place in drawn.axes
        for line in place.get_lines()
        if line.get_marker() == "*"
    ]
    assert stars == [("1 slice in 5", 0, 0), ("1 slice in 5", pytest.approx(1.43), pytest.approx(-1.38))]


def test_lines_are_the_means_and_a_far_method_is_told(results, tmp_path):
    drawn, caption, left_out = figure_gains(results, OPTIONS)
    assert "phantom data, not CT" in caption
    assert left_out == []
    line = next(line for line in drawn.axes[0].get_lines() if line.get_label() == "linear")
    assert line.get_ydata() == pytest.approx([0.3, 0.2, -0.3])
    root = write_sweep(tmp_path)
    path = root / "stride_8" / "metrics.csv"
    path.write_text(
        path.read_text().replace("n0,linear,interpolated,global,,psnr,19.7", "n0,linear,interpolated,global,,psnr,1")
    )
    assert any(
        "linear lies more than 3 dB below cubic" in told for told in figure_gains(SweepResults(root), OPTIONS)[2]
    )


def test_one_command_makes_the_report_again(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(style, "PRINT_DPI", 150)
    root = write_sweep(tmp_path)
    main([str(root)])
    assert capsys.readouterr().out.strip() == str(root / "report.html")
    page = (root / "report.html").read_text(encoding="utf-8")
    assert not re.search(r"(src|href)=\"(?!data:|#)", page)
    assert "phantom data, not CT" in page
    assert "n1: 1 observed slice | too few" in page
    for name in ("sweep_settings", "sweep_common", "sweep_gaps", "sweep_order", "sweep_turns"):
        assert {p.suffix for p in (root / "tables").glob(f"{name}.*")} == {".md", ".csv", ".tex"}
    with (root / "sweep.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 4 * 6 * 3 * 2
    for row in rows:
        expected = gain(row["method"], int(row["stride"]), row["region"])
        assert float(row["gain"]) == (
            pytest.approx(expected, abs=1e-9) if row["psnr"] != "nan" else pytest.approx(math.nan, nan_ok=True)
        )


def test_a_setting_that_is_gone_is_told_and_a_folder_that_is_no_sweep_refused(tmp_path):
    root = write_sweep(tmp_path)
    (root / "stride_3" / "metrics.csv").unlink()
    found = SweepResults(root)
    assert [setting.name for setting in found.settings] == ["stride_2", "stride_8", "stride_5_average_5"]
    assert found.problems[0].startswith("stride_3 is left out: ")
    (root / "sweep.json").write_text("{}")
    with pytest.raises(InputError, match="expected that of a sweep"):
        SweepResults(root)


def test_thick_settings_alone_have_no_gaps(tmp_path):
    root = write_sweep(tmp_path)
    (root / "sweep.json").write_text(json.dumps({"settings": ["stride_5_average_5"]}))
    found = SweepResults(root)
    assert figure_gains(found, OPTIONS) is None
    assert [table.name for table in sweep_tables(found, OPTIONS)] == ["sweep_settings"]
    assert list(answers(found, OPTIONS)) == []
