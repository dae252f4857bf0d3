"""What the transforms need to know of a voxel grid: its spacing in mm, and where in it a mask lies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor

from bundle.errors import InputError


def to_array(data: Any) -> np.ndarray:
    """The numbers of a MetaTensor, tensor or array as an array, without their affine."""
    return data.detach().cpu().numpy() if isinstance(data, torch.Tensor) else np.asarray(data)


def voxel_spacing(data: Any, spacing: Sequence[float] | None = None) -> tuple[float, ...]:
    """Spacing of a channel-first volume in mm, one number for each spatial axis.

    Args:
        data: (C, ...) MetaTensor; a tensor or array only where ``spacing`` is given.
        spacing: mm between voxel centres, taken as it is; None: the lengths of the affine's columns.

    Raises:
        InputError: no ``spacing`` is given and the data carry no affine; or it is not mm > 0 for each axis.

    Example:
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
