"""A dense volume and the slices it was made of, cut in the two planes that show what lies between slices.

Arrays are (X, Y, Z), pointing to the patient's left, posterior and superior, as all volumes of the bundle are.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from monai.data import MetaTensor
from PIL import Image
from scipy import ndimage

from bundle.report.figures.views import PLANES, Cut, nodule_centre
from bundle.report.pictures import data_address, grey, heat, nice_limit
from bundle.transforms import slice_positions

SIDE = 480
"""Pixels of the longer side of the largest picture."""
WINDOWS = {"lung window, level -600, width 1500 HU": (-1350.0, 150.0),
           "mediastinal window, level 40, width 350 HU": (-135.0, 215.0)}  # fmt: skip
_DRAWN, _CARRIED = (0x56, 0xB4, 0xE9), (0xE8, 0x74, 0x1E)


@dataclass(frozen=True)
class Dense:
    """A dense volume and what it was made of.

    Attributes:
        image: (C, X, Y, K) HU of the observed slices, and, if C is 2, the mask that was drawn on them.
        dense: (X, Y, Z) HU, or labels.
        is_mask: whether they are labels.
        step: mm between the slices of ``dense``, the first of which is the first observed one.
        error: (X, Y, Z) HU that ``dense`` is expected to be off by; None where nothing is known.
    """

    image: MetaTensor
    dense: np.ndarray
    is_mask: bool
    step: float
    error: np.ndarray | None = None

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Mm between voxels of ``dense``."""
        x, y, _ = np.linalg.norm(np.asarray(self.image.affine, dtype=float)[:3, :3], axis=0)
        return float(x), float(y), self.step

    @property
    def positions(self) -> np.ndarray:
        """(K,) mm of the observed slices."""
        return slice_positions(self.image)

    def nearest(self) -> np.ndarray:
        """(Z,) the observed slice next to each of the dense ones."""
        targets = self.positions[0] + self.step * np.arange(self.dense.shape[2])
        return np.abs(targets[:, None] - self.positions).argmin(axis=1)

    def centre(self) -> tuple[tuple[int, int], str]:
        """Voxel in x and y through which the planes go, and what is there: the largest nodule, or the middle."""
        drawn = np.asarray(self.image[1]) if len(self.image) > 1 else np.zeros(0)
        sizes = {int(v): int(n) for v, n in zip(*np.unique(drawn[drawn > 0], return_counts=True), strict=True)}
        if not sizes:
            x, y = self.dense.shape[:2]
            return (x // 2, y // 2), "the middle of the region"
        largest = max(sizes, key=lambda value: sizes[value])
        x, y, _ = nodule_centre(drawn == largest)
        return (round(x), round(y)), "the nodule" if len(sizes) == 1 else f"the largest nodule, label {largest}"


@dataclass(frozen=True)
class Panel:
    """One picture and what it shows."""

    words: str
    picture: Image.Image

    @property
    def address(self) -> str:
        """The picture as a ``data:`` address."""
        return data_address(self.picture, 85)


@dataclass(frozen=True)
class Row:
    """Before, after and the expected error in one plane."""

    words: str
    panels: tuple[Panel, ...]


@dataclass(frozen=True)
class Shown:
    """Both planes in one window.

    Attributes:
        rows: coronal, sagittal.
        window: in words.
        limit: HU where an expected error is lightest; 0 without one.
        outlined: whether a mask was drawn.
        carried: whether the result is one.
    """

    rows: tuple[Row, ...]
    window: str
    limit: float
    outlined: bool
    carried: bool


def shown(volume: Dense, window: str) -> Shown:
    """Cut a volume in its two planes.

    Args:
        volume: before and after.
        window: one of :data:`WINDOWS`.

    Example:
        >>> import torch
        >>> thick = MetaTensor(torch.zeros(1, 8, 8, 2), affine=torch.diag(torch.tensor([1.0, 1, 5, 1])))
        >>> rows = shown(Dense(thick, np.zeros((8, 8, 6)), False, 1.0), next(iter(WINDOWS))).rows
        >>> [row.words for row in rows], [panel.words for panel in rows[0].panels]
        (['coronal, y = 4.0 mm', 'sagittal, x = 4.0 mm'], ['before: 2 slices', 'after: 6 slices'])
    """
    (x, y), _ = volume.centre()
    cuts = [Cut(1, y), Cut(0, x)]
    reach = max(n * step for n, step in zip(volume.dense.shape, volume.spacing, strict=True))
    errors = [] if volume.error is None else [cut.view(volume.error) for cut in cuts]
    limit = nice_limit(errors) if errors else 0.0
    rows = []
    for number, cut in enumerate(cuts):
        panels = list(_before_after(volume, cut, WINDOWS[window], SIDE / reach))
        if errors:
            size = _size(cut, errors[number], volume.spacing, SIDE / reach)
            panels.append(Panel(f"expected error, 0 to {limit:g} HU", _picture(heat(errors[number], limit), size)))
        words = f"{PLANES[cut.axis]}, {'xyz'[cut.axis]} = {cut.index * volume.spacing[cut.axis]:.1f} mm"
        rows.append(Row(words, tuple(panels)))
    return Shown(tuple(rows), window, limit, len(volume.image) > 1, volume.is_mask)


def _before_after(volume: Dense, cut: Cut, window: tuple[float, float], scale: float) -> Iterator[Panel]:
    thick = _repeated(volume, cut, 0)
    # whole HU, as they are in the file
    made = thick if volume.is_mask else cut.view(volume.dense).astype(float).round()
    size = _size(cut, thick, volume.spacing, scale)
    before, after = (_picture(grey(view, *window), size) for view in (thick, made))
    if len(volume.image) > 1:
        before = _outlined(before, _repeated(volume, cut, 1) > 0, _DRAWN)
    if volume.is_mask:
        after = _outlined(after, cut.view(volume.dense) > 0, _CARRIED)
    yield Panel(f"before: {len(volume.positions)} slices", before)
    yield Panel(f"after: {volume.dense.shape[2]} slices", after)


def _repeated(volume: Dense, cut: Cut, channel: int) -> np.ndarray:
    """A view of the observed slices, in which each row is the nearest of them; cut first, as volumes are large."""
    rows = cut.view(np.asarray(volume.image[channel]))[::-1]
    return rows[volume.nearest()][::-1]


def _size(cut: Cut, view: np.ndarray, spacing: Sequence[float], scale: float) -> tuple[int, int]:
    """Width and height of a view in pixels."""
    down, across = cut.pixel(spacing)
    return max(1, round(view.shape[1] * across * scale)), max(1, round(view.shape[0] * down * scale))


def _picture(shades: np.ndarray, size: tuple[int, int]) -> Image.Image:
    # areas: voxels stay what they are where they are enlarged, and none is passed over where they are not
    return Image.fromarray(np.ascontiguousarray(shades)).resize(size, Image.Resampling.BOX)


def _outlined(picture: Image.Image, mask: np.ndarray, color: tuple[int, int, int]) -> Image.Image:
    inside = np.asarray(_picture((mask * 255).astype(np.uint8), picture.size)) > 127
    border = inside & ~ndimage.binary_erosion(inside, iterations=2)
    pixels: Any = np.array(picture.convert("RGB"))
    pixels[border] = color
    return Image.fromarray(pixels)
