"""Repeatability: against a one-way analysis of variance, and pairs that are counted by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from bundle.metrics.categories import GROWTH
from bundle.report.statistics.repeatability import RC, false_growth, within_cv

VALUES = arrays(float, st.tuples(st.integers(1, 5), st.integers(2, 5)), elements=st.floats(10, 1000))


def test_the_within_cv_is_that_which_was_put_in():
    rng = np.random.default_rng(0)
    means = rng.uniform(100, 3000, (2000, 1))
    values = means * (1 + 0.2 * rng.normal(size=(2000, 5)))
    assert within_cv(values) == pytest.approx(0.2, rel=0.05)
    # 95 of 100 differences of two measurements are within the coefficient
    within = np.abs(values[:, 0] - values[:, 1]) < RC * 0.2 * means[:, 0]
    assert within.mean() == pytest.approx(0.95, abs=0.02)


@given(VALUES, st.floats(0.1, 10))
def test_units_and_order_do_not_matter(values, factor):
    assert within_cv(values * factor) == pytest.approx(within_cv(values), abs=1e-9)
    assert within_cv(values[::-1, ::-1]) == pytest.approx(within_cv(values), abs=1e-9)
    rule = GROWTH["volume_25"]
    assert false_growth(values[::-1, ::-1], rule) == pytest.approx(false_growth(values, rule))


@pytest.mark.parametrize("rule", GROWTH.values(), ids=lambda r: r.name)
@given(VALUES)
def test_false_growth_is_at_most_half_of_the_pairs(rule, values):
    counted = [rule.grew(a, b, 90.0) for row in values for i, a in enumerate(row) for j, b in enumerate(row) if i != j]
    assert false_growth(values, rule) == pytest.approx(np.mean(counted))
    assert false_growth(values, rule) <= 0.5


def test_what_was_missed_makes_no_pair():
    nan = np.nan
    values = np.array([[100, nan, 130], [nan, nan, 50], [nan, nan, nan]])
    assert within_cv(values) == pytest.approx(np.std([100, 130], ddof=1) / 115)
    assert false_growth(values, GROWTH["volume_25"]) == 0.5
    assert np.isnan([within_cv(values[1:]), false_growth(values[1:], GROWTH["volume_25"])]).all()
