"""Categories and growth rules, against the guidelines' own words."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bundle.metrics.categories import GROWTH, SCHEMES, doubling_time, flips

# value, class: just below, at and above every published limit
PUBLISHED = {
    "lung_rads_diameter": [(5.9, "2"), (6.0, "3"), (7.9, "3"), (8.0, "4A"), (14.9, "4A"), (15.0, "4B"), (5.96, "3")],
    "lung_rads_volume": [(112.4, "2"), (112.5, "3"), (267.4, "3"), (268.0, "4A"), (1766.0, "4A"), (1767.0, "4B")],
    "fleischner_diameter": [(5.49, "under 6 mm"), (6.0, "6 to 8 mm"), (8.0, "6 to 8 mm"), (8.5, "over 8 mm")],
    "fleischner_volume": [(99.9, "under 100 mm3"), (100, "100 to 250 mm3"), (250, "100 to 250 mm3"),
                          (250.1, "over 250 mm3")],
    "bts_diameter": [(4.9, "no follow-up"), (5.0, "surveillance"), (7.9, "surveillance"), (8.0, "risk model")],
    "bts_volume": [(79.9, "no follow-up"), (80.0, "surveillance"), (299.9, "surveillance"), (300.0, "risk model")],
    "nelson_volume": [(49.9, "negative"), (50.0, "indeterminate"), (500.0, "indeterminate"), (500.1, "positive")],
}  # fmt: skip


@pytest.mark.parametrize("name", SCHEMES)
def test_each_limit_is_the_published_one(name):
    assert [(value, SCHEMES[name].category(value)) for value, _ in PUBLISHED[name]] == PUBLISHED[name]
    assert SCHEMES[name].category(math.nan) is None


@pytest.mark.parametrize("name", SCHEMES)
@given(st.floats(0, 3000), st.floats(0, 3000))
def test_a_larger_nodule_is_of_no_lower_class(name, one, other):
    low, high = sorted((one, other))
    assert SCHEMES[name].place(low) <= SCHEMES[name].place(high)


@pytest.mark.parametrize("scheme", SCHEMES.values(), ids=lambda s: s.name)
def test_a_scheme_is_whole(scheme):
    assert len(scheme.classes) == len(scheme.limits) + 1 == len(scheme.belongs_below) + 1
    assert all(f"{limit:g}" in scheme.source for limit in scheme.limits)
    assert list(scheme.limits) == sorted(scheme.limits)


def test_growth_by_each_rule():
    assert [GROWTH["volume_25"].grew(200, v, 90) for v in (249.9, 250, 150)] == [False, True, False]
    assert [GROWTH["lung_rads"].grew(6.2, d, 90) for d in (7.7, 7.8)] == [False, True]
    assert [GROWTH["fleischner"].grew(6.2, d, 90) for d in (8.1, 8.2)] == [False, True]
    # a volume that doubles in 400 days is larger by 2 ** (90 / 400) after 90
    edge = 100 * 2 ** (90 / 400)
    assert [GROWTH["doubling_400"].grew(100, v, 90) for v in (edge * 0.999, edge * 1.001, 90)] == [False, True, False]
    assert not any(rule.grew(*pair, 90) for rule in GROWTH.values() for pair in ((math.nan, 9), (9, math.nan)))


@given(st.floats(0.1, 1e4), st.floats(10, 3000), st.floats(10, 2000))
def test_the_doubling_time_of_exponential_growth_is_its_own(volume, time, days):
    assert doubling_time(volume, volume * 2 ** (days / time), days) == pytest.approx(time, rel=1e-6)


def test_doubling_times_that_are_none():
    assert doubling_time(100, 50, 90) == pytest.approx(-90)
    assert math.isnan(doubling_time(0, 50, 90))
    assert math.isnan(doubling_time(50, math.nan, 90))


def test_flips_count_what_changed_its_class():
    values = flips(SCHEMES["lung_rads_volume"], [100, 120, math.nan], [120, 110, 5])
    assert values[:2] == [1.0, 1.0]
    assert math.isnan(values[2])
