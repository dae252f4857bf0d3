"""Measure one reconstruction of one nodule: every row that it adds to ``metrics.csv``.

Vocabulary: a *row* has ``slices`` (unobserved, interpolated, all), ``region`` (global, tumour, roi),
``threshold_hu``, ``metric`` and ``value``. The *truth* is the CT in HU and the readers' consensus mask; the
reconstruction is normalised brightness (from a *density* method), a mask (from a *shape* method), or both.

Density methods are measured radiometrically, and geometrically by thresholding them in HU within the true
mask dilated by 3 mm; shape methods only geometrically, with no threshold.

The defaults are the protocol of the paper's text. Its author's code measures otherwise in five points, each
of which is an option of :class:`NoduleEvaluator` here: ``brightness_range``, ``density_slices``,
``spacing_convention``, ``shape_stack`` and ``truth_beyond``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, get_args

import numpy as np

from bundle.errors import InputError
from bundle.metrics.geometric import MaskMetric, roi_mask, threshold_mask
from bundle.metrics.radiometric import RegionMetric
from bundle.metrics.regions import slice_region, slice_sets
from bundle.metrics.rows import (
    REGIONS,
    Place,
    Row,
    as_batch,
    checked_volume,
    exact_hu,
    row,
)
from bundle.metrics.table import metric_of
from bundle.transforms.hu import to_unit

BrightnessRange = Literal["window", "truth"]
SpacingConvention = Literal["voxel", "thickness_on_rows"]
RADIOMETRIC_SLICES = ("unobserved", "interpolated")
GEOMETRIC_SLICES = ("unobserved", "interpolated", "all")


class NoduleEvaluator:
    """Measure reconstructions with a given set of metrics; every part comes from the configuration.

    Args:
        radiometric: metrics of brightness by their name in the file, e.g. ``{"mae": RegionMAE()}``.
        geometric: metrics of shape by their name, e.g. ``{"dsc": DiceScore(), "hd_mm": HausdorffMM()}``;
            those that need the whole volume are measured on all slices only.
        thresholds: HU that a density reconstruction is thresholded at.
        roi_margin_mm: radius of the ball that the true mask is dilated by, to threshold within.
        hu_decimals: HU are rounded to so many decimals before a threshold, so that a voxel exactly at it is
            not decided by floating-point noise.
        brightness_range: what the radiometric metrics call 1. "window": the HU window; the truth is clipped
            to it. "truth" (published): the range of the truth over the very voxels measured, for each region
            its own; the truth isn't clipped, while reconstructions are.
        density_slices: (axis, stride) or None. None: density methods are measured on the slices that were
            left out. (2, 5) (published): on the axial slices that are no multiple of 5, whichever axis was
            decimated.
        spacing_convention: "voxel": the spacing of the volume. "thickness_on_rows" (published): in all that
            is in mm, the nominal slice thickness stands for the spacing of rows (y), the pixel spacing for
            that of slices.
        shape_stack: whether shape methods are measured, also by the metrics that need the whole volume, on
            the unobserved slices stacked without the gaps between them (published).
        truth_beyond: whether shape methods are given the truth beyond the last observed slice (published).

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
        hu_decimals: int = 3,
        brightness_range: BrightnessRange = "window",
        density_slices: tuple[int, int] | None = None,
        spacing_convention: SpacingConvention = "voxel",
        shape_stack: bool = False,
        truth_beyond: bool = False,
    ) -> None:
        for name, value, known in (
            ("brightness_range", brightness_range, get_args(BrightnessRange)),
            ("spacing_convention", spacing_convention, get_args(SpacingConvention)),
        ):
            if value not in known:
                raise InputError(f'{name} "{value}" is unknown: give one of {", ".join(known)}')
        self.radiometric = dict(radiometric)
        self.geometric = dict(geometric)
        self.thresholds = tuple(thresholds)
        self.roi_margin_mm = roi_margin_mm
        self.hu_decimals = hu_decimals
        self.brightness_range = brightness_range
        self.density_slices = density_slices
        self.spacing_convention = spacing_convention
        self.shape_stack = shape_stack
        self.truth_beyond = truth_beyond

    def rows(
        self,
        reconstruction_image: np.ndarray | None,
        reconstruction_mask: np.ndarray | None,
        truth_hu: np.ndarray,
        truth_mask: np.ndarray,
        spacing: Sequence[float],
        observed: Sequence[int] | np.ndarray,
        axis: int = 2,
        slice_thickness: float | None = None,
    ) -> list[Row]:
        """Measure one reconstruction.

        Args:
            reconstruction_image: (X, Y, Z) normalised to [0, 1], or None.
            reconstruction_mask: (X, Y, Z), > 0 is inside, or None.
            truth_hu: (X, Y, Z) in HU.
            truth_mask: (X, Y, Z), > 0 is inside.
            spacing: mm between voxel centres (x, y, z).
            observed: indices along ``axis`` of the slices the method was given.
            axis: the decimated one.
            slice_thickness: mm, nominal; only for ``spacing_convention`` "thickness_on_rows", where None
                stands for the spacing of slices.

        Returns:
            the rows of :meth:`expected_rows`, with values; nan where undefined, see
            :func:`explain_undefined`.

        Raises:
            InputError: no reconstruction at all, a shape other than the truth's, voxels that aren't finite.
        """
        if reconstruction_image is None and reconstruction_mask is None:
            raise InputError("there is neither a reconstructed image nor a mask to measure")
        hu = checked_volume("the true image", truth_hu, np.shape(truth_hu))
        mask = checked_volume("the true mask", truth_mask, hu.shape) > 0
        sets = slice_sets(hu.shape[axis], observed)
        mm = self._spacing(spacing, slice_thickness)
        for metric in (*self.radiometric.values(), *self.geometric.values()):
            metric.reset()
        rows: list[Row] = []
        if reconstruction_image is not None:
            image = checked_volume("the reconstructed image", reconstruction_image, hu.shape)
            rows += self._density_rows(image, hu, mask, mm, sets, axis)
        if reconstruction_mask is not None:
            predicted = checked_volume("the reconstructed mask", reconstruction_mask, hu.shape) > 0
            rows += self._shape_rows(predicted, mask, mm, sets, axis)
        return rows

    def expected_rows(self, kind: Literal["density", "shape"]) -> list[Row]:
        """List the rows that a method of this kind gives, each with the value nan: for a method that failed.

        Example:
            >>> from bundle.metrics import DiceScore
            >>> len(NoduleEvaluator({}, {"dsc": DiceScore()}).expected_rows("density"))
            15
        """
        if kind == "shape":
            places = self._geometric_places(None)
        elif kind == "density":
            places = [
                (slices, region, None, name)
                for slices in RADIOMETRIC_SLICES
                for region in REGIONS
                for name in self.radiometric
            ]
            places += [place for threshold in self.thresholds for place in self._geometric_places(threshold)]
        else:
            raise InputError(f'a method of kind "{kind}" is unknown: give "density" or "shape"')
        return [row(*place, float("nan")) for place in places]

    def to_hu(self, image: np.ndarray) -> np.ndarray:
        """HU of a normalised reconstruction, as they are thresholded: float64, rounded to ``hu_decimals``."""
        return exact_hu(image, self.hu_decimals)

    def masks(
        self,
        image: np.ndarray,
        truth_mask: np.ndarray,
        spacing: Sequence[float],
        slice_thickness: float | None = None,
    ) -> dict[float, np.ndarray]:
        """The masks of a density reconstruction that are measured, by threshold in HU.

        Args:
            image: (X, Y, Z) normalised to [0, 1].
            truth_mask: (X, Y, Z), > 0 is inside.
            spacing: as for :meth:`rows`.
            slice_thickness: as for :meth:`rows`.

        Returns:
            bool (X, Y, Z) for each threshold.
        """
        return self._thresholded(image, np.asarray(truth_mask) > 0, self._spacing(spacing, slice_thickness))

    def _density_rows(
        self,
        image: np.ndarray,
        hu: np.ndarray,
        mask: np.ndarray,
        spacing: tuple[float, ...],
        sets: dict[str, np.ndarray],
        axis: int,
    ) -> list[Row]:
        if self.density_slices is not None:
            axis, stride = self.density_slices
            sets = slice_sets(hu.shape[axis], range(0, hu.shape[axis], stride))
        rows = []
        for slices in RADIOMETRIC_SLICES:
            chosen = slice_region(hu.shape, sets[slices], axis)
            for name_of_region, region in zip(REGIONS, (chosen, chosen & mask), strict=True):
                prediction, truth = (as_batch(volume) for volume in self._brightness(image, hu, region))
                for name, metric in self.radiometric.items():
                    value = float(metric(prediction, truth, as_batch(region)))
                    rows.append(row(slices, name_of_region, None, name, value))
        for threshold, predicted in self._thresholded(image, mask, spacing).items():
            rows += self._geometric_rows(predicted, mask, spacing, sets, axis, threshold)
        return rows

    def _thresholded(self, image: np.ndarray, mask: np.ndarray, spacing: tuple[float, ...]) -> dict[float, np.ndarray]:
        roi = roi_mask(mask, spacing, self.roi_margin_mm)
        hu = self.to_hu(image)
        return {threshold: threshold_mask(hu, threshold, roi) for threshold in self.thresholds}

    def _shape_rows(
        self,
        predicted: np.ndarray,
        mask: np.ndarray,
        spacing: tuple[float, ...],
        sets: dict[str, np.ndarray],
        axis: int,
    ) -> list[Row]:
        observed = np.flatnonzero(~sets["unobserved"])
        if self.truth_beyond and len(observed):
            beyond = slice_region(mask.shape, np.arange(mask.shape[axis]) > observed[-1], axis)
            predicted = np.where(beyond, mask, predicted)
        return self._geometric_rows(predicted, mask, spacing, sets, axis, None)

    def _geometric_rows(
        self,
        predicted: np.ndarray,
        mask: np.ndarray,
        spacing: tuple[float, ...],
        sets: dict[str, np.ndarray],
        axis: int,
        threshold: float | None,
    ) -> list[Row]:
        rows = []
        for slices, region, _, name in self._geometric_places(threshold):
            chosen = np.flatnonzero(sets[slices])
            pair = as_batch(predicted.take(chosen, axis)), as_batch(mask.take(chosen, axis))
            rows.append(row(slices, region, threshold, name, float(self.geometric[name](*pair, spacing))))
        return rows

    def _geometric_places(self, threshold: float | None) -> list[Place]:
        whole = ("unobserved", "all") if self.shape_stack and threshold is None else ("all",)
        return [
            (slices, "roi", threshold, name)
            for name, metric in self.geometric.items()
            for slices in (whole if metric.whole_volume else GEOMETRIC_SLICES)
        ]

    def _brightness(self, image: np.ndarray, hu: np.ndarray, region: np.ndarray) -> list[np.ndarray]:
        """The reconstruction and the truth on the scale that the radiometric metrics call 0 to 1, float64."""
        if self.brightness_range == "window":
            return [image.astype(np.float64), to_unit(hu.astype(np.float64))]
        inside = hu[region].astype(np.float64)
        low, high = (inside.min(), inside.max()) if inside.size else (np.nan, np.nan)
        # a truth that is all alike has no range: undefined, not a division by zero
        width = high - low if high > low else np.nan
        return [(self.to_hu(image) - low) / width, (hu - low) / width]

    def _spacing(self, spacing: Sequence[float], slice_thickness: float | None) -> tuple[float, ...]:
        x, y, z = (float(step) for step in spacing) if len(spacing) == 3 else (np.nan,) * 3
        if not np.all(np.isfinite([x, y, z])):
            raise InputError(f"spacing {tuple(spacing)} is no mm for (x, y, z): give three numbers")
        if self.spacing_convention == "voxel":
            return (x, y, z)
        return (x, float(slice_thickness or z), x)


def explain_undefined(rows: Sequence[Row]) -> list[str]:
    """Say in words why rows of one reconstruction are undefined.

    Args:
        rows: from :meth:`NoduleEvaluator.rows`, not of a method that failed altogether.

    Returns:
        one sentence for each row that is nan; none if all are defined.

    Example:
        >>> explain_undefined([row("unobserved", "tumour", None, "mae", float("nan"))])
        ['mae of tumour on the unobserved slices is undefined: no voxel is there, or the truth is all alike']
    """
    sentences = []
    for entry in rows:
        if not np.isnan(entry["value"]):
            continue
        at = "" if entry["threshold_hu"] is None else f" at {entry['threshold_hu']:g} HU"
        where = f"{entry['metric']} of {entry['region']}{at} on the {entry['slices']} slices"
        sentences.append(f"{where} is undefined: {metric_of(entry['metric']).undefined}")
    return sentences
