"""Implicit reconstruction: fit a coordinate network to the observed slices, read it between them.

Each axis of the crop is scaled to [-1, 1], as in the paper. So the gap between observed slices is a larger
part of the range in a crop with few slices, and a sine network with a high ``omega_0`` oscillates in it.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

from bundle.engines import (
    CoordinateBatches,
    EpochProgress,
    FitOptions,
    NoduleData,
    NoduleTrainer,
    StackTrainer,
    StopOnWithheld,
    coordinate_grid,
    one_thread,
    predict,
    unit_axis,
)
from bundle.errors import InputError
from bundle.inferers.base import checked_image
from bundle.inferers.implicit.fitted import FittedInferer
from bundle.inferers.implicit.profile import ProfileMean, profile_rule
from bundle.networks import Siren
from bundle.slices import ObservedSlices, Reconstruction, with_observed

PAPER = FitOptions()


class ImplicitInferer(FittedInferer):
    """Fit one network per nodule from scratch and evaluate it on all target slices: the paper's method.

    Where observed slices are averages over their thickness, the network stands for the body itself
    (:mod:`bundle.inferers.implicit.profile`).

    Args:
        network: makes a new network, mapping (N, 3) to (N, 1); in a config, a ``_target_`` with
            ``"_mode_": "callable"``.
        options: how to fit it.
        device: where to fit; None: the first GPU if there is one, else the CPU.
        keep_observed: return the observed slices as they are, not as the network renders them. Metrics on unobserved
            slices are the same either way. Averages over a thickness are no slices of the result and never kept.
        profile_mm: thickness of the observed slices in mm, 0 for planes; None: as they say themselves.
        stop_patience: stop a fit after so many epochs without a smaller error on the *unobserved* voxels, and go back
            to the best epoch, as the published code does; None: fit all epochs and look at observed voxels alone.
        stop_interval: epochs between looks at the unobserved voxels; the published code has 1.
        engine: ``"auto"``: the fastest path of :class:`bundle.engines.StackTrainer`; ``"plain"``: the Ignite loop
            of :class:`bundle.engines.NoduleTrainer`, which is slow and easy to read. Both compute the same, from
            different random numbers.

    Example:
        >>> siren = ImplicitInferer(Siren, FitOptions(epochs=2), device="cpu")
        >>> siren(np.zeros((8, 8, 3)), positions=[0, 5, 10], targets=range(11)).shape
        (8, 8, 11)
    """

    def __init__(
        self,
        network: Callable[[], nn.Module] = Siren,
        options: FitOptions = PAPER,
        device: str | None = None,
        keep_observed: bool = True,
        profile_mm: float | None = None,
        stop_patience: int | None = None,
        stop_interval: int = 1,
        engine: Literal["auto", "plain"] = "auto",
    ) -> None:
        super().__init__(options, device)
        if engine not in ("auto", "plain"):
            raise InputError(f"engine is {engine!r}, expected 'auto' or 'plain'")
        if stop_patience is not None and engine == "plain":
            raise InputError("stop_patience needs engine 'auto': the plain loop fits all epochs")
        if profile_mm is not None and not (isinstance(profile_mm, int | float) and 0 <= profile_mm < np.inf):
            raise InputError(f"profile_mm is {profile_mm!r}, expected the slice thickness in mm, 0 or more")
        self.network = network
        self.keep_observed = keep_observed
        self.profile_mm = profile_mm
        self.stop_patience = stop_patience
        self.stop_interval = stop_interval
        self.engine = engine

    def reconstruct_many(self, observed: Sequence[ObservedSlices]) -> list[Reconstruction]:
        """See :class:`FittedInferer`."""
        return self._fit(observed, self.network)

    def _run(self, observed: ObservedSlices, network: Any) -> np.ndarray:
        image = self._fit([observed], self.network if network is None else lambda: copy.deepcopy(network))[0].image
        assert image is not None
        return image

    def _fit(self, many: Sequence[ObservedSlices], make: Callable[[], nn.Module]) -> list[Reconstruction]:
        for observed in many:
            checked_image(observed, "an implicit reconstruction")
        if self.profile_mm is not None:
            many = [replace(observed, thickness_mm=float(self.profile_mm)) for observed in many]
        with self._fitting():
            if self.engine == "plain":
                return [self._fit_plainly(observed, make) for observed in many]
            if any(observed.thickness_mm for observed in many):  # networks of one structure alone can be stacked
                return [self._fit_fast([observed], make)[0] for observed in many]
            return self._fit_fast(many, make)

    def _fit_plainly(self, observed: ObservedSlices, make: Callable[[], nn.Module]) -> Reconstruction:
        torch.manual_seed(observed.seed)
        network = averaging(make(), observed)
        batches = coordinate_batches(observed, self.options.batch_size, self.options.jitter)
        watch = [] if self.on_progress is None else [EpochProgress(progress=self.on_progress)]
        trainer = NoduleTrainer(network, batches, self.options, self._device(), handlers=watch)
        trainer.run()
        return self._dense(observed, network, trainer.history, {"path": "plain Ignite loop"})

    def _fit_fast(self, many: Sequence[ObservedSlices], make: Callable[[], nn.Module]) -> list[Reconstruction]:
        data = [nodule_data(observed, self.options.batch_size, self.options.jitter) for observed in many]
        stop = None if self.stop_patience is None else lambda indices: [self._stop([many[i] for i in indices])]
        results: dict[int, Reconstruction] = {}
        for indices, trainer in self._stacks(lambda index: averaging(make(), many[index]), data, stop):
            for index, fit in zip(indices, trainer.fits, strict=True):
                result = self._dense(many[index], fit.network, fit.history, dict(trainer.timings), trainer)
                if trainer.fallback:
                    result.notes.append(f"fitted by the slower {trainer.path}: {trainer.fallback}")
                results[index] = result
        return [results[i] for i in range(len(many))]

    def _stop(self, stack: Sequence[ObservedSlices]) -> StopOnWithheld:
        assert self.stop_patience is not None
        places, values = [], []
        for observed in stack:
            if observed.withheld is None:
                raise InputError("stop_patience needs the unobserved slices: reveal them, or leave it out")
            hidden = observed.withheld[..., ~observed.seen]
            shape = (hidden.shape[0], hidden.shape[1])
            places.append(coordinate_grid(shape, scaled_slices(observed)[1][~observed.seen]))
            values.append(torch.as_tensor(hidden.reshape(-1), dtype=torch.float32))
        return StopOnWithheld(places, values, self.stop_patience, self.stop_interval)

    def _dense(
        self,
        observed: ObservedSlices,
        network: nn.Module,
        history: dict[str, list[float]],
        timings: dict[str, Any],
        trainer: StackTrainer | None = None,
    ) -> Reconstruction:
        """Evaluate a fitted network on the target slices."""
        assert observed.image is not None
        _, wanted = scaled_slices(observed)
        shape = (observed.image.shape[0], observed.image.shape[1])
        grid = coordinate_grid(shape, wanted)
        if trainer is None:
            dense = predict(network, grid)
        else:
            with one_thread():
                dense = trainer.predict(network, grid)
        image = dense.reshape(*shape, len(wanted)).clamp(0, 1).numpy()
        if self.keep_observed:
            image = with_observed(image, observed)
        bare = network.network if isinstance(network, ProfileMean) else network
        state = {name: tensor.detach().cpu().clone() for name, tensor in bare.state_dict().items()}
        return Reconstruction(image=image, history=history, state=state, timings=timings)


def averaging(network: nn.Module, observed: ObservedSlices) -> nn.Module:
    """The network, or where the observed slices are averages, what averages it over their profile."""
    if not observed.thickness_mm:
        return network
    low, high = _span(observed)
    return ProfileMean(network, *profile_rule(observed.thickness_mm * 2 / (high - low), observed.profile))


def coordinate_batches(observed: ObservedSlices, batch_size: int = 2048, jitter: float = 1e-4) -> CoordinateBatches:
    """Training data of a network: every observed voxel, its place scaled to [-1, 1].

    Example:
        >>> seen = ObservedSlices(np.zeros((4, 4, 2)), None, np.array([0.0, 5.0]), np.arange(6.0))
        >>> len(coordinate_batches(seen, batch_size=16))
        2
    """
    assert observed.image is not None
    values = torch.as_tensor(np.asarray(observed.image, dtype=np.float32)).reshape(-1)
    shape = (observed.image.shape[0], observed.image.shape[1])
    places = coordinate_grid(shape, scaled_slices(observed)[0])
    return CoordinateBatches(places, values, batch_size, jitter)


def nodule_data(observed: ObservedSlices, batch_size: int = 2048, jitter: float = 1e-4) -> NoduleData:
    """The same as :func:`coordinate_batches`, with random numbers of its own seeded by ``observed.seed``."""
    batches = coordinate_batches(observed, batch_size, jitter)
    return NoduleData(batches.coordinates, batches.values, observed.seed, batch_size, jitter)


def scaled_slices(observed: ObservedSlices) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates in [-1, 1] of the observed and of the target slices; the range spans both.

    Example:
        >>> seen = ObservedSlices(np.zeros((2, 2, 2)), None, np.array([0.0, 5.0]), np.arange(9.0))
        >>> scaled_slices(seen)[0].tolist()
        [-1.0, 0.25]
    """
    low, high = _span(observed)
    return unit_axis(observed.positions, low, high), unit_axis(observed.targets, low, high)


def _span(observed: ObservedSlices) -> tuple[float, float]:
    """Ends in mm of positions and targets, which become -1 and 1."""
    both = np.concatenate([observed.positions, observed.targets])
    return float(both.min()), float(both.max())
