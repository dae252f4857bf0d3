"""SIREN: a multilayer perceptron with sine activations, the coordinate network of the paper.

A *coordinate network* maps a place (x, y, z), scaled to [-1, 1] along each axis of the crop, to the
normalised brightness there. One network is fitted to one nodule.

Source: Sitzmann, Martel, Bergman, Lindell, Wetzstein, *Implicit Neural Representations with Periodic
Activation Functions*, NeurIPS 2020; dropout after the hidden layers as in the paper's TumorSIREN.
"""

from __future__ import annotations

import math

import torch
from torch import nn


class SineLayer(nn.Module):
    """``sin(omega_0 * (W x + b))`` with Sitzmann's initialisation.

    Args:
        in_features: size n of the last axis of the input.
        out_features: size of the last axis of the output.
        omega_0: frequency factor.
        is_first: draw W from U(-1/n, 1/n); otherwise from U(-sqrt(6/n)/omega_0, sqrt(6/n)/omega_0). The bias
            keeps torch's U(-1/sqrt(n), 1/sqrt(n)), as in the authors' code.

    Example:
        >>> SineLayer(3, 8)(torch.zeros(5, 3)).shape
        torch.Size([5, 8])
    """

    def __init__(self, in_features: int, out_features: int, omega_0: float = 30.0, is_first: bool = False) -> None:
        super().__init__()
        self.omega_0 = omega_0
        self.linear = nn.Linear(in_features, out_features)
        bound = 1 / in_features if is_first else math.sqrt(6 / in_features) / omega_0
        nn.init.uniform_(self.linear.weight, -bound, bound)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(..., in_features) to (..., out_features)."""
        return torch.sin(self.omega_0 * self.linear(x))


class Siren(nn.Module):
    """The paper's TumorSIREN: one sine layer, hidden sine layers each followed by dropout, a linear head.

    Args:
        in_channels: coordinates of a place; 3 for (x, y, z).
        out_channels: values at a place; 1 for brightness.
        hidden_features: width of every sine layer.
        hidden_layers: sine layers after the first: 3 in the paper's text, 2 in its code. 0 leaves the first.
        omega_0: frequency factor of every sine layer.
        dropout: probability of dropping a unit after each hidden layer; 0 leaves dropout out.

    Example:
        >>> net = Siren().eval()
        >>> net(torch.zeros(1, 2048, 3)).shape  # (batch, places, coordinates) to (batch, places, values)
        torch.Size([1, 2048, 1])
        >>> sum(p.numel() for p in net.parameters())
        198657
    """

    def __init__(
        self,
        in_channels: int = 3,
        out_channels: int = 1,
        hidden_features: int = 256,
        hidden_layers: int = 3,
        omega_0: float = 30.0,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = [SineLayer(in_channels, hidden_features, omega_0, is_first=True)]
        for _ in range(hidden_layers):
            layers.append(SineLayer(hidden_features, hidden_features, omega_0))
            if dropout > 0:
                layers.append(nn.Dropout(dropout))
        head = nn.Linear(hidden_features, out_channels)
        bound = math.sqrt(6 / hidden_features) / omega_0
        nn.init.uniform_(head.weight, -bound, bound)
        self.layers = nn.Sequential(*layers, head)

    def forward(self, coordinates: torch.Tensor) -> torch.Tensor:
        """Brightness at places: (..., in_channels) to (..., out_channels), normalised, not clipped."""
        return self.layers(coordinates)
