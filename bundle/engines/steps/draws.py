"""What one nodule draws in an epoch: the order of its voxels, the jitter, and the units that dropout keeps."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from bundle.engines.coordinates import CoordinateBatches, checked_weights
from bundle.engines.steps.counter_random import (
    DROPOUT,
    JITTER,
    ORDER,
    derive_key,
    keep_bits,
    normals,
    splitmix64,
    words_per_bit,
)
from bundle.networks import Lattice


class NoduleData:
    """The observed voxels of one nodule and its random numbers, which are its own.

    Args:
        coordinates: (N, 3) places, or the lattice that they lie on.
        values: (N,) normalised brightness.
        seed: settles everything that is drawn.
        batch_size: places a step; the last step of an epoch takes the rest.
        jitter: sd of the noise on the places.
        weights: (N,) factor of each voxel's squared error; None: 1 for all.

    Raises:
        InputError: the weights are not as many as the values, or one is not above 0.

    Example:
        >>> data = NoduleData(torch.zeros(5, 3), torch.arange(5.0), seed=0, batch_size=2)
        >>> data.steps, sorted(data.epoch(0)[1].tolist())
        (3, [0.0, 1.0, 2.0, 3.0, 4.0])
    """

    def __init__(
        self,
        coordinates: torch.Tensor | Lattice,
        values: torch.Tensor,
        seed: int = 0,
        batch_size: int = 2048,
        jitter: float = 1e-4,
        weights: torch.Tensor | None = None,
    ) -> None:
        self.lattice = coordinates if isinstance(coordinates, Lattice) else None
        places = coordinates.places() if isinstance(coordinates, Lattice) else coordinates
        self.coordinates = places.float().contiguous()
        self.values = values.float().reshape(-1)
        self.weights = checked_weights(weights, self.values)
        self.seed = seed
        self.batch_size = batch_size
        self.jitter = jitter
        self.keys = {purpose: derive_key(seed, purpose) for purpose in (ORDER, JITTER, DROPOUT)}

    def __len__(self) -> int:
        """Observed voxels."""
        return len(self.values)

    @property
    def steps(self) -> int:
        """Steps an epoch."""
        return -(-len(self) // self.batch_size)

    def rows(self, step: int) -> slice:
        """Which rows of :meth:`epoch` a step takes."""
        return slice(step * self.batch_size, min((step + 1) * self.batch_size, len(self)))

    def epoch(self, epoch: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Places (N, 3), moved by the jitter, values (N,) and weights (N,), in the random order of an epoch."""
        index = epoch_counter(epoch, torch.arange(len(self), device=self.values.device))
        order = torch.argsort(order_key(splitmix64(self.keys[ORDER], index)), stable=True)
        places = self.coordinates[order]
        if self.jitter > 0:
            places = places + self.jitter * places_noise(self.keys[JITTER], index)
        return places, self.values[order], self.weights[order]

    def keep(self, step: int, widths: Sequence[int], drops: Sequence[float]) -> list[torch.Tensor]:
        """Units that each dropout layer keeps in a step of the whole fit, packed.

        Args:
            step: counted from 0 over all epochs.
            widths: units of each dropout layer.
            drops: probability of dropping a unit, for each.

        Returns:
            for each layer (rows / 32, width) int32, rows = batch size rounded up to 64: bit r % 32 of
            [r // 32, h] says whether unit h of row r is kept.
        """
        return packed_keep(self.keys[DROPOUT], step, self.batch_size, widths, drops)


def as_data(batches: NoduleData | CoordinateBatches, seed: int) -> NoduleData:
    """Data that draw their own random numbers: those given, or of batches and a seed."""
    if isinstance(batches, NoduleData):
        return batches
    return NoduleData(batches.coordinates, batches.values, seed, batches.batch_size, batches.jitter, batches.weights)


def epoch_counter(epoch: int, index: torch.Tensor) -> torch.Tensor:
    """Counters of the voxels of a nodule in an epoch; ``index`` (...) int64, less than 2^31."""
    return index + (epoch << 32)


def order_key(words: torch.Tensor) -> torch.Tensor:
    """48 random bits by which the voxels of an epoch are sorted; leaves room for a nodule's number above."""
    return (words >> 16) & ((1 << 48) - 1)


def places_noise(key: int | torch.Tensor, counter: torch.Tensor) -> torch.Tensor:
    """Three N(0, 1) numbers for each counter of :func:`epoch_counter`: (...) to (..., 3) float32."""
    x, y = normals(splitmix64(key, counter))
    z, _ = normals(splitmix64(key, counter + (1 << 31)))
    return torch.stack([x, y, z], dim=-1)


def packed_keep(
    key: int | torch.Tensor, step: int | torch.Tensor, batch_size: int, widths: Sequence[int], drops: Sequence[float]
) -> list[torch.Tensor]:
    """See :meth:`NoduleData.keep`; for a stack, with ``key`` and ``step`` (S, 1): each (S, rows / 32, width)."""
    blocks = -(-batch_size // 64)
    device = key.device if isinstance(key, torch.Tensor) else "cpu"
    packed, start = [], 0
    for width, drop in zip(widths, drops, strict=True):
        count, needed = blocks * width, words_per_bit(drop)
        index = torch.arange(start, start + needed * count, dtype=torch.int64, device=device)
        words = splitmix64(key, index + (step << 32))
        bits = keep_bits(words.unflatten(-1, (needed, count)).movedim(-2, 0), drop)
        packed.append(bits.contiguous().view(torch.int32).unflatten(-1, (2 * blocks, width)))
        start += needed * count
    return packed


def unpack_keep(packed: torch.Tensor, rows: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """Bits as 0 and 1: (..., rows / 32, width) int32 to (..., rows, width) of a type.

    Example:
        >>> unpack_keep(torch.tensor([[5]], dtype=torch.int32), 3).ravel().tolist()
        [1.0, 0.0, 1.0]
    """
    shift = torch.arange(32, dtype=torch.int32, device=packed.device)[:, None]
    return ((packed.unsqueeze(-2) >> shift) & 1).flatten(-3, -2)[..., :rows, :].to(dtype)
