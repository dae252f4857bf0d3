"""Several nodules in one mask: each label, and each connected part of it.

Vocabulary: a *part* is what is connected of one label, within a slice by its voxels (diagonals count) and from one
slice to the next by what lies over each other; an outline with nothing over it belongs to the nearest one of the
next slice within ``REACH_MM``. A mask that was drawn on some slices alone goes on at the next of these.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

REACH_MM = 5.0
_DIAGONALS = np.ones((3, 3), dtype=int)


@dataclass(frozen=True)
class Part:
    """One nodule of a mask.

    Attributes:
        label: its value in the mask.
        number: of the part within the label, from 1.
        pieces: (X, Y, K) what each voxel of the label belongs to.
        piece: which of these it is.
        voxels: it has.
    """

    label: int
    number: int
    pieces: np.ndarray
    piece: int
    voxels: int

    @property
    def mask(self) -> np.ndarray:
        """(X, Y, K) bool; made when it is asked for, as a mask may have many parts."""
        return self.pieces == self.piece


def parts_of(labels: np.ndarray, spacing: Sequence[float], drawn_on_some: bool = False) -> list[Part]:
    """Take a label map apart.

    Args:
        labels: (X, Y, K) whole numbers, 0 outside.
        spacing: in-plane spacing (x, y) in mm.
        drawn_on_some: slices that a label is not drawn on are passed over; else a part ends at one.

    Returns:
        label by label, the part with the lowest slice first; [] for an empty mask.

    Example:
        >>> two = np.zeros((9, 3, 2), int); two[1:3, 1] = two[6:8, 1] = 4
        >>> [(part.label, part.number, int(part.mask.sum())) for part in parts_of(two, (1, 1))]
        [(4, 1, 4), (4, 2, 4)]
    """
    found = []
    for label in (int(value) for value in np.unique(labels) if value):
        mask = labels == label
        pieces = _joined(mask, spacing, drawn_on_some)
        counted = zip(*np.unique(pieces[pieces > 0], return_counts=True), strict=True)
        found += [Part(label, n + 1, pieces, int(piece), int(size)) for n, (piece, size) in enumerate(counted)]
    return found


def _joined(mask: np.ndarray, spacing: Sequence[float], drawn_on_some: bool) -> np.ndarray:
    """(X, Y, K) the number of the part that each voxel belongs to; 0 outside."""
    pieces, count = np.zeros(mask.shape, dtype=np.int32), 0
    parent = [0]

    def root(piece: int) -> int:
        while parent[piece] != piece:
            piece = parent[piece]
        return piece

    below: np.ndarray | None = None
    before = -1
    for k in np.flatnonzero(mask.any(axis=(0, 1))):
        here, more = ndimage.label(mask[..., k], _DIAGONALS)
        here[here > 0] += count
        parent += range(count + 1, count + more + 1)
        count += more
        pieces[..., k] = here
        if below is not None and (drawn_on_some or k == before + 1):
            for a, b in _pairs(below, here, spacing):
                low, high = sorted((root(a), root(b)))
                parent[high] = low
        below, before = here, int(k)
    return np.array([root(piece) for piece in range(count + 1)], dtype=np.int32)[pieces]


def _pairs(below: np.ndarray, here: np.ndarray, spacing: Sequence[float]) -> list[tuple[int, int]]:
    """Pieces of two neighbouring drawn slices that belong together."""
    both = (below > 0) & (here > 0)
    pairs = {(int(a), int(b)) for a, b in zip(below[both], here[both], strict=True)}
    for one, other, swap in ((below, here, False), (here, below, True)):
        joined = {pair[1 if swap else 0] for pair in pairs}
        alone = set(np.unique(one[one > 0]).tolist()) - joined
        if alone:
            away, nearest = ndimage.distance_transform_edt(other == 0, sampling=spacing, return_indices=True)
            for piece in sorted(alone):
                where = np.argwhere(one == piece)
                x, y = where[away[tuple(where.T)].argmin()]
                if away[x, y] <= REACH_MM:
                    partner = int(other[nearest[0][x, y], nearest[1][x, y]])
                    pairs.add((partner, piece) if swap else (piece, partner))
    return sorted(pairs)


def sizes_of(labels: np.ndarray, spacing: Sequence[float]) -> list[dict[str, float]]:
    """How large each part of a label map is.

    Args:
        labels: (X, Y, Z) whole numbers, 0 outside, on every slice.
        spacing: mm along (x, y, z).

    Returns:
        ``label``, ``part``, ``voxels`` and ``mm3`` of each.

    Example:
        >>> sizes_of(np.array([[[3, 3], [0, 0]]]), (0.5, 0.5, 2.0))
        [{'label': 3, 'part': 1, 'voxels': 2, 'mm3': 1.0}]
    """
    voxel = float(np.prod(spacing))
    return [
        {"label": part.label, "part": part.number, "voxels": part.voxels, "mm3": round(part.voxels * voxel, 3)}
        for part in parts_of(labels, spacing[:2])
    ]
