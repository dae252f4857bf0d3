"""Coordinate networks as they were published, over [-1, 1] along each axis."""

from __future__ import annotations

import math

from bundle.networks.coordinate import CoordinateNetwork, Decoder
from bundle.networks.encodings import Concatenation, FourierFeatures, GridLevel


def instant_ngp(levels: int = 16, coarsest: int = 16, finest: int = 512, table: int = 2**14) -> CoordinateNetwork:
    """Instant-NGP: a hash grid of two features a node and linear cells, two layers of 64 rectified units.

    Args:
        levels: of the grid, their cells a geometric series.
        coarsest: cells along an axis.
        finest: cells along an axis.
        table: nodes of a level that have features of their own.

    Source: Müller, Evans, Schied, Keller, *Instant Neural Graphics Primitives with a Multiresolution Hash Encoding*,
    ACM Transactions on Graphics 41(4), 2022; the smallest table and grid of its Table 1.

    Example:
        >>> len(instant_ngp().encoding.parts), instant_ngp(levels=2).encoding.out_features
        (16, 4)
    """
    growth = (finest / coarsest) ** (1 / (levels - 1))
    sizes = [2 / math.floor(coarsest * growth**level + 1e-9) for level in range(levels)]
    grid = Concatenation([GridLevel([size] * 3, [-1.0] * 3, [1.0] * 3, table=table) for size in sizes])
    return CoordinateNetwork(grid, Decoder(grid.out_features, 1, 64, hidden_layers=1, dropout=0, activation="relu"))


def fourier_mlp(sigma: float = 10.0, frequencies: int = 256) -> CoordinateNetwork:
    """Fourier features, four layers of 256 rectified units.

    Args:
        sigma: standard deviation of the frequencies, periods from -1 to 1, which are 0 and 1 in the paper.
        frequencies: how many.

    Source: Tancik et al. 2020, see :class:`bundle.networks.FourierFeatures`.

    Example:
        >>> sum(p.numel() for p in fourier_mlp().decoder.parameters())
        328961
    """
    encoding = FourierFeatures(sigma / 2, frequencies)
    return CoordinateNetwork(encoding, Decoder(2 * frequencies, dropout=0, activation="relu"))
