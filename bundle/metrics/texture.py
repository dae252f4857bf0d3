"""How rough the reconstructed tissue is: mean, standard deviation and kurtosis of its HU, against the truth's.

A reconstruction that blurs has a smaller standard deviation (sd) than the truth, one that invents structure a larger
one; their *sd ratio* is 1 where the amount of texture is right. *Kurtosis* is Pearson's: 3 for a normal distribution,
more where a few voxels are far off. Moments are those of the population of voxels (divided by n), in float64.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bundle.errors import InputError
from bundle.metrics.radiometric import RegionMetric
from bundle.metrics.regions import SLICE_SETS, slice_region, slice_sets
from bundle.metrics.rows import REGIONS, Row, as_batch, checked_volume, exact_hu, row
from bundle.transforms.hu import HU_MAX, HU_MIN


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


class TextureEvaluator:
    """Measure the texture of reconstructions: every row that one adds to ``texture.csv``.

    The rows are those of ``metrics.csv`` with metrics of its own, in HU; ``threshold_hu`` is None throughout.

    Args:
        metrics: by their name in the file, e.g. ``{"sd_hu": RegionSD(), "sd_ratio": RegionSDRatio()}``.
        slices: sets of slices to measure on. The published code measures on all, observed ones included: ``["all"]``.
        clip_truth: whether the truth is clipped to the HU window, as reconstructions are, so that a calcification
            brighter than the window does not count as lost texture. The published code does not clip it.
        hu_decimals: HU of a reconstruction are rounded to.

    Raises:
        InputError: an unknown set of slices.

    Example:
        >>> evaluator = TextureEvaluator({"sd_ratio": RegionSDRatio()}, slices=["unobserved"])
        >>> truth = np.random.default_rng(0).normal(-100, 30, (8, 8, 6))
        >>> mask = np.ones_like(truth, dtype=bool)
        >>> [round(row["value"], 3) for row in evaluator.rows((truth + 1000) / 1400, truth, mask, [0, 5])]
        [1.0, 1.0]
    """

    def __init__(
        self,
        metrics: Mapping[str, RegionMetric],
        slices: Sequence[str] = ("unobserved", "interpolated"),
        clip_truth: bool = True,
        hu_decimals: int = 3,
    ) -> None:
        unknown = [name for name in slices if name not in SLICE_SETS]
        if unknown:
            raise InputError(f"slices {unknown} are unknown: give some of {', '.join(SLICE_SETS)}")
        self.metrics = dict(metrics)
        self.slices = tuple(slices)
        self.clip_truth = clip_truth
        self.hu_decimals = hu_decimals

    def rows(
        self,
        image: np.ndarray,
        truth_hu: np.ndarray,
        truth_mask: np.ndarray,
        observed: Sequence[int] | np.ndarray,
        axis: int = 2,
    ) -> list[Row]:
        """Measure one reconstruction.

        Args:
            image: (X, Y, Z) normalised to [0, 1].
            truth_hu: (X, Y, Z) in HU.
            truth_mask: (X, Y, Z), > 0 is inside.
            observed: indices along ``axis`` of the slices the method was given.
            axis: the decimated one.

        Returns:
            the rows of :meth:`expected_rows`, with values; nan where undefined: no voxels, or all alike.

        Raises:
            InputError: a shape other than the truth's, or voxels that aren't finite.
        """
        hu = checked_volume("the true image", truth_hu, np.shape(truth_hu))
        unit = checked_volume("the reconstructed image", image, hu.shape)
        return self._rows(exact_hu(unit, self.hu_decimals), hu, truth_mask, observed, axis)

    def truth_rows(
        self, truth_hu: np.ndarray, truth_mask: np.ndarray, observed: Sequence[int] | np.ndarray, axis: int = 2
    ) -> list[Row]:
        """Measure the truth itself, as if it were a reconstruction: the row of the table to compare with.

        Args and raises as :meth:`rows`.

        Returns:
            as :meth:`rows`; the sd ratio is 1.
        """
        hu = checked_volume("the true image", truth_hu, np.shape(truth_hu))
        return self._rows(self.true_hu(hu), hu, truth_mask, observed, axis)

    def expected_rows(self) -> list[Row]:
        """List the rows of a density method, each with the value nan: for a method that failed.

        Example:
            >>> len(TextureEvaluator({"sd_hu": RegionSD()}).expected_rows())
            4
        """
        return [
            row(slices, region, None, name, float("nan"))
            for slices in self.slices
            for region in REGIONS
            for name in self.metrics
        ]

    def true_hu(self, truth_hu: np.ndarray) -> np.ndarray:
        """The truth as it is measured: float64, clipped to the window if ``clip_truth``."""
        hu = np.asarray(truth_hu, dtype=np.float64)
        return np.clip(hu, HU_MIN, HU_MAX) if self.clip_truth else hu

    def _rows(
        self,
        hu: np.ndarray,
        truth_hu: np.ndarray,
        truth_mask: np.ndarray,
        observed: Sequence[int] | np.ndarray,
        axis: int,
    ) -> list[Row]:
        mask = checked_volume("the true mask", truth_mask, hu.shape) > 0
        sets = slice_sets(hu.shape[axis], observed)
        prediction, truth = as_batch(hu), as_batch(self.true_hu(truth_hu))
        rows = []
        for metric in self.metrics.values():
            metric.reset()
        for slices in self.slices:
            chosen = slice_region(hu.shape, sets[slices], axis)
            for name_of_region, region in zip(REGIONS, (chosen, chosen & mask), strict=True):
                for name, metric in self.metrics.items():
                    value = float(metric(prediction, truth, as_batch(region)))
                    rows.append(row(slices, name_of_region, None, name, value))
        return rows


def _inside(volume: np.ndarray, region: np.ndarray | None) -> np.ndarray:
    return volume if region is None else volume[region]
