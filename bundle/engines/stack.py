"""The Ignite engine that fits one nodule, or a stack of them in lock step, as fast as the machine allows.

One iteration is one epoch of steps of every nodule in the stack, so handlers (progress, checkpoints, curves,
early stop) cost nothing. What is computed is what :class:`bundle.engines.trainer.NoduleTrainer` computes; a test
feeds both the same batches and dropout. A nodule's numbers are its own (:mod:`bundle.engines.counter_random`): on
a CPU its result is the same to the last bit in any stack, on any number of workers and of threads.
"""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch
from ignite.engine import Engine, Events
from monai.engines import Trainer
from torch import nn
from torch.nn.utils import parameters_to_vector

from bundle.engines.coordinates import CoordinateBatches
from bundle.engines.draws import NoduleData
from bundle.engines.fit import FitPath, NativePath, NoduleFit
from bundle.engines.functional import FunctionalNetwork
from bundle.engines.native import pointwise_library
from bundle.engines.siren_native import NativeSirenStep, siren_shape
from bundle.engines.siren_stacked import StackedSiren
from bundle.engines.stacked import StackedPath
from bundle.engines.trainer import FitOptions, predict

Data = NoduleData | CoordinateBatches


class StackTrainer(Trainer):
    """Fit networks to nodules, each network to its own nodule.

    Args:
        networks: one or several coordinate networks of one structure, fitted in place.
        batches: the data of each.
        options: how to fit, one for all or one for each; of one batch size.
        device: where to compute.
        handlers: further MONAI or Ignite handlers (anything with ``attach``).
        on_epoch: called after each epoch with (epochs done, epochs in all, mean loss over the nodules).
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
        on_epoch: Callable[[int, int, float], None] | None = None,
        max_epochs: int | None = None,
        seeds: Sequence[int] | None = None,
    ) -> None:
        nets = [networks] if isinstance(networks, nn.Module) else list(networks)
        given = [batches] if isinstance(batches, Data) else list(batches)
        data = [_as_data(one, 0 if seeds is None else seeds[i]) for i, one in enumerate(given)]
        chosen = [options or FitOptions()] * len(nets) if not isinstance(options, Sequence) else list(options)
        if max_epochs is not None:
            chosen = [replace(one, epochs=max_epochs) for one in chosen]
        self.fits = [NoduleFit(*parts) for parts in zip(nets, data, [one.check() for one in chosen], strict=True)]
        self.network = nets[0]
        self.on_epoch = on_epoch
        self._path, self.fallback = choose_path(self.fits, torch.device(device))
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
        with torch.no_grad(), one_thread():
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
        mean = sum(losses) / len(losses)
        if self.on_epoch is not None:
            self.on_epoch(self.state.epoch, self.state.max_epochs, mean)
        return {"loss": mean, "losses": losses}

    def predict(self, network: nn.Module, coordinates: torch.Tensor, chunk: int = 65536) -> torch.Tensor:
        """Evaluate a fitted network at many places, as :func:`bundle.engines.predict`, on the path's own way."""
        if isinstance(self._path, NativePath) and coordinates.shape[-1] == 3:
            flat = parameters_to_vector(network.parameters()).detach().float()
            return self._path.step.predict(flat, coordinates.float().contiguous())[:, None]
        return predict(network, coordinates, chunk)


class _Inner:
    """What must run before other handlers: results are in their final place when those look at them."""

    def attach(self, engine: Engine) -> None:
        assert isinstance(engine, StackTrainer)
        engine.add_event_handler(Events.COMPLETED, lambda: engine._path.close())


def choose_path(fits: Sequence[NoduleFit], device: torch.device) -> tuple[FitPath, str]:
    """The fastest way there is for these networks on this device, and why a faster one is not taken.

    The choice depends on nothing but networks, options and machine.
    """
    network, options = fits[0].network, fits[0].options
    shape = siren_shape(network)
    precision = chosen_precision(options.precision, device)
    store = torch.bfloat16 if precision == "bf16" else torch.float32
    fallback = ""
    if device.type == "cpu" and shape is not None:
        library, fallback = pointwise_library(store)
        if library is not None:
            step = NativeSirenStep(shape, options.batch_size, library)
            return NativePath(step, f"compiled step, {precision}, one CPU thread"), ""
    if shape is not None:
        gradient: Any = StackedSiren(shape, store)
    else:
        gradient = FunctionalNetwork(network, device)
    if device.type == "cpu":
        return OneByOne(gradient, f"torch step, {precision}, one CPU thread"), fallback
    text = f"stack of {len(fits)} on {device}, {precision}, CUDA graphs"
    return StackedPath(fits, gradient, device, graphs=True, compile_step=True, description=text), fallback


def fit_stacks(
    make: Callable[[int], nn.Module],
    data: Sequence[NoduleData],
    options: FitOptions,
    device: str | torch.device = "cpu",
    on_epoch: Callable[[int, int, float], None] | None = None,
    limit: int | None = None,
) -> Iterator[tuple[list[int], StackTrainer]]:
    """Fit any number of nodules in stacks that fit the device's memory; yield each stack when it is done.

    Nodules of similar length go together. A stack for which the memory does not suffice after all is cut in
    half, and both halves start anew.

    Args:
        make: makes the network of a nodule, by its number.
        data: of each nodule.
        options: how to fit.
        device: where to compute.
        on_epoch: see :class:`StackTrainer`.
        limit: most nodules a stack; None: what fits the free memory, one on a CPU.

    Yields:
        numbers of the nodules of a stack, and its trainer after the run.
    """
    device = torch.device(device)
    waiting = plan_stacks([d.steps for d in data], limit or stack_limit(make, data, options, device))
    while waiting:
        indices = waiting.pop(0)
        trainer = _try_stack([make(i) for i in indices], [data[i] for i in indices], options, device, on_epoch)
        if trainer is not None:
            yield indices, trainer
        else:
            half = (len(indices) + 1) // 2
            waiting[:0] = [indices[:half], indices[half:]]


def _try_stack(networks: list[nn.Module], data: list[NoduleData], *rest: Any) -> StackTrainer | None:
    """Fit one stack; None if it needs more memory than there is and can be cut."""
    options, device, on_epoch = rest
    try:
        trainer = StackTrainer(networks, data, options, device, on_epoch=on_epoch)
        trainer.run()
        return trainer
    except torch.OutOfMemoryError:
        if len(data) == 1:
            raise
    # here, not in the except clause: there the error still holds the tensors of the failed run
    if device.type == "cuda":
        torch.cuda.empty_cache()
    return None


def plan_stacks(steps: Sequence[int], limit: int) -> list[list[int]]:
    """Nodules by decreasing length, cut into as few stacks as possible, of nearly equal size.

    Example:
        >>> plan_stacks([3, 9, 4, 8, 1], limit=3)
        [[1, 3, 2], [0, 4]]
    """
    order = sorted(range(len(steps)), key=lambda i: -steps[i])
    count = -(-len(order) // limit) if order else 0
    edges = [-(-len(order) * i // count) for i in range(count + 1)]
    return [order[a:b] for a, b in itertools.pairwise(edges)]


def stack_limit(
    make: Callable[[int], nn.Module], data: Sequence[NoduleData], options: FitOptions, device: torch.device
) -> int:
    """Nodules that surely fit the free memory of a device together; 1 on a CPU, where stacking gains nothing."""
    if device.type != "cuda" or not data:
        return 1
    free, _ = torch.cuda.mem_get_info(device)
    parameters = sum(p.numel() for p in make(0).parameters())
    widest = max((p.shape[0] for p in make(0).parameters()), default=1)
    layers = sum(1 for p in make(0).parameters() if p.dim() > 1)
    # moments, gradient and copies of the parameters; some ten arrays of activations a layer; an epoch's data
    each = 4 * (10 * parameters + 10 * layers * widest * options.batch_size + 16 * max(len(d) for d in data))
    return max(1, int(0.8 * free / each))


class OneByOne:
    """Nodules one after the other by :class:`StackedPath`, each as a stack of one.

    Args:
        gradient: see :class:`StackedPath`.
        description: see :class:`bundle.engines.fit.FitPath`.
    """

    def __init__(self, gradient: Any, description: str) -> None:
        self.description = description
        self._gradient = gradient
        self._paths: dict[int, StackedPath] = {}

    def epoch(self, fits: Sequence[NoduleFit]) -> list[float]:
        """See :class:`bundle.engines.fit.FitPath`."""
        losses = []
        for fit in fits:
            if id(fit) not in self._paths:
                self._paths[id(fit)] = StackedPath([fit], self._gradient)
            losses += self._paths[id(fit)].epoch([fit])
        return losses

    def close(self) -> None:
        """See :class:`bundle.engines.fit.FitPath`."""
        for path in self._paths.values():
            path.close()


def chosen_precision(asked: str, device: torch.device) -> str:
    """What ``"auto"`` means on a device; bf16 on a CPU only if it multiplies bf16 in hardware.

    Example:
        >>> chosen_precision("fp32", torch.device("cpu"))
        'fp32'
    """
    if asked != "auto":
        return asked
    if device.type == "cuda":
        return "tf32"
    fast = getattr(torch.cpu, "_is_amx_tile_supported", None)
    return "bf16" if device.type == "cpu" and fast is not None and fast() else "fp32"


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Compute on one thread: small products gain little from more, and sums then do not depend on the number."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _as_data(batches: Data, seed: int) -> NoduleData:
    if isinstance(batches, NoduleData):
        return batches
    return NoduleData(batches.coordinates, batches.values, seed, batches.batch_size, batches.jitter)
