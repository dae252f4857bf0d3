"""A nodule as a continuous function of mm: networks fitted to its observed slices, their mean, pinned to the slices.

Vocabulary: *members* are networks of one nodule that differ in their seeds alone; their mean is the reconstruction,
their standard deviation the *spread*. A *pin* is what is missing at an observed slice, observed minus mean; it is added
there, and it *fades* on the way to the neighbouring observed slices, where nothing of it is left. A *guide* is slices
of another method that the members are fitted to as well.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy.interpolate import CubicHermiteSpline
from scipy.ndimage import map_coordinates

from bundle.engines import StackTrainer, one_thread
from bundle.engines.steps.fit import NoduleFit
from bundle.inferers.implicit.fitted import numbered, state_of
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
        along = (np.arange(n) * s for n, s in zip(observed.intensity.shape, observed.spacing, strict=False))
        axes = zip((*along, np.asarray(z, dtype=float)), self.centre, self.scale, strict=True)
        made = tuple(torch.as_tensor((at - centre) * scale, dtype=torch.float32) for at, centre, scale in axes)
        return Lattice(made, None if kept is None else torch.as_tensor(kept))


def frame_of(observed: ObservedSlices, bandwidth: Sequence[float], omega_0: float) -> MillimetreFrame:
    """The frame around a crop in which the first layer of a SIREN starts with frequencies up to the bandwidth.

    Its weights start in U(-1/3, 1/3), so ``omega_0 * scale / 3`` is the bandwidth.

    Example:
        >>> seen = ObservedSlices(np.zeros((3, 3, 2)), None, np.array([0.0, 4.0]), np.arange(5.0))
        >>> frame_of(seen, (0.5, 0.5, 0.25), omega_0=15.0)
        MillimetreFrame(centre=(1.0, 1.0, 2.0), scale=(0.1, 0.1, 0.05))
    """
    x, y = ((n - 1) / 2 * s for n, s in zip(observed.intensity.shape, observed.spacing, strict=False))
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
        members: the fits of the networks, each with its trainer.
        frame: from mm to their coordinates.
        observed: what they were fitted to.
        guide: and what else.
    """

    members: list[tuple[StackTrainer, NoduleFit]]
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
        for volume, weights in self._added(z):
            for k in range(volume.shape[2]):  # few of them at each place
                near = weights[:, k] != 0
                plane = map_coordinates(volume[..., k], in_plane[:, near], order=1, mode="nearest")
                value[near] += weights[near, k] * plane
        return np.clip(value, 0, 1)

    def slices(self, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The function on the grid of the observed slices, which are given exactly.

        Args:
            targets: (Z,) mm.

        Returns:
            image and spread, (X, Y, Z) float64, normalised; the spread is 0 at observed slices.
        """
        at = replace(self.observed, targets=held(self.knots, targets))
        mean, spread = self._grid(at.targets)
        for volume, weights in self._added(at.targets):
            mean += volume @ weights.T
        spread[..., at.seen] = 0
        return with_observed(np.clip(mean, 0, 1), at), spread

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
        return self.observed.intensity - self._grid(self.observed.positions)[0]

    @functools.cached_property
    def details(self) -> np.ndarray:
        """(X, Y, K + P): at the planes of the guide the part of it that the pinned mean misses, 0 where observed."""
        assert self.guide is not None
        planes, part, (width, height, _) = self.guide.planes, self.guide.part, self.guide.image.shape
        out = np.zeros((width, height, len(self.knots)))
        pinned = self._grid(planes)[0] + sum(volume @ weights.T for volume, weights in self._pinned(planes))
        out[..., np.searchsorted(self.knots, planes)] = part * (self.guide.image - pinned)
        return out

    def state(self) -> dict[str, torch.Tensor]:
        """Parameters of all members, their names led by the member's number."""
        return numbered([state_of(fit.network) for _, fit in self.members])

    def _added(self, z: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Volumes (X, Y, N) that are added to the mean, and (Z, N) how much of each of their slices at z mm."""
        yield from self._pinned(z)
        if self.guide is not None:
            yield self.details, linear_weights(self.knots, z, within_mm=0)

    def _pinned(self, z: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """See :meth:`_added`; of the pins alone."""
        if not self.observed.thickness_mm:
            yield self.pins, self._pin_weights(z)

    def _pin_weights(self, z: np.ndarray) -> np.ndarray:
        """(Z, K) how much of each pin is added at z mm.

        A pin fades as the square of the distance, as most of it is noise. What the members miss of smooth slices near
        to one another is detail that goes on between them: there a cubic goes through the pins, with the slopes of
        parabolas.
        """
        positions = self.observed.positions
        fading, unit = linear_weights(positions, z, within_mm=0) ** 2, np.eye(len(positions))
        cubic = CubicHermiteSpline(positions, unit, np.gradient(unit, positions, axis=0))(z)
        missed = HU_RANGE * np.sqrt(np.mean(self.pins**2))
        part = np.maximum(np.interp(np.diff(positions), FADES_MM, (0, 1)), np.interp(missed, FADES_HU, (0, 1)))
        return cubic + part[bracket(positions, z)[0], None] * (fading - cubic)

    def _grid(self, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean and spread of the members, (X, Y, Z), without pins."""
        shape = (*self.observed.intensity.shape[:2], len(z))
        mean, spread = self._members(self.frame.lattice(self.observed, z))
        return mean.reshape(shape), spread.reshape(shape)

    def _members(self, coordinates: torch.Tensor | Lattice) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation over the members, each (N,) float64; the latter is 0 for a single one."""
        with torch.no_grad(), one_thread():
            parts = [trainer.predict(fit.network, coordinates)[:, 0] for trainer, fit in self.members]
        values = torch.stack(parts).numpy()
        return values.mean(0, dtype=np.float64), values.std(0, dtype=np.float64, ddof=min(len(parts) - 1, 1))
