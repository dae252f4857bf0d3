"""Whether a method knows how far it is off: coverage and width of its intervals, expected against actual errors.

Vocabulary: a method's *expected error* is its own estimate, voxel by voxel, of how far it is off on average; the
*actual error* is the absolute difference to the truth. An *interval* is the reconstruction plus and minus a
*half-width*, a multiple of the expected error, within the HU window; its *level* is the part of the voxels that it
is meant to hold the truth of (*nominal*), its *coverage* the part that it does hold (*actual*).
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import numpy as np
import torch
from scipy.stats import rankdata

from bundle.metrics.base import VolumeMetric
from bundle.transforms.hu import HU_MAX, HU_MIN

Region = np.ndarray | None


def coverage(prediction: np.ndarray, truth: np.ndarray, half_width: np.ndarray, region: Region = None) -> float:
    """Part of a region's voxels whose truth is within the interval, its ends included.

    Args:
        prediction: any shape and unit.
        truth: the same.
        half_width: the same, 0 or more.
        region: bool, the same shape; None: every voxel.

    Returns:
        0 to 1; nan for no voxels.

    Example:
        >>> coverage(np.array([0.0, 0.0]), np.array([1.0, 3.0]), np.array([2.0, 2.0]))
        0.5
    """
    off, half = _inside(np.abs(prediction - truth), region), _inside(half_width, region)
    return float(np.mean(off <= half)) if off.size else float("nan")


def interval_width(
    prediction: np.ndarray, half_width: np.ndarray, region: Region = None, low: float = -np.inf, high: float = np.inf
) -> float:
    """Mean width of a region's intervals, of the part of them that is possible at all.

    Args:
        prediction: any shape and unit.
        half_width: the same, 0 or more.
        region: bool, the same shape; None: every voxel.
        low: least possible value.
        high: greatest possible value.

    Returns:
        in the unit of the prediction; nan for no voxels.

    Example:
        >>> interval_width(np.array([0.0, 5.0]), np.array([2.0, 2.0]), low=0.0)
        3.0
    """
    value, half = _inside(prediction, region), _inside(half_width, region)
    if not value.size:
        return float("nan")
    return float(np.mean(np.clip(value + half, low, high) - np.clip(value - half, low, high)))


def error_ratio(prediction: np.ndarray, truth: np.ndarray, error: np.ndarray, region: Region = None) -> float:
    """Mean expected error over mean actual error: 1 where a method knows how far it is off on average.

    Args:
        prediction: any shape and unit.
        truth: the same.
        error: the expected error, the same.
        region: bool, the same shape; None: every voxel.

    Returns:
        0 or more; nan for no voxels, or where nothing is off.

    Example:
        >>> error_ratio(np.array([0.0, 0.0]), np.array([1.0, 3.0]), np.array([1.0, 1.0]))
        0.5
    """
    off = _inside(np.abs(prediction - truth), region)
    actual = float(off.mean()) if off.size else 0.0
    return float(_inside(error, region).mean()) / actual if actual > 0 else float("nan")


def error_rank_correlation(
    prediction: np.ndarray, truth: np.ndarray, error: np.ndarray, region: Region = None
) -> float:
    """Spearman's correlation of expected and actual error over voxels: 1 where a map ranks all voxels rightly.

    Args:
        prediction: any shape and unit.
        truth: the same.
        error: the expected error, the same.
        region: bool, the same shape; None: every voxel.

    Returns:
        -1 to 1, ties ranked by their mean; nan for fewer than two voxels, or where either error is all alike.

    Example:
        >>> error_rank_correlation(np.zeros(3), np.array([1.0, -2.0, 9.0]), np.array([0.1, 0.2, 0.3]))
        1.0
    """
    ranks = [rankdata(_inside(values, region)) for values in (np.abs(prediction - truth), error)]
    if not ranks[0].size or any(rank.min() == rank.max() for rank in ranks):
        return float("nan")
    return float(np.clip(np.corrcoef(*ranks)[0, 1], -1, 1))


class ErrorMapMetric(VolumeMetric):
    """Base of the metrics of error maps as MONAI metrics: ``metric(y_pred, y, error, region)``.

    Args:
        reduction: see :class:`VolumeMetric`.
        get_not_nans: see :class:`VolumeMetric`.
    """

    def __call__(  # type: ignore[override]
        self, y_pred: torch.Tensor, y: torch.Tensor, error: torch.Tensor, region: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Measure a batch and keep the values for ``aggregate()``.

        Args:
            y_pred: (B, C, X, Y, Z).
            y: the same shape and unit.
            error: the same: the expected error, or half the width of an interval, as the metric wants it.
            region: the same shape, > 0 is inside; None: every voxel.

        Returns:
            (B, C) float64; nan where undefined.
        """
        return super().__call__(y_pred, y, error=error, region=region)  # type: ignore[return-value]

    def _compute_tensor(  # type: ignore[override]
        self, y_pred: torch.Tensor, y: torch.Tensor, error: torch.Tensor, region: torch.Tensor | None = None
    ) -> torch.Tensor:
        inside = torch.ones_like(error) if region is None else (region > 0).to(error.dtype)
        return self._compute_volumes(y_pred, y, torch.stack([error, inside.expand_as(error)], dim=2))

    def measure(self, prediction: np.ndarray, truth: np.ndarray, option: Any) -> float:
        """Value of one volume; ``option`` is (2, X, Y, Z), the error and the region."""
        return self.of_map(prediction, truth, option[0], option[1] > 0)

    @abstractmethod
    def of_map(self, prediction: np.ndarray, truth: np.ndarray, error: np.ndarray, region: np.ndarray) -> float:
        """Value of one volume (X, Y, Z)."""


class IntervalCoverage(ErrorMapMetric):
    """:func:`coverage` as a MONAI metric; ``error`` is half the width of the interval.

    Example:
        >>> volume = torch.zeros(1, 1, 2, 2, 2)
        >>> IntervalCoverage()(volume, volume + 1, volume + 2).item()
        1.0
    """

    def of_map(self, prediction: np.ndarray, truth: np.ndarray, error: np.ndarray, region: np.ndarray) -> float:
        """Coverage of one volume in the region."""
        return coverage(prediction, truth, error, region)


class IntervalWidth(ErrorMapMetric):
    """:func:`interval_width` within the HU window as a MONAI metric, in HU; ``error`` is half the width.

    Example:
        >>> volume = torch.full((1, 1, 2, 2, 2), -1000.0)
        >>> IntervalWidth()(volume, volume, torch.full_like(volume, 30)).item()
        30.0
    """

    def of_map(self, prediction: np.ndarray, truth: np.ndarray, error: np.ndarray, region: np.ndarray) -> float:
        """Mean width of one volume in the region."""
        return interval_width(prediction, error, region, HU_MIN, HU_MAX)


class ErrorRatio(ErrorMapMetric):
    """:func:`error_ratio` as a MONAI metric.

    Example:
        >>> volume = torch.zeros(1, 1, 2, 2, 2)
        >>> ErrorRatio()(volume, volume + 1, volume + 2).item()
        2.0
    """

    def of_map(self, prediction: np.ndarray, truth: np.ndarray, error: np.ndarray, region: np.ndarray) -> float:
        """Ratio of one volume in the region."""
        return error_ratio(prediction, truth, error, region)


class ErrorRankCorrelation(ErrorMapMetric):
    """:func:`error_rank_correlation` as a MONAI metric.

    Example:
        >>> truth = torch.rand(1, 1, 3, 3, 3)
        >>> round(ErrorRankCorrelation()(torch.zeros_like(truth), truth, 2 * truth).item(), 6)
        1.0
    """

    def of_map(self, prediction: np.ndarray, truth: np.ndarray, error: np.ndarray, region: np.ndarray) -> float:
        """Correlation of one volume in the region."""
        return error_rank_correlation(prediction, truth, error, region)


def _inside(volume: np.ndarray, region: Region) -> np.ndarray:
    return volume if region is None else volume[region]
