"""Dilate a mask by a distance in mm, whatever the voxel spacing.

A *ball* of radius r mm around a voxel holds the voxels whose centres lie within r mm of its centre. Dilating
by it equals thresholding the Euclidean distance to the mask, which is what is done here: the ball has no
corners and needs no structuring element, also where slices are thicker than pixels. The study measures shape
inside the mask dilated by a 3 mm ball.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
from monai.config import KeysCollection
from monai.transforms import MapTransform, Transform
from monai.utils import TransformBackends, convert_to_dst_type
from scipy.ndimage import distance_transform_edt

from bundle.errors import InputError
from bundle.transforms.grid import bounding_box, voxel_spacing
from bundle.units import to_array

# a voxel at the radius belongs to the ball, although 0.7 + 0.7 + 0.7 mm is not quite 2.1 mm in floating point
_TOLERANCE_MM = 1e-5


def dilate_mask_mm(mask: np.ndarray, spacing: Sequence[float], radius_mm: float) -> np.ndarray:
    """Add the voxels whose centre lies within ``radius_mm`` of the centre of a voxel of the mask.

    Args:
        mask: bool, or any number of which > 0 is inside; any number of axes.
        spacing: mm between voxel centres, one number for each axis.
        radius_mm: radius of the ball in mm; 0 gives the mask itself.

    Returns:
        bool array of the mask's shape; an empty mask stays empty.

    Raises:
        InputError: a negative or unknown radius, or a spacing that is not positive or not one number an axis.

    Example:
        >>> dilate_mask_mm(np.array([0, 0, 1, 0, 0]), (2.0,), 2.0).astype(int)
        array([0, 1, 1, 1, 0])
    """
    inside = np.asarray(mask) > 0
    if not (np.isfinite(radius_mm) and radius_mm >= 0):
        raise InputError(f"cannot dilate by radius_mm={radius_mm}: give a distance of 0 mm or more")
    steps = np.asarray(spacing, dtype=float)
    if steps.shape != (inside.ndim,) or not np.all(np.isfinite(steps) & (steps > 0)):
        raise InputError(
            f"spacing {tuple(spacing)} does not fit a mask of shape {inside.shape}: give mm > 0 for each axis"
        )
    if not inside.any():
        return np.zeros_like(inside)
    # nothing further than the radius from the mask's bounding box can change: quick in a whole scan too
    reach = np.ceil(radius_mm / steps).astype(int) + 1
    start, end = bounding_box(inside)
    box = tuple(slice(max(lo, 0), hi) for lo, hi in zip(start - reach, end + reach, strict=True))
    dilated = inside.copy()
    dilated[box] = distance_transform_edt(~inside[box], sampling=steps) <= radius_mm + _TOLERANCE_MM
    return dilated


class DilateMask(Transform):
    """Dilate a channel-first mask by a ball of ``radius_mm``; see :func:`dilate_mask_mm`.

    Args:
        radius_mm: radius of the ball in mm.
        spacing: mm between voxel centres, one number for each spatial axis; None: from the affine of the
            mask.

    Example:
        >>> DilateMask(radius_mm=2.0, spacing=(2.0, 2.0))(np.eye(3, dtype=int)[None])
        array([[[1, 1, 0],
                [1, 1, 1],
                [0, 1, 1]]])
    """

    backend = [TransformBackends.NUMPY]  # noqa: RUF012 (MONAI's own form)

    def __init__(self, radius_mm: float = 3.0, spacing: Sequence[float] | None = None) -> None:
        self.radius_mm = radius_mm
        self.spacing = None if spacing is None else tuple(spacing)

    def __call__(self, mask: Any) -> Any:
        """Dilate each channel by itself.

        Args:
            mask: (C, ...) MetaTensor, or tensor or array where ``spacing`` was given; > 0 is inside.

        Returns:
            0 and 1 in the mask's type, dtype, shape and (for a MetaTensor) affine.

        Raises:
            InputError: no ``spacing`` was given and the mask carries no affine.
        """
        spacing = voxel_spacing(mask, self.spacing)
        dilated = np.stack([dilate_mask_mm(channel, spacing, self.radius_mm) for channel in to_array(mask)])
        return convert_to_dst_type(dilated, mask, dtype=mask.dtype)[0]


class DilateMaskd(MapTransform):
    """Dictionary form of :class:`DilateMask`.

    Args:
        keys: the masks, dilated in place; copy one with ``CopyItemsd`` first to keep it.
        radius_mm: radius of the ball in mm.
        spacing: mm between voxel centres; None: from the affine of each mask.
        allow_missing_keys: pass over keys that are absent.

    Example:
        >>> label = np.array([[0, 0, 1, 0, 0]])
        >>> DilateMaskd("label", radius_mm=1.0, spacing=(1.0,))({"label": label})["label"]
        array([[0, 1, 1, 1, 0]])
    """

    backend = DilateMask.backend

    def __init__(
        self,
        keys: KeysCollection,
        radius_mm: float = 3.0,
        spacing: Sequence[float] | None = None,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.dilate = DilateMask(radius_mm, spacing)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Dilate the masks at the keys; the other entries pass through."""
        out = dict(data)
        for key in self.key_iterator(out):
            out[key] = self.dilate(out[key])
        return out
