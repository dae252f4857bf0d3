"""Measure one reconstruction of one nodule: every row that it adds to ``metrics.csv``.

Vocabulary: a *row* has ``slices`` (unobserved, interpolated, all), ``region`` (global, tumour, roi),
``threshold_hu``, ``metric`` and ``value``. The *truth* is the CT in HU and the readers' consensus mask; the
reconstruction is normalised brightness (from a *density* method), a mask (from a *shape* method), or both.

Density methods are measured radiometrically, and geometrically by thresholding them in HU within the true
mask dilated by 3 mm; shape methods only geometrically, with no threshold.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import torch

from bundle.errors import InputError
from bundle.metrics.geometric import MaskMetric, roi_mask, threshold_mask
from bundle.metrics.radiometric import RegionMetric
from bundle.metrics.regions import slice_region, slice_sets

Row = dict[str, Any]
Place = tuple[str, str, float | None, str]
RADIOMETRIC_SLICES = ("unobserved", "interpolated")
GEOMETRIC_SLICES = ("unobserved", "interpolated", "all")
_REASONS = {
    "dsc": "both masks are empty there",
    "hd_mm": "at least one of the masks is empty there",
    "arve": "the true mask is empty there",
}


class NoduleEvaluator:
    """Measure reconstructions with a given set of metrics; every part comes from the configuration.

    Args:
        radiometric: metrics of brightness by their name in the file, e.g. ``{"mae": RegionMAE()}``.
        geometric: metrics of shape by their name, e.g. ``{"dsc": DiceScore(), "hd_mm": HausdorffMM()}``;
            those that need the whole volume are measured on all slices only.
        thresholds: HU that a density reconstruction is thresholded at.
        roi_margin_mm: radius of the ball that the true mask is dilated by, to threshold within.
        hu_window: HU that normalised 0 and 1 stand for.
        hu_decimals: HU are rounded to so many decimals before a threshold, so that a voxel exactly at it is
            not decided by floating-point noise.

    Example:
        >>> from bundle.metrics import DiceScore, RegionMAE
        >>> evaluator = NoduleEvaluator({"mae": RegionMAE()}, {"dsc": DiceScore()}, thresholds=[-400])
        >>> truth = np.full((9, 9, 6), -800.0)
        >>> truth[3:6, 3:6] = 0.0
        >>> rows = evaluator.rows((truth + 1000) / 1400, None, truth, truth > -400, (1.0, 1.0, 1.0), [0, 5])
        >>> {row["metric"]: row["value"] for row in rows}
        {'mae': 0.0, 'dsc': 1.0}
    """

    def __init__(
        self,
        radiometric: Mapping[str, RegionMetric],
        geometric: Mapping[str, MaskMetric],
        thresholds: Sequence[float] = (-500, -450, -400, -350, -300),
        roi_margin_mm: float = 3.0,
        hu_window: tuple[float, float] = (-1000.0, 400.0),
        hu_decimals: int = 3,
    ) -> None:
        low, high = hu_window
        if not low < high:
            raise InputError(f"hu_window {tuple(hu_window)} is no range: give the lower HU first")
        self.radiometric = dict(radiometric)
        self.geometric = dict(geometric)
        self.thresholds = tuple(thresholds)
        self.roi_margin_mm = roi_margin_mm
        self.hu_window = (float(low), float(high))
        self.hu_decimals = hu_decimals

    def rows(
        self,
        reconstruction_image: np.ndarray | None,
        reconstruction_mask: np.ndarray | None,
        truth_hu: np.ndarray,
        truth_mask: np.ndarray,
        spacing: Sequence[float],
        observed: Sequence[int] | np.ndarray,
        axis: int = 2,
    ) -> list[Row]:
        """Measure one reconstruction.

        Args:
            reconstruction_image: (X, Y, Z) normalised to [0, 1], or None.
            reconstruction_mask: (X, Y, Z), > 0 is inside, or None.
            truth_hu: (X, Y, Z) in HU.
            truth_mask: (X, Y, Z), > 0 is inside.
            spacing: mm between voxel centres (x, y, z).
            observed: indices along ``axis`` of the slices the method was given.
            axis: the observed slices lie along.

        Returns:
            the rows of :meth:`expected_rows`, with values; nan where undefined, see
            :func:`explain_undefined`.

        Raises:
            InputError: no reconstruction at all, a shape other than the truth's, voxels that are nan or
            infinite.
        """
        if reconstruction_image is None and reconstruction_mask is None:
            raise InputError("there is neither a reconstructed image nor a mask to measure")
        hu, mask = _checked("the true image", truth_hu, np.shape(truth_hu)), np.asarray(truth_mask) > 0
        _checked("the true mask", mask, hu.shape)
        sets = slice_sets(hu.shape[axis], observed)
        for metric in (*self.radiometric.values(), *self.geometric.values()):
            metric.reset()
        rows: list[Row] = []
        if reconstruction_image is not None:
            image = _checked("the reconstructed image", reconstruction_image, hu.shape).astype(np.float64)
            rows += self._radiometric_rows(image, hu, mask, sets, axis)
            reconstructed_hu = self.to_hu(image)
            roi = roi_mask(mask, spacing, self.roi_margin_mm)
            for threshold in self.thresholds:
                predicted = threshold_mask(reconstructed_hu, threshold, roi)
                rows += self._geometric_rows(predicted, mask, spacing, sets, axis, threshold)
        if reconstruction_mask is not None:
            predicted = _checked("the reconstructed mask", reconstruction_mask, hu.shape) > 0
            rows += self._geometric_rows(predicted, mask, spacing, sets, axis, None)
        return rows

    def expected_rows(self, kind: Literal["density", "shape"]) -> list[Row]:
        """List the rows that a method of this kind gives, each with the value nan: for a method that failed.

        Example:
            >>> from bundle.metrics import DiceScore
            >>> len(NoduleEvaluator({}, {"dsc": DiceScore()}).expected_rows("density"))
            15
        """
        nan = float("nan")
        if kind == "shape":
            return [_row(*place, nan) for place in self._geometric_places(None)]
        if kind != "density":
            raise InputError(f'a method of kind "{kind}" is unknown: give "density" or "shape"')
        places: list[Place] = [
            (slices, region, None, name)
            for slices in RADIOMETRIC_SLICES
            for region in ("global", "tumour")
            for name in self.radiometric
        ]
        places += [place for threshold in self.thresholds for place in self._geometric_places(threshold)]
        return [_row(*place, nan) for place in places]

    def normalise(self, hu: np.ndarray) -> np.ndarray:
        """Clip HU to the window and scale it to [0, 1], in float64."""
        low, high = self.hu_window
        return (np.clip(np.asarray(hu, dtype=np.float64), low, high) - low) / (high - low)

    def to_hu(self, normalised: np.ndarray) -> np.ndarray:
        """Convert normalised brightness to HU in float64, rounded to ``hu_decimals``."""
        low, high = self.hu_window
        return np.round(np.asarray(normalised, dtype=np.float64) * (high - low) + low, self.hu_decimals)

    def _radiometric_rows(
        self, image: np.ndarray, hu: np.ndarray, mask: np.ndarray, sets: dict[str, np.ndarray], axis: int
    ) -> list[Row]:
        prediction, truth = _batch(image), _batch(self.normalise(hu))
        rows = []
        for slices in RADIOMETRIC_SLICES:
            chosen = slice_region(hu.shape, sets[slices], axis)
            for name_of_region, region in (("global", chosen), ("tumour", chosen & mask)):
                for name, metric in self.radiometric.items():
                    value = float(metric(prediction, truth, _batch(region)))
                    rows.append(_row(slices, name_of_region, None, name, value))
        return rows

    def _geometric_rows(
        self,
        predicted: np.ndarray,
        mask: np.ndarray,
        spacing: Sequence[float],
        sets: dict[str, np.ndarray],
        axis: int,
        threshold: float | None,
    ) -> list[Row]:
        rows = []
        for slices, region, _, name in self._geometric_places(threshold):
            chosen = np.flatnonzero(sets[slices])
            value = self.geometric[name](
                _batch(predicted.take(chosen, axis)), _batch(mask.take(chosen, axis)), spacing
            )
            rows.append(_row(slices, region, threshold, name, float(value)))
        return rows

    def _geometric_places(self, threshold: float | None) -> list[Place]:
        return [
            (slices, "roi", threshold, name)
            for name, metric in self.geometric.items()
            for slices in (("all",) if metric.whole_volume else GEOMETRIC_SLICES)
        ]


def explain_undefined(rows: Sequence[Row]) -> list[str]:
    """Say in words why rows of one reconstruction are undefined.

    Args:
        rows: from :meth:`NoduleEvaluator.rows`.

    Returns:
        one sentence for each row that is nan; none if all are defined.

    Example:
        >>> explain_undefined([_row("unobserved", "tumour", None, "mae", float("nan"))])
        ['mae of tumour on the unobserved slices is undefined: the region has no voxel there']
    """
    sentences = []
    for row in rows:
        if not np.isnan(row["value"]):
            continue
        at = "" if row["threshold_hu"] is None else f" at {row['threshold_hu']:g} HU"
        reason = _REASONS.get(row["metric"], "the region has no voxel there")
        sentences.append(
            f"{row['metric']} of {row['region']}{at} on the {row['slices']} slices is undefined: {reason}"
        )
    return sentences


def _row(slices: str, region: str, threshold: float | None, metric: str, value: float) -> Row:
    return {"slices": slices, "region": region, "threshold_hu": threshold, "metric": metric, "value": value}


def _batch(volume: np.ndarray) -> torch.Tensor:
    # a broadcast region is read-only, which torch does not take
    return torch.from_numpy(np.array(volume))[None, None]


def _checked(name: str, volume: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The volume, if it is 3-D, of the shape and finite."""
    array = np.asarray(volume)
    if array.ndim != 3 or array.shape != shape:
        raise InputError(
            f"{name} has shape {array.shape}, expected {shape if len(shape) == 3 else '(X, Y, Z)'}"
        )
    broken = array.size - int(np.isfinite(array).sum())
    if broken:
        raise InputError(f"{name} has {broken} voxels that are nan or infinite, expected none")
    return array
