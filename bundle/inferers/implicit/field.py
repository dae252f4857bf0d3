"""A nodule as a continuous function of mm: networks fitted to its observed slices, their mean, pinned to the slices.

Vocabulary: *members* are networks of one nodule that differ in their seeds alone; their mean is the reconstruction,
their standard deviation the *spread*. A *pin* is what is missing at an observed slice, observed minus mean; it is added
there, and less of it on the way to the neighbouring observed slices, where nothing of it is left. A *guide* is slices
of another method that the members are fitted to as well.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy.ndimage import map_coordinates
from torch import nn

from bundle.engines import StackTrainer, one_thread
from bundle.inferers.interpolation.splines import linear_weights
from bundle.slices import ObservedSlices, bracket, held, with_observed


@dataclass(frozen=True)
class MillimetreFrame:
    """From mm to the coordinates of a network.

    Attributes:
        centre: (3,) mm, what becomes 0.
        scale: (3,) coordinates a mm.

    Example:
        >>> MillimetreFrame((0.0, 0.0, 10.0), (0.1, 0.1, 0.05))(np.array([[5.0, 0.0, 30.0]])).tolist()
        [[0.5, 0.0, 1.0]]
    """

    centre: tuple[float, float, float]
    scale: tuple[float, float, float]

    def __call__(self, places: np.ndarray) -> torch.Tensor:
        """(N, 3) mm to (N, 3) float32."""
        return torch.as_tensor((places - np.array(self.centre)) * np.array(self.scale), dtype=torch.float32)


def frame_of(observed: ObservedSlices, bandwidth: Sequence[float], omega_0: float) -> MillimetreFrame:
    """The frame around a crop in which the first layer of a SIREN starts with frequencies up to the bandwidth.

    Its weights start in U(-1/3, 1/3), so ``omega_0 * scale / 3`` is the bandwidth.

    Example:
        >>> seen = ObservedSlices(np.zeros((3, 3, 2)), None, np.array([0.0, 4.0]), np.arange(5.0))
        >>> frame_of(seen, (0.5, 0.5, 0.25), omega_0=15.0)
        MillimetreFrame(centre=(1.0, 1.0, 2.0), scale=(0.1, 0.1, 0.05))
    """
    assert observed.image is not None
    x, y = ((n - 1) / 2 * s for n, s in zip(observed.image.shape, observed.spacing, strict=False))
    z = (observed.positions[0] + observed.positions[-1]) / 2
    sx, sy, sz = (3 * b / omega_0 for b in bandwidth)
    return MillimetreFrame((x, y, float(z)), (sx, sy, sz))


def voxel_places(shape: tuple[int, int], spacing: tuple[float, float], z: np.ndarray) -> np.ndarray:
    """Places of every voxel of some slices: (X * Y * Z, 3) mm, ordered as ``volume.reshape(-1)``.

    Args:
        shape: (X, Y), voxels in plane.
        spacing: in-plane spacing in mm; the first voxel is at (0, 0).
        z: (Z,) mm.

    Example:
        >>> voxel_places((2, 1), (0.5, 0.5), np.array([3.0])).tolist()
        [[0.0, 0.0, 3.0], [0.5, 0.0, 3.0]]
    """
    axes = (np.arange(shape[0]) * spacing[0], np.arange(shape[1]) * spacing[1], np.asarray(z, dtype=float))
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)


@dataclass(frozen=True)
class Guide:
    """Slices between and beyond the observed ones that another method made, for a fit to follow.

    Attributes:
        planes: (P,) mm, strictly ascending, none of them observed.
        image: (X, Y, P) normalised.
        weight: of a voxel of theirs in the fit, where an observed voxel has 1.
        part: of what the fitted function misses of them, how much is added to it.
        error: (X, Y, Z) how large an error the method expects at the targets that are wanted; None from methods that
            give none.
    """

    planes: np.ndarray
    image: np.ndarray
    weight: float
    part: float
    error: np.ndarray | None = None


@dataclass
class NoduleField:
    """A nodule as a function of x, y and z: the mean of its fitted members, pinned to the observed slices.

    Observed slices that are averages over a thickness are no values of the function, so nothing is pinned to them.

    Attributes:
        members: the networks, each with the trainer that fitted it.
        frame: from mm to their coordinates.
        observed: what they were fitted to.
        guide: and what else.
    """

    members: list[tuple[StackTrainer, nn.Module]]
    frame: MillimetreFrame
    observed: ObservedSlices
    guide: Guide | None = None

    def __call__(self, places: np.ndarray) -> np.ndarray:
        """Intensity at any places.

        Args:
            places: (N, 3) mm, from the centre of the first voxel along x and y, and as the observed positions along z.
                Beyond the first and the last slice that was fitted, that slice is repeated.

        Returns:
            (N,) float64, normalised, clipped to [0, 1]; continuous in x, y and z, and at an observed voxel what was
            observed, but for rounding.
        """
        x, y, z = np.asarray(places, dtype=np.float64).T
        z = held(self.knots, z)
        value = self._members(np.stack([x, y, z], axis=1))[0]
        in_plane = x / self.observed.spacing[0], y / self.observed.spacing[1]

        def between(volume: np.ndarray, slices: np.ndarray) -> np.ndarray:
            return map_coordinates(volume, np.stack([*in_plane, slices]), order=1, mode="nearest")

        lower, upper, fraction = bracket(self.observed.positions, z, within_mm=0)
        if not self.observed.thickness_mm:
            value += _left(fraction) * between(self.pins, lower) + _left(1 - fraction) * between(self.pins, upper)
        if self.guide is not None:
            value += between(self.details, np.interp(z, self.knots, np.arange(len(self.knots))))
        return np.clip(value, 0, 1)

    def slices(self, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The function on the grid of the observed slices, which are given exactly.

        Args:
            targets: (Z,) mm.

        Returns:
            image and spread, (X, Y, Z) float64, normalised; the spread is 0 at observed slices.
        """
        z = held(self.knots, targets)
        mean, spread = self._pinned(z)
        if self.guide is not None:
            mean += self.details @ linear_weights(self.knots, z).T
        held_targets = replace(self.observed, targets=z)
        spread[..., held_targets.seen] = 0
        return with_observed(np.clip(mean, 0, 1), held_targets), spread

    @functools.cached_property
    def knots(self) -> np.ndarray:
        """(K + P,) mm, ascending: every slice that was fitted; of averages those of the guide, or their ends."""
        positions, planes = self.observed.positions, [] if self.guide is None else [self.guide.planes]
        if self.observed.thickness_mm:
            half = np.array([-0.5, 0.5]) * self.observed.thickness_mm
            return planes[0] if planes else np.sort(np.concatenate([positions, positions[[0, -1]] + half]))
        return np.sort(np.concatenate([positions, *planes]))

    @functools.cached_property
    def pins(self) -> np.ndarray:
        """(X, Y, K) observed minus mean."""
        return self.observed.image - self._grid(self.observed.positions)[0]

    @functools.cached_property
    def details(self) -> np.ndarray:
        """(X, Y, K + P): at the planes of the guide the part of it that the pinned mean misses, 0 where observed."""
        guide, image = self.guide, self.observed.image
        assert guide is not None
        assert image is not None
        out = np.zeros((*image.shape[:2], len(self.knots)))
        out[..., np.searchsorted(self.knots, guide.planes)] = guide.part * (guide.image - self._pinned(guide.planes)[0])
        return out

    def state(self) -> dict[str, torch.Tensor]:
        """Parameters of all members, their names led by the member's number."""
        return {
            f"{i}.{name}": tensor.detach().cpu().clone()
            for i, (_, network) in enumerate(self.members)
            for name, tensor in network.state_dict().items()
        }

    def _pinned(self, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean with pins, and spread, of the members, (X, Y, Z)."""
        mean, spread = self._grid(z)
        if self.observed.thickness_mm:
            return mean, spread
        lower, upper, fraction = bracket(self.observed.positions, z, within_mm=0)
        return mean + _left(fraction) * self.pins[..., lower] + _left(1 - fraction) * self.pins[..., upper], spread

    def _grid(self, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean and spread of the members, (X, Y, Z), without pins."""
        assert self.observed.image is not None
        shape = self.observed.image.shape[:2]
        mean, spread = self._members(voxel_places(shape, self.observed.spacing, z))
        return mean.reshape(*shape, len(z)), spread.reshape(*shape, len(z))

    def _members(self, places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation over the members, each (N,) float64; the latter is 0 for a single one."""
        coordinates = self.frame(places)
        mean, square = np.zeros(len(places)), np.zeros(len(places))
        with torch.no_grad(), one_thread():
            for count, (trainer, network) in enumerate(self.members, start=1):
                value = trainer.predict(network, coordinates)[:, 0].double().numpy()
                step = value - mean
                mean += step / count
                square += step * (value - mean)  # Welford's sum
        return mean, np.sqrt(square / max(len(self.members) - 1, 1))


def _left(distance: np.ndarray) -> np.ndarray:
    """What is left of a pin at a distance from its slice, in gaps."""
    return np.clip(1 - np.abs(distance), 0, None) ** 2
