"""Gains, their intervals over patients against a loop that draws them, and the tables by scanner."""

import csv
import json
import math

import numpy as np
import pytest
from helpers.report_folder import write_study
from hypothesis import given, settings
from hypothesis import strategies as st

from bundle.report.build import build_report
from bundle.report.figures import draw
from bundle.report.options import ReportOptions
from bundle.report.results import StudyResults
from bundle.report.statistics.gains import gains_of, mean_gain, patient_means, patients_interval
from bundle.report.statistics.tests import ENOUGH, bootstrap_interval
from bundle.report.tables.scanner_tables import scanner_strata, scanner_tables
from bundle.report.tables.write import write_report_tables


def test_intervals_equal_a_loop_that_draws_patients():
    rng = np.random.default_rng(1)
    patients = [f"p{k}" for k in rng.integers(0, 12, 60)]
    values = rng.normal(1, 1, 60) + np.array([int(p[1:]) / 6 for p in patients])
    groups = [values[[p == name for p in patients]] for name in sorted(set(patients))]
    means = []
    for _ in range(4000):
        drawn = np.concatenate([groups[k] for k in rng.integers(0, len(groups), len(groups))])
        means.append(drawn.mean())
    assert patients_interval(values, patients) == pytest.approx(np.quantile(means, [0.025, 0.975]), abs=0.05)
    low, high = bootstrap_interval(values)
    wide = patients_interval(values, patients)
    assert wide[1] - wide[0] > high - low  # nodules of one patient are alike


@given(st.lists(st.floats(-5, 5), min_size=2, max_size=18), st.randoms())
@settings(deadline=None, max_examples=25)
def test_an_interval_holds_between_the_ends_and_does_not_mind_the_order(values, shuffle):
    patients = [f"p{k // 2}" for k in range(len(values))]
    low, high = patients_interval(np.array(values), patients, resamples=200)
    if len(set(patients)) < ENOUGH:
        assert math.isnan(low)
        assert math.isnan(high)
        return
    assert min(values) - 1e-9 <= low <= high <= max(values) + 1e-9
    order = list(range(len(values)))
    shuffle.shuffle(order)
    again = patients_interval(np.array(values)[order], [patients[i] for i in order], resamples=200)
    assert again == pytest.approx((low, high))


def test_one_nodule_a_patient_is_the_bootstrap_over_nodules():
    values = np.random.default_rng(0).normal(size=20)
    assert patients_interval(values, [f"p{k:02d}" for k in range(20)]) == pytest.approx(bootstrap_interval(values))


def test_gains_are_paired_and_what_failed_is_counted(tmp_path):
    results = StudyResults(write_study(tmp_path, failed=[("n1", "siren")]))
    gains = gains_of(results, results.nodules, "siren", "cubic", "interpolated", "global")
    assert gains == pytest.approx([0.1, math.nan, 0.3], nan_ok=True)  # 0.1 (nodule + 1) a method
    found = mean_gain(gains, results.nodules)
    assert (found.mean, found.n, found.patients, found.n_failed) == (pytest.approx(0.2), 2, 2, 1)
    assert mean_gain(np.full(2, math.nan), ["a", "b"]).n_failed == 2
    assert patient_means(gains, ["a_0", "a_1", "a_2"]) == pytest.approx([0.2])


def with_scanners(folder, scanners):
    for k, scanner in enumerate(scanners):
        path = folder / "nodules" / f"n{k}" / "truth" / "result.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"scanner": scanner}))
    return folder


def test_strata_are_by_maker_kernel_voltage_and_exposure(tmp_path, monkeypatch):
    monkeypatch.setattr(draw, "FIGURES", {})
    scanners = [
        {"manufacturer": "SIEMENS", "kernel": "B30f", "kvp": 120.0, "exposure_mas": 49.0},
        {"manufacturer": "Siemens Healthineers", "kernel": "B70f", "kvp": 80.0, "exposure_mas": 50.0},
        {"manufacturer": "GE MEDICAL SYSTEMS", "exposure_mas": 150.0},
        {},
    ]
    folder = with_scanners(write_study(tmp_path, 4, failed=[("n2", "siren")]), scanners)
    results = StudyResults(folder)
    strata = scanner_strata(results)
    assert list(strata["manufacturer"].values()) == ["SIEMENS", "SIEMENS", "GE", "unknown"]
    assert list(strata["exposure"].values()) == ["< 50 mAs", "50 to 150 mAs", ">= 150 mAs", "unknown"]
    assert "thickness" not in strata  # 1 mm all of them
    tables = {table.name: table for table in write_report_tables(results, ReportOptions()).scanners}
    assert [row[0] for row in tables["scanner_kvp"].rows[::2]] == ["80 kVp", "120 kVp", "unknown"]
    with (folder / "tables" / "scanner_manufacturer.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    siemens = next(r for r in rows if (r["stratum"], r["method"], r["region"]) == ("SIEMENS", "siren", "global"))
    assert (float(siemens["gain"]), siemens["n"], siemens["patients"]) == (pytest.approx(0.15), "2", "2")
    assert siemens["low"] == "nan"  # two patients have no interval
    ge = next(r for r in rows if (r["stratum"], r["method"]) == ("GE", "siren"))
    assert (ge["gain"], ge["n"], ge["n_failed"]) == ("nan", "0", "1")
    page = build_report(folder).read_text(encoding="utf-8")
    assert "By manufacturer" in page
    assert "By convolution kernel" in page
    assert "<dt>scanner</dt><dd>SIEMENS, kernel B30f, 120 kVp, 49 mAs</dd>" in page


def test_nothing_known_is_no_table(tmp_path):
    results = StudyResults(write_study(tmp_path))
    assert scanner_strata(results) == {}
    assert scanner_tables(results, ReportOptions()) == []
