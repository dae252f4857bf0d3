"""Arrays as pictures that a page holds itself; without matplotlib, so that a preview costs no second to load."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image, features

# matplotlib's inferno at even steps, as in the viewer's script and the style sheet
_HEAT = np.array([(0, 0, 4), (66, 10, 104), (147, 38, 103), (221, 81, 58), (252, 165, 10), (252, 255, 164)], float)


def grey(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """Values as bytes: ``low`` and less black, ``high`` and more white.

    Example:
        >>> grey(np.array([-2000.0, -600.0, 150.0]), -1350, 150).tolist()
        [0, 128, 255]
    """
    return ((np.clip(values, low, high) - low) * (255 / (high - low))).round().astype(np.uint8)


def heat(values: np.ndarray, limit: float) -> np.ndarray:
    """Errors as colours, dark for none to light for ``limit`` and more.

    Returns:
        (..., 3) uint8.

    Example:
        >>> heat(np.array([0.0, 50.0]), 50).tolist()
        [[0, 0, 4], [252, 255, 164]]
    """
    steps = np.linspace(0, limit, len(_HEAT))
    return np.stack([np.interp(values, steps, _HEAT[:, c]) for c in range(3)], axis=-1).round().astype(np.uint8)


def data_address(image: Image.Image, quality: int | None = None) -> str:
    """A picture as a ``data:`` address, so that a page holds its pictures itself.

    Args:
        image: the picture, no side longer than 16,383 pixels.
        quality: up to 100; at 90, CT differs by about 10 HU a voxel, and takes half the bytes. None: lossless.

    Returns:
        WebP; PNG or JPEG where Pillow was built without.

    Example:
        >>> data_address(Image.new("L", (1, 1)))[:11]
        'data:image/'
    """
    webp: dict[str, Any] = {"format": "webp"} | ({"lossless": True} if quality is None else {"quality": quality})
    other: dict[str, Any] = {"format": "png"} if quality is None else {"format": "jpeg", "quality": quality}
    options = webp if features.check("webp") else other
    out = io.BytesIO()
    image.save(out, **options)
    return f"data:image/{options['format']};base64,{base64.b64encode(out.getvalue()).decode()}"


def nice_limit(panels: Sequence[np.ndarray], percentile: float = 99, step: float = 50.0) -> float:
    """A symmetric limit of a colour bar that one panel far off the others can't stretch.

    Args:
        panels: values, an array a panel.
        percentile: of the absolute values of each panel; the median over panels counts.
        step: the limit is rounded up to a multiple of.

    Returns:
        at least ``step``.

    Example:
        >>> nice_limit([np.array([-120.0, 40.0]), np.array([90.0]), np.array([9000.0])])
        150.0
    """
    ends = [np.percentile(np.abs(values), percentile) for values in panels if values.size]
    return float(max(1, np.ceil(np.median(ends) / step)) * step) if ends else step
