"""Work through a volume in tiles of its x-y plane, so that memory is bounded, and join what comes out.

Tiles reach through all slices. A method that treats each voxel column by itself needs no overlap; what is fitted to
a tile is blended with its neighbours', linearly over the overlap.
"""

from __future__ import annotations

from itertools import pairwise, product

import numpy as np

Tile = tuple[slice, slice]


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


def ramp(part: slice, size: int, overlap: int) -> np.ndarray:
    """Weights of a tile along one axis: 1, falling linearly over the overlap with a neighbour.

    Example:
        >>> ramp(slice(1, 4), size=4, overlap=1).tolist()
        [0.5, 1.0, 1.0]
    """
    weights = np.ones(part.stop - part.start, dtype=np.float32)
    rise = (np.arange(overlap, dtype=np.float32) + 1) / (overlap + 1)
    if part.start > 0 and overlap:
        weights[:overlap] = rise
    if part.stop < size and overlap:
        weights[-overlap:] = rise[::-1]
    return weights


class Blend:
    """Joins tiles into one volume.

    Args:
        shape: (X, Y, Z) of the volume.
        overlap: of the tiles, in voxels.

    Example:
        >>> blend = Blend((3, 2, 1), overlap=1)
        >>> blend.add((slice(0, 2), slice(0, 2)), np.zeros((2, 2, 1)))
        >>> blend.add((slice(1, 3), slice(0, 2)), np.ones((2, 2, 1)))
        >>> blend.volume[:, 0, 0].tolist()
        [0.0, 0.5, 1.0]
    """

    def __init__(self, shape: tuple[int, int, int], overlap: int) -> None:
        self.volume = np.zeros(shape, dtype=np.float32)
        self.overlap = overlap

    def add(self, tile: Tile, values: np.ndarray) -> None:
        """Put a tile's values in their place."""
        if not self.overlap:
            self.volume[tile] = values
            return
        x, y = (ramp(part, size, self.overlap) for part, size in zip(tile, self.volume.shape, strict=False))
        weights = x[:, None] * y[None, :]
        # a slice at a time: no second copy of the tile
        for z in range(self.volume.shape[2]):
            self.volume[(*tile, z)] += weights * values[..., z]
