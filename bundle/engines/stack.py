"""The Ignite engine that fits one nodule, or a stack of them in lock step, as fast as the machine allows.

One iteration is one epoch of steps of every nodule in the stack, so handlers (progress, checkpoints, curves,
early stop) cost nothing. What is computed is what :class:`bundle.engines.trainer.NoduleTrainer` computes; a test
feeds both the same batches and dropout. A nodule's numbers are its own (:mod:`bundle.engines.steps.counter_random`): on
a CPU its result is the same to the last bit in any stack, on any number of workers and of threads.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from ignite.engine import Engine, Events
from monai.engines import Trainer
from torch import nn
from torch.nn.utils import parameters_to_vector

from bundle.engines.coordinates import CoordinateBatches
from bundle.engines.steps.draws import NoduleData, as_data
from bundle.engines.steps.fit import NativePath, NoduleFit
from bundle.engines.steps.lattice import LatticePath, predict_lattice
from bundle.engines.steps.paths import choose_path, matmul_precision, one_thread
from bundle.engines.trainer import FitOptions, predict
from bundle.networks import Lattice

Data = NoduleData | CoordinateBatches


class StackTrainer(Trainer):
    """Fit networks to nodules, each network to its own nodule.

    Args:
        networks: one or several coordinate networks of one structure, fitted in place.
        batches: the data of each.
        options: how to fit, one for all or one for each; of one batch size.
        device: where to compute.
        handlers: further MONAI or Ignite handlers (anything with ``attach``).
        max_epochs: instead of the options' epochs.
        seeds: of the data given as :class:`CoordinateBatches`, one for each.

    Attributes:
        fits: the state of each nodule; ``fits[i].stopped = True`` lets one leave.
        histories: of each nodule: loss and learning rate of each epoch.
        path: which way the steps are computed.
        fallback: why a faster way is not taken; empty if none is missing.
        timings: path, seconds, steps and steps a second of :meth:`run`.

    Example:
        >>> from bundle.networks import Siren
        >>> places = torch.linspace(-1, 1, 64).repeat(3, 1).T
        >>> data = [NoduleData(places[:n], places[:n, 0] ** 2, seed=n) for n in (64, 40)]
        >>> trainer = StackTrainer([Siren(), Siren()], data, FitOptions(epochs=3))
        >>> trainer.run()
        >>> [len(history["loss"]) for history in trainer.histories]
        [3, 3]
    """

    def __init__(
        self,
        networks: nn.Module | Sequence[nn.Module],
        batches: Data | Sequence[Data],
        options: FitOptions | Sequence[FitOptions] | None = None,
        device: str | torch.device = "cpu",
        handlers: Sequence[Any] | None = None,
        max_epochs: int | None = None,
        seeds: Sequence[int] | None = None,
    ) -> None:
        nets = [networks] if isinstance(networks, nn.Module) else list(networks)
        given = [batches] if isinstance(batches, Data) else list(batches)
        data = [as_data(one, 0 if seeds is None else seeds[i]) for i, one in enumerate(given)]
        chosen = [options or FitOptions()] * len(nets) if not isinstance(options, Sequence) else list(options)
        if max_epochs is not None:
            chosen = [replace(one, epochs=max_epochs) for one in chosen]
        self.fits = [NoduleFit(*parts) for parts in zip(nets, data, [one.check() for one in chosen], strict=True)]
        self.network = nets[0]
        self._path, self._precision, self.fallback = choose_path(self.fits, torch.device(device))
        self.timings: dict[str, Any] = {}
        super().__init__(
            device=torch.device(device),
            max_epochs=max(one.epochs for one in chosen),
            data_loader=[None],
            epoch_length=1,
            handlers=[_Inner(), *(handlers or [])],
            decollate=False,
        )
        self.logger.setLevel("WARNING")

    @property
    def histories(self) -> list[dict[str, list[float]]]:
        """Learning curves of each nodule."""
        return [fit.history for fit in self.fits]

    @property
    def history(self) -> dict[str, list[float]]:
        """Learning curves of the first nodule."""
        return self.fits[0].history

    @property
    def path(self) -> str:
        """Which way the steps are computed."""
        return self._path.description

    def run(self) -> None:  # type: ignore[override]
        """Fit; ends early if every nodule was stopped."""
        start, before = time.perf_counter(), sum(fit.steps for fit in self.fits)
        with torch.no_grad(), one_thread(), matmul_precision(self._precision):
            super().run()
        seconds = time.perf_counter() - start
        steps = sum(fit.steps for fit in self.fits) - before
        self.timings = {
            "path": self.path,
            "seconds": seconds,
            "steps": steps,
            "steps_per_second": steps / max(seconds, 1e-9),
        }

    def _iteration(self, engine: Engine, batchdata: Any) -> dict[str, Any]:
        live = [fit for fit in self.fits if not fit.done]
        if not live:
            self.terminate()
            return {"loss": float("nan"), "losses": []}
        losses = self._path.epoch(live)
        for fit, loss in zip(live, losses, strict=True):
            fit.end_epoch(loss)
        return {"loss": sum(losses) / len(losses), "losses": losses}

    def predict(self, network: nn.Module, coordinates: torch.Tensor | Lattice, chunk: int = 65536) -> torch.Tensor:
        """Evaluate a fitted network at many places, as :func:`bundle.engines.predict`, on the path's own way."""
        if isinstance(coordinates, Lattice):
            if isinstance(self._path, LatticePath):
                return predict_lattice(network, coordinates, chunk)
            coordinates = coordinates.places()
        if isinstance(self._path, NativePath) and coordinates.shape[-1] == 3:
            flat = parameters_to_vector(network.parameters()).detach().float()
            return self._path.step.predict(flat, coordinates.float().contiguous())[:, None]
        return predict(network, coordinates, chunk)


class _Inner:
    """What must run before other handlers: results are in their final place when those look at them."""

    def attach(self, engine: Engine) -> None:
        assert isinstance(engine, StackTrainer)
        engine.add_event_handler(Events.COMPLETED, lambda: engine._path.close())
