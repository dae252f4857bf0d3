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

from bundle.engines import FitOptions, NoduleData, StackTrainer
from bundle.engines.steps.counter_random import derive_key, splitmix64
from bundle.errors import InputError
from bundle.inferers.base import checked_image
from bundle.inferers.implicit.error import RawError
from bundle.inferers.implicit.field import Guide, MillimetreFrame, NoduleField, frame_of
from bundle.inferers.implicit.fitted import FittedInferer
from bundle.inferers.implicit.profile import ProfileMean, profile_rule
from bundle.networks import Lattice, Siren
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

    Source: of the networks, Sitzmann et al. 2020 (:mod:`bundle.networks.siren`); of the mean of several and its spread,
    Lakshminarayanan, Pritzel and Blundell, *Simple and Scalable Predictive Uncertainty Estimation using Deep
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
        return self.fit_many([observed])[0][0]

    def reconstruct_many(self, observed: Sequence[ObservedSlices]) -> list[Reconstruction]:
        """See :class:`FittedInferer`."""
        results = []
        for one, (field, result) in zip(observed, self.fit_many(observed), strict=True):
            result.image, spread = field.slices(one.targets)
            result.error = self.expected_error(self._raw_error(field, spread), one, result.image)
            result.state = field.state()
            results.append(result)
        return results

    def _guide(self, observed: ObservedSlices) -> Guide | None:
        """What the members are fitted to beside the observed slices."""
        return None

    def _member(self, observed: ObservedSlices, frame: MillimetreFrame) -> nn.Module:
        """A new network for observed slices, averaged over their profile where they are thick."""
        network = self.ensemble.network(observed, frame)
        if not observed.thickness_mm:
            return network
        return ProfileMean(network, *profile_rule(observed.thickness_mm * frame.scale[2], observed.profile))

    def _raw_error(self, field: NoduleField, spread: np.ndarray) -> np.ndarray:
        """(X, Y, Z) at the targets."""
        return self.raw_error(field.observed, spread)

    def fit_many(self, many: Sequence[ObservedSlices]) -> list[tuple[NoduleField, Reconstruction]]:
        """Fit all members of all nodules; of each its function, and a record of the fit without an image yet."""
        for observed in many:
            checked_image(observed, "an implicit reconstruction")
        if len(many) > 1 and any(observed.thickness_mm for observed in many):  # one structure alone can be stacked
            return [self.fit_many([observed])[0] for observed in many]
        count = self.ensemble.members
        frames = [frame_of(observed, self.ensemble.bandwidth, self.ensemble.omega_0) for observed in many]
        guides = [self._guide(observed) for observed in many]
        data = []
        for observed, frame, guide in zip(many, frames, guides, strict=True):
            for seed in (member_seed(observed.seed, member) for member in range(count)):
                places, values, weights = samples(observed, frame, guide, self.ensemble.voxels, seed)
                data.append(NoduleData(places, values, seed, self.options.batch_size, 0.0, weights))
        fits: dict[int, tuple[StackTrainer, int]] = {}
        with self._fitting():
            for indices, trainer in self._stacks(lambda i: self._member(many[i // count], frames[i // count]), data):
                fits |= {index: (trainer, place) for place, index in enumerate(indices)}
        out = []
        for i, (observed, frame, guide) in enumerate(zip(many, frames, guides, strict=True)):
            mine = [fits[i * count + member] for member in range(count)]
            members = [(trainer, trainer.fits[place].network) for trainer, place in mine]
            out.append((NoduleField(members, frame, observed, guide), _record(mine)))
        return out


def samples(
    observed: ObservedSlices,
    frame: MillimetreFrame,
    guide: Guide | None = None,
    most: int | None = None,
    seed: int = 0,
) -> tuple[torch.Tensor | Lattice, torch.Tensor, torch.Tensor]:
    """What a member is fitted to: the observed voxels and those of a guide, of each at most so many at random.

    Args:
        observed: the slices that were kept.
        frame: makes coordinates of mm.
        guide: what else is to be fitted.
        most: voxels of each; None: all. Where voxels are left out, the others of the guide weigh so much that guide
            and observed slices balance as before.
        seed: draws the voxels.

    Returns:
        coordinates of the places, (N, 3), or a lattice where there is no guide, (N,) intensities and (N,) weights.

    Example:
        >>> seen = ObservedSlices(np.ones((1, 1, 2)), None, np.array([0.0, 4.0]), np.arange(5.0))
        >>> guide = Guide(np.array([2.0]), np.zeros((1, 1, 1)), 0.5, 0.0)
        >>> places, values, weights = samples(seen, MillimetreFrame((0.0,) * 3, (1.0,) * 3), guide)
        >>> places[:, 2].tolist(), values.tolist(), weights.tolist()
        ([0.0, 4.0, 2.0], [1.0, 1.0, 0.0], [1.0, 1.0, 0.5])
    """
    assert observed.image is not None
    parts = [(observed.positions, observed.image, 1.0)]
    if guide is not None:
        # averages over a thickness are no values of the function; a guide that agrees with them stands for them
        parts = [] if observed.thickness_mm else parts
        parts.append((guide.planes, guide.image, guide.weight))
    lattices, values, weights = [], [], []
    for number, (z, image, weight) in enumerate(parts):
        kept = np.arange(image.size)
        if most is not None and image.size > most:
            words = splitmix64(derive_key(seed, SUBSET + number), torch.from_numpy(kept)).numpy()
            kept = np.sort(np.argsort(words, kind="stable")[:most])
        lattices.append(frame.lattice(observed, z, kept if len(kept) < image.size else None))
        values.append(image.reshape(-1)[kept])
        weights.append(np.full(len(kept), weight * image.size / len(kept)))
    values_, weights_ = (torch.as_tensor(np.concatenate(p), dtype=torch.float32) for p in (values, weights))
    places = lattices[0] if len(lattices) == 1 else torch.cat([lattice.places() for lattice in lattices])
    return places, values_, weights_ / weights_[0]


def member_seed(seed: int, member: int) -> int:
    """Seed of one member: its own, whatever is fitted beside it.

    Example:
        >>> member_seed(0, 0) == member_seed(0, 0) != member_seed(0, 1) != member_seed(1, 0)
        True
    """
    return derive_key(seed, MEMBER + member) >> 1  # torch takes 63 bits


def _record(mine: list[tuple[StackTrainer, int]]) -> Reconstruction:
    """Mean learning curve of the members, and how they were computed."""
    histories = [trainer.fits[place].history for trainer, place in mine]
    loss = np.mean([history["loss"] for history in histories], axis=0).tolist()
    trainers = list({id(trainer): trainer for trainer, _ in mine}.values())
    seconds, steps = (sum(trainer.timings[key] for trainer in trainers) for key in ("seconds", "steps"))
    timings = {"path": trainers[0].path, "seconds": seconds, "steps": steps}
    timings["steps_per_second"] = steps / max(seconds, 1e-9)
    fallback = trainers[0].fallback
    notes = [f"fitted by the slower {trainers[0].path}: {fallback}"] if fallback else []
    return Reconstruction(history={"loss": loss, "lr": histories[0]["lr"]}, timings=timings, notes=notes)
