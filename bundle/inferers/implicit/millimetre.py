"""Implicit reconstruction in mm: the same fit of a SIREN, on coordinates that know the spacing of the voxels.

The paper scales each axis of the crop to [-1, 1]. So what a network can resolve depends on the size of the crop, and
in a crop with few slices it oscillates between them. Here coordinates are mm, times one *bandwidth* for each axis: the
highest frequency, in rad/mm, that a unit of the first layer has at the start. It is lower along z than in plane, as
observed slices are farther apart than pixels. Several networks are fitted, the *members* of :mod:`.implicit_field`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from bundle.engines import FitOptions, NoduleData, StackTrainer, fit_stacks
from bundle.engines.steps.counter_random import derive_key, splitmix64
from bundle.errors import InputError
from bundle.inferers.base import checked_image
from bundle.inferers.implicit.error import RawError
from bundle.inferers.implicit.field import Guide, NoduleField, frame_of, voxel_places
from bundle.inferers.implicit.inferer import ImplicitInferer
from bundle.networks import Siren
from bundle.slices import ObservedSlices, Reconstruction

SUBSET, MEMBER = 50, 100  # what a key is for, beside those of bundle.engines.steps.counter_random


class MillimetreSirenInferer(ImplicitInferer):
    """Fit several small networks per nodule in mm and take their mean: zero-shot, seconds on one core.

    Args:
        epochs: passes over the observed voxels, while the learning rate falls to zero along half a cosine. With many
            more, the networks learn the noise of the observed slices.
        members: networks to average.
        bandwidth: (x, y, z) rad/mm, see the module.
        hidden_features: width of every sine layer.
        hidden_layers: sine layers after the first.
        omega_0: frequency factor of the sine layers.
        learning_rate: of the first epoch.
        batch_size: places a step.
        voxels: most observed voxels that a member is fitted to, drawn at random for each; bounds the time.
        raw_error: makes the error map; None: the default coefficients.
        device: where to fit; None: the first GPU if there is one, else the CPU.
        chunk: voxels at a time in the dense evaluation.

    The result is seeded by ``observed.seed`` alone. On a CPU it depends neither on the other targets asked for nor on
    what is fitted beside it. Two observed slices are enough. Beyond the first and the last, that slice is repeated.

    Source: of the networks, Sitzmann et al. 2020 (:mod:`bundle.networks.siren`); of the mean of several and its spread,
    Lakshminarayanan, Pritzel and Blundell, *Simple and Scalable Predictive Uncertainty Estimation using Deep
    Ensembles*, NeurIPS 2017.

    Example:
        >>> siren = MillimetreSirenInferer(epochs=2, members=2, device="cpu")
        >>> siren(np.zeros((8, 8, 3)), positions=[0, 5, 10], targets=range(11), spacing=(0.7, 0.7)).shape
        (8, 8, 11)
    """

    def __init__(
        self,
        epochs: int = 20,
        members: int = 6,
        bandwidth: Sequence[float] = (0.18, 0.18, 0.13),
        hidden_features: int = 64,
        hidden_layers: int = 2,
        omega_0: float = 10.0,
        learning_rate: float = 1e-3,
        batch_size: int = 256,
        voxels: int | None = 40_000,
        raw_error: RawError | None = None,
        device: str | None = None,
        chunk: int = 65536,
    ) -> None:
        # one cosine period over all epochs; fp32, so that the function is smooth and the same on every CPU
        options = FitOptions(
            epochs, learning_rate, warmup=0, t_0=epochs, batch_size=batch_size, jitter=0.0, precision="fp32"
        )
        network = functools.partial(
            Siren, hidden_features=hidden_features, hidden_layers=hidden_layers, omega_0=omega_0, dropout=0.0
        )
        super().__init__(network, options, device, chunk)
        if not (isinstance(members, int) and members >= 1):
            raise InputError(f"members is {members!r}, expected a whole number of networks, 1 or more")
        if len(bandwidth) != 3 or not all(0 < b < np.inf for b in bandwidth):
            raise InputError(f"bandwidth is {bandwidth!r}, expected three numbers above 0 in rad/mm, for x, y and z")
        if not 0 < omega_0 < np.inf:
            raise InputError(f"omega_0 is {omega_0!r}, expected a number above 0")
        if voxels is not None and not (isinstance(voxels, int) and voxels >= 1):
            raise InputError(f"voxels is {voxels!r}, expected a whole number, 1 or more, or None for all")
        self.members = members
        self.voxels = voxels
        self.bandwidth = tuple(float(b) for b in bandwidth)
        self.omega_0 = float(omega_0)
        self.raw_error = raw_error or RawError()

    def fit(self, observed: ObservedSlices) -> NoduleField:
        """The nodule as a continuous function of mm.

        Args:
            observed: the slices that were kept; the targets do not matter.

        Raises:
            InputError: there is no image, or it holds nan or infinite values.
        """
        return self._fields([observed])[0][0]

    def _run(self, observed: ObservedSlices, network: Any) -> np.ndarray:
        image = self.reconstruct(observed).image  # MONAI's evaluators hand over a network, which is not one of ours
        assert image is not None
        return image

    def _fit(self, many: Sequence[ObservedSlices], make: Callable[[], nn.Module]) -> list[Reconstruction]:
        results = []
        for observed, (field, result) in zip(many, self._fields(many), strict=True):
            result.image, spread = field.slices(observed.targets)
            result.error = self.expected_error(self._raw_error(field, spread), observed)
            result.state = field.state()
            results.append(result)
        return results

    def _guide(self, observed: ObservedSlices) -> Guide | None:
        """What the members are fitted to beside the observed slices."""
        return None

    def _raw_error(self, field: NoduleField, spread: np.ndarray) -> np.ndarray:
        """(X, Y, Z) at the targets."""
        return self.raw_error(field.observed, spread)

    def _fields(self, many: Sequence[ObservedSlices]) -> list[tuple[NoduleField, Reconstruction]]:
        """Fit all members of all nodules; of each its function, and a record of the fit without an image yet."""
        for observed in many:
            checked_image(observed, "an implicit reconstruction")
        device = self.device or ("cuda" if torch.cuda.is_available() else "cpu")
        count = self.members
        frames = [frame_of(observed, self.bandwidth, self.omega_0) for observed in many]
        guides = [self._guide(observed) for observed in many]
        data = []
        for observed, frame, guide in zip(many, frames, guides, strict=True):
            for seed in (member_seed(observed.seed, member) for member in range(count)):
                places, values, weights = samples(observed, guide, self.voxels, seed)
                data.append(NoduleData(frame(places), values, seed, self.options.batch_size, 0.0, weights))

        def network_of(index: int) -> nn.Module:
            torch.manual_seed(data[index].seed)
            return self.network()

        progress = _Progress(self.on_epoch, len(data))
        fits: dict[int, tuple[StackTrainer, int]] = {}
        # MONAI Label and evaluators call inferers under no_grad
        with torch.random.fork_rng(), torch.enable_grad():
            stacks = fit_stacks(network_of, data, self.options, device, progress.epoch, handlers=progress.stack)
            for indices, trainer in stacks:
                fits |= {index: (trainer, place) for place, index in enumerate(indices)}
        out = []
        for i, (observed, frame, guide) in enumerate(zip(many, frames, guides, strict=True)):
            mine = [fits[i * count + member] for member in range(count)]
            members = [(trainer, trainer.fits[place].network) for trainer, place in mine]
            out.append((NoduleField(members, frame, observed, guide, self.chunk), _record(mine)))
        return out


def samples(
    observed: ObservedSlices, guide: Guide | None = None, most: int | None = None, seed: int = 0
) -> tuple[np.ndarray, torch.Tensor, torch.Tensor]:
    """What a member is fitted to: the observed voxels and those of a guide, of each at most so many at random.

    Args:
        observed: the slices that were kept.
        guide: what else is to be fitted.
        most: voxels of each; None: all. Where voxels are left out, the others of the guide weigh so much that guide
            and observed slices balance as before.
        seed: draws the voxels.

    Returns:
        (N, 3) places in mm, (N,) brightness and (N,) weights, float32.

    Example:
        >>> seen = ObservedSlices(np.ones((1, 1, 2)), None, np.array([0.0, 4.0]), np.arange(5.0))
        >>> places, values, weights = samples(seen, Guide(np.array([2.0]), np.zeros((1, 1, 1)), 0.5, 0.0))
        >>> places[:, 2].tolist(), values.tolist(), weights.tolist()
        ([0.0, 4.0, 2.0], [1.0, 1.0, 0.0], [1.0, 1.0, 0.5])
    """
    assert observed.image is not None
    parts = [(observed.positions, observed.image, 1.0)]
    if guide is not None:
        parts.append((guide.planes, guide.image, guide.weight))
    places, values, weights = [], [], []
    for number, (z, image, weight) in enumerate(parts):
        kept = np.arange(image.size)
        if most is not None and image.size > most:
            words = splitmix64(derive_key(seed, SUBSET + number), torch.from_numpy(kept)).numpy()
            kept = np.sort(np.argsort(words, kind="stable")[:most])
        places.append(voxel_places(image.shape[:2], observed.spacing, z)[kept])
        values.append(image.reshape(-1)[kept])
        weights.append(np.full(len(kept), weight * image.size / len(kept)))
    values_, weights_ = (torch.as_tensor(np.concatenate(p), dtype=torch.float32) for p in (values, weights))
    return np.concatenate(places), values_, weights_ / weights_[0]


def member_seed(seed: int, member: int) -> int:
    """Seed of one member: its own, whatever is fitted beside it.

    Example:
        >>> member_seed(0, 0) == member_seed(0, 0) != member_seed(0, 1) != member_seed(1, 0)
        True
    """
    return derive_key(seed, MEMBER + member) >> 1  # torch takes 63 bits


class _Progress:
    """Epochs of several stacks of fits as epochs of one."""

    def __init__(self, on_epoch: Callable[[int, int, float], None] | None, fits: int) -> None:
        self._on_epoch, self._fits = on_epoch, fits
        self._before = self._now = 0

    def stack(self, indices: list[int]) -> list[Any]:
        """A stack begins; it needs no handlers."""
        self._before += self._now
        self._now = len(indices)
        return []

    def epoch(self, done: int, total: int, loss: float) -> None:
        """An epoch of the present stack is over."""
        if self._on_epoch is not None:
            self._on_epoch(self._before * total + self._now * done, self._fits * total, loss)


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
