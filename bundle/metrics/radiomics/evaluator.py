"""Measure the radiomic features of one reconstruction of one nodule: every row that it adds to ``radiomics.csv``.

Vocabulary: features are of the voxels within the truth's mask, of the true image as of each reconstructed one, once on
the voxels as they are (``native``) and once on cubes (``1 mm``). *Gray levels* are bins of fixed width, counted from 1
at the *bin origin*.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from scipy.ndimage import affine_transform

from bundle.errors import InputError
from bundle.metrics.radiomics import library
from bundle.metrics.radiomics.features import FEATURES
from bundle.metrics.rows import Row
from bundle.metrics.truth import Truth
from bundle.progress import Progress
from bundle.transforms.hu import HU_MAX, HU_MIN, exact_hu

NATIVE = "native"


class RadiomicsEvaluator:
    """Measure radiomic features: of the truth, and of reconstructed images. Its attributes are all that settles them.

    Args:
        bin_width: HU of a gray level.
        bin_origin: HU where the first one begins; None: at the darkest voxel of each region, rounded down to whole
            widths, as pyradiomics has it.
        spacings_mm: mm of the cubes that volumes are resampled to; None: they are not.
        minimum_voxels: a region of fewer has no features.
        minimum_slices: a region on fewer axial slices has none.
        hu_decimals: HU of a reconstruction are rounded to.

    Raises:
        InputError: what computes features is not installed, or a value that can't be used.

    Example:
        >>> evaluator = RadiomicsEvaluator()
        >>> evaluator.library, evaluator.definitions
        ('fastrad 1.0.0', 'pyradiomics')
    """

    def __init__(
        self,
        bin_width: float = 25.0,
        bin_origin: float | None = HU_MIN,
        spacings_mm: Sequence[float | None] = (None, 1.0),
        minimum_voxels: int = 64,
        minimum_slices: int = 3,
        hu_decimals: int = 3,
    ) -> None:
        library.load_library()
        for name, value in (("bin_width", bin_width), *(("spacings_mm", mm) for mm in spacings_mm if mm is not None)):
            if not (math.isfinite(value) and value > 0):
                raise InputError(f"{name} of radiomics is {value}, expected more than 0")
        if bin_origin is not None and bin_origin > HU_MIN:
            raise InputError(f"bin_origin of radiomics is {bin_origin}, expected at most {HU_MIN:g}, the darkest HU")
        self.bin_width = bin_width
        self.bin_origin = bin_origin
        self.spacings_mm = list(spacings_mm)
        self.minimum_voxels = minimum_voxels
        self.minimum_slices = minimum_slices
        self.hu_decimals = hu_decimals
        self.hu_clip = [HU_MIN, HU_MAX]
        self.library = f"{library.LIBRARY} {library.VERSION}"
        self.definitions = library.DEFINITIONS
        self.aggregation = library.AGGREGATION
        self.interpolation = "image: cubic spline, clipped again; mask: linear, inside from 0.5; middles aligned"

    def truth_rows(self, truth: Truth, told: Progress | None = None) -> list[Row]:
        """Features of the true image, in the window that reconstructions have."""
        return self._rows(truth, np.clip(truth.hu, HU_MIN, HU_MAX), told)

    def rows(self, truth: Truth, image: np.ndarray, told: Progress | None = None) -> list[Row]:
        """Features of one reconstruction: ``resampling``, ``class``, ``feature``, ``value``, ``reason`` why it is nan.

        Args:
            truth: of the nodule; its mask says which voxels count.
            image: (X, Y, Z) normalised to [0, 1].
            told: of each resampling.

        Raises:
            InputError: a shape other than the truth's, voxels that aren't finite, or intensity far outside of 0 to 1.
        """
        return self._rows(truth, exact_hu(truth.image(image), self.hu_decimals), told)

    def expected_rows(self, reason: str) -> list[Row]:
        """The rows of an image method that failed: nan, and why."""
        return [row for mm in self.spacings_mm for row in _rows(mm, {}, reason)]

    def _rows(self, truth: Truth, hu: np.ndarray, told: Progress | None) -> list[Row]:
        rows = []
        for done, mm in enumerate(self.spacings_mm):
            if told:
                told(done, len(self.spacings_mm), "radiomics")
            rows += self._resampled(hu, truth.mask, tuple(truth.spacing), mm)
        return rows

    def features(self, hu: np.ndarray, mask: np.ndarray, spacing: Sequence[float]) -> list[Row]:
        """Features where there is no truth: rows as those of :meth:`rows`.

        Args:
            hu: (X, Y, Z) HU.
            mask: (X, Y, Z) bool, the voxels that count.
            spacing: (x, y, z) mm.
        """
        clipped = np.clip(np.asarray(hu, dtype=np.float64), HU_MIN, HU_MAX)
        return [row for mm in self.spacings_mm for row in self._resampled(clipped, mask, tuple(spacing), mm)]

    def _resampled(self, hu: np.ndarray, mask: np.ndarray, spacing: tuple[float, ...], mm: float | None) -> list[Row]:
        if mm is not None:
            mask = resampled(mask.astype(np.float64), spacing, mm, order=1) >= 0.5
            hu = resampled(hu, spacing, mm, order=3).clip(HU_MIN, HU_MAX)
            spacing = (mm, mm, mm)
        voxels, slices = int(mask.sum()), int(mask.any(axis=(0, 1)).sum())
        if voxels < self.minimum_voxels or slices < self.minimum_slices:
            fewest = f"{self.minimum_voxels} on {self.minimum_slices}"
            return _rows(mm, {}, f"the nodule has {voxels} voxels on {slices} slices, fewer than {fewest}")
        darkest = np.floor(hu[mask].min() / self.bin_width) * self.bin_width
        levels = np.floor((hu - (darkest if self.bin_origin is None else self.bin_origin)) / self.bin_width) + 1
        return _rows(mm, library.compute_features(hu, levels, mask, spacing, self.bin_width))


def resampled(volume: np.ndarray, spacing: Sequence[float], mm: float, order: int) -> np.ndarray:
    """A volume on cubes, the middles of both grids at one place (IBSI); at its borders it goes on as it ends.

    Args:
        volume: (X, Y, Z).
        spacing: mm between its voxel centres.
        mm: edge of a cube.
        order: of the spline: 1 is linear, 3 cubic.

    Returns:
        float64, as many cubes along each axis as it takes to hold the volume.

    Example:
        >>> resampled(np.arange(8.0).reshape(4, 2, 1), (0.5, 1.0, 3.0), 1.0, 1)[:, :, 1]
        array([[1., 2.],
               [5., 6.]])
    """
    steps = mm / np.asarray(spacing, dtype=np.float64)
    shape = np.ceil(np.round(np.array(volume.shape) / steps, 9)).astype(int)
    start = ((np.array(volume.shape) - 1) - (shape - 1) * steps) / 2
    return affine_transform(volume, steps, start, tuple(shape), order=order, mode="nearest", output=np.float64)


def _rows(mm: float | None, found: Mapping[tuple[str, str], float | str], reason: str = "") -> list[Row]:
    """One row a feature; what is not found is nan for the one reason, what is in words for that."""
    rows = []
    for group, name in FEATURES:
        value = found.get((group, name), reason)
        place = {"resampling": NATIVE if mm is None else f"{mm:g} mm", "class": group, "feature": name}
        words = isinstance(value, str)
        rows.append({**place, "value": math.nan if words else value, "reason": value if words else None})
    return rows
