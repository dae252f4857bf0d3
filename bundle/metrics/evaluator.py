"""Measure one reconstruction of one nodule: every row that it adds to ``metrics.csv``.

Image methods, which give normalised intensity, are measured radiometrically, and geometrically by thresholding
them in HU within the true mask dilated by 3 mm; mask methods, which give a mask, only geometrically, with no
threshold.

The defaults are the protocol of the paper's text. Its author's code measures otherwise in five points, each
of which is an option of :class:`NoduleEvaluator` here: ``intensity_range``, ``image_slices``,
``spacing_convention``, ``mask_stack`` and ``truth_beyond``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Literal, get_args

import numpy as np

from bundle.errors import InputError
from bundle.metrics.geometric import MaskMetric, roi_mask, threshold_mask
from bundle.metrics.radiometric import RegionMetric
from bundle.metrics.regions import slice_region
from bundle.metrics.rows import Place, Row, filled, region_places
from bundle.metrics.table import build_metrics
from bundle.metrics.truth import Truth
from bundle.transforms.hu import exact_hu, to_unit

IntensityRange = Literal["window", "truth"]
SpacingConvention = Literal["voxel", "thickness_on_rows"]
RADIOMETRIC_SLICES = ("unobserved", "interpolated")
GEOMETRIC_SLICES = ("unobserved", "interpolated", "all")


class NoduleEvaluator:
    """Measure reconstructions with a given set of metrics; every part comes from the configuration.

    Args:
        radiometric: metrics of intensity by their name in the file, e.g. ``{"mae": RegionMAE()}``; None: those of
            :mod:`bundle.metrics.table`.
        geometric: metrics of shape by their name, e.g. ``{"dsc": DiceScore(), "hd_mm": HausdorffMM()}``; None: as
            above. Those that need the whole volume are measured on all slices only.
        thresholds: HU that a reconstructed image is thresholded at.
        roi_margin_mm: radius of the ball that the true mask is dilated by, to threshold within.
        hu_decimals: HU are rounded to so many decimals before a threshold, so that a voxel exactly at it is
            not decided by floating-point noise.
        intensity_range: what the radiometric metrics call 1. "window": the HU window; the truth is clipped
            to it. "truth" (published): the range of the truth over the very voxels measured, for each region
            its own; the truth isn't clipped, while reconstructions are.
        image_slices: (axis, stride) or None. None: image methods are measured on the slices that were
            left out. (2, 5) (published): on the axial slices that are no multiple of 5, whichever axis was
            decimated.
        spacing_convention: "voxel": the spacing of the volume. "thickness_on_rows" (published): in all that
            is in mm, the nominal slice thickness stands for the spacing of rows (y), the pixel spacing for
            that of slices.
        mask_stack: whether mask methods are measured, also by the metrics that need the whole volume, on
            the unobserved slices stacked without the gaps between them (published).
        truth_beyond: whether mask methods are given the truth beyond the last observed slice (published).

    Example:
        >>> from bundle.metrics import DiceScore, RegionMAE
        >>> evaluator = NoduleEvaluator({"mae": RegionMAE()}, {"dsc": DiceScore()}, thresholds=[-400])
        >>> hu = np.full((9, 9, 6), -800.0)
        >>> hu[3:6, 3:6] = 0.0
        >>> rows = evaluator.rows(Truth(hu, hu > -400, (1.0, 1.0, 1.0), [0, 5]), image=(hu + 1000) / 1400)
        >>> {row["metric"]: row["value"] for row in rows}
        {'mae': 0.0, 'dsc': 1.0}
    """

    def __init__(
        self,
        radiometric: Mapping[str, RegionMetric] | None = None,
        geometric: Mapping[str, MaskMetric] | None = None,
        thresholds: Sequence[float] = (-500, -450, -400, -350, -300),
        roi_margin_mm: float = 3.0,
        hu_decimals: int = 3,
        intensity_range: IntensityRange = "window",
        image_slices: tuple[int, int] | None = None,
        spacing_convention: SpacingConvention = "voxel",
        mask_stack: bool = False,
        truth_beyond: bool = False,
    ) -> None:
        for name, value, known in (
            ("intensity_range", intensity_range, get_args(IntensityRange)),
            ("spacing_convention", spacing_convention, get_args(SpacingConvention)),
        ):
            if value not in known:
                raise InputError(f'{name} "{value}" is unknown: give one of {", ".join(known)}')
        self.radiometric = build_metrics("radiometric") if radiometric is None else dict(radiometric)
        self.geometric = build_metrics("geometric") if geometric is None else dict(geometric)
        self.thresholds = tuple(thresholds)
        self.roi_margin_mm = roi_margin_mm
        self.hu_decimals = hu_decimals
        self.intensity_range = intensity_range
        self.image_slices = image_slices
        self.spacing_convention = spacing_convention
        self.mask_stack = mask_stack
        self.truth_beyond = truth_beyond

    def rows(self, truth: Truth, image: np.ndarray | None = None, mask: np.ndarray | None = None) -> list[Row]:
        """Measure one reconstruction.

        Args:
            truth: of the nodule.
            image: (X, Y, Z) normalised to [0, 1], of an image method.
            mask: (X, Y, Z), > 0 is inside, of a mask method.

        Returns:
            the rows of :meth:`expected_rows`, with values; nan where undefined, see
            :func:`bundle.metrics.explain_undefined`.

        Raises:
            InputError: no reconstruction at all, a shape other than the truth's, voxels that aren't finite, or
                intensity far outside of 0 to 1.
        """
        if image is None and mask is None:
            raise InputError("there is neither a reconstructed image nor a mask to measure")
        rows: list[Row] = []
        if image is not None:
            rows += self._image_rows(truth, truth.image(image))
        if mask is not None:
            rows += self._mask_rows(truth, truth.volume("reconstructed mask", mask) > 0)
        return rows

    def expected_rows(self, kind: Literal["image", "mask"]) -> list[Row]:
        """List the rows that a method of this kind gives, each with the value nan: for a method that failed.

        Example:
            >>> from bundle.metrics import DiceScore
            >>> len(NoduleEvaluator({}, {"dsc": DiceScore()}).expected_rows("image"))
            15
        """
        if kind == "mask":
            return filled(self._geometric_places(None))
        if kind != "image":
            raise InputError(f'a method of kind "{kind}" is unknown: give "image" or "mask"')
        thresholded = [place for threshold in self.thresholds for place in self._geometric_places(threshold)]
        return filled([*region_places(RADIOMETRIC_SLICES, self.radiometric), *thresholded])

    def masks(self, truth: Truth, image: np.ndarray) -> dict[float, np.ndarray]:
        """The masks of a reconstructed image that are measured, (X, Y, Z) bool, by threshold in HU."""
        roi = roi_mask(truth.mask, self._spacing(truth), self.roi_margin_mm)
        hu = exact_hu(image, self.hu_decimals)
        return {threshold: threshold_mask(hu, threshold, roi) for threshold in self.thresholds}

    def _image_rows(self, truth: Truth, image: np.ndarray) -> list[Row]:
        masks = self.masks(truth, image)
        if self.image_slices is not None:
            axis, stride = self.image_slices
            truth = dataclasses.replace(truth, axis=axis, observed=np.arange(0, truth.hu.shape[axis], stride))

        @lru_cache(maxsize=1)  # places follow each other region by region
        def volumes(slices: str, name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
            region = truth.region(slices, name)
            return (*self._intensity(image, truth.hu, region), region)

        def value(slices: str, region: str, _: float | None, name: str) -> float:
            return self.radiometric[name].measure(*volumes(slices, region))

        rows = filled(region_places(RADIOMETRIC_SLICES, self.radiometric), value)
        for threshold, predicted in masks.items():
            rows += self._geometric_rows(truth, predicted, threshold)
        return rows

    def _mask_rows(self, truth: Truth, predicted: np.ndarray) -> list[Row]:
        observed = np.flatnonzero(~truth.slice_sets["unobserved"])
        if self.truth_beyond and len(observed):
            after = np.arange(predicted.shape[truth.axis]) > observed[-1]
            predicted = np.where(slice_region(predicted.shape, after, truth.axis), truth.mask, predicted)
        return self._geometric_rows(truth, predicted, None)

    def _geometric_rows(self, truth: Truth, predicted: np.ndarray, threshold: float | None) -> list[Row]:
        spacing = self._spacing(truth)

        def value(slices: str, region: str, _: float | None, name: str) -> float:
            chosen = np.flatnonzero(truth.slice_sets[slices])
            made, true = (mask.take(chosen, truth.axis) for mask in (predicted, truth.mask))
            return self.geometric[name].measure(made, true, spacing)

        return filled(self._geometric_places(threshold), value)

    def _geometric_places(self, threshold: float | None) -> list[Place]:
        whole = ("unobserved", "all") if self.mask_stack and threshold is None else ("all",)
        return [
            (slices, "roi", threshold, name)
            for name, metric in self.geometric.items()
            for slices in (whole if metric.whole_volume else GEOMETRIC_SLICES)
        ]

    def _intensity(self, image: np.ndarray, hu: np.ndarray, region: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The reconstruction and the truth on the scale that the radiometric metrics call 0 to 1, float64."""
        if self.intensity_range == "window":
            return image.astype(np.float64), to_unit(hu.astype(np.float64))
        inside = hu[region].astype(np.float64)
        low, high = (inside.min(), inside.max()) if inside.size else (np.nan, np.nan)
        # a truth that is all alike has no range: undefined, not a division by zero
        width = high - low if high > low else np.nan
        return (exact_hu(image, self.hu_decimals) - low) / width, (hu - low) / width

    def _spacing(self, truth: Truth) -> tuple[float, ...]:
        x, y, z = truth.spacing
        return (x, y, z) if self.spacing_convention == "voxel" else (x, float(truth.slice_thickness or z), x)
