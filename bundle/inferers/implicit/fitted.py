"""What all methods share that fit networks to the slices of the nodule itself."""

from __future__ import annotations

import contextlib
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import torch
from torch import nn

from bundle.engines import EpochProgress, FitOptions, NoduleData, StackTrainer, fit_stacks
from bundle.engines.steps.fit import NoduleFit
from bundle.inferers.base import SliceInferer, checked_image
from bundle.progress import Progress
from bundle.slices import ObservedSlices, Reconstruction

T = TypeVar("T")


class FittedInferer(SliceInferer):
    """Fit networks to each nodule from scratch: implement :meth:`reconstruct_many`.

    The result is seeded by ``observed.seed`` alone; torch's global generators are left as they were.

    Args:
        options: how to fit.
        device: where to fit; None: the first GPU if there is one, else the CPU.
    """

    in_plane = True

    def __init__(self, options: FitOptions, device: str | None) -> None:
        super().__init__()
        self.options = options.check()
        self.device = device

    def reconstruct(self, observed: ObservedSlices) -> Reconstruction:
        """Fit and evaluate; ``history`` has the loss and learning rate, ``state`` what was fitted."""
        return self.reconstruct_many([observed])[0]

    @abstractmethod
    def reconstruct_many(self, observed: Sequence[ObservedSlices]) -> list[Reconstruction]:
        """Fit several nodules, on a GPU in lock step; each result is as if it had been fitted alone.

        Args:
            observed: the slices of each nodule, of any sizes.

        Returns:
            one reconstruction for each, in the order given.
        """

    def _each(self, observed: Sequence[ObservedSlices], fit: Callable[[Sequence[ObservedSlices]], list[T]]) -> list[T]:
        """What ``fit`` gives for all together, or one by one where slices are thick: a stack is of one structure."""
        for one in observed:
            checked_image(one, "an implicit reconstruction")
        if any(one.thickness_mm for one in observed):
            return [fit([one])[0] for one in observed]
        return fit(observed)

    def _fit(
        self,
        data: Sequence[NoduleData],
        make: Callable[[int], nn.Module],
        finish: Callable[[int, StackTrainer, NoduleFit], T],
        handlers: Callable[[list[int]], list[Any]] = lambda numbers: [],
    ) -> list[T]:
        """Fit a network to each of ``data``, seeded by its seed; the epochs of all stacks are reported as one's.

        Args:
            data: what each is fitted to.
            make: makes a network, by its number.
            finish: makes a result, of a network's number, its trainer after the run and its fit.
            handlers: makes further handlers of a stack, from the numbers of its networks.

        Returns:
            what ``finish`` made of each.
        """
        results: dict[int, T] = {}

        def network_of(number: int) -> nn.Module:
            torch.manual_seed(data[number].seed)
            return make(number)

        def watched(numbers: list[int]) -> list[Any]:
            if self.on_progress is None:
                return handlers(numbers)
            told = part_of(self.on_progress, len(results), len(numbers), len(data))
            return [*handlers(numbers), EpochProgress(progress=told)]

        with self._fitting():
            for numbers, trainer in fit_stacks(network_of, data, self.options, self._device(), handlers=watched):
                results |= {i: finish(i, trainer, fit) for i, fit in zip(numbers, trainer.fits, strict=True)}
        return [results[i] for i in range(len(data))]

    @contextlib.contextmanager
    def _fitting(self) -> Iterator[None]:
        """With gradients, as MONAI Label and evaluators call inferers under no_grad; generators left as they were."""
        with torch.random.fork_rng(), torch.enable_grad():
            yield

    def _device(self) -> str:
        return self.device or ("cuda" if torch.cuda.is_available() else "cpu")


def part_of(told: Progress, done: int, share: int, total: int) -> Progress:
    """Progress of some pieces of work among ``total``, of which so many were done before, as that of all.

    Example:
        >>> part_of(lambda *about: print(about), done=1, share=2, total=4)(5, 10, "loss 0.1")
        (20, 40, 'loss 0.1')
    """
    return lambda part, whole, words: told(done * whole + share * part, total * whole, words)


def recorded(fits: Sequence[tuple[StackTrainer, NoduleFit]]) -> Reconstruction:
    """A record of networks of one nodule, without an image yet: how they were fitted, and mean learning curves.

    There is none of networks whose curves differ in length.
    """
    curves = [fit.history for _, fit in fits]
    alike = len({len(curve["loss"]) for curve in curves}) == 1
    history = {name: np.mean([curve[name] for curve in curves], axis=0).tolist() for name in curves[0]} if alike else {}
    trainers = list({id(trainer): trainer for trainer, _ in fits}.values())
    notes = [f"fitted by the slower {one.path}: {one.fallback}" for one in trainers if one.fallback]
    timings = summed([one.timings for one in trainers])
    return Reconstruction(history=history, timings=timings, notes=list(dict.fromkeys(notes)))


def summed(timings: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Timings of several runs as of one.

    Example:
        >>> summed([{"path": "a", "seconds": 1.0, "steps": 5}, {"path": "b", "seconds": 2.0, "steps": 7}])
        {'path': 'a; b', 'seconds': 3.0, 'steps': 12}
    """
    path = "; ".join(dict.fromkeys(one["path"] for one in timings))
    return {"path": path, **{key: sum(one[key] for one in timings) for key in ("seconds", "steps")}}


def state_of(network: nn.Module) -> dict[str, torch.Tensor]:
    """Parameters of a network on the CPU, apart from it."""
    return {name: tensor.detach().cpu().clone() for name, tensor in network.state_dict().items()}


def numbered(states: Sequence[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """Several states in one, the names of each led by its number."""
    return {f"{i}.{name}": tensor for i, state in enumerate(states) for name, tensor in state.items()}
