"""A nodule as a continuous function of mm: networks fitted to its observed slices, their mean, pinned to the slices.

Vocabulary: *members* are networks of one nodule that differ in their seeds alone; their mean is the reconstruction,
their standard deviation the *spread*. A *pin* is what is missing at an observed slice, observed minus mean; it is added
there, and it *fades* on the way to the neighbouring observed slices, where nothing of it is left. A *guide* is slices
of another method that the members are fitted to as well.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy.interpolate import CubicHermiteSpline
from scipy.ndimage import map_coordinates
from torch import nn

from bundle.engines import StackTrainer, one_thread
from bundle.inferers.interpolation.splines import linear_weights
from bundle.networks import Lattice
from bundle.slices import ObservedSlices, bracket, held, with_observed
from bundle.transforms.hu import HU_RANGE

# between the first and the second, of the gap in mm and of the root mean square of the pins in HU, pins come to fade
FADES_MM, FADES_HU = (2.5, 3.5), (80.0, 120.0)


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

    def lattice(self, observed: ObservedSlices, z: np.ndarray, kept: np.ndarray | None = None) -> Lattice:
        """Every voxel of slices at z mm on the grid of the observed ones, or those of them that are kept."""
        assert observed.image is not None
        along = (np.arange(n) * s for n, s in zip(observed.image.shape, observed.spacing, strict=False))
        axes = (
            torch.as_tensor((np.asarray(places, dtype=float) - centre) * scale, dtype=torch.float32)
            for places, centre, scale in zip((*along, z), self.centre, self.scale, strict=True)
        )
        return Lattice(tuple(axes), None if kept is None else torch.as_tensor(kept))  # type: ignore[arg-type]


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
        value = self._members(self.frame(np.stack([x, y, z], axis=1)))[0]
        in_plane = np.stack([x / self.observed.spacing[0], y / self.observed.spacing[1]])

        if not self.observed.thickness_mm:
            weights = self._pin_weights(z)
            for k in range(weights.shape[1]):  # at most four of them at each place
                near = weights[:, k] != 0
                value[near] += weights[near, k] * map_coordinates(
                    self.pins[..., k], in_plane[:, near], order=1, mode="nearest"
                )
        if self.guide is not None:
            slices = np.interp(z, self.knots, np.arange(len(self.knots)))
            value += map_coordinates(self.details, [*in_plane, slices], order=1, mode="nearest")
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
        return mean + self.pins @ self._pin_weights(z).T, spread

    def _pin_weights(self, z: np.ndarray) -> np.ndarray:
        """(Z, K) how much of each pin is added at z mm.

        A pin fades as the square of the distance, as most of it is noise. What the members miss of smooth slices near
        to one another is detail that goes on between them: there a cubic goes through the pins, with the slopes of
        parabolas.
        """
        positions = self.observed.positions
        lower, upper, fraction = bracket(positions, z, within_mm=0)
        rows, fading, unit = np.arange(len(z)), np.zeros((len(z), len(positions))), np.eye(len(positions))
        fading[rows, lower], fading[rows, upper] = (1 - fraction) ** 2, fraction**2
        cubic = CubicHermiteSpline(positions, unit, np.gradient(unit, positions, axis=0))(z)
        missed = HU_RANGE * np.sqrt(np.mean(self.pins**2))
        part = np.maximum(np.interp(np.diff(positions), FADES_MM, (0, 1)), np.interp(missed, FADES_HU, (0, 1)))
        return cubic + part[lower, None] * (fading - cubic)

    def _grid(self, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean and spread of the members, (X, Y, Z), without pins."""
        assert self.observed.image is not None
        shape = self.observed.image.shape[:2]
        mean, spread = self._members(self.frame.lattice(self.observed, z))
        return mean.reshape(*shape, len(z)), spread.reshape(*shape, len(z))

    def _members(self, coordinates: torch.Tensor | Lattice) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation over the members, each (N,) float64; the latter is 0 for a single one."""
        mean, square = np.zeros(()), np.zeros(())
        with torch.no_grad(), one_thread():
            for count, (trainer, network) in enumerate(self.members, start=1):
                value = trainer.predict(network, coordinates)[:, 0].double().numpy()
                step = value - mean
                mean = mean + step / count
                square = square + step * (value - mean)  # Welford's sum
        return mean, np.sqrt(square / max(len(self.members) - 1, 1))
