"""Measure the sizes of one reconstruction of one nodule: every row that it adds to ``clinical.csv``.

Vocabulary: a *reference* says what a size is of, and sizes of two references are never compared: ``outline``, a mask:
the readers' consensus, what a mask method makes of it, or the sum of the areas of the observed slices times the gap;
``seg``, a segmentation of an image by one rule (:func:`bundle.metrics.sizes.segment`), of the true image and of each
reconstructed one. Brightness is that within the HU window which reconstructions have; so is the truth's.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal

import numpy as np

from bundle.errors import InputError
from bundle.metrics.rows import Row
from bundle.metrics.sizes import Spacing, axial_diameters, largest_diameter, mass_mg, segment, volume_mm3
from bundle.metrics.table import Metric
from bundle.metrics.texture import mean_hu
from bundle.metrics.truth import Truth
from bundle.slices import ObservedSlices
from bundle.transforms.hu import HU_MAX, HU_MIN, exact_hu, to_hu

SUM_OF_AREAS = "sum_of_areas"
REFERENCES = {"image": "seg", "mask": "outline"}
MISSED = "nothing of the nodule was found"
NO_BRIGHTNESS = "a mask has no brightness"

QUANTITIES = (
    Metric("volume_mm3", None, "size", "volume", "mm3", 0),
    Metric("longest_diameter_mm", None, "size", "longest axial diameter", "mm", 1),
    Metric("perpendicular_diameter_mm", None, "size", "perpendicular diameter", "mm", 1),
    Metric("mean_diameter_mm", None, "size", "mean diameter", "mm", 1),
    Metric("largest_diameter_mm", None, "size", "largest 3-D diameter", "mm", 1),
    Metric("mass_mg", None, "size", "mass", "mg", 0),
    Metric("mean_hu", None, "size", "mean", "HU", 0),
)


def sizes(mask: np.ndarray, spacing: Spacing, hu: np.ndarray | None = None) -> dict[str, float]:
    """All sizes of a mask, by the names of ``QUANTITIES``.

    Args:
        mask: (X, Y, Z), > 0 is inside.
        spacing: mm between voxel centres, or the places of slices, see :mod:`bundle.metrics.sizes`.
        hu: (X, Y, Z) HU, for mass and mean; None: these are nan.

    Returns:
        nan throughout for an empty mask.

    Raises:
        InputError: a mask of fractions or of other than three axes, or a spacing that does not fit it.

    Example:
        >>> found = sizes(np.ones((2, 2, 2)), (1.0, 1.0, 1.0), np.zeros((2, 2, 2)))
        >>> found["volume_mm3"], found["mass_mg"], round(found["mean_diameter_mm"], 3)
        (8.0, 8.0, 2.236)
    """
    volume, axial = volume_mm3(mask, spacing), axial_diameters(mask, spacing)
    mean = math.nan if hu is None else mean_hu(np.asarray(hu)[np.asarray(mask) > 0])
    diameters = (axial.longest, axial.perpendicular, axial.mean, largest_diameter(mask, spacing))
    values = (volume, *diameters, mass_mg(volume, mean), mean)
    return dict(zip([quantity.name for quantity in QUANTITIES], values, strict=True))


class SizeEvaluator:
    """Measure sizes: of the truth, of its observed slices alone, and of reconstructions.

    Args:
        threshold_hu: of the segmentation rule.
        margin_mm: of the segmentation rule: how far from the readers' consensus it looks.
        hu_decimals: HU are rounded to so many decimals before the threshold.

    Example:
        >>> hu = np.full((9, 9, 6), -800.0)
        >>> hu[3:6, 3:6, 1:4] = 0.0
        >>> truth = Truth(hu, hu > -400, (1.0, 1.0, 1.0), [0, 5])
        >>> rows = SizeEvaluator().rows(truth, image=(hu + 1000) / 1400)
        >>> rows[0]
        {'reference': 'seg', 'quantity': 'volume_mm3', 'unit': 'mm3', 'value': 27.0, 'reason': None}
    """

    def __init__(self, threshold_hu: float = -400.0, margin_mm: float = 3.0, hu_decimals: int = 3) -> None:
        self.threshold_hu = threshold_hu
        self.margin_mm = margin_mm
        self.hu_decimals = hu_decimals

    def truth_rows(self, truth: Truth) -> list[Row]:
        """Sizes of the truth: of the readers' consensus, then of the true image by the rule."""
        hu = np.clip(truth.hu, HU_MIN, HU_MAX)
        return [*_rows("outline", sizes(truth.mask, truth.spacing, hu)), *self._segmented(truth, hu)]

    def areas_rows(self, truth: Truth, observed: ObservedSlices) -> list[Row]:
        """Sizes of the observed slices alone, each as thick as the gap: the plain sum of areas.

        Args:
            truth: of the nodule: says which axis was decimated.
            observed: the observed slices with their mask, that axis last.
        """
        spacing: list = list(truth.spacing)
        spacing[truth.axis] = observed.positions
        assert observed.mask is not None
        mask, image = (np.moveaxis(np.asarray(v), 2, truth.axis) for v in (observed.mask, observed.intensity))
        return _rows("outline", sizes(mask, spacing, to_hu(image)))

    def rows(self, truth: Truth, image: np.ndarray | None = None, mask: np.ndarray | None = None) -> list[Row]:
        """Sizes of one reconstruction: ``reference``, ``quantity``, ``unit``, ``value``, ``reason`` why it is nan.

        Args:
            truth: of the nodule.
            image: (X, Y, Z) normalised to [0, 1], of an image method.
            mask: (X, Y, Z), > 0 is inside, of a mask method.

        Raises:
            InputError: a shape other than the truth's, voxels that aren't finite, or intensity far outside of 0 to 1.
        """
        rows = [] if image is None else self._segmented(truth, exact_hu(truth.image(image), self.hu_decimals))
        if mask is not None:
            rows += _rows("outline", sizes(truth.volume("reconstructed mask", mask) > 0, truth.spacing))
        return rows

    def expected_rows(self, kind: Literal["image", "mask"], reason: str) -> list[Row]:
        """The rows of a method of this kind that failed: nan, and why."""
        if kind not in REFERENCES:
            raise InputError(f'a method of kind "{kind}" is unknown: give "image" or "mask"')
        return _rows(REFERENCES[kind], {}, reason)

    def _segmented(self, truth: Truth, hu: np.ndarray) -> list[Row]:
        mask = segment(hu, truth.mask, truth.spacing, self.threshold_hu, self.margin_mm)
        return _rows("seg", sizes(mask, truth.spacing, hu))


def _rows(reference: str, values: Mapping[str, float], reason: str | None = None) -> list[Row]:
    why = reason or (MISSED if math.isnan(values["volume_mm3"]) else NO_BRIGHTNESS)
    rows = []
    for quantity in QUANTITIES:
        value = values.get(quantity.name, math.nan)
        row = {"reference": reference, "quantity": quantity.name, "unit": quantity.unit, "value": value}
        rows.append(row | {"reason": why if math.isnan(value) else None})
    return rows
