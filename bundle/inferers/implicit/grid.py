"""A grid of learned features and sines in mm, in one network: the hybrid of grid and implicit representation.

What no observed slice constrains decides what is between them. A grid as it is published has cells finer than the gap,
which nothing fits there. Here no cell is shorter along z than the gap, where a quadratic B-spline makes the features
smooth; beside them stand sines of the place in mm, and the decoder is of sines.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from torch import nn

from bundle.engines import FitOptions
from bundle.errors import InputError
from bundle.inferers.implicit.error import RawError
from bundle.inferers.implicit.field import MillimetreFrame
from bundle.inferers.implicit.millimetre import RAW_ERROR, EnsembleOptions, MillimetreSirenInferer
from bundle.networks import Concatenation, CoordinateNetwork, Decoder, GridLevel, SineLayer
from bundle.slices import ObservedSlices


@dataclass(frozen=True)
class GridOptions(EnsembleOptions):
    """Several hybrids of a grid and sines, and how they are fitted: full steps on voxels drawn once for each.

    Attributes:
        cells: mm in plane of the coarsest cell, and of what the finest is no smaller than at wide gaps.
        finest: of what it is no smaller than at narrow ones, in gaps.
        ratio: of the cells of two levels.
        features: at a node of a level.
        grid_rate: factor of the grid's learning rate.

    Raises:
        InputError: names the first value that can't be used.

    Example:
        >>> [round(cell, 2) for cell in GridOptions().levels(gap_mm=5.0)], len(GridOptions().levels(gap_mm=3.0))
        ([16.0, 10.0, 6.25, 3.91], 5)
    """

    epochs: int = 150
    members: int = 2
    hidden_features: int = 32
    batch_size: int = 12_000
    voxels: int | None = 12_000
    cells: Sequence[float] = (16.0, 3.0)
    finest: float = 0.6
    ratio: float = 1.6
    features: int = 2
    grid_rate: float = 10.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (len(self.cells) == 2 and 0 < self.cells[1] <= self.cells[0] < np.inf and 1 < self.ratio < np.inf):
            raise InputError(
                f"cells is {self.cells!r} and ratio {self.ratio!r}, expected the coarsest and the finest cell in mm, "
                "and a ratio above 1"
            )
        if not 0 < self.finest < np.inf:
            raise InputError(f"finest is {self.finest!r}, expected a number above 0, of gaps")

    def levels(self, gap_mm: float) -> list[float]:
        """Cells in plane, mm, from the coarsest, for a largest gap between observed slices."""
        span = max(self.cells[0] / min(self.cells[1], self.finest * gap_mm), 1.0)
        count = int(np.log(span) / np.log(self.ratio) + 1e-9) + 1
        return [float(self.cells[0] / self.ratio**level) for level in range(count)]

    @property
    def fit(self) -> FitOptions:
        """See :attr:`EnsembleOptions.fit`; the grid has a rate of its own."""
        return replace(super().fit, rates=(("table", self.grid_rate),))

    def network(self, observed: ObservedSlices, frame: MillimetreFrame) -> nn.Module:
        """A new member for a nodule: its extent, and cells along z that are no shorter than its largest gap."""
        half, gap = observed.thickness_mm / 2, observed.gap_mm
        ends = np.array([observed.positions[0] - half, observed.positions[-1] + half])
        low, high = frame.lattice(observed, ends).places()[[0, -1]].tolist()
        cells = [(np.array([cell, cell, max(cell, gap)]) * frame.scale).tolist() for cell in self.levels(gap)]
        levels = [GridLevel(cell, low, high, self.features, (1, 1, 2), shifted=True) for cell in cells]
        encoding = Concatenation([SineLayer(3, self.hidden_features, self.omega_0, is_first=True), *levels])
        sizes = (encoding.out_features, 1, self.hidden_features, self.hidden_layers - 1)
        decoder = Decoder(*sizes, self.omega_0, dropout=0.0, is_first=False)
        return CoordinateNetwork(encoding, decoder)


GRID_MM = GridOptions()


class GridInferer(MillimetreSirenInferer):
    """Fit several hybrids of a grid and sines per nodule in mm and take their mean.

    Args:
        ensemble: the networks, and how they are fitted.
        device: where to fit; None: the first GPU if there is one, else the CPU.
        raw_error: makes the error map.

    Source: of the features, Müller et al. 2022 (:func:`bundle.networks.instant_ngp`); of a coordinate network on a grid
    that follows the data, Martel et al., *ACORN: Adaptive Coordinate Networks for Neural Scene Representation*, ACM
    Transactions on Graphics 40(4), 2021; the limits of the cells, and sines beside the features, are ours.

    Example:
        >>> grid = GridInferer(GridOptions(epochs=2), device="cpu")
        >>> grid(np.zeros((8, 8, 3)), positions=[0, 5, 10], targets=range(11), spacing=(0.7, 0.7)).shape
        (8, 8, 11)
    """

    def __init__(
        self, ensemble: GridOptions = GRID_MM, device: str | None = None, raw_error: RawError = RAW_ERROR
    ) -> None:
        super().__init__(ensemble, device, raw_error)
