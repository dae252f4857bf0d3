"""Do two measurements of the same nodules agree? Concordance, bias and limits, of many quantities at once.

Vocabulary: values are (nodules, quantities), nan where one was not measured; a pair counts where both values are
finite. The *concordance* (CCC) is Lin's, ``2 s_xy / (s_x^2 + s_y^2 + (x - y)^2)`` of means and moments divided by n
(Biometrics 1989; 45:255): 1 only where measured is true, lower for noise and for bias alike. *Bias* is the mean of
measured minus true, its *limits of agreement* are 1.96 sd to either side (Bland and Altman, Lancet 1986; 1:307).
Intervals are percentile bootstrap intervals over nodules, seeded; fewer than ``ENOUGH`` pairs have none.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bundle.report.statistics.tests import ENOUGH, resampling_weights

RESAMPLES = 2000
LEVELS = (0.85, 0.9)
"""A concordance that radiomics calls reproducible, and one that is called so more strictly."""
_ALIKE = 1e-12


@dataclass(frozen=True)
class Estimate:
    """A value and its 95 % interval; nan where there is none."""

    value: float
    low: float
    high: float


def concordances(measured: np.ndarray, true: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Concordance of each quantity.

    Args:
        measured: (N, F).
        true: (N, F).
        weights: (R, N) share of each nodule in each of R resamples; None: all alike, once.

    Returns:
        (R, F); nan where fewer than two pairs are left, or all values are alike.

    Example:
        >>> true = np.array([[1.0], [2.0], [3.0]])
        >>> concordances(true, true), concordances(true + 1, true).round(3)
        (array([[1.]]), array([[0.571]]))
    """
    y, x = np.array(measured, dtype=np.float64), np.array(true, dtype=np.float64)
    pair = np.isfinite(x) & np.isfinite(y)
    x, y = np.where(pair, x, np.nan), np.where(pair, y, np.nan)
    counts = pair.sum(axis=0)
    with np.errstate(all="ignore"):
        middle = np.nansum(x, axis=0) / counts
        # of the order of 1, so that sums of squares lose nothing
        scale = np.sqrt(np.nansum((x - middle) ** 2 + (y - middle) ** 2, axis=0) / counts)
        flat = ~(scale > _ALIKE * np.abs(middle))
        x, y = (np.nan_to_num((v - middle) / np.where(flat, 1, scale)) for v in (x, y))
        w = np.full((1, len(x)), 1 / len(x)) if weights is None else weights
        total = w @ pair.astype(np.float64)
        mean_x, mean_y = w @ x / total, w @ y / total
        apart = (w @ x**2 + w @ y**2) / total - 2 * mean_x * mean_y  # s_x^2 + s_y^2 + (x - y)^2
        together = 2 * (w @ (x * y) / total - mean_x * mean_y)
        return np.where((apart > _ALIKE) & (counts > 1) & ~flat, together / apart, np.nan)


def estimates(
    resampled: np.ndarray, values: np.ndarray, counts: np.ndarray | int, level: float = 0.95
) -> list[Estimate]:
    """Values with the intervals that their resamples have.

    Args:
        resampled: (R, F); nan does not count.
        values: (F,).
        counts: (F,) of how many nodules; a value of fewer than ``ENOUGH`` has no interval.
        level: coverage.

    Example:
        >>> estimates(np.array([[0.0, 0.0], [1.0, 1.0]]), np.array([0.5, 0.5]), np.array([5, 4]), level=1.0)
        [Estimate(value=0.5, low=0.0, high=1.0), Estimate(value=0.5, low=nan, high=nan)]
    """
    low, high = np.full((2, len(values)), np.nan)
    known = np.isfinite(resampled).any(axis=0) & (np.asarray(counts) >= ENOUGH)
    if known.any():
        ends = [(1 - level) / 2, (1 + level) / 2]
        low[known], high[known] = np.nanquantile(resampled[:, known], ends, axis=0)
    return [Estimate(*map(float, one)) for one in zip(values, low, high, strict=True)]


def share_at_least(values: np.ndarray, limit: float) -> np.ndarray:
    """Part of the quantities whose concordance is so high, of those that have one.

    Args:
        values: (R, F).
        limit: inclusive.

    Returns:
        (R,); nan where none has one.

    Example:
        >>> share_at_least(np.array([[0.9, 0.8, np.nan]]), 0.85)
        array([0.5])
    """
    known = np.isfinite(values)
    with np.errstate(invalid="ignore"):
        return (values >= limit).sum(axis=1) / known.sum(axis=1)


@dataclass(frozen=True)
class Limits:
    """Bias and limits of agreement of one quantity.

    Attributes:
        bias: mean of measured minus true; nan without a pair.
        low: 1.96 sd below; nan for fewer than two pairs.
        high: 1.96 sd above.
        n: pairs.
        n_failed: the other nodules.
    """

    bias: float
    low: float
    high: float
    n: int
    n_failed: int


def limits_of_agreement(differences: np.ndarray) -> Limits:
    """Bias and limits of agreement.

    Args:
        differences: (N,) measured minus true, or that in per cent of the truth; nan where there is no pair.

    Example:
        >>> found = limits_of_agreement(np.array([-1.0, 1.0, np.nan]))
        >>> found.bias, round(found.high, 3), found.n, found.n_failed
        (0.0, 2.772, 2, 1)
    """
    finite = differences[np.isfinite(differences)]
    bias = float(finite.mean()) if len(finite) else float("nan")
    reach = 1.96 * float(finite.std(ddof=1)) if len(finite) > 1 else float("nan")
    return Limits(bias, bias - reach, bias + reach, len(finite), len(differences) - len(finite))


def concordance(measured: np.ndarray, true: np.ndarray, seed: int = 0, resamples: int = RESAMPLES) -> list[Estimate]:
    """Concordance of each quantity with its interval.

    Args:
        measured: (N, F).
        true: (N, F).
        seed: of the bootstrap.
        resamples: of the bootstrap.

    Example:
        >>> concordance(np.array([[1.0], [2.0], [3.0]]), np.array([[1.0], [2.0], [3.0]]))[0].value
        1.0
    """
    drawn = concordances(measured, true, resampling_weights(len(true), resamples, seed))
    pairs = np.isfinite(measured) & np.isfinite(true)
    return estimates(drawn, concordances(measured, true)[0], pairs.sum(axis=0))
