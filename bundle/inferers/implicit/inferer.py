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
    NoduleTrainer,
    StopOnWithheld,
    coordinate_grid,
    one_thread,
    predict,
    unit_axis,
)
from bundle.engines.steps.draws import as_data
from bundle.errors import InputError
from bundle.inferers.implicit.fitted import FittedInferer, recorded, state_of
from bundle.inferers.implicit.profile import ProfileMean, averaged
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
        if self.profile_mm is not None:
            observed = [replace(one, thickness_mm=float(self.profile_mm)) for one in observed]
        return self._each(observed, self._fit_plainly if self.engine == "plain" else self._fit_fast)

    def _run(self, observed: ObservedSlices, network: Any) -> np.ndarray:
        if network is None:
            return super()._run(observed, None)
        given = copy.copy(self)
        given.network = lambda: copy.deepcopy(network)
        return given._run(observed, None)

    def _fit_plainly(self, many: Sequence[ObservedSlices]) -> list[Reconstruction]:
        watch = [] if self.on_progress is None else [EpochProgress(progress=self.on_progress)]
        results = []
        for observed in many:
            with self._fitting():
                torch.manual_seed(observed.seed)
                network = self._network(observed)
                batches = coordinate_batches(observed, self.options.batch_size, self.options.jitter)
                trainer = NoduleTrainer(network, batches, self.options, self._device(), handlers=watch)
                trainer.run()
            record = Reconstruction(history=trainer.history, timings={"path": "plain Ignite loop"})
            results.append(self._dense(record, observed, network, predict))
        return results

    def _fit_fast(self, many: Sequence[ObservedSlices]) -> list[Reconstruction]:
        options = self.options
        batches = [coordinate_batches(observed, options.batch_size, options.jitter) for observed in many]
        return self._fit(
            [as_data(one, observed.seed) for one, observed in zip(batches, many, strict=True)],
            lambda i: self._network(many[i]),
            lambda i, trainer, fit: self._dense(recorded([(trainer, fit)]), many[i], fit.network, trainer.predict),
            lambda numbers: [] if self.stop_patience is None else [self._stop([many[i] for i in numbers])],
        )

    def _network(self, observed: ObservedSlices) -> nn.Module:
        """A new network, averaged over the profile of the observed slices where they are thick."""
        low, high = _span(observed)
        return averaged(self.network(), observed.thickness_mm * 2 / (high - low), observed.profile)

    def _stop(self, stack: Sequence[ObservedSlices]) -> StopOnWithheld:
        assert self.stop_patience is not None
        places, values = [], []
        for observed in stack:
            if observed.withheld is None:
                raise InputError("stop_patience needs the unobserved slices: reveal them, or leave it out")
            places.append(unit_places(observed, observed.targets[~observed.seen]))
            values.append(torch.as_tensor(observed.withheld[..., ~observed.seen].reshape(-1), dtype=torch.float32))
        return StopOnWithheld(places, values, self.stop_patience, self.stop_interval)

    def _dense(
        self, record: Reconstruction, observed: ObservedSlices, network: nn.Module, evaluate: Callable
    ) -> Reconstruction:
        """Add to the record of a fit the network's state, and its values at the target slices."""
        with one_thread():
            dense = evaluate(network, unit_places(observed, observed.targets))
        image = dense.reshape(*observed.intensity.shape[:2], -1).clamp(0, 1).numpy()
        record.image = with_observed(image, observed) if self.keep_observed else image
        record.state = state_of(network.network if isinstance(network, ProfileMean) else network)
        return record


def coordinate_batches(observed: ObservedSlices, batch_size: int = 2048, jitter: float = 1e-4) -> CoordinateBatches:
    """Training data of a network: every observed voxel, its place scaled to [-1, 1].

    Example:
        >>> seen = ObservedSlices(np.zeros((4, 4, 2)), None, np.array([0.0, 5.0]), np.arange(6.0))
        >>> len(coordinate_batches(seen, batch_size=16))
        2
    """
    values = torch.as_tensor(np.asarray(observed.intensity, dtype=np.float32)).reshape(-1)
    return CoordinateBatches(unit_places(observed, observed.positions), values, batch_size, jitter)


def unit_places(observed: ObservedSlices, z: np.ndarray) -> torch.Tensor:
    """Coordinates in [-1, 1] of every voxel of slices at z mm, (X * Y * Z, 3); the range spans positions and targets.

    Example:
        >>> seen = ObservedSlices(np.zeros((1, 1, 2)), None, np.array([0.0, 5.0]), np.arange(9.0))
        >>> unit_places(seen, seen.positions)[:, 2].tolist()
        [-1.0, 0.25]
    """
    width, height, _ = observed.intensity.shape
    return coordinate_grid((width, height), unit_axis(z, *_span(observed)))


def _span(observed: ObservedSlices) -> tuple[float, float]:
    """Ends in mm of positions and targets, which become -1 and 1."""
    both = np.concatenate([observed.positions, observed.targets])
    return float(both.min()), float(both.max())
