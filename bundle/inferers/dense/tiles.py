"""Work through a volume in tiles of its x-y plane, so that memory is bounded, and join what comes out.

Tiles reach through all slices. A method that treats each voxel column by itself needs no overlap; what looks around in
plane, or is fitted to a tile, is blended with the neighbouring tiles', linearly over the overlap.
"""

from __future__ import annotations

import math
from itertools import pairwise, product

import numpy as np

Tile = tuple[slice, slice]
_COLUMN_VOXELS = 2**21  # 16 MB in float64, of which interpolation has a few copies at a time


def tile_edges(size: int, tile: int, overlap: int) -> list[tuple[int, int]]:
    """Cut an axis into as few equal parts of at most ``tile`` voxels as possible, neighbours overlapping.

    Example:
        >>> tile_edges(100, 40, 4)
        [(0, 36), (32, 68), (64, 100)]
    """
    if size <= tile:
        return [(0, size)]
    count = -(-(size - overlap) // (tile - overlap))
    starts = np.rint(np.arange(count + 1) * (size - overlap) / count).astype(int)
    return [(int(a), int(b) + overlap) for a, b in pairwise(starts)]


def tiles(shape: tuple[int, int], tile: int, overlap: int = 0) -> list[Tile]:
    """Tiles that cover a plane.

    Example:
        >>> tiles((4, 6), tile=4)
        [(slice(0, 4, None), slice(0, 3, None)), (slice(0, 4, None), slice(3, 6, None))]
    """
    edges = [[slice(*edge) for edge in tile_edges(size, tile, overlap)] for size in shape]
    return [(x, y) for x, y in product(*edges)]


def column_tile(tile: int, depth: int) -> int:
    """The tile for a method that treats each voxel column by itself: no more voxels, however many slices there are.

    Args:
        tile: voxels in x and y, at most.
        depth: slices that are made.

    Example:
        >>> column_tile(128, 100), column_tile(128, 2000)
        (128, 32)
    """
    return min(tile, max(math.isqrt(_COLUMN_VOXELS // depth), 1))


def ramp(part: slice, size: int, overlap: int) -> np.ndarray:
    """Weights of a tile along one axis: 1, falling linearly over the overlap with a neighbour.

    Example:
        >>> ramp(slice(1, 4), size=4, overlap=1).tolist()
        [0.5, 1.0, 1.0]
    """
    place = np.arange(part.start, part.stop, dtype=np.float32)
    weights = np.ones_like(place)
    if part.start > 0:
        weights = np.minimum(weights, (place - part.start + 1) / (overlap + 1))
    if part.stop < size:
        weights = np.minimum(weights, (part.stop - place) / (overlap + 1))
    return weights


class Blend:
    """Joins tiles into one volume.

    Args:
        shape: (X, Y, Z) of the volume.
        parts: all of its tiles.
        overlap: of the tiles, in voxels.
        dtype: of the volume; whole numbers for tiles without overlap.

    Example:
        >>> parts = [(slice(0, 2), slice(0, 2)), (slice(1, 3), slice(0, 2))]
        >>> blend = Blend((3, 2, 1), parts, overlap=1)
        >>> for value, part in enumerate(parts):
        ...     blend.add(part, np.full((2, 2, 1), value))
        >>> blend.volume[:, 0, 0].tolist()
        [0.0, 0.5, 1.0]
    """

    def __init__(
        self, shape: tuple[int, int, int], parts: list[Tile], overlap: int, dtype: type[np.generic] = np.float32
    ) -> None:
        self.volume = np.zeros(shape, dtype=dtype)
        self.overlap = overlap
        self._total = np.zeros(shape[:2], dtype=np.float32)
        for part in parts:
            self._total[part] += self._weights(part)

    def _weights(self, part: Tile) -> np.ndarray:
        x, y = (ramp(one, size, self.overlap) for one, size in zip(part, self.volume.shape, strict=False))
        return x[:, None] * y[None, :]

    def add(self, part: Tile, values: np.ndarray) -> None:
        """Put a tile's values (X, Y, Z) in their place."""
        weights = self._weights(part) / self._total[part]
        place = self.volume[part]
        if (weights == 1).all():
            place[...] = values
            return
        # a row at a time: no second copy of the tile
        for row, weight, value in zip(place, weights, values, strict=True):
            row += weight[:, None] * value
