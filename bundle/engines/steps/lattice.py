"""One full step an epoch on the places of a lattice, where a network's encoding is prepared once for the whole fit.

Nodules are fitted one after the other, each by its own network, so that networks of a stack may differ in structure.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from bundle.engines.steps.fit import NoduleFit, take_adam_step
from bundle.engines.steps.sine import use_compiled_sines
from bundle.networks import CoordinateNetwork, Lattice
from bundle.networks.encodings import on_lattice


def takes_lattice(fit: NoduleFit) -> bool:
    """Whether an epoch of a fit is one step on a lattice of places that nothing moves, by a network that can use it."""
    data, network = fit.data, fit.network
    return (
        data.lattice is not None
        and data.steps == 1
        and data.jitter == 0
        and any(isinstance(module, CoordinateNetwork) for module in network.modules())
        and not any(isinstance(module, torch.nn.Dropout) for module in network.modules())
    )


class LatticePath:
    """See the module; a :class:`bundle.engines.steps.fit.FitPath`.

    Args:
        device: where to compute.
        description: which way it is, for people.
    """

    def __init__(self, device: torch.device, description: str) -> None:
        self.device = device
        self.description = description
        self._values: dict[int, Callable[[], torch.Tensor]] = {}
        self._ends: list[Callable[[], None]] = []
        # glibc keeps twice the largest block freed so far, up to 32 MiB, and returns what is above it to the system: a
        # step's arrays, which then come back page by page, a quarter of its time. So one such block is freed, untouched
        torch.empty(31 << 20, dtype=torch.uint8)

    def epoch(self, fits: Sequence[NoduleFit]) -> list[float]:
        """See :class:`bundle.engines.steps.fit.FitPath`."""
        return [self._epoch(fit) for fit in fits]

    def _epoch(self, fit: NoduleFit) -> float:
        data, network = fit.data, fit.network
        if id(fit) not in self._values:
            assert data.lattice is not None
            fit.place(fit.parameters.to(self.device))
            for name in ("first", "second", "factors"):
                setattr(fit, name, getattr(fit, name).to(self.device))
            if self.device.type == "cpu":
                self._ends.append(use_compiled_sines(network))
            self._values[id(fit)] = on_lattice(network.train(), data.lattice.to(self.device))
        with torch.enable_grad():
            value = self._values[id(fit)]()[:, 0]
            error = (data.weights.to(self.device) * (value - data.values.to(self.device)) ** 2).mean()
            parts = torch.autograd.grad(error, list(network.parameters()), allow_unused=True, materialize_grads=True)
        gradient = torch.cat([part.reshape(-1) for part in parts])[None]
        taken = torch.tensor([[fit.steps + 1.0]], dtype=torch.float64, device=self.device)
        clip = torch.tensor([[fit.options.clip_norm or float("inf")]], device=self.device)
        state = (fit.parameters[None], fit.first[None], fit.second[None])
        take_adam_step(gradient, *state, taken, fit.rate * fit.factors[None], clip)
        return error.item()

    def close(self) -> None:
        """See :class:`bundle.engines.steps.fit.FitPath`."""
        for end in self._ends:
            end()
        self._ends, self._values = [], {}


def predict_lattice(network: torch.nn.Module, lattice: Lattice, chunk: int = 65536) -> torch.Tensor:
    """Evaluate a network at all places of a lattice, as many planes at a time as have about ``chunk`` places.

    Returns:
        (X * Y * Z, C) float32 on the CPU.
    """
    x, y, z = lattice.to(next(network.parameters()).device).axes
    planes = [Lattice((x, y, part)) for part in z.split(max(1, chunk // (len(x) * len(y))))]
    with torch.no_grad():
        parts = [on_lattice(network.eval(), part)().unflatten(0, (len(x) * len(y), -1)) for part in planes]
    return torch.cat(parts, dim=1).flatten(0, 1).float().cpu()
