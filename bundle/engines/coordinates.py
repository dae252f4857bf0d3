"""The training data of a coordinate network: the places and values of the observed voxels, in batches.

Coordinates are scaled to [-1, 1] along each axis of the crop: -1 at the centre of the first voxel, 1 at the
centre of the last. Along the decimated axis the whole crop counts, not the observed slices alone.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from bundle.errors import InputError
from bundle.networks import Lattice


def unit_axis(positions: np.ndarray, low: float, high: float) -> np.ndarray:
    """Scale places along one axis so that [low, high] becomes [-1, 1]; a single place becomes 0.

    Args:
        positions: (N,) in any unit.
        low: what becomes -1.
        high: what becomes 1.

    Returns:
        (N,) float64.

    Example:
        >>> unit_axis(np.array([0.0, 5.0, 20.0]), 0, 20).tolist()
        [-1.0, -0.5, 1.0]
    """
    if high <= low:
        return np.zeros(len(positions))
    return 2 * (np.asarray(positions, dtype=float) - low) / (high - low) - 1


def coordinate_grid(shape: tuple[int, int], z: np.ndarray) -> torch.Tensor:
    """Coordinates of every voxel of slices of one crop.

    Args:
        shape: (X, Y), voxels in plane.
        z: (K,) already scaled coordinates of the slices.

    Returns:
        (X * Y * K, 3) float32, ordered as ``volume.reshape(-1)`` of an (X, Y, K) volume.

    Example:
        >>> coordinate_grid((2, 1), np.array([0.5])).tolist()
        [[-1.0, 0.0, 0.5], [1.0, 0.0, 0.5]]
    """
    in_plane = (unit_axis(np.arange(n), 0, n - 1) for n in shape)
    x, y, along = (torch.as_tensor(np.asarray(a), dtype=torch.float32) for a in (*in_plane, z))
    return Lattice((x, y, along)).places()


def checked_weights(weights: torch.Tensor | None, values: torch.Tensor) -> torch.Tensor:
    """Weights (N,) float32 of values (N,): those given, or ones.

    Raises:
        InputError: they are not as many as the values, or one is not above 0.

    Example:
        >>> checked_weights(None, torch.zeros(2)).tolist()
        [1.0, 1.0]
    """
    if weights is None:
        return torch.ones_like(values)
    flat = weights.float().reshape(-1)
    if len(flat) != len(values):
        raise InputError(f"{len(flat)} weights for {len(values)} voxels: give one for each")
    if not (torch.isfinite(flat).all() and (flat > 0).all()):
        raise InputError("a voxel's weight is not above 0: leave voxels out that are not to count")
    return flat


class CoordinateBatches:
    """Shuffled batches of places and values; a data loader for the trainer, made anew by every ``iter``.

    Each pass visits every observed voxel once in random order. With jitter, the places are moved by
    N(0, jitter^2) each time they are drawn. Random numbers come from torch's global generator of the CPU,
    so that one seed settles a fit whatever the device is.

    Args:
        coordinates: (N, 3) places in [-1, 1].
        values: (N,) normalised brightness.
        batch_size: places a batch; the last batch of a pass holds the rest.
        jitter: standard deviation of the noise on the coordinates, in their own unit.
        weights: (N,) factor of each place's squared error; None: 1 for all.

    Raises:
        InputError: the weights are not as many as the values, or one is not above 0.

    Example:
        >>> batches = CoordinateBatches(torch.zeros(5, 3), torch.zeros(5), batch_size=2)
        >>> [b["image"].shape[1] for b in batches]
        [2, 2, 1]
    """

    def __init__(
        self,
        coordinates: torch.Tensor,
        values: torch.Tensor,
        batch_size: int = 2048,
        jitter: float = 1e-4,
        weights: torch.Tensor | None = None,
    ) -> None:
        self.coordinates = coordinates.float()
        self.values = values.float().reshape(-1, 1)
        self.weights = None if weights is None else checked_weights(weights, self.values[:, 0])[:, None]
        self.batch_size = batch_size
        self.jitter = jitter

    def __len__(self) -> int:
        """Batches a pass."""
        return -(-len(self.coordinates) // self.batch_size)

    def __iter__(self) -> Iterator[dict[str, torch.Tensor]]:
        """Yield ``{"image": (1, N, 3) places, "label": (1, N, 1) values}``, or (1, N, 2) values and weights.

        The leading axis keeps MONAI from splitting a batch into one item a place.
        """
        order = torch.randperm(len(self.coordinates))
        for chosen in order.split(self.batch_size):
            places = self.coordinates[chosen]
            if self.jitter > 0:
                places = places + self.jitter * torch.randn(places.shape)
            label = self.values[chosen]
            if self.weights is not None:
                label = torch.cat([label, self.weights[chosen]], dim=-1)
            yield {"image": places[None], "label": label[None]}
