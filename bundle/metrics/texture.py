"""How rough the reconstructed tissue is: mean, standard deviation and kurtosis of its HU, against the truth's.

A reconstruction that blurs has a smaller standard deviation (sd) than the truth, one that invents structure a larger
one; their *sd ratio* is 1 where the amount of texture is right. *Kurtosis* is Pearson's: 3 for a normal distribution,
more where a few voxels are far off. Moments are those of the population of voxels (divided by n), in float64.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from bundle.metrics.radiometric import RegionMetric


def mean_hu(hu: np.ndarray) -> float:
    """Mean; nan for no voxels.

    Example:
        >>> mean_hu(np.array([-100.0, 50.0]))
        -25.0
    """
    return float(np.mean(hu, dtype=np.float64)) if np.size(hu) else float("nan")


def sd_hu(hu: np.ndarray) -> float:
    """Standard deviation of the population of voxels; nan for no voxels.

    Example:
        >>> sd_hu(np.array([-100.0, 100.0]))
        100.0
    """
    if np.size(hu) == 0:
        return float("nan")
    # not left to rounding: the mean of equal voxels may be off by a bit
    return 0.0 if np.min(hu) == np.max(hu) else float(np.std(hu, dtype=np.float64))


def kurtosis(hu: np.ndarray) -> float:
    """Pearson's kurtosis, ``m4 / m2**2``, 3 for a normal distribution; nan where all voxels are alike, or none.

    Example:
        >>> kurtosis(np.array([-1.0, 1.0, -1.0, 1.0]))
        1.0
    """
    sd = sd_hu(hu)
    off = np.asarray(hu, dtype=np.float64) - mean_hu(hu)
    return float(np.mean(off**4)) / sd**4 if sd > 0 else float("nan")


def sd_ratio(hu: np.ndarray, truth: np.ndarray) -> float:
    """Standard deviation of the reconstruction by that of the truth; nan where the truth is all alike, or empty.

    Example:
        >>> sd_ratio(np.array([0.0, 1.0]), np.array([0.0, 2.0]))
        0.5
    """
    true = sd_hu(truth)
    return sd_hu(hu) / true if true > 0 else float("nan")


class RegionMean(RegionMetric):
    """:func:`mean_hu` of the reconstruction in a region, as a MONAI metric; ``y`` is not looked at.

    Example:
        >>> import torch
        >>> RegionMean()(torch.full((1, 1, 2, 2, 2), 7.0), torch.zeros(1, 1, 2, 2, 2)).item()
        7.0
    """

    def measure(self, prediction: np.ndarray, truth: np.ndarray, option: Any) -> float:
        """Mean of one volume in the region ``option``."""
        return mean_hu(_inside(prediction, option))


class RegionSD(RegionMetric):
    """:func:`sd_hu` of the reconstruction in a region, as a MONAI metric; ``y`` is not looked at.

    Example:
        >>> import torch
        >>> RegionSD()(torch.ones(1, 1, 2, 2, 2), torch.zeros(1, 1, 2, 2, 2)).item()
        0.0
    """

    def measure(self, prediction: np.ndarray, truth: np.ndarray, option: Any) -> float:
        """Standard deviation of one volume in the region ``option``."""
        return sd_hu(_inside(prediction, option))


class RegionSDRatio(RegionMetric):
    """:func:`sd_ratio` in a region, as a MONAI metric.

    Example:
        >>> import torch
        >>> truth = torch.rand(1, 1, 4, 4, 4)
        >>> round(RegionSDRatio()(2 * truth, truth).item(), 6)
        2.0
    """

    def measure(self, prediction: np.ndarray, truth: np.ndarray, option: Any) -> float:
        """Ratio of one volume in the region ``option``."""
        return sd_ratio(_inside(prediction, option), _inside(truth, option))


class RegionKurtosis(RegionMetric):
    """:func:`kurtosis` of the reconstruction in a region, as a MONAI metric; ``y`` is not looked at.

    Example:
        >>> import torch
        >>> volume = torch.tensor([-1.0, 1.0]).repeat(4).reshape(1, 1, 2, 2, 2)
        >>> RegionKurtosis()(volume, volume).item()
        1.0
    """

    def measure(self, prediction: np.ndarray, truth: np.ndarray, option: Any) -> float:
        """Kurtosis of one volume in the region ``option``."""
        return kurtosis(_inside(prediction, option))


def _inside(volume: np.ndarray, region: np.ndarray | None) -> np.ndarray:
    return volume if region is None else volume[region]
