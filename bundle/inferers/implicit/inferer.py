"""Implicit reconstruction: fit a coordinate network to the observed slices, read it between them.

Each axis of the crop is scaled to [-1, 1], as in the paper. So the gap between observed slices is a larger
part of the range in a crop with few slices, and a sine network with a high ``omega_0`` oscillates in it.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

from bundle.engines import (
    CoordinateBatches,
    FitOptions,
    NoduleData,
    NoduleTrainer,
    StackTrainer,
    StopOnWithheld,
    coordinate_grid,
    fit_stacks,
    one_thread,
    predict,
    unit_axis,
)
from bundle.errors import InputError
from bundle.inferers.base import SliceInferer, checked_image
from bundle.slices import ObservedSlices, Reconstruction, with_observed


class ImplicitInferer(SliceInferer):
    """Fit one network per nodule from scratch and evaluate it on all target slices: the paper's method.

    Args:
        network: makes a new network, mapping (N, 3) to (N, 1); in a config, a ``_target_`` with
            ``"_mode_": "callable"``.
        options: how to fit it; None: the paper's values.
        device: where to fit; None: the first GPU if there is one, else the CPU.
        chunk: voxels at a time in the dense evaluation.
        keep_observed: return the observed slices as they are, not as the network renders them. Metrics on
            unobserved slices are the same either way.
        stop_patience: stop a fit after so many epochs without a smaller error on the *unobserved* voxels, and go back
            to the best epoch, as the published code does; None: fit all epochs and look at observed voxels alone.
        stop_interval: epochs between looks at the unobserved voxels; the published code has 1.
        engine: ``"auto"``: the fastest path of :class:`bundle.engines.StackTrainer`; ``"plain"``: the Ignite loop
            of :class:`bundle.engines.NoduleTrainer`, which is slow and easy to read. Both compute the same, from
            different random numbers.

    The result is seeded by ``observed.seed`` alone; torch's global generators are left as they were.

    Example:
        >>> from bundle.networks import Siren
        >>> siren = ImplicitInferer(Siren, FitOptions(epochs=2), device="cpu")
        >>> siren(np.zeros((8, 8, 3)), positions=[0, 5, 10], targets=range(11)).shape
        (8, 8, 11)
    """

    kind = "density"
    in_plane = True

    def __init__(
        self,
        network: Callable[[], nn.Module],
        options: FitOptions | None = None,
        device: str | None = None,
        chunk: int = 65536,
        keep_observed: bool = True,
        engine: Literal["auto", "plain"] = "auto",
        stop_patience: int | None = None,
        stop_interval: int = 1,
    ) -> None:
        if stop_patience is not None and engine == "plain":
            raise InputError("stop_patience needs engine 'auto': the plain loop fits all epochs")
        self.stop_patience = stop_patience
        self.stop_interval = stop_interval
        if engine not in ("auto", "plain"):
            raise InputError(f"engine is {engine!r}, expected 'auto' or 'plain'")
        self.engine = engine
        self.network = network
        self.options = (options or FitOptions()).check()
        self.device = device
        self.chunk = chunk
        self.keep_observed = keep_observed
        self.on_epoch: Callable[[int, int, float], None] | None = None

    def reconstruct(self, observed: ObservedSlices) -> Reconstruction:
        """Fit and evaluate; ``history`` has the loss and learning rate, ``state`` the fitted network."""
        return self._fit([observed], self.network)[0]

    def reconstruct_many(self, observed: Sequence[ObservedSlices]) -> list[Reconstruction]:
        """Fit several nodules, on a GPU in lock step; each result is as if it had been fitted alone.

        Args:
            observed: the slices of each nodule, of any sizes.

        Returns:
            one reconstruction for each, in the order given.
        """
        return self._fit(observed, self.network)

    def _run(self, observed: ObservedSlices, network: Any) -> np.ndarray:
        image = self._fit([observed], self.network if network is None else lambda: copy.deepcopy(network))[0].image
        assert image is not None
        return image

    def _fit(self, many: Sequence[ObservedSlices], make: Callable[[], nn.Module]) -> list[Reconstruction]:
        for observed in many:
            checked_image(observed, "an implicit reconstruction")
        device = self.device or ("cuda" if torch.cuda.is_available() else "cpu")
        # MONAI Label and evaluators call inferers under no_grad
        with torch.random.fork_rng(), torch.enable_grad():
            if self.engine == "plain":
                return [self._fit_plainly(observed, make, device) for observed in many]
            return self._fit_fast(many, make, device)

    def _fit_plainly(self, observed: ObservedSlices, make: Callable[[], nn.Module], device: str) -> Reconstruction:
        torch.manual_seed(observed.seed)
        network = make()
        batches = coordinate_batches(observed, self.options.batch_size, self.options.jitter)
        trainer = NoduleTrainer(network, batches, self.options, device, on_epoch=self.on_epoch)
        trainer.run()
        return self._dense(observed, network, trainer.history, {"path": "plain Ignite loop"})

    def _fit_fast(
        self, many: Sequence[ObservedSlices], make: Callable[[], nn.Module], device: str
    ) -> list[Reconstruction]:
        def network_of(index: int) -> nn.Module:
            torch.manual_seed(many[index].seed)
            return make()

        data = [nodule_data(observed, self.options.batch_size, self.options.jitter) for observed in many]
        results: dict[int, Reconstruction] = {}
        stop = None if self.stop_patience is None else lambda indices: [self._stop([many[i] for i in indices])]
        for indices, trainer in fit_stacks(network_of, data, self.options, device, self.on_epoch, handlers=stop):
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
            dense = predict(network, grid, self.chunk)
        else:
            with one_thread():
                dense = trainer.predict(network, grid, self.chunk)
        image = dense.reshape(*shape, len(wanted)).clamp(0, 1).numpy()
        if self.keep_observed:
            image = with_observed(image, observed)
        state = {name: tensor.detach().cpu().clone() for name, tensor in network.state_dict().items()}
        return Reconstruction(image=image, history=history, state=state, timings=timings)


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
    both = np.concatenate([observed.positions, observed.targets])
    low, high = float(both.min()), float(both.max())
    return unit_axis(observed.positions, low, high), unit_axis(observed.targets, low, high)
