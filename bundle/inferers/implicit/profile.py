"""Slices that average over their thickness, as an option of the fit.

A scanner's slice at z is the mean of the body over its *slice profile* (:mod:`bundle.profile`), at its simplest a box
of the slice's thickness around z. Where slices are thick against the detail, that mean and the value at z differ. So
the network stands for the body itself, and while it is fitted, its mean over the profile is compared with the observed
voxel, for a box:

    v(x, y, z) = 1/T integral of f(x, y, z + t) dt over -T/2 < t < T/2

The integral over a box is Gauss-Legendre's, exact for polynomials of degree 2 n - 1 in t. Afterwards f is read without
the profile, at the planes of the dense volume.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from bundle.networks import Lattice
from bundle.networks.encodings import on_lattice
from bundle.profile import profile_nodes

SAMPLES = 5  # a fit takes about so many times as long


def profile_rule(thickness: float, kind: str = "box", samples: int = SAMPLES) -> tuple[np.ndarray, np.ndarray]:
    """Places from the middle of a slice, and their weights, whose weighted mean is the mean over its profile.

    Args:
        thickness: of the slice, in any unit.
        kind: of the profile, see :mod:`bundle.profile`.
        samples: number of places.

    Returns:
        (samples,) places in that unit, and weights of sum 1.

    Example:
        >>> [part.round(3).tolist() for part in profile_rule(2.0, samples=2)]
        [[-0.577, 0.577], [0.5, 0.5]]
    """
    if kind != "box":
        return profile_nodes(thickness, kind, samples), np.full(samples, 1 / samples)
    nodes, weights = np.polynomial.legendre.leggauss(samples)
    return nodes * thickness / 2, weights / 2


class ProfileMean(nn.Module):
    """A coordinate network that, in training mode, gives its mean over a profile along z; in evaluation mode, itself.

    Args:
        network: maps (..., 3) to (..., C).
        places: (S,) from the middle of the profile, in the unit of the coordinates, see :func:`profile_rule`.
        weights: (S,) of sum 1.

    Example:
        >>> class Square(nn.Module):
        ...     def forward(self, x):
        ...         return x[..., 2:] ** 2
        >>> thick = ProfileMean(Square(), *profile_rule(0.6, samples=2)).train()
        >>> round(thick(torch.zeros(1, 3)).item(), 6), thick.eval()(torch.zeros(1, 3)).item()
        (0.03, 0.0)
    """

    offsets: torch.Tensor
    weights: torch.Tensor

    def __init__(self, network: nn.Module, places: np.ndarray, weights: np.ndarray) -> None:
        super().__init__()
        self.network = network
        shifts = np.zeros((len(places), 1, 3))
        shifts[:, 0, 2] = places
        self.register_buffer("offsets", torch.as_tensor(shifts, dtype=torch.float32), persistent=False)
        self.register_buffer("weights", torch.as_tensor(weights, dtype=torch.float32), persistent=False)

    def forward(self, coordinates: torch.Tensor) -> torch.Tensor:
        """(..., 3) to (..., C)."""
        if not self.training:
            return self.network(coordinates)
        # samples lead, so that dropout of one place drops the same units in all of its samples
        values = self.network(coordinates.reshape(-1, 3) + self.offsets)
        return torch.tensordot(self.weights, values, dims=1).reshape(*coordinates.shape[:-1], -1)

    def on_lattice(self, lattice: Lattice) -> Callable[[], torch.Tensor]:
        """See :meth:`bundle.networks.CoordinateNetwork.on_lattice`."""
        if not self.training:
            return on_lattice(self.network, lattice)
        x, y, z = lattice.axes
        samples = torch.arange(len(self.weights), device=z.device)
        kept = None if lattice.kept is None else (lattice.kept[:, None] * len(samples) + samples).flatten()
        values = on_lattice(self.network, Lattice((x, y, (z[:, None] + self.offsets[:, 0, 2]).flatten()), kept))
        return lambda: (values().unflatten(0, (-1, len(samples))) * self.weights[:, None]).sum(1)


def averaged(network: nn.Module, thickness: float, kind: str) -> nn.Module:
    """A network, or what averages it over the profile of slices of a thickness in the unit of its coordinates."""
    return ProfileMean(network, *profile_rule(thickness, kind)) if thickness else network
