"""Implicit reconstruction in mm: the same fit of a SIREN, on coordinates that know the spacing of the voxels.

The paper scales each axis of the crop to [-1, 1]. So what a network can resolve depends on the size of the crop, and
in a crop with few slices it oscillates between them. Here coordinates are mm, times one *bandwidth* for each axis: the
highest frequency, in rad/mm, that a unit of the first layer has at the start. It is lower along z than in plane, as
observed slices are farther apart than pixels. Several networks are fitted, the *members* of a
:class:`bundle.inferers.NoduleField`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from bundle.engines import FitOptions, NoduleData
from bundle.engines.steps.counter_random import derive_key, splitmix64
from bundle.errors import InputError
from bundle.inferers.implicit.error import RawError
from bundle.inferers.implicit.field import Guide, MillimetreFrame, NoduleField, frame_of
from bundle.inferers.implicit.fitted import FittedInferer, recorded
from bundle.inferers.implicit.profile import averaged
from bundle.networks import Siren
from bundle.slices import ObservedSlices, Reconstruction

SUBSET, MEMBER = 50, 100  # what a key is for, beside those of bundle.engines.steps.counter_random


@dataclass(frozen=True)
class EnsembleOptions:
    """Several small SIRENs on coordinates in mm, and how they are fitted.

    Attributes:
        epochs: passes over the observed voxels, while the learning rate falls to zero along half a cosine. With many
            more, the networks learn the noise of the observed slices.
        members: networks to average.
        bandwidth: (x, y, z) rad/mm, see the module.
        hidden_features: width of every sine layer.
        hidden_layers: sine layers after the first.
        omega_0: frequency factor of the sine layers.
        learning_rate: of the first epoch.
        batch_size: coordinates a step.
        voxels: most observed voxels that a member is fitted to, and most of a guide's, drawn at random for each; bounds
            the time. None: all.

    Raises:
        InputError: names the first value that can't be used.

    Example:
        >>> EnsembleOptions(epochs=3).fit.t_0
        3
    """

    epochs: int = 20
    members: int = 6
    bandwidth: Sequence[float] = (0.18, 0.18, 0.13)
    hidden_features: int = 64
    hidden_layers: int = 2
    omega_0: float = 10.0
    learning_rate: float = 1e-3
    batch_size: int = 256
    voxels: int | None = 40_000

    def __post_init__(self) -> None:
        if not (isinstance(self.members, int) and self.members >= 1):
            raise InputError(f"members is {self.members!r}, expected a whole number of networks, 1 or more")
        if len(self.bandwidth) != 3 or not all(0 < b < np.inf for b in self.bandwidth):
            raise InputError(f"bandwidth is {self.bandwidth!r}, expected three numbers above 0, rad/mm for x, y and z")
        if not 0 < self.omega_0 < np.inf:
            raise InputError(f"omega_0 is {self.omega_0!r}, expected a number above 0")
        if self.voxels is not None and not (isinstance(self.voxels, int) and self.voxels >= 1):
            raise InputError(f"voxels is {self.voxels!r}, expected a whole number, 1 or more, or None for all")
        self.fit.check()

    @property
    def fit(self) -> FitOptions:
        """One cosine period over all epochs; fp32, so that the function is smooth and the same on every CPU."""
        return FitOptions(
            self.epochs, self.learning_rate, warmup=0, t_0=self.epochs, batch_size=self.batch_size, jitter=0.0,
            precision="fp32",
        )  # fmt: skip

    def network(self, observed: ObservedSlices, frame: MillimetreFrame) -> nn.Module:
        """A new member for a nodule, from coordinates of a frame to (N, 1); this one is the same for all."""
        return Siren(
            hidden_features=self.hidden_features, hidden_layers=self.hidden_layers, omega_0=self.omega_0, dropout=0.0
        )


SIREN_MM = EnsembleOptions()
RAW_ERROR = RawError()


class MillimetreSirenInferer(FittedInferer):
    """Fit several small networks per nodule in mm and take their mean: zero-shot, seconds on one core.

    Args:
        ensemble: the networks, and how they are fitted.
        device: where to fit; None: the first GPU if there is one, else the CPU.
        raw_error: makes the error map.

    On a CPU the result depends neither on the other targets asked for nor on what is fitted beside it. Two observed
    slices are enough. Beyond the first and the last, that slice is repeated.

    Source: of the networks, Sitzmann et al. 2020 (:class:`bundle.networks.Siren`); of the mean of several and its
    spread, Lakshminarayanan, Pritzel and Blundell, *Simple and Scalable Predictive Uncertainty Estimation using Deep
    Ensembles*, NeurIPS 2017.

    Example:
        >>> siren = MillimetreSirenInferer(EnsembleOptions(epochs=2, members=2), device="cpu")
        >>> siren(np.zeros((8, 8, 3)), positions=[0, 5, 10], targets=range(11), spacing=(0.7, 0.7)).shape
        (8, 8, 11)
    """

    gives_error = True

    def __init__(
        self, ensemble: EnsembleOptions = SIREN_MM, device: str | None = None, raw_error: RawError = RAW_ERROR
    ) -> None:
        super().__init__(ensemble.fit, device)
        self.ensemble = ensemble
        self.raw_error = raw_error

    def fit(self, observed: ObservedSlices) -> NoduleField:
        """The nodule as a continuous function of mm.

        Args:
            observed: the slices that were kept; the targets do not matter.

        Raises:
            InputError: there is no image, or it holds nan or infinite values.
        """
        return self.fit_many([observed])[0]

    def reconstruct_many(self, observed: Sequence[ObservedSlices]) -> list[Reconstruction]:
        """See :class:`FittedInferer`."""
        results = []
        for one, field in zip(observed, self.fit_many(observed), strict=True):
            result = recorded(field.members)
            result.image, spread = field.slices(one.targets)
            result.error = self.expected_error(self._raw_error(field, spread), one, result.image)
            result.state = field.state()
            results.append(result)
        return results

    def fit_many(self, many: Sequence[ObservedSlices]) -> list[NoduleField]:
        """The function of each nodule."""
        return self._each(many, self._fit_fields)

    def _fit_fields(self, many: Sequence[ObservedSlices]) -> list[NoduleField]:
        ensemble, count = self.ensemble, self.ensemble.members
        frames = [frame_of(observed, ensemble.bandwidth, ensemble.omega_0) for observed in many]
        fields = [NoduleField([], frame, one, self._guide(one)) for frame, one in zip(frames, many, strict=True)]
        owners = [field for field in fields for _ in range(count)]
        data = [
            samples(field, ensemble.voxels, member_seed(field.observed.seed, i % count), ensemble.batch_size)
            for i, field in enumerate(owners)
        ]
        fits = self._fit(data, lambda i: self._member(owners[i]), lambda _, trainer, fit: (trainer, fit))
        for field, member in zip(owners, fits, strict=True):
            field.members.append(member)
        return fields

    def _guide(self, observed: ObservedSlices) -> Guide | None:
        """What the members are fitted to beside the observed slices."""
        return None

    def _member(self, field: NoduleField) -> nn.Module:
        """A new network for observed slices, averaged over their profile where they are thick."""
        network = self.ensemble.network(field.observed, field.frame)
        return averaged(network, field.observed.thickness_mm * field.frame.scale[2], field.observed.profile)

    def _raw_error(self, field: NoduleField, spread: np.ndarray) -> np.ndarray:
        """(X, Y, Z) at the targets."""
        return self.raw_error(field.observed, spread)


def samples(field: NoduleField, most: int | None = None, seed: int = 0, batch_size: int = 2048) -> NoduleData:
    """What a member is fitted to: the observed voxels and those of a guide, of each at most so many at random.

    Args:
        field: what was observed, the guide, and what makes coordinates of mm; without members yet.
        most: voxels of each; None: all. Where voxels are left out, the others of the guide weigh so much that guide
            and observed slices balance as before.
        seed: draws the voxels.
        batch_size: places a step.

    Returns:
        places, on a lattice where there is no guide, intensities and weights.

    Example:
        >>> seen = ObservedSlices(np.ones((1, 1, 2)), None, np.array([0.0, 4.0]), np.arange(5.0))
        >>> guide = Guide(np.array([2.0]), np.zeros((1, 1, 1)), 0.5, 0.0)
        >>> data = samples(NoduleField([], MillimetreFrame((0.0,) * 3, (1.0,) * 3), seen, guide))
        >>> data.coordinates[:, 2].tolist(), data.values.tolist(), data.weights.tolist()
        ([0.0, 4.0, 2.0], [1.0, 1.0, 0.0], [1.0, 1.0, 0.5])
    """
    observed, guide = field.observed, field.guide
    # averages over a thickness are no values of the function; a guide that agrees with them stands for them
    parts = [] if guide is not None and observed.thickness_mm else [(observed.positions, observed.intensity, 1.0)]
    if guide is not None:
        parts.append((guide.planes, guide.image, guide.weight))
    lattices, values, weights = [], [], []
    for number, (z, image, weight) in enumerate(parts):
        kept = None
        if most is not None and image.size > most:
            words = splitmix64(derive_key(seed, SUBSET + number), torch.arange(image.size))
            kept = np.sort(np.argsort(words.numpy(), kind="stable")[:most])
        lattices.append(field.frame.lattice(observed, z, kept))
        values.append(torch.from_numpy(image).flatten() if kept is None else torch.from_numpy(image.flat[kept]))
        weights.append(torch.full_like(values[-1], weight * image.size / len(values[-1]), dtype=torch.float32))
    places = lattices[0] if len(lattices) == 1 else torch.cat([lattice.places() for lattice in lattices])
    return NoduleData(places, torch.cat(values), seed, batch_size, 0.0, torch.cat(weights) / weights[0][0])


def member_seed(seed: int, member: int) -> int:
    """Seed of one member: its own, whatever is fitted beside it.

    Example:
        >>> member_seed(0, 0) == member_seed(0, 0) != member_seed(0, 1) != member_seed(1, 0)
        True
    """
    return derive_key(seed, MEMBER + member) >> 1  # torch takes 63 bits
