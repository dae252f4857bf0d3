"""What all methods share that fit networks to the slices of the nodule itself."""

from __future__ import annotations

import contextlib
from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import nn

from bundle.engines import EpochProgress, FitOptions, NoduleData, StackTrainer, fit_stacks
from bundle.inferers.base import SliceInferer
from bundle.slices import ObservedSlices, Reconstruction


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

    def _device(self) -> str:
        return self.device or ("cuda" if torch.cuda.is_available() else "cpu")

    @contextlib.contextmanager
    def _fitting(self) -> Iterator[None]:
        """With gradients, as MONAI Label and evaluators call inferers under no_grad; generators left as they were."""
        with torch.random.fork_rng(), torch.enable_grad():
            yield

    def _stacks(
        self,
        make: Callable[[int], nn.Module],
        data: Sequence[NoduleData],
        handlers: Callable[[list[int]], list[Any]] | None = None,
    ) -> Iterator[tuple[list[int], StackTrainer]]:
        """Fit a network to each of ``data``, seeded by its seed; the epochs of all stacks are reported as one's.

        Args:
            make: makes a network, by its number.
            data: what each is fitted to.
            handlers: makes further handlers of a stack, from the numbers of its networks.

        Yields:
            numbers of the networks of a stack, and its trainer after the run.
        """
        before = 0

        def network_of(index: int) -> nn.Module:
            torch.manual_seed(data[index].seed)
            return make(index)

        def watched(indices: list[int]) -> list[Any]:
            nonlocal before
            first, count, told = before, len(indices), self.on_progress
            before += count
            more = [] if handlers is None else handlers(indices)
            if told is None:
                return more

            def progress(done: float, total: float, words: str) -> None:
                told(first * total + count * done, len(data) * total, words)

            return [*more, EpochProgress(progress=progress)]

        return fit_stacks(network_of, data, self.options, self._device(), handlers=watched)
