"""The Ignite engine that fits one coordinate network to one nodule, written to be read.

One iteration is one batch of coordinates, one epoch one pass over the observed voxels. Everything the paper
states is an argument: Adam, learning rate, warm-up and warm restarts, gradient clipping, epochs. Jitter and
batches belong to :class:`bundle.engines.coordinates.CoordinateBatches`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from ignite.engine import Engine, Events
from monai.engines import SupervisedTrainer
from monai.engines.utils import IterationEvents
from monai.inferers import Inferer
from torch import nn

from bundle.engines.schedule import learning_rate_factor
from bundle.errors import InputError

PRECISIONS = ("auto", "fp32", "tf32", "bf16")


@dataclass(frozen=True)
class FitOptions:
    """How a network is fitted; the defaults are the paper's.

    Attributes:
        epochs: passes over the observed voxels.
        learning_rate: Adam's, after the warm-up.
        warmup: epochs of linear warm-up.
        t_0: epochs of the first cosine period; 0 keeps the rate constant after the warm-up.
        t_mult: factor between successive periods.
        clip_norm: largest norm of the gradient of all parameters together; 0 for no clipping.
        batch_size: coordinates a step.
        jitter: sd of the noise on the coordinates, which span [-1, 1].
        precision: of matrix products and of what is kept between layers: ``"fp32"``; ``"bf16"``; ``"tf32"``
            (NVIDIA GPUs); ``"auto"``: tf32 on a GPU, bf16 on a CPU that multiplies bf16 in hardware, else fp32.
            Parameters, Adam, the first layer and all sums are fp32 always. The plain trainer is always fp32.
        rates: pairs of a word and a factor: a parameter whose name has the word has so many times the rate.

    Example:
        >>> FitOptions(epochs=300).learning_rate
        5e-05
    """

    epochs: int = 2000
    learning_rate: float = 5e-5
    warmup: int = 50
    t_0: int = 100
    t_mult: int = 2
    clip_norm: float = 1.0
    batch_size: int = 2048
    jitter: float = 1e-4
    precision: str = "auto"
    rates: tuple[tuple[str, float], ...] = ()

    def check(self) -> FitOptions:
        """Return these options if they can be used.

        Raises:
            InputError: names the first value that can't.
        """
        whole = {"epochs": 1, "batch_size": 1, "warmup": 0, "t_0": 0, "t_mult": 1}
        for name, least in whole.items():
            value = getattr(self, name)
            if not isinstance(value, int) or value < least:
                raise InputError(f"{name} is {value!r}, expected a whole number of at least {least}")
        for name in ("learning_rate", "clip_norm", "jitter"):
            value = getattr(self, name)
            if not isinstance(value, int | float) or not 0 <= value < float("inf"):
                raise InputError(f"{name} is {value!r}, expected a number of at least 0")
        if not all(isinstance(pair[0], str) and 0 <= pair[1] < float("inf") for pair in self.rates):
            raise InputError(f"rates is {self.rates!r}, expected pairs of a word in names and a factor of at least 0")
        if self.precision not in PRECISIONS:
            raise InputError(f"precision is {self.precision!r}, expected one of {', '.join(PRECISIONS)}")
        return self

    def rate(self, epoch: int) -> float:
        """Learning rate in an epoch, counted from 0."""
        return self.learning_rate * learning_rate_factor(epoch, self.warmup, self.t_0, self.t_mult)

    def factor(self, name: str) -> float:
        """What the rate of a parameter is multiplied by.

        Example:
            >>> FitOptions(rates=(("table", 10.0),)).factor("encoding.table")
            10.0
        """
        return math.prod(factor for word, factor in self.rates if word in name)


class NoduleTrainer(SupervisedTrainer):
    """MONAI's supervised trainer with the paper's schedule and clipping, and the learning curves kept.

    Args:
        network: the coordinate network to fit, in place.
        batches: re-iterable of ``{"image": (1, N, 3), "label": (1, N, 1)}`` with a length; a label of (1, N, 2) holds
            values and weights.
        options: how to fit.
        device: where to compute.
        loss_function: of prediction (1, N, 1) and label; None: :func:`squared_error`.
        handlers: further MONAI or Ignite handlers (anything with ``attach``).
        max_epochs: instead of the options' epochs.
        inferer: calls the network on a batch; None: MONAI's SimpleInferer.

    Attributes:
        history: ``{"loss": mean loss of each epoch, "lr": learning rate of each epoch}``.

    Example:
        >>> from bundle.engines import CoordinateBatches
        >>> from bundle.networks import Siren
        >>> places = torch.linspace(-1, 1, 64).repeat(3, 1).T
        >>> batches = CoordinateBatches(places, places[:, 0] ** 2)
        >>> trainer = NoduleTrainer(Siren(), batches, FitOptions(epochs=3))
        >>> _ = trainer.run()
        >>> len(trainer.history["loss"])
        3
    """

    def __init__(
        self,
        network: nn.Module,
        batches: Iterable,
        options: FitOptions | None = None,
        device: str | torch.device = "cpu",
        loss_function: Callable | None = None,
        handlers: Sequence[Any] | None = None,
        max_epochs: int | None = None,
        inferer: Inferer | None = None,
    ) -> None:
        self.options = options or FitOptions()
        if max_epochs is not None:
            self.options = replace(self.options, epochs=max_epochs)
        self.options.check()
        network = network.to(device)
        super().__init__(
            device=torch.device(device),
            max_epochs=self.options.epochs,
            train_data_loader=batches,
            network=network,
            optimizer=torch.optim.Adam(
                [{"params": [p], "factor": self.options.factor(name)} for name, p in network.named_parameters()],
                lr=self.options.learning_rate,
            ),
            loss_function=loss_function or squared_error,
            train_handlers=handlers,
            inferer=inferer,
            decollate=False,
            optim_set_to_none=True,
        )
        self.history: dict[str, list[float]] = {"loss": [], "lr": []}
        self._losses: list[tuple[int, torch.Tensor]] = []
        # Ignite reports every run to its logger; one line a nodule would drown the study's own
        self.logger.setLevel("WARNING")
        self.add_event_handler(Events.EPOCH_STARTED, NoduleTrainer._start_epoch)
        self.add_event_handler(IterationEvents.BACKWARD_COMPLETED, NoduleTrainer._clip)
        self.add_event_handler(Events.ITERATION_COMPLETED, NoduleTrainer._keep_loss)
        self.add_event_handler(Events.EPOCH_COMPLETED, NoduleTrainer._end_epoch)

    @staticmethod
    def _start_epoch(engine: Engine) -> None:
        assert isinstance(engine, NoduleTrainer)
        rate = engine.options.rate(engine.state.epoch - 1)
        for group in engine.optimizer.param_groups:
            group["lr"] = rate * group["factor"]
        engine.history["lr"].append(rate)
        engine._losses = []

    @staticmethod
    def _clip(engine: Engine) -> None:
        assert isinstance(engine, NoduleTrainer)
        if engine.options.clip_norm > 0:
            torch.nn.utils.clip_grad_norm_(engine.network.parameters(), engine.options.clip_norm)

    @staticmethod
    def _keep_loss(engine: Engine) -> None:
        assert isinstance(engine, NoduleTrainer)
        output: Any = engine.state.output
        engine._losses.append((output["label"].numel(), output["loss"].detach()))

    @staticmethod
    def _end_epoch(engine: Engine) -> None:
        assert isinstance(engine, NoduleTrainer)
        # batches differ in size: the mean over voxels, not over batches
        total = sum(n for n, _ in engine._losses)
        loss = sum(n * value for n, value in engine._losses) / total
        engine.history["loss"].append(float(loss))


def squared_error(prediction: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
    """Mean over the places of the squared error, each times its weight if there are weights.

    Args:
        prediction: (..., N, 1).
        label: (..., N, 1) values, or (..., N, 2) values and weights.

    Example:
        >>> squared_error(torch.zeros(2, 1), torch.tensor([[1.0, 0.5], [2.0, 0.25]])).item()
        0.75
    """
    if label.shape[-1] == 1:
        return nn.functional.mse_loss(prediction, label)
    value, weight = label.split(1, dim=-1)
    return (weight * (prediction - value) ** 2).mean()


@torch.no_grad()
def predict(network: nn.Module, coordinates: torch.Tensor, chunk: int = 65536) -> torch.Tensor:
    """Evaluate a network at many places with bounded memory, in evaluation mode.

    Args:
        network: maps (N, 3) to (N, C).
        coordinates: (N, 3) on any device.
        chunk: places at a time.

    Returns:
        (N, C) float32 on the CPU.

    Example:
        >>> predict(nn.Linear(3, 1), torch.zeros(10, 3), chunk=4).shape
        torch.Size([10, 1])
    """
    was_training = network.training
    network.eval()
    device = next(network.parameters()).device
    parts = [network(part.to(device)).float().cpu() for part in coordinates.split(chunk)]
    network.train(was_training)
    return torch.cat(parts)
