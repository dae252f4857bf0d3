"""Encodings of places: as they are (``nn.Identity``), Fourier features, grids of learned features, several together.

Observed voxels lie on a *lattice*, every x with every y and every z. There a dense grid is one small matrix an axis,
without looking up the corners of a cell for every place.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.functional import one_hot

PRIMES = (1, 2654435761, 805459861)  # of the hash, as published


@dataclass(frozen=True, eq=False)
class Lattice:
    """Places on a product grid.

    Attributes:
        axes: (X,), (Y,) and (Z,) coordinates.
        kept: (N,) int64, which of the X * Y * Z places, in the order of ``volume.reshape(-1)``; None: all.

    Example:
        >>> Lattice((torch.zeros(1), torch.ones(1), torch.tensor([2.0, 3.0]))).places().tolist()
        [[0.0, 1.0, 2.0], [0.0, 1.0, 3.0]]
    """

    axes: tuple[torch.Tensor, ...]
    kept: torch.Tensor | None = None

    def places(self) -> torch.Tensor:
        """(N, 3) coordinates."""
        return self.of(torch.stack(torch.meshgrid(*self.axes, indexing="ij"), dim=-1).reshape(-1, 3))

    def of(self, values: torch.Tensor) -> torch.Tensor:
        """Of values (X * Y * Z, ...) those of the places that are kept."""
        return values if self.kept is None else values[self.kept]

    def to(self, device: torch.device | str) -> Lattice:
        """The same on a device."""
        x, y, z = (axis.to(device) for axis in self.axes)
        return Lattice((x, y, z), None if self.kept is None else self.kept.to(device))


def on_lattice(encoding: nn.Module, lattice: Lattice) -> Callable[[], torch.Tensor]:
    """What gives the features, (N, F), at the places of a lattice by the parameters of the moment."""
    prepare = getattr(encoding, "on_lattice", None)
    if prepare is not None:
        return prepare(lattice)
    places = lattice.places()
    return lambda: encoding(places)


class FourierFeatures(nn.Module):
    """Sines and cosines of random frequencies, ``sin(2 pi B x)`` and ``cos(2 pi B x)``, that are not fitted.

    Args:
        sigma: standard deviation of the frequencies, periods a coordinate.
        frequencies: how many.

    Source: Tancik et al., *Fourier Features Let Networks Learn High Frequency Functions in Low Dimensional Domains*,
    NeurIPS 2020.

    Example:
        >>> FourierFeatures(frequencies=2)(torch.zeros(1, 3)).tolist()
        [[0.0, 0.0, 1.0, 1.0]]
    """

    def __init__(self, sigma: float = 10.0, frequencies: int = 256) -> None:
        super().__init__()
        self.out_features = 2 * frequencies
        # a parameter, so that each network of a stack has its own; detached, so that none is fitted
        self.frequencies = nn.Parameter(sigma * torch.randn(3, frequencies))

    def forward(self, places: torch.Tensor) -> torch.Tensor:
        """(..., 3) to (..., F)."""
        angle = 2 * math.pi * places @ self.frequencies.detach()
        return torch.cat([torch.sin(angle), torch.cos(angle)], dim=-1)


class GridLevel(nn.Module):
    """Features at the nodes of a grid; between them, B-splines.

    Args:
        cells: (x, y, z) size of a cell in coordinates.
        low: (x, y, z) where the grid begins.
        high: where it ends; beyond, its ends are repeated.
        features: at a node.
        orders: of the B-spline along each axis: 1 linear, 2 quadratic.
        table: most nodes that have features of their own; where there are more, nodes share features by a hash.
        shifted: move the grid by a random part of a cell along each axis.

    Example:
        >>> level = GridLevel((0.5, 0.5, 1.0), (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), orders=(1, 1, 2))
        >>> level.shape, level(torch.zeros(4, 3)).shape
        ((4, 4, 4), torch.Size([4, 2]))
    """

    def __init__(
        self,
        cells: Sequence[float],
        low: Sequence[float],
        high: Sequence[float],
        features: int = 2,
        orders: Sequence[int] = (1, 1, 1),
        table: int | None = None,
        shifted: bool = False,
    ) -> None:
        super().__init__()
        self.cells, self.low, self.orders, self.out_features = tuple(cells), tuple(low), tuple(orders), features
        self.spans = tuple((b - a) / cell for a, b, cell in zip(low, high, cells, strict=True))
        self.shape = tuple(math.ceil(span) + order + 1 for span, order in zip(self.spans, orders, strict=True))
        nodes = math.prod(self.shape)
        self.hashed = table is not None and nodes > table
        # a parameter that is not fitted, as of Fourier features
        self.shift = nn.Parameter(torch.rand(3) if shifted else torch.zeros(3))
        self.table = nn.Parameter(torch.empty(table if table is not None and self.hashed else nodes, features))
        nn.init.uniform_(self.table, -1e-4, 1e-4)

    def forward(self, places: torch.Tensor) -> torch.Tensor:
        """(..., 3) to (..., features)."""
        nodes, weights = zip(*(self._along(axis, places[..., axis]) for axis in range(3)), strict=True)
        out = torch.zeros((), device=places.device)
        for corner in itertools.product(*(range(order + 1) for order in self.orders)):
            index = self._index([n[..., c] for n, c in zip(nodes, corner, strict=True)])
            wx, wy, wz = (w[..., c] for w, c in zip(weights, corner, strict=True))
            out = out + (wx * wy * wz)[..., None] * self.table[index]
        return out

    def on_lattice(self, lattice: Lattice) -> Callable[[], torch.Tensor]:
        """See :func:`on_lattice`: three products with small matrices."""
        if self.hashed:
            places = lattice.places()
            return lambda: self(places)
        bases = []
        for axis, places in enumerate(lattice.axes):
            nodes, weights = self._along(axis, places)
            bases.append((one_hot(nodes, self.shape[axis]) * weights[..., None]).sum(-2))
        # z with the features side by side, and what is kept of one row: plain products, and quick ways back
        along_x, along_y, basis = bases
        along_z = torch.kron(basis, torch.eye(self.out_features).to(basis)).T.contiguous()
        kept = lattice.kept
        if kept is not None:
            kept = (kept[:, None] * self.out_features + torch.arange(self.out_features).to(kept)).flatten()

        def features() -> torch.Tensor:
            volume = (self.table.view(-1, len(along_z)) @ along_z).unflatten(0, self.shape[:2])  # (I, J, Z * F)
            values = (along_x @ (along_y @ volume).flatten(1)).flatten()  # (X * Y * Z * F,)
            return (values if kept is None else values.index_select(0, kept)).view(-1, self.out_features)

        return features

    def _along(self, axis: int, places: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Nodes, int64, and weights of each place along an axis, (..., order + 1)."""
        span, order = self.spans[axis], self.orders[axis]
        u = ((places - self.low[axis]) / self.cells[axis]).clamp(0, span) + self.shift[axis].detach()
        first = u.floor().clamp(max=math.ceil(span))  # where rounding makes a whole cell of nearly one
        f = u - first
        weights = [1 - f, f] if order == 1 else [(1 - f) ** 2 / 2, 0.5 + f - f * f, f * f / 2]
        return first.long()[..., None] + torch.arange(order + 1, device=places.device), torch.stack(weights, dim=-1)

    def _index(self, nodes: Sequence[torch.Tensor]) -> torch.Tensor:
        """Row of the table of nodes (x, y, z)."""
        x, y, z = nodes
        if not self.hashed:
            return (x * self.shape[1] + y) * self.shape[2] + z
        return (x * PRIMES[0] ^ y * PRIMES[1] ^ z * PRIMES[2]) % len(self.table)


class Concatenation(nn.Module):
    """Several encodings side by side, such as the levels of a grid.

    Args:
        parts: encodings, each with its ``out_features``.

    Example:
        >>> levels = [GridLevel([size] * 3, [-1] * 3, [1] * 3) for size in (1.0, 0.5)]
        >>> Concatenation(levels)(torch.zeros(5, 3)).shape
        torch.Size([5, 4])
    """

    def __init__(self, parts: Sequence[nn.Module]) -> None:
        super().__init__()
        self.parts = nn.ModuleList(parts)
        self.out_features = sum(part.out_features for part in parts)  # type: ignore[misc]

    def forward(self, places: torch.Tensor) -> torch.Tensor:
        """(..., 3) to (..., F)."""
        return torch.cat([part(places) for part in self.parts], dim=-1)

    def on_lattice(self, lattice: Lattice) -> Callable[[], torch.Tensor]:
        """See :func:`on_lattice`."""
        parts = [on_lattice(part, lattice) for part in self.parts]
        return lambda: torch.cat([part() for part in parts], dim=-1)
