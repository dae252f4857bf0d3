"""The truth of one nodule, which reconstructions are measured against, and the regions of it that figures are about."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from bundle.errors import InputError
from bundle.metrics.regions import slice_region, slice_sets
from bundle.metrics.rows import checked_volume
from bundle.units import check_unit, refuse_normalised


@dataclass(frozen=True, eq=False)
class Truth:
    """A cropped CT, the readers' mask, and which of its slices the methods were given.

    Args:
        hu: (X, Y, Z) in HU.
        mask: (X, Y, Z), > 0 is inside; kept as bool.
        spacing: mm between voxel centres (x, y, z).
        observed: indices along ``axis`` of the slices the methods were given.
        axis: the decimated one.
        slice_thickness: mm, nominal; None if unknown.
        ends: places, in slices, of the first and the last observed slice, where those are averages of the volume's
            slices and none of its own; then ``observed`` is empty and all slices are unobserved.

    Raises:
        InputError: volumes that aren't 3-D, differ in shape or hold voxels that aren't finite, an image that is
            normalised, a spacing of other
            than three numbers above 0, or an observed slice that is none of the volume's.

    Example:
        >>> truth = Truth(np.zeros((4, 4, 6)), np.ones((4, 4, 6)), (0.7, 0.7, 1.0), [0, 5])
        >>> int(truth.region("unobserved", "tumour").sum())
        64
    """

    hu: np.ndarray
    mask: np.ndarray
    spacing: Sequence[float]
    observed: Sequence[int] | np.ndarray
    axis: int = 2
    slice_thickness: float | None = None
    ends: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        hu = checked_volume("the true image", self.hu, np.shape(self.hu))
        refuse_normalised("the true image", hu)
        mask = checked_volume("the true mask", self.mask, hu.shape) > 0
        mm = np.asarray(self.spacing, dtype=np.float64)
        if mm.shape != (3,) or not (np.isfinite(mm) & (mm > 0)).all():
            raise InputError(f"spacing {tuple(self.spacing)} is no mm for (x, y, z): give three numbers above 0")
        for name, value in (("hu", hu), ("mask", mask), ("spacing", tuple(mm.tolist()))):
            object.__setattr__(self, name, value)
        self.slice_sets  # noqa: B018  refuses observed slices that are none

    @cached_property
    def slice_sets(self) -> dict[str, np.ndarray]:
        """Which slices along ``axis`` are in each set, see :func:`slice_sets`."""
        return slice_sets(self.hu.shape[self.axis], self.observed, self.ends)

    def region(self, slices: str, region: str) -> np.ndarray:
        """(X, Y, Z) bool: the voxels of a set of slices, ``global`` or of the ``tumour`` alone; may be read-only."""
        chosen = slice_region(self.hu.shape, self.slice_sets[slices], self.axis)
        return chosen & self.mask if region == "tumour" else chosen

    def volume(self, name: str, volume: np.ndarray) -> np.ndarray:
        """A reconstructed volume as an array.

        Raises:
            InputError: another shape than the truth's, or voxels that aren't finite.
        """
        return checked_volume(f"the {name}", volume, self.hu.shape)

    def image(self, image: np.ndarray) -> np.ndarray:
        """A reconstructed image as an array.

        Raises:
            InputError: as :meth:`volume`, and intensity far outside of 0 to 1.
        """
        check_unit("the reconstructed image", image)
        return self.volume("reconstructed image", image)
