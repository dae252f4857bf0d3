"""Is a method's gain another one in another cohort? Two groups of patients, no pairs.

The *patient* is the unit: its value is the mean gain over its nodules, as these are of one scan. Differences and their
intervals are Welch's, which asks for no equal spread; p-values are corrected by Holm over all methods and cohorts of a
region. A difference is not what the scanner alone does: cohorts differ in gaps, noise and nodules too.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from bundle.report.statistics.tests import NAN, bootstrap_interval, holm

SPREAD = 1e-7  # of a mean: less is rounding


@dataclass(frozen=True)
class CohortGain:
    """A method's mean gain in one cohort.

    Attributes:
        mean: over patients; nan if none has a gain.
        low: lower end of its bootstrap 95 % interval; nan for too few patients.
        high: its upper end.
        patients: that have a gain.
    """

    mean: float
    low: float
    high: float
    patients: int


@dataclass(frozen=True)
class CohortDifference:
    """A method's gain in another cohort minus that in the first.

    Attributes:
        cohort: the other one.
        method: its name.
        difference: of the means over patients.
        low: lower end of Welch's 95 % interval.
        high: its upper end.
        p_value: of Welch's t-test, two-sided.
        p_holm: corrected.
        reason: why there is no test; "" if there is one.
    """

    cohort: str
    method: str
    difference: float
    low: float
    high: float
    p_value: float
    p_holm: float
    reason: str = ""


def cohort_gain(means: np.ndarray, seed: int = 0) -> CohortGain:
    """The mean over patients and its interval.

    Example:
        >>> cohort_gain(np.ones(5))
        CohortGain(mean=1.0, low=1.0, high=1.0, patients=5)
    """
    low, high = bootstrap_interval(means, seed=seed)
    return CohortGain(float(means.mean()) if len(means) else math.nan, low, high, len(means))


def welch(first: np.ndarray, second: np.ndarray) -> tuple[float, float, float, float, str]:
    """Second minus first: difference of means, its 95 % interval, p-value, and why there is no test.

    Args:
        first: (N,) finite values.
        second: (M,) finite values.

    Example:
        >>> [round(x, 3) for x in welch(np.array([1.0, 2.0, 3.0]), np.array([3.0, 4.0, 5.0]))[:4]]
        [2.0, -0.267, 4.267, 0.07]
    """
    if not len(first) or not len(second):
        return NAN, NAN, NAN, NAN, "one cohort has no value"
    difference = float(second.mean() - first.mean())
    if min(len(first), len(second)) < 2:
        return difference, NAN, NAN, NAN, "one patient only: a test needs at least 2 in each cohort"
    if max(np.ptp(first), np.ptp(second)) <= SPREAD * max(np.abs(first).max(), np.abs(second).max()):
        return difference, NAN, NAN, NAN, "all patients of each cohort are equal: a test needs a spread"
    found = stats.ttest_ind(second, first, equal_var=False)
    interval = found.confidence_interval(0.95)
    return difference, float(interval.low), float(interval.high), float(found.pvalue), ""


def compare_cohorts(gains: Mapping[str, Mapping[str, np.ndarray]], methods: Sequence[str]) -> list[CohortDifference]:
    """Every other cohort against the first, method by method.

    Args:
        gains: by cohort and method, the patients' means.
        methods: in the order of the result.

    Example:
        >>> a, b = np.array([1.0, 2.0, 3.0]), np.array([3.0, 4.0, 5.0])
        >>> [(d.cohort, d.method, d.difference) for d in compare_cohorts({"ours": {"m": a}, "theirs": {"m": b}}, ["m"])]
        [('theirs', 'm', 2.0)]
    """
    first, *others = gains
    found = [(name, method, welch(gains[first][method], gains[name][method])) for name in others for method in methods]
    corrected = holm([test[3] for _, _, test in found])
    return [
        CohortDifference(name, method, *test[:4], float(p_holm), test[4])
        for (name, method, test), p_holm in zip(found, corrected, strict=True)
    ]
