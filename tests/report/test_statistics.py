"""Tests and intervals against scipy.stats and brute force, and every case where there is no test to make."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from bundle.errors import InputError
from bundle.report.statistics.comparison import by_bins, compare_methods, sd_ratio_tests
from bundle.report.statistics.tests import (
    ENOUGH,
    bootstrap_interval,
    few_words,
    holm,
    paired_difference,
    paired_t_test,
    t_test,
    wilcoxon,
)

NAN = math.nan


def _pairs(n=25, seed=0):
    rng = np.random.default_rng(seed)
    first = rng.normal(1.05, 0.2, n)
    return first, first + rng.normal(0.05, 0.1, n)


def test_t_tests_equal_scipy():
    first, second = _pairs()
    one = stats.ttest_1samp(first, 1.0)
    found = t_test(first, 1.0)
    assert (found.statistic, found.p_value, found.n) == pytest.approx((one.statistic, one.pvalue, 25))
    pair = stats.ttest_rel(first, second)
    found = paired_t_test(first, second)
    assert (found.statistic, found.p_value, found.n) == pytest.approx((pair.statistic, pair.pvalue, 25))


def test_the_t_statistic_by_its_formula():
    first, second = _pairs(7)
    d = first - second
    t = d.mean() / (d.std(ddof=1) / math.sqrt(7))
    found = paired_t_test(first, second)
    assert found.statistic == pytest.approx(t)
    assert found.p_value == pytest.approx(2 * stats.t.sf(abs(t), 6))


def test_wilcoxon_equals_scipy_and_its_definition():
    first, second = _pairs(12)
    expected = stats.wilcoxon(first, second)
    found = wilcoxon(first, second)
    assert (found.statistic, found.p_value) == pytest.approx((expected.statistic, expected.pvalue))
    d = first - second
    ranks = stats.rankdata(np.abs(d))
    assert found.statistic == min(ranks[d > 0].sum(), ranks[d < 0].sum())
    signs = np.array(np.meshgrid(*[[0, 1]] * 12)).reshape(12, -1)
    sums = ranks @ signs
    extreme = min(1.0, 2 * np.mean(sums <= found.statistic))
    assert found.p_value == pytest.approx(extreme)


def test_what_is_not_finite_is_counted():
    first, second = [1.0, NAN, 3.0, math.inf, 5.0], [0.5, 1.0, NAN, 1.0, 1.0]
    difference, failed = paired_difference(first, second)
    assert difference.tolist() == [0.5, 4.0]
    assert failed == 3
    assert (paired_t_test(first, second).n, paired_t_test(first, second).n_failed) == (2, 3)
    assert (wilcoxon(first, second).n, wilcoxon(first, second).n_failed) == (2, 3)
    assert (t_test(first).n, t_test(first).n_failed) == (3, 2)


@pytest.mark.parametrize(
    ("first", "second", "reason"),
    [
        ([], [], "no nodule has a finite value"),
        ([NAN, NAN], [1.0, 2.0], "no nodule has a finite value"),
        ([1.0], [2.0], "one nodule only"),
        ([1.0, 2.0, 3.0], [1.0, 2.0, 3.0], "equal"),
        ([1.0, 2.0, 3.0], [1.0 + 1e-9, 2.0 + 1e-9, 3.0 + 1e-9], "equal"),
    ],
)
def test_no_test_has_a_reason_and_no_warning(first, second, reason):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for found in (paired_t_test(first, second), wilcoxon(first, second)):
            assert math.isnan(found.p_value)
            assert math.isnan(found.statistic)
            assert reason in found.reason


def test_a_difference_that_is_the_same_for_all_can_be_ranked_but_has_no_t_test():
    first, second = np.arange(8) + 0.5, np.arange(8.0)
    assert "equal" in paired_t_test(first, second).reason
    assert wilcoxon(first, second).p_value == pytest.approx(stats.wilcoxon(first - second).pvalue)


def test_pairs_of_different_lengths_are_refused():
    with pytest.raises(InputError, match="2 and 3 values"):
        paired_difference([1, 2], [1, 2, 3])


def test_the_bootstrap_agrees_with_scipys():
    values = np.random.default_rng(1).exponential(1.0, 40)
    low, high = bootstrap_interval(values, seed=3)
    theirs = stats.bootstrap((values,), np.mean, n_resamples=10_000, method="percentile", random_state=3)
    assert (low, high) == pytest.approx(tuple(theirs.confidence_interval), abs=0.02)
    assert low < values.mean() < high
    assert bootstrap_interval(values, seed=3) == (low, high)
    assert bootstrap_interval(values, seed=4) != (low, high)
    narrow = bootstrap_interval(values, level=0.5)
    assert low < narrow[0] < narrow[1] < high


def test_the_bootstrap_covers_95_percent():
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(300):
        low, high = bootstrap_interval(rng.normal(0, 1, 40), resamples=1000)
        hits += low <= 0 <= high
    assert hits / 300 == pytest.approx(0.94, abs=0.04)


def test_the_bootstrap_of_few_or_equal_values():
    assert all(math.isnan(end) for end in bootstrap_interval([]))
    rng = np.random.default_rng(2)
    for n in range(2, 12):
        assert (math.isnan(bootstrap_interval(rng.normal(0, 1, n))[0]), bool(few_words(n))) == (n < ENOUGH,) * 2
    assert bootstrap_interval([0.1] * ENOUGH) == (0.1, 0.1)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.one_of(st.floats(0, 1), st.just(NAN)), max_size=8))
def test_holm_by_its_definition(p_values):
    found = holm(p_values)
    tested = [p for p in p_values if not math.isnan(p)]
    for p, corrected in zip(p_values, found, strict=True):
        if math.isnan(p):
            assert math.isnan(corrected)
            continue
        # the largest of (number of p-values at least as large) * p over all p-values up to this one
        expected = max((len(tested) - sorted(tested).index(q)) * q for q in tested if q <= p)
        assert corrected == pytest.approx(min(1.0, expected))


def _table(values, **place):
    """values: method -> list over nodules."""
    base = {"slices": "unobserved", "region": "tumour", "threshold_hu": None, "metric": "mae"} | place
    return [
        base | {"nodule_id": f"n{i}", "method": method, "value": value}
        for method, found in values.items()
        for i, value in enumerate(found)
    ]


def test_every_pair_at_every_place_is_compared():
    first, second = _pairs(10)
    third = first[::-1].copy()
    third[2] = NAN
    rows = _table({"a": first, "b": second, "c": third}) + _table({"a": second, "b": first}, slices="interpolated")
    found = {(c.slices, c.first, c.second): c for c in compare_methods(rows, seed=7)}
    assert list(found) == [
        ("unobserved", "a", "b"),
        ("unobserved", "a", "c"),
        ("unobserved", "b", "c"),
        ("interpolated", "a", "b"),
    ]
    one = found["unobserved", "a", "b"]
    assert one.mean_difference == pytest.approx((first - second).mean())
    assert (one.low, one.high) == bootstrap_interval(first - second, seed=7)
    assert one.low < one.mean_difference < one.high
    assert one.p_value == pytest.approx(stats.wilcoxon(first, second).pvalue)
    assert (found["unobserved", "a", "c"].n, found["unobserved", "a", "c"].n_failed) == (9, 1)
    unobserved = [found[key] for key in list(found)[:3]]
    assert [c.p_holm for c in unobserved] == pytest.approx(holm([c.p_value for c in unobserved]).tolist())
    assert found["interpolated", "a", "b"].p_holm == found["interpolated", "a", "b"].p_value


def test_a_nodule_without_a_row_counts_as_failed():
    rows = _table({"a": [1.0, 2.0, 3.0], "b": [2.0, 4.0]})
    (one,) = compare_methods(rows)
    assert (one.n, one.n_failed) == (2, 1)


def test_mask_methods_are_compared_at_each_threshold_and_among_themselves_once():
    place = {"region": "roi", "metric": "dsc"}
    values = [0.5, 0.6, 0.8]
    rows = _table({"eq3": values, "sdf": values}, **place)
    for threshold in (-500.0, -400.0):
        rows += _table({"cubic": values, "linear": values}, threshold_hu=threshold, **place)
    found = [(c.threshold_hu, c.first, c.second) for c in compare_methods(rows)]
    assert found[0] == (None, "eq3", "sdf")
    at_500 = [pair for threshold, *pair in found if threshold == -500.0]
    assert sorted(map(tuple, at_500)) == [
        ("cubic", "linear"),
        ("eq3", "cubic"),
        ("eq3", "linear"),
        ("sdf", "cubic"),
        ("sdf", "linear"),
    ]
    assert len(found) == 1 + 2 * 5


def test_one_nodule_is_stated_not_tested():
    (one,) = compare_methods(_table({"a": [1.0], "b": [2.0]}))
    assert one.reason == "one nodule only: a signed-rank test needs at least 2"
    assert one.mean_difference == -1.0
    assert math.isnan(one.low)
    assert math.isnan(one.p_holm)
    (one,) = compare_methods(_table({"a": [NAN], "b": [2.0]}))
    assert "no nodule has a finite value" in one.reason
    (one,) = compare_methods(_table({"a": [1.0, 2.0], "b": [1.0, 2.0]}))
    assert "equal on all 2 nodules" in one.reason
    (one,) = compare_methods(_table({"a": [1.0, 2.0, 3.0], "b": [1.0, 3.0, 5.0]}))
    assert (one.reason, one.n) == ("no interval of fewer than 5 nodules", 3)
    assert math.isnan(one.low)
    assert one.p_value > 0


def test_methods_can_be_chosen_and_ordered():
    rows = _table({"a": [1.0, 2.0], "b": [1.0, 3.0], "c": [0.0, 0.0]})
    assert [(c.first, c.second) for c in compare_methods(rows, methods=["c", "a"])] == [("c", "a")]
    assert compare_methods(rows, methods=["c", "none"]) == []
    assert compare_methods([]) == []


def test_two_studies_in_one_table_are_refused():
    rows = _table({"a": [1.0]}) * 2
    with pytest.raises(InputError, match="n0 has two values of mae by a"):
        compare_methods(rows)


def test_sd_ratios_are_tested_against_1_and_against_each_other():
    first, second = _pairs(9)
    rows = _table({"truth": np.ones(9), "cubic": first, "siren": second}, metric="sd_ratio")
    rows += _table({"cubic": second}, metric="sd_hu")
    against_one, pairs = sd_ratio_tests(rows)
    assert list(against_one) == ["cubic", "siren"]
    assert against_one["siren"].p_value == pytest.approx(stats.ttest_1samp(second, 1).pvalue)
    assert list(pairs) == [("cubic", "siren")]
    assert pairs["cubic", "siren"].statistic == pytest.approx(stats.ttest_rel(first, second).statistic)
    assert sd_ratio_tests(rows, region="global") == ({}, {})
    assert list(sd_ratio_tests(rows, methods=["siren"])[0]) == ["siren"]


def test_bins_hold_what_they_say():
    values = np.arange(6.0)
    rows = _table({"a": values})
    gap = dict(zip([f"n{i}" for i in range(6)], [2.25, 5 * 0.6, 3.5, 5 * 0.8, NAN], strict=False))
    found = by_bins(rows, gap, [3, 4])
    assert {key[0]: (s.mean, s.n) for key, s in found.items()} == {
        "< 3 mm": (0.0, 1),
        "3 to 4 mm": (1.5, 2),  # 5 * 0.6 is 3, rounding or not
        ">= 4 mm": (3.0, 1),
        "unknown": (4.5, 2),  # nan, and a nodule nothing is known of
    }
    assert {key[1:] for key in found} == {("a", "unobserved", "tumour", None, "mae")}
    with pytest.raises(InputError, match="do not ascend"):
        by_bins(rows, gap, [4, 3])
    with pytest.raises(InputError, match="do not ascend"):
        by_bins(rows, gap, [])


def test_a_bin_counts_its_failures():
    found = by_bins(_table({"a": [1.0, NAN]}), {"n0": 1.0, "n1": 1.0}, [3])
    (summary,) = found.values()
    assert (summary.n, summary.n_failed) == (1, 1)
