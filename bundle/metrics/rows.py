"""What the evaluators share: HU and normalised brightness, rows of the tidy file, and the check of a volume.

Vocabulary: a *row* is a dictionary with ``slices``, ``region``, ``threshold_hu``, ``metric`` and ``value``:
what ``metrics.csv`` has beside the nodule and the method. The *window* are the HU that normalised 0 and 1
stand for.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from bundle.errors import InputError
from bundle.transforms.hu import to_hu

Row = dict[str, Any]
Place = tuple[str, str, float | None, str]
REGIONS = ("global", "tumour")


def exact_hu(unit: np.ndarray, decimals: int = 3) -> np.ndarray:
    """Convert normalised brightness to HU in float64, rounded so that float32 noise is gone.

    Args:
        unit: brightness, any shape.
        decimals: HU are rounded to; float32 brightness is exact to 1e-4 HU.

    Example:
        >>> exact_hu(np.float32([0.0, 600 / 1400])).tolist()
        [-1000.0, -400.0]
    """
    return np.round(to_hu(np.asarray(unit, dtype=np.float64)), decimals)


def checked_volume(name: str, volume: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Give the volume as an array.

    Raises:
        InputError: the volume isn't 3-D, has another shape, or voxels that are nan or infinite.
    """
    array = np.asarray(volume)
    if array.ndim != 3 or array.shape != shape:
        wanted = shape if len(shape) == 3 else "(X, Y, Z)"
        raise InputError(f"{name} has shape {array.shape}, expected {wanted}: give one of the truth's grid")
    broken = array.size - int(np.isfinite(array).sum())
    if broken:
        raise InputError(f"{name} has {broken} voxels that are nan or infinite, expected none")
    return array


def check_same_shape(prediction: np.ndarray, truth: np.ndarray) -> None:
    """Refuse a pair of volumes of different shapes.

    Raises:
        InputError: the shapes differ.
    """
    if np.shape(prediction) != np.shape(truth):
        raise InputError(
            f"the reconstruction has shape {np.shape(prediction)}, expected that of the truth, {np.shape(truth)}"
        )


def row(slices: str, region: str, threshold: float | None, metric: str, value: float) -> Row:
    """One row of the tidy file."""
    return {"slices": slices, "region": region, "threshold_hu": threshold, "metric": metric, "value": value}


def as_batch(volume: np.ndarray) -> torch.Tensor:
    """The volume (X, Y, Z) as a tensor (1, 1, X, Y, Z) of its own dtype."""
    # copied: a broadcast or flipped array is nothing torch takes
    return torch.from_numpy(np.array(volume))[None, None]
