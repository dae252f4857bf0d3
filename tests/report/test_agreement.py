"""Agreement with the truth: concordance against other formulas, limits, shares; its tables, figures and files."""

import csv

import numpy as np
import pytest
from helpers.report_folder import write_study
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from bundle.metrics.categories import SCHEMES
from bundle.metrics.radiomics.features import COUNTING, FEATURES, NUMBERED
from bundle.report.figures.agreement import figure_agreement, figure_concordance_curves
from bundle.report.figures.size_agreement import figure_categories, figure_volumes, sized_methods
from bundle.report.options import ReportOptions
from bundle.report.results import StudyResults
from bundle.report.statistics.agreement import concordance, concordances, limits_of_agreement, share_at_least
from bundle.report.statistics.radiomic_agreement import radiomic_agreement
from bundle.report.statistics.size_agreement import category_pairs, sizes_by_place
from bundle.report.tables.agreement_tables import radiomics_tables, size_agreement_tables
from bundle.report.tables.write import write_report_tables

PAIRS = arrays(float, (7, 2), elements=st.floats(-1e3, 1e3, width=32))
OPTIONS = ReportOptions()


def lin(measured, true):
    """Lin's concordance as precision times accuracy: Pearson's r and the bias correction."""
    r, (sx, sy) = stats.pearsonr(measured, true)[0], (np.std(measured), np.std(true))
    shift = (np.mean(measured) - np.mean(true)) / np.sqrt(sx * sy)
    return r * 2 / (sx / sy + sy / sx + shift**2)


@given(PAIRS)
def test_concordance_is_precision_times_accuracy(values):
    measured, true = values.T
    if min(np.std(measured), np.std(true)) < 1e-2:
        return
    assert concordances(values[:, :1], values[:, 1:]).item() == pytest.approx(lin(measured, true), abs=1e-6)


def test_bias_and_limits_of_the_published_example():
    # peak flow by two meters, in l/min (Bland and Altman, Lancet 1986; 1:307, Table 1)
    large = [494, 395, 516, 434, 476, 557, 413, 442, 650, 433, 417, 656, 267, 478, 178, 423, 427]
    mini = [512, 430, 520, 428, 500, 600, 364, 380, 658, 445, 432, 626, 260, 477, 259, 350, 451]
    limits = limits_of_agreement(np.subtract(large, mini, dtype=float))
    assert limits.bias == pytest.approx(-2.1, abs=0.05)  # as published, with an sd of 38.8
    assert (limits.high - limits.bias) / 1.96 == pytest.approx(38.8, abs=0.05)
    ccc = concordance(np.array(mini, float)[:, None], np.array(large, float)[:, None])[0]
    assert ccc.value == pytest.approx(lin(mini, large))
    assert ccc.low < ccc.value < ccc.high


@given(PAIRS, st.floats(0.1, 50), st.floats(-100, 100))
def test_units_and_order_do_not_matter_and_it_is_at_most_one(values, factor, shift):
    once = concordances(values[:, :1], values[:, 1:]).item()
    again = concordances(factor * values[::-1, :1] + shift, factor * values[::-1, 1:] + shift).item()
    if np.ptp(values) > 1:
        assert again == pytest.approx(once, abs=1e-6, nan_ok=True)
    assert np.isnan(once) or -1 - 1e-9 <= once <= 1 + 1e-9


def test_pairs_that_lack_a_value_do_not_count_and_what_is_alike_has_none():
    true = np.array([[1.0, 5.0, 1e9], [2.0, 5.0, 1e9 + 1], [4.0, 5.0, 1e9 + 2], [np.nan, 5.0, np.nan]])
    measured = np.array([[1.1, 5.0, 1e9], [2.3, 5.0, 1e9 + 1], [3.7, 5.0, 1e9 + 2], [9.0, 5.0, 4.0]])
    found = concordances(measured, true)[0]
    assert found[0] == pytest.approx(lin(measured[:3, 0], true[:3, 0]))
    assert np.isnan(found[1])
    assert found[2] == pytest.approx(1.0)
    assert np.isnan(share_at_least(np.full((1, 3), np.nan), 0.85)).all()


def test_the_interval_is_that_of_resampled_nodules():
    rng = np.random.default_rng(1)
    true = rng.normal(0, 1, (25, 1))
    measured = true + rng.normal(0, 0.4, true.shape)
    drawn = []
    for _ in range(3000):
        chosen = rng.integers(0, 25, 25)
        drawn.append(lin(measured[chosen, 0], true[chosen, 0]))
    found = concordance(measured, true, seed=3)[0]
    np.testing.assert_allclose([found.low, found.high], np.quantile(drawn, [0.025, 0.975]), atol=0.02)
    assert concordance(measured, true, seed=3) == [found]


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    methods = ("linear", "cubic", "morphological")
    folder = write_study(tmp_path_factory.mktemp("study"), 5, methods, failed=[("n1", "cubic")], agreement=True)
    return StudyResults(folder)


def test_features_are_compared_with_the_truths_of_the_same_nodules(study):
    found = radiomic_agreement(study, OPTIONS.min_slices)
    assert list(found) == [(r, m) for r in ("native", "1 mm") for m in ("linear", "cubic")]
    linear, cubic = found["native", "linear"], found["native", "cubic"]
    true = np.arange(1.0, 6.0)
    assert linear.concordance[0].value == pytest.approx(lin(1.1 * true, true))
    assert (linear.n, linear.n_failed, cubic.n, cubic.n_failed) == (5, 0, 4, 1)
    four = true[[0, 2, 3, 4]]
    assert cubic.groups["all"].mean.value == pytest.approx(lin(1.2 * four, four))
    assert linear.groups["all"].mean.low < 1
    few = (cubic.concordance[0], cubic.groups["all"].mean, linear.groups["all"].share_beyond(cubic.groups["all"]))
    assert all(np.isnan([one.low, one.high]).all() and np.isfinite(one.value) for one in few)  # of 4 nodules
    assert linear.percent(("firstorder", "entropy"))[0] == pytest.approx(10.0)
    assert linear.groups["glcm"].shares[0.85].value == 1.0
    assert radiomic_agreement(study, 99) == {}


def test_a_file_of_features_that_cannot_be_read_is_told(study, tmp_path):
    (tmp_path / "metrics.csv").write_bytes((study.root / "metrics.csv").read_bytes())
    for text, words in (("a,b\n", "has columns ['a', 'b'], expected nodule_id,"), ("", "has columns None, expected")):
        (tmp_path / "radiomics.csv").write_text(text)
        results = StudyResults(tmp_path)
        assert results.radiomics == {}
        assert any(p.startswith("agreement of features is left out") and words in p for p in results.problems)


def test_tables_and_the_file_of_every_feature(study):
    write_report_tables(study, OPTIONS)
    with (study.root / "agreement.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * 2 * len(FEATURES)
    assert {(r["class"], r["feature"]) for r in rows if r["bin_origin_decides"] == "1"} == NUMBERED
    assert {(r["class"], r["feature"]) for r in rows if r["counts_voxels"] == "1"} == COUNTING
    told = {(r["method"], r["n"], r["reason"], r["ccc_low"] == "nan") for r in rows}
    assert told == {("linear", "5", "", False), ("cubic", "4", "no interval of fewer than 5 nodules", True)}
    overall, by_class = radiomics_tables(study, OPTIONS)
    assert [row[:2] for row in overall.rows][:3] == [("native", "linear"), ("native", "cubic"), ("1 mm", "linear")]
    assert overall.rows[1][-2:] == ("4", "1")
    assert by_class.columns[2:5] == ("first order (18)", "GLCM (24)", "GLRLM (16)")
    linear, cubic = overall.records[:2]
    assert linear["share_beyond_reference"] == linear["share_0.85"] - cubic["share_0.85"]
    assert np.isnan(cubic["share_beyond_reference"])
    assert overall.rows[1][4] == "–"
    assert "phantom" in overall.caption
    assert (study.root / "tables" / "table_radiomics.tex").exists()


def test_sizes_and_categories(study):
    sizes, changes = size_agreement_tables(study)
    record = next(r for r in sizes.records if (r["method"], r["quantity"]) == ("linear", "volume_mm3"))
    assert (record["bias"], record["n"]) == (pytest.approx(10.0), 5)
    assert record["limit_high"] == pytest.approx(10.0)
    failed = next(r for r in sizes.records if (r["method"], r["quantity"]) == ("cubic", "volume_mm3"))
    assert (failed["n"], failed["n_failed"]) == (4, 1)
    assert [np.isnan(r["ccc_low"]) for r in (record, failed)] == [False, True]
    assert "(5 or more)" in sizes.caption
    scheme = SCHEMES["lung_rads_volume"]  # limits at 113, 268: truth 60 to 300, linear 66 to 330
    pairs = category_pairs(sizes_by_place(study), "seg", "linear", scheme)
    assert pairs == [(0, 0), (1, 1), (1, 1), (1, 1), (2, 2)]
    cubic = category_pairs(sizes_by_place(study), "seg", "cubic", scheme)  # 72, 216, 288, 360
    assert cubic == [(0, 0), (1, 1), (1, 2), (2, 2)]
    row = next(row for row in changes.rows if row[1] == "cubic")
    assert row[1 + 1 + list(SCHEMES).index("lung_rads_volume")] == "+1 −0 of 4"


def test_figures(study):
    drawn, caption = figure_agreement(study, OPTIONS)
    assert [place.get_title(loc="left") for place in drawn.axes] == ["voxels as they are", "cubes of 1 mm"]
    assert len(drawn.axes[0].texts) == 2 * 7
    assert "4 to 5 nodules" in caption
    drawn, _ = figure_concordance_curves(study, OPTIONS)
    curve = next(line for line in drawn.axes[0].lines if line.get_label() == "linear")
    assert len(curve.get_xdata()) == len(FEATURES)
    assert (np.diff(curve.get_ydata()) <= 1e-12).all()
    drawn, caption = figure_volumes(study, sized_methods(study))
    titles = [place.get_title() for place in drawn.axes if place.axison]
    assert titles == ["sum of areas", "morpho-\nlogical", "linear", "cubic"]
    np.testing.assert_allclose(drawn.axes[2].lines[-1].get_ydata(), 10.0)
    assert "25 %" in caption
    drawn, _ = figure_categories(study)
    assert len(drawn.axes[0].texts) == 4 * len(SCHEMES)


def test_without_sizes_and_features_there_is_nothing(tmp_path):
    results = StudyResults(write_study(tmp_path))
    assert radiomics_tables(results, OPTIONS) == size_agreement_tables(results) == []
    assert figure_agreement(results, OPTIONS) is figure_concordance_curves(results, OPTIONS) is None
    assert figure_categories(results) is None
    write_report_tables(results, OPTIONS)
    assert not (tmp_path / "agreement.csv").exists()
