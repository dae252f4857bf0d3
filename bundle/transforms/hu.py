"""The study's HU window, and the way back from it.

*Normalised* intensity is HU clipped to [-1000, 400] and scaled to [0, 1]: 0 is air, 1 is bone. In a
transform chain the window is MONAI's own ``ScaleIntensityRange(d)`` with ``a_min=HU_MIN, a_max=HU_MAX,
b_min=0, b_max=1, clip=True``; the functions here do the same to plain arrays, and undo it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

HU_MIN = -1000.0
HU_MAX = 400.0
HU_RANGE = HU_MAX - HU_MIN  # HU that a difference of 1 between normalised values stands for
SCANNER_HU = (-1024, 3071)  # of 12 bits, as most scanners store


def to_unit(hu: Any, clip: bool = True) -> Any:
    """Normalise: ``(clip(hu, -1000, 400) + 1000) / 1400``.

    Args:
        hu: array or tensor of any shape, HU.
        clip: False: HU outside of the window lie outside of [0, 1].

    Returns:
        the same container in [0, 1] and of the same floating dtype (float32 for integers); nan stays nan.

    Example:
        >>> to_unit(np.array([-2000.0, -1000.0, -300.0, 400.0]))
        array([0. , 0. , 0.5, 1. ])
    """
    values = _floating(hu)
    return ((values.clip(HU_MIN, HU_MAX) if clip else values) - HU_MIN) / (HU_MAX - HU_MIN)


def to_hu(unit: Any) -> Any:
    """Undo :func:`to_unit`, within the window: ``1400 unit - 1000``.

    Args:
        unit: array or tensor of any shape, normalised.

    Returns:
        HU in the same container and of the same floating dtype; not clipped, not rounded.

    Example:
        >>> to_hu(np.array([0.0, 0.5, 1.0]))
        array([-1000.,  -300.,   400.])
    """
    return _floating(unit) * (HU_MAX - HU_MIN) + HU_MIN


def exact_hu(unit: Any, decimals: int = 3) -> np.ndarray:
    """HU of normalised intensity in float64, rounded so that float32 noise is gone.

    Args:
        unit: array of any shape, normalised.
        decimals: HU are rounded to; float32 intensity is exact to 1e-4 HU.

    Example:
        >>> exact_hu(np.float32([0.0, 600 / 1400])).tolist()
        [-1000.0, -400.0]
    """
    return np.round(to_hu(np.asarray(unit, dtype=np.float64)), decimals)


def _floating(values: Any) -> Any:
    """The values, integers as float32."""
    if isinstance(values, torch.Tensor):
        return values if values.is_floating_point() else values.to(torch.float32)
    array = np.asarray(values)
    return array if np.issubdtype(array.dtype, np.floating) else array.astype(np.float32)
