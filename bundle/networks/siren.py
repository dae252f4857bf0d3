"""SIREN: a multilayer perceptron with sine activations, the coordinate network of the paper.

Source: Sitzmann, Martel, Bergman, Lindell, Wetzstein, *Implicit Neural Representations with Periodic
Activation Functions*, NeurIPS 2020; dropout after the hidden layers as in the paper's TumorSIREN.
"""

from __future__ import annotations

from bundle.networks.coordinate import Decoder


class Siren(Decoder):
    """The paper's TumorSIREN: one sine layer, hidden sine layers each followed by dropout, a linear head.

    Args:
        in_channels: coordinates of a place, scaled to [-1, 1] along each axis of the crop; 3 for (x, y, z).
        out_channels: values at a place; 1 for brightness.
        hidden_features: width of every sine layer.
        hidden_layers: sine layers after the first: 3 in the paper's text, 2 in its code. 0 leaves the first.
        omega_0: frequency factor of every sine layer.
        dropout: probability of dropping a unit after each hidden layer; 0 leaves dropout out.

    Example:
        >>> import torch
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
        super().__init__(in_channels, out_channels, hidden_features, hidden_layers, "sine", omega_0, dropout)
