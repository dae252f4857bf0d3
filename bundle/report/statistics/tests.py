"""Is one method better than another? Tests and intervals over the nodules of a tidy table.

Vocabulary: the *nodule* is the unit: each gives one value for each method. A *paired difference* is first method
minus second, on the nodules where both values are finite; the others are *failed*. A *place* is what a figure is
about: slices, region, threshold and metric. Where a test can't be made (one nodule, no spread, nothing finite) its
numbers are nan and ``reason`` says why in words; nothing here raises for it.

Tests are two-sided. Intervals are percentile bootstrap intervals of the mean, seeded; of fewer than ``ENOUGH`` nodules
there is none. Holm's correction is made within a place, over all pairs of methods.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy import stats

from bundle.errors import InputError

NAN = float("nan")
ENOUGH = 5
"""Nodules, or patients where these are resampled, that an interval, or a rank of methods in a sweep, wants at least.

Resamples of few are nearly all alike: of normal values, "95 %" of 3 holds 75 %, of 4 79 %, of 5 84 %, of 10 91 %.
"""
OVER_NODULES, OVER_PATIENTS = (
    f"bootstrap 95 % interval over {units} ({ENOUGH} or more)" for units in ("nodules", "patients")
)
"""What a caption calls intervals."""
_ROUNDING = 1e-7


@dataclass(frozen=True)
class Test:
    """One test.

    Attributes:
        statistic: t of a t-test, W of Wilcoxon's; nan if there is none.
        p_value: two-sided; nan if there is none.
        n: values or pairs that entered.
        n_failed: values or pairs that are not finite.
        reason: why there is no test; "" if there is one.
    """

    __test__ = False  # no test case for pytest

    statistic: float
    p_value: float
    n: int
    n_failed: int
    reason: str = ""


def t_test(values: Sequence[float] | np.ndarray, mean: float = 1.0) -> Test:
    """One-sample t-test of a mean, e.g. of the sd ratio against 1.

    Args:
        values: one for each nodule; nan and inf count as failed.
        mean: that the values are tested against.

    Example:
        >>> result = t_test([1.1, 1.2, 1.3])
        >>> round(result.statistic, 3), round(result.p_value, 3), result.n
        (3.464, 0.074, 3)
    """
    array = np.asarray(values, dtype=np.float64).ravel()
    finite = array[np.isfinite(array)]
    failed = len(array) - len(finite)
    reason = _too_little(finite, "t-test")
    if reason:
        return Test(NAN, NAN, len(finite), failed, reason)
    found = stats.ttest_1samp(finite, mean)
    return Test(float(found.statistic), float(found.pvalue), len(finite), failed)


def paired_t_test(first: Sequence[float] | np.ndarray, second: Sequence[float] | np.ndarray) -> Test:
    """Paired t-test of two methods.

    Args:
        first: one value for each nodule.
        second: of the same nodules, in the same order.

    Example:
        >>> paired_t_test([1.0], [2.0]).reason
        'one nodule only: a t-test needs at least 2'
    """
    difference, failed = paired_difference(first, second)
    result = t_test(difference, 0.0)
    return Test(result.statistic, result.p_value, result.n, failed, result.reason)


def wilcoxon(first: Sequence[float] | np.ndarray, second: Sequence[float] | np.ndarray) -> Test:
    """Wilcoxon's signed-rank test of two methods; pairs without a difference are left out of the ranks.

    Args:
        first: one value for each nodule.
        second: of the same nodules, in the same order.

    Returns:
        the test as scipy.stats.wilcoxon makes it; ``n`` counts all finite pairs.

    Example:
        >>> round(wilcoxon([1.0, 2.0, 3.0, 4.0, 5.0], [0.5, 1.0, 1.0, 1.0, 1.0]).p_value, 4)
        0.0625
    """
    difference, failed = paired_difference(first, second)
    reason = _too_little(difference, "signed-rank test", spread=False)
    if not reason and not difference.any():
        reason = f"the methods are equal on all {len(difference)} nodules: there is nothing to rank"
    if reason:
        return Test(NAN, NAN, len(difference), failed, reason)
    found = stats.wilcoxon(difference)
    return Test(float(found.statistic), float(found.pvalue), len(difference), failed)


def bootstrap_interval(
    values: Sequence[float] | np.ndarray, level: float = 0.95, resamples: int = 10_000, seed: int = 0
) -> tuple[float, float]:
    """Percentile bootstrap interval of a mean.

    Args:
        values: one for each nodule, all finite.
        level: coverage.
        resamples: number of resampled means.
        seed: of the resampling; equal numbers of nodules are resampled equally.

    Returns:
        low, high; nan for fewer than ``ENOUGH`` values.

    Example:
        >>> bootstrap_interval([2.0] * 5), bootstrap_interval([1.0, 2.0, 3.0])
        ((2.0, 2.0), (nan, nan))
    """
    array = np.asarray(values, dtype=np.float64)
    if len(array) < ENOUGH:
        return NAN, NAN
    # about the mean, so that equal values have an interval of width 0, to the last digit
    centre = float(array.mean())
    means = resampling_weights(len(array), resamples, seed) @ (array - centre)
    if array.min() == array.max():
        return float(array[0]), float(array[0])
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return centre + float(low), centre + float(high)


def few_words(n: int) -> str:
    """Why so many nodules have no interval; "" where they have one.

    Example:
        >>> few_words(3), few_words(5)
        ('no interval of fewer than 5 nodules', '')
    """
    return "" if n >= ENOUGH else f"no interval of fewer than {ENOUGH} nodules"


def holm(p_values: Sequence[float] | np.ndarray) -> np.ndarray:
    """Holm's step-down correction for several tests.

    Args:
        p_values: of the tests; nan is no test and is not counted.

    Returns:
        (N,) corrected p-values, at most 1, nan where there is no test.

    Example:
        >>> holm([0.01, 0.04, 0.03, float("nan")])
        array([0.03, 0.06, 0.06,  nan])
    """
    array = np.asarray(p_values, dtype=np.float64)
    corrected = np.full(array.shape, np.nan)
    tested = np.flatnonzero(np.isfinite(array))
    order = tested[np.argsort(array[tested], kind="stable")]
    factors = np.arange(len(order), 0, -1)
    corrected[order] = np.minimum(np.maximum.accumulate(array[order] * factors), 1.0)
    return corrected


def paired_difference(
    first: Sequence[float] | np.ndarray, second: Sequence[float] | np.ndarray
) -> tuple[np.ndarray, int]:
    """First minus second where both are finite, and the number of pairs where one is not.

    Example:
        >>> paired_difference([1.0, float("nan")], [0.5, 0.0])
        (array([0.5]), 1)

    Raises:
        InputError: the lengths differ.
    """
    a, b = np.asarray(first, dtype=np.float64).ravel(), np.asarray(second, dtype=np.float64).ravel()
    if len(a) != len(b):
        raise InputError(f"{len(a)} and {len(b)} values are no pairs: give one value of each method for each nodule")
    both = np.isfinite(a) & np.isfinite(b)
    a, b, failed = a[both], b[both], int((~both).sum())
    difference = a - b
    difference[np.abs(difference) <= _ROUNDING * np.maximum(np.abs(a), np.abs(b))] = 0.0
    return difference, failed


def _too_little(values: np.ndarray, test: str, spread: bool = True) -> str:
    if len(values) == 0:
        return f"no nodule has a finite value: there is nothing for a {test}"
    if len(values) == 1:
        return f"one nodule only: a {test} needs at least 2"
    if spread and np.ptp(values) <= _ROUNDING * np.abs(values).max():
        return f"all {len(values)} values are equal: a {test} needs a spread"
    return ""


@lru_cache(maxsize=32)
def resampling_weights(n: int, resamples: int, seed: int) -> np.ndarray:
    """(resamples, n) share of each nodule in each resampled mean; read-only.

    Example:
        >>> resampling_weights(4, 2, seed=0).sum(axis=1)
        array([1., 1.])
    """
    counts = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=resamples)
    weights = counts / n
    weights.flags.writeable = False  # shared by all callers
    return weights
