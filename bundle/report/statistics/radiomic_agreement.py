"""How well radiomic features of reconstructions agree with those of the truth: by method, resampling and feature."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from bundle.metrics.radiomics.features import CLASSES, COUNTING, FEATURES, NUMBERED
from bundle.report.results import TRUTH, StudyResults
from bundle.report.statistics.agreement import (
    LEVELS,
    RESAMPLES,
    Estimate,
    Limits,
    concordances,
    estimates,
    limits_of_agreement,
    share_at_least,
)
from bundle.report.statistics.scores import chosen_nodules
from bundle.report.statistics.tests import few_words, resampling_weights

UNMARKED = "unmarked"
"""Features that neither the bin origin decides nor the number of voxels."""


@dataclass(frozen=True)
class GroupAgreement:
    """Of a group of features.

    Attributes:
        mean: of the concordances.
        shares: part of the features that has so much, by level.
        resampled: (R,) the first of these shares in each resample of the nodules, the same for all methods.
        n: those that have a value of any feature.
    """

    mean: Estimate
    shares: dict[float, Estimate]
    resampled: np.ndarray
    n: int

    def share_beyond(self, other: GroupAgreement) -> Estimate:
        """How much larger the first share is than another method's, of the same nodules."""
        once = np.array([self.shares[LEVELS[0]].value - other.shares[LEVELS[0]].value])
        return _estimate(self.resampled - other.resampled, once, min(self.n, other.n))


@dataclass(frozen=True)
class RadiomicAgreement:
    """Of one method at one resampling.

    Attributes:
        concordance: of each feature, in the order of ``FEATURES``.
        limits: of each feature, of measured minus true in its own unit.
        true_means: (F,) mean of the truth over the same nodules.
        groups: of all features (``all``), of each class, and of those that are ``unmarked``.
        n: nodules with a value of any feature.
        n_failed: the other nodules.
    """

    concordance: list[Estimate]
    limits: list[Limits]
    true_means: np.ndarray
    groups: dict[str, GroupAgreement]
    n: int
    n_failed: int

    def percent(self, feature: tuple[str, str]) -> tuple[float, float, float]:
        """Bias of a feature and its limits, in per cent of the mean truth."""
        at = FEATURES.index(feature)
        found, mean = self.limits[at], abs(self.true_means[at])
        bias, low, high = (100 * v / mean if mean else math.nan for v in (found.bias, found.low, found.high))
        return bias, low, high


def group_indices(name: str) -> list[int]:
    """Where the features of a group are among all.

    Example:
        >>> len(group_indices("all")), len(group_indices("ngtdm")), len(group_indices("unmarked"))
        (93, 5, 59)
    """
    if name == UNMARKED:
        return [i for i, feature in enumerate(FEATURES) if feature not in NUMBERED | COUNTING]
    return [i for i, (group, _) in enumerate(FEATURES) if name in ("all", group)]


@lru_cache(maxsize=4)
def radiomic_agreement(
    results: StudyResults, min_slices: int = 0, seed: int = 0
) -> dict[tuple[str, str], RadiomicAgreement]:
    """By (resampling, method), one resampling after the other; none of a study without features.

    Args:
        results: of the study.
        min_slices: nodules of fewer slices are left out.
        seed: of the bootstrap.
    """
    nodules = chosen_nodules(results, min_slices)
    values = _values(results, nodules)
    weights = resampling_weights(max(1, len(nodules)), RESAMPLES, seed)
    return {
        (resampling, method): _agreement(measured, true, weights)
        for (resampling, truth), true in values.items()
        if truth == TRUTH
        for (where, method), measured in values.items()
        if where == resampling and method != TRUTH
    }


def agreement_rows(results: StudyResults, min_slices: int = 0, seed: int = 0) -> Iterator[dict[str, Any]]:
    """Rows of ``agreement.csv``: one a resampling, method and feature."""
    for (resampling, method), found in radiomic_agreement(results, min_slices, seed).items():
        for i, feature in enumerate(FEATURES):
            ccc, limits = found.concordance[i], found.limits[i]
            yield {
                "resampling": resampling,
                "method": method,
                "class": feature[0],
                "feature": feature[1],
                "ccc": ccc.value,
                "ccc_low": ccc.low,
                "ccc_high": ccc.high,
                "bias": limits.bias,
                "limit_low": limits.low,
                "limit_high": limits.high,
                "true_mean": float(found.true_means[i]),
                "n": limits.n,
                "n_failed": limits.n_failed,
                "bin_origin_decides": int(feature in NUMBERED),
                "counts_voxels": int(feature in COUNTING),
                "reason": few_words(limits.n),
            }


def _values(results: StudyResults, nodules: Sequence[str]) -> dict[tuple[str, str], np.ndarray]:
    """(nodules, features) by resampling and method; nan where there is none."""
    none = np.full(len(FEATURES), math.nan)
    found = {place: [by.get(name, none) for name in nodules] for place, by in results.radiomics.items()}
    return {place: np.array(rows) for place, rows in found.items() if rows}


def _agreement(measured: np.ndarray, true: np.ndarray, weights: np.ndarray) -> RadiomicAgreement:
    once, drawn = concordances(measured, true), concordances(measured, true, weights)
    pair = np.isfinite(measured) & np.isfinite(true)
    with np.errstate(invalid="ignore"):
        means = np.where(pair, true, 0).sum(axis=0) / pair.sum(axis=0)
    groups, n = {}, int(pair.any(axis=1).sum())
    for name in ("all", *CLASSES, UNMARKED):
        at = group_indices(name)
        parts = {level: share_at_least(drawn[:, at], level) for level in LEVELS}
        shares = {level: _estimate(part, share_at_least(once[:, at], level), n) for level, part in parts.items()}
        mean = _estimate(_mean(drawn[:, at]), _mean(once[:, at]), n)
        groups[name] = GroupAgreement(mean, shares, parts[LEVELS[0]], n)
    limits = [limits_of_agreement(column) for column in (np.where(pair, measured - true, np.nan)).T]
    concordance = estimates(drawn, once[0], pair.sum(axis=0))
    return RadiomicAgreement(concordance, limits, means, groups, n, len(pair) - n)


def _mean(values: np.ndarray) -> np.ndarray:
    known = np.isfinite(values)
    with np.errstate(invalid="ignore"):
        return np.where(known, values, 0).sum(axis=1) / known.sum(axis=1)


def _estimate(drawn: np.ndarray, once: np.ndarray, n: int) -> Estimate:
    return estimates(drawn[:, None], once, n)[0]
