"""Epochs of a stack of nodules in lock step, in torch operations: batched products, fused work, CUDA graphs.

All tensors have a leading axis for the nodules, which are sorted by length, longest first. So the nodules that
still have a batch left in an epoch are always the first ones, and a step works on that prefix of every tensor;
no step is spent on a nodule that has none to take. On a CUDA device a step of each prefix length is captured as
one graph; on other devices the same function is simply called.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import torch

from bundle.engines.steps.counter_random import DROPOUT, JITTER, ORDER, signed_keys, splitmix64
from bundle.engines.steps.draws import NoduleData, epoch_counter, order_key, packed_keep, places_noise
from bundle.engines.steps.fit import NoduleFit, take_adam_step


class StackGradient(Protocol):
    """Error (S,) and gradient (S, P) of a stack: ``StackedSiren`` or ``FunctionalNetwork``.

    Attributes:
        widths: units of each dropout layer.
        drops: probability of dropping a unit, for each.
    """

    widths: list[int]
    drops: list[float]

    def __call__(
        self,
        parameters: torch.Tensor,
        places: torch.Tensor,
        truth: torch.Tensor,
        weight: torch.Tensor,
        keep: Sequence[torch.Tensor],
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """See ``StackedSiren``."""


class StackData:
    """The data of several nodules side by side; draws an epoch of all of them at once.

    Args:
        data: of the nodules, of one batch size; the one with most steps first.
        device: where to draw.

    Attributes:
        places: (S, steps, rows, 3) of the epoch last drawn; steps and rows beyond a nodule's own hold zeros.
        truth: (S, steps, rows).
        weight: (S, steps, rows): the place's weight / number of places in the step, 0 beyond.
    """

    def __init__(self, data: Sequence[NoduleData], device: torch.device | str) -> None:
        self.batch_size = data[0].batch_size
        lengths = torch.tensor([len(d) for d in data])
        self.steps = [d.steps for d in data]
        shape = (len(data), max(self.steps), self.batch_size)
        capacity = shape[1] * shape[2]
        self._number = torch.repeat_interleave(torch.arange(len(data)), lengths)
        self._index = torch.cat([torch.arange(len(d)) for d in data])
        slot = self._number * capacity + self._index
        per_step = torch.bincount(slot // self.batch_size, minlength=shape[0] * shape[1])
        self._share = 1 / per_step.repeat_interleave(self.batch_size)[slot].float()
        self._jitter = torch.tensor([d.jitter for d in data])[self._number, None]
        self._jittered = any(d.jitter > 0 for d in data)
        self._coordinates = torch.cat([d.coordinates.cpu() for d in data])
        self._values = torch.cat([d.values.cpu() for d in data])
        self._weights = torch.cat([d.weights.cpu() for d in data])
        for name in ("_number", "_index", "_jitter", "_coordinates", "_values", "_weights", "_share"):
            setattr(self, name, getattr(self, name).to(device))
        self._slot = slot.to(device)
        self._keys = {
            purpose: signed_keys([d.keys[purpose] for d in data], device)[self._number] for purpose in (ORDER, JITTER)
        }
        self.places = torch.zeros(*shape, 3, device=device)
        self.truth = torch.zeros(shape, device=device)
        self.weight = torch.zeros(shape, device=device)

    def draw(self, epochs: torch.Tensor) -> None:
        """Draw an epoch into ``places``, ``truth`` and ``weight``, the same as :meth:`NoduleData.epoch` of each nodule.

        Args:
            epochs: (S,) int64, the epoch of each nodule.
        """
        counter = epoch_counter(0, self._index) + (epochs[self._number] << 32)
        # one sort for all: the nodule's number above the random bits keeps each nodule's voxels together
        key = order_key(splitmix64(self._keys[ORDER], counter)) | (self._number << 48)
        order = torch.argsort(key, stable=True)
        places = self._coordinates[order]
        if self._jittered:
            places = places + self._jitter * places_noise(self._keys[JITTER], counter)
        self.places.view(-1, 3)[self._slot] = places
        self.truth.view(-1)[self._slot] = self._values[order]
        self.weight.view(-1)[self._slot] = self._weights[order] * self._share


class StackedPath:
    """Fits a stack in lock step; see the module.

    Args:
        fits: of networks of one structure and one batch size.
        gradient: error and gradient of the structure.
        device: where to compute.
        capture: turns a function without arguments into one that replays it, such as :class:`CudaGraphs`; it may
            run the function, the state is put back afterwards. None: call the function each time.
        compile_with: backend of ``torch.compile`` for the step, such as ``"inductor"``; None: do not compile.
        description: see :class:`bundle.engines.steps.fit.FitPath`.
    """

    def __init__(
        self,
        fits: Sequence[NoduleFit],
        gradient: StackGradient,
        device: torch.device | str = "cpu",
        capture: Callable[[Callable[[], None]], Callable[[], None]] | None = None,
        compile_with: str | None = None,
        description: str = "",
    ) -> None:
        self.description = description
        self.device = torch.device(device)
        self._gradient = gradient
        self._capture = capture
        self._step: Callable[[int], None] = self._take_step
        if compile_with is not None:
            self._step = torch.compile(self._take_step, backend=compile_with)
        self._stack(list(fits))

    def _stack(self, fits: list[NoduleFit]) -> None:
        self._fits = sorted(fits, key=lambda fit: -fit.data.steps)  # sorted() is stable: ties keep their order
        self._replays: dict[int, Callable[[], None]] = {}
        fits, device = self._fits, self.device
        self._data = StackData([fit.data for fit in fits], device)
        self._parameters, self._first, self._second = (
            torch.stack([getattr(fit, name) for fit in fits]).to(device) for name in ("parameters", "first", "second")
        )
        for i, fit in enumerate(fits):
            fit.place(self._parameters[i])
            fit.first, fit.second = self._first[i], self._second[i]
        self._drop_keys = signed_keys([fit.data.keys[DROPOUT] for fit in fits], device)[:, None]
        self._steps = torch.tensor([[fit.steps] for fit in fits], dtype=torch.int64, device=device)
        self._clip = torch.tensor([[fit.options.clip_norm or float("inf")] for fit in fits], device=device)
        self._rate = torch.zeros(len(fits), 1, device=device)
        self._factors = torch.stack([fit.factors for fit in fits]).to(device)
        self._index = torch.zeros(1, dtype=torch.int64, device=device)
        self._loss = torch.zeros(len(fits), device=device)

    def epoch(self, fits: Sequence[NoduleFit]) -> list[float]:
        """See :class:`bundle.engines.steps.fit.FitPath`; nodules that are no longer named leave the stack."""
        if {id(fit) for fit in fits} != {id(fit) for fit in self._fits}:
            self._release(self._fits)
            self._stack(list(fits))
        self._data.draw(torch.tensor([fit.epochs for fit in self._fits], device=self.device))
        self._rate.copy_(torch.tensor([[fit.rate] for fit in self._fits]))
        self._index.zero_()
        self._loss.zero_()
        active = len(self._fits)
        for step in range(self._data.steps[0]):
            while self._data.steps[active - 1] <= step:
                active -= 1
            self._replay(active)
        losses = dict(zip(map(id, self._fits), self._loss.tolist(), strict=True))
        return [losses[id(fit)] / len(fit.data) for fit in fits]

    def _replay(self, active: int) -> None:
        """One step of the first ``active`` nodules."""
        if self._capture is None:
            self._step(active)
            return
        if active not in self._replays:
            state = (self._parameters, self._first, self._second, self._steps, self._index, self._loss)
            before = [tensor.clone() for tensor in state]
            self._replays[active] = self._capture(lambda: self._step(active))
            for tensor, value in zip(state, before, strict=True):
                tensor.copy_(value)
        self._replays[active]()

    @torch.no_grad()
    def _take_step(self, active: int) -> None:
        data, k = self._data, slice(active)
        # a capture warms up by running ahead of the epoch's last step
        at = self._index.clamp(max=data.places.shape[1] - 1)
        places, truth, weight = (t[k].index_select(1, at).squeeze(1) for t in (data.places, data.truth, data.weight))
        keep = packed_keep(
            self._drop_keys[k], self._steps[k], data.batch_size, self._gradient.widths, self._gradient.drops
        )
        error, gradient = self._gradient(self._parameters[k], places, truth, weight, keep)
        self._steps[k] += 1
        moments = (self._parameters[k], self._first[k], self._second[k])
        take_adam_step(gradient, *moments, self._steps[k].double(), self._rate[k] * self._factors[k], self._clip[k])
        self._loss[k] += error * (weight > 0).sum(-1)
        self._index += 1

    def _release(self, fits: Sequence[NoduleFit]) -> None:
        for fit in fits:
            fit.place(fit.parameters.clone())
            fit.first, fit.second = fit.first.clone(), fit.second.clone()

    def close(self) -> None:
        """See :class:`bundle.engines.steps.fit.FitPath`."""
        self._release(self._fits)


class CudaGraphs:
    """Record functions as CUDA graphs that share one pool of memory, since they never run at the same time.

    Args:
        device: the CUDA device.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._pool = torch.cuda.graph_pool_handle()

    def __call__(self, function: Callable[[], None]) -> Callable[[], None]:
        """Warm up, record, and give what replays it."""
        side = torch.cuda.Stream(self.device)
        side.wait_stream(torch.cuda.current_stream(self.device))
        with torch.cuda.stream(side):
            for _ in range(2):
                function()
        torch.cuda.current_stream(self.device).wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._pool):
            function()
        return graph.replay
