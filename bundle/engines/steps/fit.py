"""The state of one nodule's fit, and what every way of computing an epoch of it has in common."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import nn
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from bundle.engines.steps.draws import NoduleData
from bundle.engines.trainer import FitOptions

BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8  # Adam's, as torch has them


class NoduleFit:
    """A network, its data, Adam's moments, and how far it is.

    Args:
        network: fitted in place.
        data: observed voxels and random numbers.
        options: how to fit; its batch size and jitter are those of ``data``.

    Attributes:
        parameters: (P,) float32, all parameters in a row; the network's own are views of it.
        first: (P,) Adam's first moment.
        second: (P,) Adam's second moment.
        factors: (P,) of the learning rate.
        epochs: epochs done.
        steps: steps done.
        history: loss and learning rate of each epoch.
        stopped: left its stack before its last epoch.
    """

    def __init__(self, network: nn.Module, data: NoduleData, options: FitOptions) -> None:
        self.network = network
        self.data = data
        self.options = options
        self.place(parameters_to_vector(network.parameters()).detach().clone().float())
        self.first = torch.zeros_like(self.parameters)
        self.second = torch.zeros_like(self.parameters)
        self.factors = torch.cat(
            [torch.full((p.numel(),), options.factor(name)) for name, p in network.named_parameters()]
        )
        self.epochs = 0
        self.steps = 0
        self.history: dict[str, list[float]] = {"loss": [], "lr": []}
        self.stopped = False

    def place(self, parameters: torch.Tensor) -> None:
        """Let a vector hold the network's parameters, which become views of it."""
        self.parameters = parameters
        self.network.to(parameters.device)
        vector_to_parameters(parameters, self.network.parameters())

    @property
    def done(self) -> bool:
        """Whether no epoch is left."""
        return self.stopped or self.epochs >= self.options.epochs

    @property
    def rate(self) -> float:
        """Learning rate of the next epoch."""
        return self.options.rate(self.epochs)

    def end_epoch(self, loss: float) -> None:
        """Write an epoch down: its mean squared error over the voxels, weighted."""
        self.history["lr"].append(self.rate)
        self.history["loss"].append(loss)
        self.epochs += 1
        self.steps += self.data.steps


def take_adam_step(
    gradient: torch.Tensor,
    parameters: torch.Tensor,
    first: torch.Tensor,
    second: torch.Tensor,
    taken: torch.Tensor,
    rate: torch.Tensor,
    clip: torch.Tensor,
) -> None:
    """Clip the gradients of a stack to a norm, and take Adam's step, in place.

    Args:
        gradient: (S, P).
        parameters: (S, P), as the moments.
        first: moment.
        second: moment.
        taken: (S, 1) float64, steps taken with this one.
        rate: (S, P), or what is broadcast to it.
        clip: (S, 1) largest norm.
    """
    norm = torch.linalg.vector_norm(gradient, dim=-1, keepdim=True)
    gradient = gradient * torch.clamp(clip / (norm + 1e-6), max=1.0)
    first.lerp_(gradient, 1 - BETA1)
    second.mul_(BETA2).addcmul_(gradient, gradient, value=1 - BETA2)
    mean = first / (1 - BETA1**taken).float()
    root = (second / (1 - BETA2**taken).float()).sqrt_().add_(EPSILON)
    parameters.sub_(rate * mean / root)


class FitPath(Protocol):
    """A way to compute epochs of a stack of nodules.

    Attributes:
        description: which way it is, for people.
    """

    description: str

    def epoch(self, fits: Sequence[NoduleFit]) -> list[float]:
        """Take every step of one epoch of each nodule; give its mean loss. Does not call ``end_epoch``."""

    def close(self) -> None:
        """Leave the results in the fits, in memory of their own."""


class NativePath:
    """One nodule after the other on one thread of the CPU, by the compiled step.

    Args:
        step: the compiled step of the networks' shape.
        description: see :class:`FitPath`.
    """

    def __init__(self, step: NativeStep, description: str) -> None:
        self.step = step
        self.description = description

    def epoch(self, fits: Sequence[NoduleFit]) -> list[float]:
        """See :class:`FitPath`."""
        return [self._epoch(fit) for fit in fits]

    def _epoch(self, fit: NoduleFit) -> float:
        data, rate, total = fit.data, fit.rate, 0.0
        places, truth, weights = data.epoch(fit.epochs)
        for i in range(data.steps):
            rows = data.rows(i)
            count = rows.stop - rows.start
            weight = weights[rows] * (1 / count)
            keep = self.step.keep(data, fit.steps + i)
            error, gradient = self.step.gradient(fit.parameters, places[rows], truth[rows], weight, keep)
            self.step.update(
                gradient, fit.parameters, fit.first, fit.second, rate, fit.steps + i + 1, fit.options.clip_norm
            )
            total += count * error
        return total / len(data)

    def close(self) -> None:
        """See :class:`FitPath`; everything is in place already."""


class NativeStep(Protocol):
    """What :class:`NativePath` needs of a compiled step, such as ``NativeSirenStep``."""

    def keep(self, data: NoduleData, step: int) -> list[torch.Tensor] | None:
        """Units that dropout keeps in a step."""

    def gradient(
        self,
        parameters: torch.Tensor,
        places: torch.Tensor,
        truth: torch.Tensor,
        weight: torch.Tensor,
        keep: list[torch.Tensor] | None,
    ) -> tuple[float, torch.Tensor]:
        """Weighted squared error and its gradient (P,)."""

    def update(
        self,
        gradient: torch.Tensor,
        parameters: torch.Tensor,
        first: torch.Tensor,
        second: torch.Tensor,
        rate: float,
        step: int,
        clip: float,
    ) -> None:
        """Clip and take Adam's step, in place."""

    def predict(self, parameters: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
        """Evaluate without dropout: (N, 3) to (N,)."""
