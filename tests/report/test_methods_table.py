"""The tables of methods against numbers worked out by hand, and how they are asked for."""

from __future__ import annotations

import csv
import json
import math

import numpy as np
import pytest

from bundle.errors import InputError
from bundle.report.__main__ import main
from bundle.report.options import ReportOptions
from bundle.report.results import StudyResults
from bundle.report.statistics.scores import Score, chosen_nodules, density_scores, shape_scores, wins
from bundle.report.tables.methods_tables import methods_tables
from bundle.report.tables.write import write_report_tables
from bundle.report.tidy import to_csv

NAN, INF = math.nan, math.inf
SLICES = {"n0": 12, "n1": 11, "n2": 20, "n3": 10}
PSNR = {
    "global": {"linear": [21, 21, 27, 1], "cubic": [20, 22, 24, 99], "pchip": [20.5, NAN, 25, 1]},
    "tumour": {"linear": [14, 17, NAN, 1], "cubic": [15, 16, NAN, 99], "pchip": [16, NAN, NAN, 1]},
}
SHAPE = {
    ("unobserved", "dsc"): {"morphological": [0.6, 0.7, 0.8, 0.5], "signed_distance": [0.7, 0.7, 0.9, 0.4]},
    ("all", "dsc"): {"morphological": [0.8, 0.8, 0.8, 0.8], "signed_distance": [0.9, 0.9, 0.9, 0.9]},
    ("all", "hd_mm"): {"morphological": [3, 2, INF, 2], "signed_distance": [2, 2.5, 4, 1]},
    ("unobserved", "arve"): {"morphological": [0.2, 0.2, 0.2, 0.2], "signed_distance": [0.1, 0.1, 0.1, 0.3]},
}


def rows_of(values: dict[str, list[float]], slices: str, region: str, metric: str) -> list[dict]:
    place = {"slices": slices, "region": region, "threshold_hu": None, "metric": metric}
    return [
        {"nodule_id": nodule, "method": method, "value": float(value), **place}
        for method, column in values.items()
        for nodule, value in zip(SLICES, column, strict=True)
    ]


@pytest.fixture
def study(tmp_path, monkeypatch):
    """Output folder of a study of four nodules, one of them too short; PCHIP failed on one."""
    monkeypatch.setattr("bundle.report.statistics.tests.ENOUGH", 2)  # intervals that can be worked out by hand
    metrics = []
    for region, values in PSNR.items():
        metrics += rows_of(values, "interpolated", region, "psnr")
        metrics += rows_of({m: [0.5, 0.6, 0.7, 0] for m in values}, "interpolated", region, "ssim")
    for (slices, metric), values in SHAPE.items():
        metrics += rows_of(values, slices, "roi", metric)
    texture = rows_of({"linear": [0.8, 0.9, 1.0, 9]}, "interpolated", "tumour", "sd_ratio")
    texture += rows_of({"linear": [2, 3, 4, 9], "truth": [4, 5, 6, 9]}, "interpolated", "tumour", "kurtosis")
    (tmp_path / "metrics.csv").write_text(to_csv(metrics))
    (tmp_path / "texture.csv").write_text(to_csv(texture))
    reasons = [{"nodule_id": "n1", "method": "pchip", "reason": "it broke"}]
    reasons += [{"nodule_id": "n3", "method": "pchip", "reason": "so did it here"}]
    (tmp_path / "failures.csv").write_text(to_csv(reasons, ("nodule_id", "method", "reason")))
    seconds = [
        {"nodule_id": nodule, "method": "linear", "seconds": value}
        for nodule, value in zip(SLICES, (1.0, 2.0, 6.0, 99.0), strict=True)
    ]
    (tmp_path / "timings.csv").write_text(to_csv(seconds, ("nodule_id", "method", "seconds")))
    (tmp_path / "study.json").write_text(json.dumps({"data": "datalist", "decimate": {"stride": 5, "axis": 2}}))
    for nodule, count in SLICES.items():
        folder = tmp_path / "nodules" / nodule / "truth"
        folder.mkdir(parents=True)
        facts = {"spacing": [1, 1, 1], "shape": [9, 9, count], "axis": 2, "observed": list(range(0, count, 5))}
        (folder / "result.json").write_text(json.dumps(facts))
    return tmp_path


def score(scores: list[Score], method: str, region: str, metric: str, slices: str | None = None) -> Score:
    found = [s for s in scores if (s.method, s.region, s.metric) == (method, region, metric)]
    return next(s for s in found if slices in (None, s.slices))


def test_nodules_are_chosen_by_their_slices(study):
    results = StudyResults(study)
    assert chosen_nodules(results, 11) == ["n0", "n1", "n2"]
    assert chosen_nodules(results, 12) == ["n0", "n2"]
    assert chosen_nodules(results) == ["n0", "n1", "n2", "n3"]


def test_psnr_by_hand(study):
    found = density_scores(StudyResults(study), ["n0", "n1", "n2"], "cubic", ["linear", "cubic", "pchip"])
    linear = score(found, "linear", "global", "psnr")
    assert (linear.mean, linear.n, linear.n_failed) == (23, 3, 0)
    assert linear.sd == pytest.approx(math.sqrt(12))
    # differences 1, -1, 3; each extreme is the mean of 1 in 27 resamples, 3.7 %, so that it ends the interval
    assert (linear.difference, linear.low, linear.high) == pytest.approx((1, -1, 3))
    assert linear.beats_reference == pytest.approx(2 / 3)
    assert linear.beats_all == pytest.approx(2 / 3)
    cubic = score(found, "cubic", "global", "psnr")
    assert math.isnan(cubic.difference)
    assert math.isnan(cubic.beats_reference)
    assert cubic.beats_all == pytest.approx(1 / 3)  # n1, where PCHIP failed and linear is worse
    pchip = score(found, "pchip", "global", "psnr")
    assert (pchip.n, pchip.n_failed, pchip.mean, pchip.difference) == (2, 1, 22.75, 0.75)
    assert pchip.beats_reference == pytest.approx(2 / 3)  # a failure wins nothing
    assert pchip.beats_all == 0


def test_tumour_and_both_at_once_by_hand(study):
    found = density_scores(StudyResults(study), ["n0", "n1", "n2"], "cubic", ["linear", "cubic", "pchip"])
    linear = score(found, "linear", "tumour", "psnr")
    assert (linear.mean, linear.n, linear.n_failed, linear.difference) == (15.5, 2, 1, 0)
    assert linear.beats_reference == 0.5  # no method has a value on n2: not counted
    assert score(found, "linear", "both", "psnr").beats_reference == 0  # n0 in the field, n1 in the tumour
    assert score(found, "pchip", "both", "psnr").beats_reference == 0.5  # n0; failed on n1; n2 not counted
    assert score(found, "pchip", "both", "psnr").beats_all == 0
    assert score(found, "cubic", "both", "psnr").beats_all == 0


def test_baselines_can_be_named(study):
    found = density_scores(StudyResults(study), ["n0", "n1", "n2"], "cubic", ["cubic"])
    assert score(found, "pchip", "tumour", "psnr").beats_all == 0.5
    assert math.isnan(score(found, "cubic", "tumour", "psnr").beats_all)
    found = density_scores(StudyResults(study), ["n0", "n1", "n2"], "linear", [])
    assert score(found, "cubic", "global", "psnr").difference == -1


def test_texture_and_seconds_by_hand(study):
    found = density_scores(StudyResults(study), ["n0", "n1", "n2"], "cubic", ["linear", "cubic", "pchip"])
    assert score(found, "linear", "tumour", "sd_ratio").mean == pytest.approx(0.9)
    assert score(found, "linear", "tumour", "kurtosis").mean == 3
    assert score(found, "truth", "tumour", "kurtosis").mean == 5
    assert math.isnan(score(found, "linear", "tumour", "kurtosis").beats_reference)  # more is not better
    assert score(found, "linear", "", "seconds").mean == 3
    assert math.isnan(score(found, "cubic", "", "seconds").mean)
    assert score(found, "linear", "global", "ssim").mean == pytest.approx(0.6)
    assert score(found, "linear", "global", "ssim").beats_reference == 0  # equal is not better


def test_shape_by_hand(study):
    found = shape_scores(StudyResults(study), list(SLICES), "morphological")
    dsc = score(found, "signed_distance", "roi", "dsc", "unobserved")
    assert (dsc.mean, dsc.difference, dsc.beats_reference) == (pytest.approx(0.675), pytest.approx(0.025), 0.5)
    distance = score(found, "signed_distance", "roi", "hd_mm")
    assert (distance.mean, distance.n) == (2.375, 4)
    # differences -1, 0.5 and -1; less is better, and an infinite distance has no difference, but is beaten
    assert distance.difference == pytest.approx(-0.5)
    assert distance.beats_reference == 0.75
    of_reference = score(found, "morphological", "roi", "hd_mm")
    assert (of_reference.mean, of_reference.n, of_reference.n_failed) == (INF, 4, 0)
    assert score(found, "signed_distance", "roi", "arve").beats_reference == 0.75


def test_wins():
    assert wins(np.array([1.0, 1.0 + 1e-9]), [np.array([1.0, 1.0])]).tolist() == [0.0, 0.0]
    assert wins(np.array([1.0, 3.0]), [np.array([2.0, 2.0]), np.array([2.0, 4.0])], higher=False).tolist() == [1, 0]
    assert np.isnan(wins(np.array([1.0, 2.0]), [])).all()


def test_what_is_written(study):
    write_report_tables(StudyResults(study), ReportOptions())
    folder = study / "tables"
    psnr, texture, masks = ((folder / f"{n}.md").read_text() for n in ("methods", "methods_texture", "methods_masks"))
    assert "3 of 4 nodules of 11 or more slices (CT given as NIfTI, 1 slice in 5 along z observed)" in psnr
    assert "Baselines: linear, cubic, PCHIP." in psnr
    assert "| linear | 23.00 / 15.50 | +1.00 (−1.00 to +3.00) | 0.00 (−1.00 to +1.00) | 67 % / 50 % / 0 % " in psnr
    assert "| PCHIP | 22.75 / 16.00 | +0.75 (+0.50 to +1.00) | +1.00 | 67 % / 50 % / 50 % " in psnr
    assert "| linear | 0.600 / 0.600 | – / 0.90 | – / 3.00 | 3.00 |" in texture
    assert "| truth | – / – | – / – | – / 5.00 | – |" in texture
    assert "| signed distance | 0.675 | 0.900 | 2.38 | 0.150 | +0.025" in masks
    written = {}
    for name in ("methods", "methods_texture", "methods_masks"):
        with (folder / f"{name}.csv").open(newline="") as file:
            written |= {(r["method"], r["slices"], r["region"], r["metric"]): r for r in csv.DictReader(file)}
    assert float(written["linear", "interpolated", "global", "psnr"]["low"]) == -1
    assert written["pchip", "interpolated", "both", "psnr"]["beats_reference"] == "0.5"
    assert written["linear", "", "", "seconds"]["mean"] == "3"
    assert written["signed_distance", "all", "roi", "hd_mm"]["n"] == "4"


def test_where_the_reference_did_not_run_it_is_the_first(study):
    rows = [row for row in StudyResults(study).rows if row["method"] not in ("cubic", "morphological")]
    (study / "metrics.csv").write_text(to_csv(rows))
    tables = methods_tables(StudyResults(study), ReportOptions())
    assert "PSNR minus linear's, field" in tables[0].columns
    assert "DSC minus signed distance's" in tables[2].columns


def test_where_no_nodule_is_long_enough_the_table_says_so(study):
    table = methods_tables(StudyResults(study), ReportOptions(min_slices=50))[0]
    assert "0 of 4 nodules of 50 or more slices" in table.caption
    assert table.rows[0][1:3] == ("– / –", "–")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"reference": "cubik"}, "--reference has 'cubik', which is no method: did you mean 'cubic'"),
        ({"baselines": ["linear", "siren"]}, "--baselines has 'siren'"),
        ({"reference": "morphological"}, "--reference has 'morphological', which is no method"),
        ({"mask_reference": "cubic"}, "--mask-reference has 'cubic'"),
        ({"slices": "all"}, "slices is 'all', expected"),
    ],
)
def test_what_is_not_in_the_study(study, options, words):
    with pytest.raises(InputError, match=words):
        methods_tables(StudyResults(study), ReportOptions(**options))


def test_a_study_without_masks_or_without_brightness_has_the_other_tables(study):
    rows = [row for row in StudyResults(study).rows if row["region"] != "roi"]
    (study / "metrics.csv").write_text(to_csv(rows))
    names = [table.name for table in methods_tables(StudyResults(study), ReportOptions())]
    assert names == ["methods", "methods_texture"]
    (study / "metrics.csv").write_text(to_csv(rows_of(SHAPE["all", "dsc"], "all", "roi", "dsc")))
    assert [table.name for table in methods_tables(StudyResults(study), ReportOptions())] == ["methods_masks"]


def test_command_line_on_a_finished_study(study, monkeypatch, capsys):
    built = []
    monkeypatch.setattr("bundle.report.__main__.build_report", lambda *given: built.append(given) or "where")
    main([str(study), "--baselines", "cubic", "pchip", "--min-slices", "12"])
    assert built == [(str(study), ReportOptions(baselines=["cubic", "pchip"], min_slices=12))]
    assert capsys.readouterr().out == "where\n"
