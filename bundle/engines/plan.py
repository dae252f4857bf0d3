"""Any number of nodules, cut into stacks that fit the memory of a device."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import nn

from bundle.engines.stack import StackTrainer
from bundle.engines.steps.draws import NoduleData
from bundle.engines.trainer import FitOptions


def fit_stacks(
    make: Callable[[int], nn.Module],
    data: Sequence[NoduleData],
    options: FitOptions,
    device: str | torch.device = "cpu",
    limit: int | None = None,
    handlers: Callable[[list[int]], Sequence[Any]] | None = None,
) -> Iterator[tuple[list[int], StackTrainer]]:
    """Fit any number of nodules in stacks that fit the device's memory; yield each stack when it is done.

    Nodules of similar length go together. A stack for which the memory does not suffice after all is cut in
    half, and both halves start anew.

    Args:
        make: makes the network of a nodule, by its number.
        data: of each nodule.
        options: how to fit.
        device: where to compute.
        limit: most nodules a stack; None: what fits the free memory, one on a CPU.
        handlers: makes the handlers of a stack, from the numbers of its nodules.

    Yields:
        numbers of the nodules of a stack, and its trainer after the run.
    """
    device = torch.device(device)
    waiting = plan_stacks([d.steps for d in data], limit or stack_limit(make, data, options, device))
    while waiting:
        indices = waiting.pop(0)
        more = list(handlers(indices)) if handlers is not None else []
        trainer = _try_stack([make(i) for i in indices], [data[i] for i in indices], options, device, more)
        if trainer is not None:
            yield indices, trainer
        else:
            half = (len(indices) + 1) // 2
            waiting[:0] = [indices[:half], indices[half:]]


def _try_stack(networks: list[nn.Module], data: list[NoduleData], *rest: Any) -> StackTrainer | None:
    """Fit one stack; None if it needs more memory than there is and can be cut."""
    options, device, handlers = rest
    try:
        trainer = StackTrainer(networks, data, options, device, handlers)
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
    count = max(1, -(-len(order) // limit))
    edges = [-(-len(order) * i // count) for i in range(count + 1)]
    return [order[a:b] for a, b in itertools.pairwise(edges) if a < b]


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
