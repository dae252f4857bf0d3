"""What the transforms need to know of a voxel grid: its spacing in mm, and where in it a mask lies."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any

import numpy as np
from monai.data import MetaTensor

from bundle.errors import InputError
from bundle.units import to_array

# how far a mask may lie from its image, in parts of a voxel: programs round affines in different ways
_OFF_VOXELS = 0.1
_TOLD_MM = 0.002


def voxel_spacing(data: Any, spacing: Sequence[float] | None = None) -> tuple[float, ...]:
    """Spacing of a channel-first volume in mm, one number for each spatial axis.

    Args:
        data: (C, ...) MetaTensor; a tensor or array only where ``spacing`` is given.
        spacing: mm between voxel centres, taken as it is; None: the lengths of the affine's columns.

    Raises:
        InputError: no ``spacing`` is given and the data carry no affine; or it is not mm > 0 for each axis.

    Example:
        >>> import torch
        >>> affine = torch.diag(torch.tensor([2.0, 2.0, 5.0, 1.0]))
        >>> voxel_spacing(MetaTensor(torch.zeros(1, 4, 4, 4), affine=affine))
        (2.0, 2.0, 5.0)
    """
    if spacing is None:
        if not isinstance(data, MetaTensor):
            raise InputError("a volume without an affine has no spacing: pass a MetaTensor, or give spacing in mm")
        spacing = [float(step) for step in data.pixdim]
    steps = tuple(float(step) for step in spacing)
    if len(steps) != data.ndim - 1 or not all(np.isfinite(steps)) or min(steps) <= 0:
        raise InputError(
            f"spacing {steps} does not fit a volume of shape {tuple(data.shape[1:])}: give mm > 0 for each axis"
        )
    return steps


def check_same_place(volume: Any, mask: Any, name: str = "the image") -> None:
    """Refuse a mask that is not on the grid of its image.

    Args:
        volume: (C, ...) MetaTensor, tensor or array.
        mask: the same.
        name: of the volume, for the message.

    Raises:
        InputError: the shapes differ, or, of MetaTensors (C, X, Y, Z), the places of their voxels by more than a
            tenth of one.

    Example:
        >>> import torch
        >>> check_same_place(MetaTensor(torch.zeros(1, 4, 4, 4)), MetaTensor(torch.ones(1, 4, 4, 4)))
    """
    shapes = tuple(mask.shape[1:]), tuple(volume.shape[1:])
    if shapes[0] != shapes[1]:
        raise InputError(f"the mask has shape {shapes[0]} and {name} {shapes[1]}: give a mask on the image's own grid")
    if not (isinstance(volume, MetaTensor) and isinstance(mask, MetaTensor) and len(shapes[0]) == 3):
        return
    here, there = (to_array(each.affine).astype(np.float64) for each in (volume, mask))
    check_place(here, there, shapes[0], "the mask", name)


def corner_distance(first: np.ndarray, second: np.ndarray, shape: tuple[int, ...]) -> float:
    """How far two affines put the corners of one grid apart, at most.

    Args:
        first: 4 x 4, voxel index -> mm.
        second: 4 x 4, voxel index -> mm.
        shape: voxels of the grid (X, Y, Z).

    Returns:
        mm.

    Example:
        >>> shifted = np.eye(4); shifted[0, 3] = 0.5
        >>> corner_distance(np.eye(4), shifted, (4, 4, 4))
        0.5
    """
    corners = np.array([(*corner, 1) for corner in product(*((0, n - 1) for n in shape))], dtype=float)
    return float(np.linalg.norm((corners @ (first - second).T)[:, :3], axis=1).max())


def check_place(
    image: np.ndarray, mask: np.ndarray, shape: tuple[int, ...], what: str, of: str, uneven: bool = False
) -> str | None:
    """Refuse a mask that lies elsewhere than its image.

    Args:
        image: (4, 4) affine of the image.
        mask: of the mask, with its axes in the image's order.
        shape: (X, Y, Z) of both.
        what: the mask, named in the error.
        of: the image.
        uneven: slices lie unevenly, so that the affines can't say where they are.

    Returns:
        a note, where the mask is off by what rounding leaves.

    Raises:
        InputError: it is off by more than a tenth of a voxel.
    """
    here, there = image.copy(), mask.copy()
    if uneven:
        here[:3, 2] = there[:3, 2] = 0  # whoever wrote the mask had no spacing to write
    apart = corner_distance(here, there, shape)
    if not apart <= _OFF_VOXELS * np.linalg.norm(image[:3, :3], axis=0).min():
        raise InputError(
            f"{what} lies up to {apart:.3g} mm away from {of} (their affines differ): "
            "give a mask that was drawn on this image"
        )
    return f"{what} lies {apart:.2g} mm off its image: taken as on its grid" if apart > _TOLD_MM else None


def bounding_box(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Smallest box that holds a mask.

    Args:
        mask: bool, any number of axes.

    Returns:
        start, end: int, index of the first voxel and of the one past the last, for each axis.

    Raises:
        InputError: the mask is empty.

    Example:
        >>> bounding_box(np.array([[False, True, True, False]]))
        (array([0, 1]), array([1, 3]))
    """
    if not mask.any():
        raise InputError(f"the mask of shape {mask.shape} is empty: give one with at least one voxel of nodule")
    axes = range(mask.ndim)
    found = [np.flatnonzero(mask.any(axis=tuple(other for other in axes if other != axis))) for axis in axes]
    return np.array([int(f[0]) for f in found]), np.array([int(f[-1]) + 1 for f in found])
