"""Coordinate networks: an encoding of places, and a decoder that makes the brightness there of it.

A *coordinate network* maps a place (x, y, z) to the normalised brightness there. One network is fitted to one nodule.
Its *encoding* (:mod:`.encodings`) settles which functions it finds easily; the *decoder* is a multilayer perceptron.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import torch
from torch import nn

from bundle.errors import InputError
from bundle.networks.encodings import Lattice, on_lattice

Activation = Literal["sine", "finer", "relu"]


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
        self.out_features = out_features
        self.linear = nn.Linear(in_features, out_features)
        bound = 1 / in_features if is_first else math.sqrt(6 / in_features) / omega_0
        nn.init.uniform_(self.linear.weight, -bound, bound)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(..., in_features) to (..., out_features)."""
        return torch.sin(self.omega_0 * self.linear(x))


class FinerLayer(SineLayer):
    """``sin(omega_0 * (|z| + 1) * z)`` of ``z = W x + b``: frequencies that grow with the bias.

    Source: Liu et al., *FINER: Flexible Spectral-Bias Tuning in Implicit Neural Representation by Variable-Periodic
    Activation Functions*, CVPR 2024; without its wider biases.

    Example:
        >>> layer = FinerLayer(1, 1, omega_0=1.0)
        >>> _ = nn.init.ones_(layer.linear.weight), nn.init.zeros_(layer.linear.bias)
        >>> round(layer(torch.ones(1, 1)).item(), 3) == round(math.sin(2), 3)
        True
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(..., in_features) to (..., out_features)."""
        z = self.linear(x)
        return torch.sin(self.omega_0 * (z.abs() + 1) * z)


class Decoder(nn.Module):
    """A first layer, hidden layers each followed by dropout, a linear head; by default the paper's.

    Args:
        in_channels: features of a place.
        out_channels: values at a place; 1 for brightness.
        hidden_features: width of every layer.
        hidden_layers: layers after the first: 3 in the paper's text, 2 in its code. 0 leaves the first.
        omega_0: frequency factor of sines.
        dropout: probability of dropping a unit after each hidden layer; 0 leaves dropout out.
        activation: of the layers; ``"relu"`` with Glorot's initialisation.
        is_first: whether what comes in is coordinates, not what another layer makes; see :class:`SineLayer`.

    Raises:
        InputError: an unknown activation.

    Example:
        >>> Decoder(32, activation="relu")(torch.zeros(5, 32)).shape
        torch.Size([5, 1])
    """

    def __init__(
        self,
        in_channels: int = 3,
        out_channels: int = 1,
        hidden_features: int = 256,
        hidden_layers: int = 3,
        omega_0: float = 30.0,
        dropout: float = 0.5,
        activation: Activation = "sine",
        is_first: bool = True,
    ) -> None:
        super().__init__()
        if activation not in ("sine", "finer", "relu"):
            raise InputError(f"activation is {activation!r}, expected sine, finer or relu")

        def layer(size: int, first: bool) -> nn.Module:
            if activation == "relu":
                linear = nn.Linear(size, hidden_features)
                nn.init.xavier_uniform_(linear.weight)
                return nn.Sequential(linear, nn.ReLU())
            return (SineLayer if activation == "sine" else FinerLayer)(size, hidden_features, omega_0, first)

        layers = [layer(in_channels, is_first)]
        for _ in range(hidden_layers):
            layers.append(layer(hidden_features, False))
            if dropout > 0:
                layers.append(nn.Dropout(dropout))
        head = nn.Linear(hidden_features, out_channels)
        if activation != "relu":
            bound = math.sqrt(6 / hidden_features) / omega_0
            nn.init.uniform_(head.weight, -bound, bound)
        self.layers = nn.Sequential(*layers, head)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Brightness: (..., in_channels) to (..., out_channels), normalised, not clipped."""
        return self.layers(features)


class Siren(Decoder):
    """The paper's TumorSIREN: one sine layer, hidden sine layers each followed by dropout, a linear head.

    Its places are (x, y, z), scaled to [-1, 1] along each axis of the crop; arguments are those of :class:`Decoder`.

    Source: Sitzmann, Martel, Bergman, Lindell, Wetzstein, *Implicit Neural Representations with Periodic
    Activation Functions*, NeurIPS 2020; dropout after the hidden layers as in the paper's TumorSIREN.

    Example:
        >>> net = Siren().eval()
        >>> net(torch.zeros(1, 2048, 3)).shape  # (batch, places, coordinates) to (batch, places, values)
        torch.Size([1, 2048, 1])
        >>> sum(p.numel() for p in net.parameters())
        198657
    """


class CoordinateNetwork(nn.Module):
    """``decoder(encoding(places))``.

    Args:
        encoding: maps (..., 3) to (..., F).
        decoder: maps (..., F) to (..., C).

    Example:
        >>> from bundle.networks import FourierFeatures
        >>> encoding = FourierFeatures(sigma=10.0, frequencies=256)
        >>> network = CoordinateNetwork(encoding, Decoder(encoding.out_features, activation="relu"))
        >>> network(torch.zeros(5, 3)).shape
        torch.Size([5, 1])
    """

    def __init__(self, encoding: nn.Module, decoder: nn.Module) -> None:
        super().__init__()
        self.encoding = encoding
        self.decoder = decoder

    def forward(self, coordinates: torch.Tensor) -> torch.Tensor:
        """Brightness at places: (..., 3) to (..., C), normalised, not clipped."""
        return self.decoder(self.encoding(coordinates))

    def on_lattice(self, lattice: Lattice) -> Callable[[], torch.Tensor]:
        """What gives the brightness, (N, C), at the places of a lattice by the parameters of the moment."""
        features = on_lattice(self.encoding, lattice)
        return lambda: self.decoder(features())
