"""Error and gradient of a stack of networks of any kind, by ``torch.func``.

A network of ours needs nothing special: any ``nn.Module`` from (N, 3) to (N, 1) without buffers that change in
training. ``nn.Dropout`` is replaced by a layer whose kept units are given, so that they are the nodule's own.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import nn
from torch.func import functional_call, grad_and_value, vmap

from bundle.engines.steps.draws import unpack_keep
from bundle.errors import InputError


class KeptUnits(nn.Module):
    """Dropout with given units: multiplies by ``factor``, (N, width), which holds 0 or 1 / (1 - p).

    Example:
        >>> layer = KeptUnits(0.5)
        >>> layer.factor = torch.tensor([[0.0, 2.0]])
        >>> layer(torch.ones(1, 2)).tolist()
        [[0.0, 2.0]]
    """

    factor: torch.Tensor

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p
        self.register_buffer("factor", torch.ones(()), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(..., N, width) to the same."""
        return x * self.factor if self.training else x


def with_kept_units(network: nn.Module) -> nn.Module:
    """A copy in training mode in which :class:`KeptUnits` stands for every dropout.

    Raises:
        InputError: a layer drops in another way, or keeps statistics of its batches.
    """
    twin = copy.deepcopy(network).train()
    for name, module in list(twin.named_modules()):
        if isinstance(module, nn.Dropout):
            parent = twin.get_submodule(name.rpartition(".")[0])
            setattr(parent, name.rpartition(".")[2], KeptUnits(module.p))
        elif isinstance(module, nn.modules.dropout._DropoutNd | nn.modules.batchnorm._NormBase):
            raise InputError(
                f"the layer {name} is a {type(module).__name__}, which a stack can't fit: "
                "use nn.Dropout, a layer without batch statistics, or the plain engine"
            )
    return twin


class FunctionalNetwork:
    """Calling it gives error and gradient of each nodule of a stack; the counterpart of ``StackedSiren``.

    Args:
        network: whose structure all nodules share.
        device: where it is called.
        store: bfloat16 runs the network under ``torch.autocast``.
    """

    def __init__(
        self, network: nn.Module, device: torch.device | str = "cpu", store: torch.dtype = torch.float32
    ) -> None:
        self._autocast = (torch.device(device).type, store == torch.bfloat16)
        self._network = with_kept_units(network).to(device)
        self._shapes = {name: p.shape for name, p in self._network.named_parameters()}
        layers = {n: m for n, m in self._network.named_modules() if isinstance(m, KeptUnits)}
        self._dropped = [name for name, layer in layers.items() if layer.p > 0]
        self.drops = [layers[name].p for name in self._dropped]
        self.widths = self._find_widths(device)
        self._one = grad_and_value(self._error)

    def _find_widths(self, device: torch.device | str) -> list[int]:
        seen: dict[str, int] = {}
        hooks = [
            self._network.get_submodule(name).register_forward_hook(
                lambda module, inputs, output, name=name: seen.update({name: output.shape[-1]})
            )
            for name in self._dropped
        ]
        with torch.no_grad():
            self._network(torch.zeros(1, 3, device=device))
        for hook in hooks:
            hook.remove()
        return [seen[name] for name in self._dropped]

    def _error(
        self,
        flat: torch.Tensor,
        places: torch.Tensor,
        truth: torch.Tensor,
        weight: torch.Tensor,
        factors: list[torch.Tensor],
    ) -> torch.Tensor:
        tensors, start = {}, 0
        for name, shape in self._shapes.items():
            tensors[name] = flat[start : start + shape.numel()].view(shape)
            start += shape.numel()
        tensors |= {f"{name}.factor": factor for name, factor in zip(self._dropped, factors, strict=True)}
        kind, enabled = self._autocast
        with torch.autocast(kind, torch.bfloat16, enabled):
            value = functional_call(self._network, tensors, (places,)).reshape(-1).float()
        return (weight * (value - truth) ** 2).sum()

    def __call__(
        self,
        parameters: torch.Tensor,
        places: torch.Tensor,
        truth: torch.Tensor,
        weight: torch.Tensor,
        keep: Sequence[torch.Tensor],
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Weighted squared error (S,) and its gradient (S, P); arguments as of ``StackedSiren``."""
        rows = places.shape[-2]
        factors = [unpack_keep(k, rows) / (1 - p) for k, p in zip(keep, self.drops, strict=True)]
        if len(parameters) == 1:  # without vmap: the same numbers as the network alone
            grad, error = self._one(parameters[0], places[0], truth[0], weight[0], [f[0] for f in factors])
            return error[None], grad[None]
        grad, error = vmap(self._one)(parameters, places, truth, weight, factors)
        return error, grad
