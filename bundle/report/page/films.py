"""Every axial slice of a volume side by side in one picture, for the page's slider.

Vocabulary: a *film* is such a picture, lowest slice first. A script shows one slice of it at a time; without a script
it is a strip through z. Outlines of masks lie over it as one SVG path, in units of its pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import matplotlib as mpl
import numpy as np
from PIL import Image

from bundle.report.figures.style import HEAT, LUNG_WINDOW, data_address
from bundle.report.figures.views import Cut, nodule_centre, outline
from bundle.report.results import NoduleFacts

LARGEST = (128, 128, 120)
"""Voxels of a film at most, per axis: of a whole CT, that much around the nodule's centre is shown."""


@dataclass(frozen=True)
class Window:
    """The part of a volume that films show: first voxel and number of voxels on each axis."""

    start: tuple[int, int, int]
    size: tuple[int, int, int]

    def crop(self, volume: np.ndarray) -> np.ndarray:
        """The part of the volume, (X, Y, Z)."""
        return volume[tuple(slice(first, first + n) for first, n in zip(self.start, self.size, strict=True))]


def film_window(mask: np.ndarray) -> Window:
    """All of a crop, or so much of a larger volume around the nodule as a page can hold.

    Example:
        >>> film_window(np.ones((20, 500, 30), bool))
        Window(start=(0, 186, 0), size=(20, 128, 30))
    """
    size = [min(n, largest) for n, largest in zip(mask.shape, LARGEST, strict=True)]
    middle = nodule_centre(mask)
    start = [
        int(np.clip(round(centre - n / 2 + 0.5), 0, whole - n))
        for centre, n, whole in zip(middle, size, mask.shape, strict=True)
    ]
    return Window(tuple(start), tuple(size))  # type: ignore[arg-type]


def film_picture(hu: np.ndarray, window: Window) -> str:
    """A volume's film in the lung window, as a ``data:`` address.

    Args:
        hu: (X, Y, Z).
        window: what to show.
    """
    part = window.crop(hu)
    low, high = LUNG_WINDOW
    grey = ((np.clip(part, low, high) - low) * (255 / (high - low))).round().astype(np.uint8)
    film = np.concatenate([Cut(2, k).view(grey) for k in range(grey.shape[2])], axis=1)
    return data_address(Image.fromarray(film), lossless=False)


def film_heat(error: np.ndarray, window: Window, limit: float) -> str:
    """A film of absolute errors in colours, dark for none, as a ``data:`` address.

    Args:
        error: (X, Y, Z) in HU, 0 or more.
        window: what to show.
        limit: HU of the lightest colour.
    """
    part = window.crop(error)
    film = np.concatenate([Cut(2, k).view(part) for k in range(part.shape[2])], axis=1)
    colors = mpl.colormaps[HEAT](np.clip(film / limit, 0, 1), bytes=True)
    return data_address(Image.fromarray(colors[..., :3]), lossless=False)


def film_outline(mask: np.ndarray, window: Window) -> str:
    """Outline of a mask on every slice of its film, as the ``d`` of an SVG path; "" for an empty mask."""
    part = window.crop(mask)
    wide = part.shape[0]
    pieces = []
    for k in range(part.shape[2]):
        for (x, y), (x_end, y_end) in outline(Cut(2, k).view(part)):
            pieces.append(f"M{x + k * wide} {y}" + (f"h{x_end - x}" if y == y_end else f"v{y_end - y}"))
    return "".join(pieces)


def film_marks(facts: NoduleFacts, window: Window) -> str:
    """A line below every observed slice, as the ``d`` of an SVG path; "" where another axis was decimated."""
    if facts.axis != 2:
        return ""
    wide, high, count = window.size
    shown = [k - window.start[2] for k in facts.observed]
    return "".join(f"M{k * wide} {high}h{wide}" for k in shown if 0 <= k < count)
