"""How much better than a reference a method is, over some nodules of some patients.

Vocabulary: a *gain* is a method's PSNR minus the reference's on one nodule, dB; nan where either has none. Intervals
resample *patients*, as nodules of one patient are seen by one scanner; who a nodule is of, its id says
(:func:`bundle.data.windows.patient_of`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bundle.data.windows import patient_of
from bundle.report.results import StudyResults
from bundle.report.statistics.scores import ROUNDING
from bundle.report.statistics.tests import ENOUGH, NAN, resampling_weights

# what a column calls a region, and a sentence
SHORT = {"global": "field", "tumour": "tumour"}
WHERE = {"global": "in the field of view", "tumour": "in the tumour"}
REGIONS = tuple(SHORT)


@dataclass(frozen=True)
class Gain:
    """A mean gain.

    Attributes:
        mean: over nodules; nan if none has one.
        low: lower end of its 95 % interval over patients; nan for fewer than ``ENOUGH`` of them.
        high: its upper end.
        n: nodules with a gain.
        patients: they are of.
        n_failed: the other nodules.
    """

    mean: float
    low: float
    high: float
    n: int
    patients: int
    n_failed: int


def gains_of(
    results: StudyResults, nodules: Sequence[str], method: str, reference: str, slices: str, region: str
) -> np.ndarray:
    """(N,) a method's PSNR minus the reference's on each nodule; nan where one of both is not finite."""
    own, other = (results.values(name, slices, region, None, "psnr") for name in (method, reference))
    pairs = np.array([(own.get(name, NAN), other.get(name, NAN)) for name in nodules], dtype=np.float64).reshape(-1, 2)
    pairs[~np.isfinite(pairs).all(axis=1)] = NAN
    difference = pairs[:, 0] - pairs[:, 1]
    difference[np.abs(difference) <= ROUNDING * np.abs(pairs).max(axis=1)] = 0.0
    return difference


def mean_gain(gains: np.ndarray, nodules: Sequence[str], seed: int = 0) -> Gain:
    """The mean of gains, and its bootstrap interval over patients.

    Args:
        gains: (N,), nan where there is none.
        nodules: their ids; one may be there several times, as at several gaps.
        seed: of the resampling.

    Example:
        >>> mean_gain(np.array([1.0, 3.0, math.nan]), ["a_0", "b_0", "b_1"])
        Gain(mean=2.0, low=nan, high=nan, n=2, patients=2, n_failed=1)
    """
    known = np.flatnonzero(np.isfinite(gains)).tolist()
    values, patients = gains[known], [patient_of(nodules[i]) for i in known]
    low, high = patients_interval(values, patients, seed=seed)
    mean = float(values.mean()) if len(values) else math.nan
    return Gain(mean, low, high, len(values), len(set(patients)), len(gains) - len(known))


def patients_interval(
    values: np.ndarray, patients: Sequence[str], level: float = 0.95, resamples: int = 10_000, seed: int = 0
) -> tuple[float, float]:
    """Percentile bootstrap interval of a mean, all values of a patient drawn together.

    Args:
        values: (N,) finite.
        patients: whose each is.
        level: coverage.
        resamples: how often patients are drawn, as many as there are.
        seed: of the drawing.

    Returns:
        low, high; nan for fewer than ``ENOUGH`` patients.

    Example:
        >>> patients_interval(np.full(6, 2.0), list("aabcde")), patients_interval(np.arange(6.0), list("aaabcd"))
        ((2.0, 2.0), (nan, nan))
    """
    names, whose = np.unique(np.asarray(patients, dtype=object).astype(str), return_inverse=True)
    if len(names) < ENOUGH:
        return NAN, NAN
    if values.min() == values.max():
        return float(values[0]), float(values[0])
    weights = resampling_weights(len(names), resamples, seed)
    means = (weights @ np.bincount(whose, values)) / (weights @ np.bincount(whose))
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def patient_means(gains: np.ndarray, nodules: Sequence[str]) -> np.ndarray:
    """(P,) mean gain of each patient that has one, in order of appearance.

    Example:
        >>> patient_means(np.array([1.0, 2.0, 4.0, math.nan]), ["a_0", "b_0", "b_1", "c_0"])
        array([1., 3.])
    """
    found: dict[str, list[float]] = {}
    for nodule, gain in zip(nodules, gains.tolist(), strict=True):
        if math.isfinite(gain):
            found.setdefault(patient_of(nodule), []).append(gain)
    return np.array([np.mean(values) for values in found.values()])
