"""Slices that average over their thickness, as an option of the fit.

A scanner's slice at z is the mean of the body over its *slice profile*, taken here as a box of the slice's thickness
around z. Where slices are thick against the detail, that mean and the value at z differ. So the network stands for
the body itself, and while it is fitted, its mean over the profile is compared with the observed voxel:

    v(x, y, z) = 1/T integral of f(x, y, z + t) dt over -T/2 < t < T/2

The integral is Gauss-Legendre's, exact for polynomials of degree 2 n - 1 in t. Afterwards f is read without the
profile, at the planes of the dense volume.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import nn

from bundle.engines import FitOptions
from bundle.errors import InputError
from bundle.inferers.implicit.inferer import ImplicitInferer
from bundle.slices import ObservedSlices, Reconstruction


class ProfileMean(nn.Module):
    """A coordinate network that, in training mode, gives its mean over a box along z; in evaluation mode, itself.

    Args:
        network: maps (..., 3) to (..., C).
        half_width: half of the slice thickness, in the unit of the coordinates.
        samples: points of the Gauss-Legendre rule.

    Example:
        >>> class Square(nn.Module):
        ...     def forward(self, x):
        ...         return x[..., 2:] ** 2
        >>> thick = ProfileMean(Square(), half_width=0.3, samples=2).train()
        >>> round(thick(torch.zeros(1, 3)).item(), 6), thick.eval()(torch.zeros(1, 3)).item()
        (0.03, 0.0)
    """

    offsets: torch.Tensor
    weights: torch.Tensor

    def __init__(self, network: nn.Module, half_width: float, samples: int = 5) -> None:
        super().__init__()
        self.network = network
        nodes, weights = np.polynomial.legendre.leggauss(samples)
        shifts = np.zeros((samples, 1, 3))
        shifts[:, 0, 2] = nodes * half_width
        self.register_buffer("offsets", torch.as_tensor(shifts, dtype=torch.float32), persistent=False)
        self.register_buffer("weights", torch.as_tensor(weights / 2, dtype=torch.float32), persistent=False)

    def forward(self, coordinates: torch.Tensor) -> torch.Tensor:
        """(..., 3) to (..., C)."""
        if not self.training:
            return self.network(coordinates)
        flat = coordinates.reshape(-1, 3)
        # samples lead, so that dropout of one place drops the same units in all of its samples
        values = self.network(flat + self.offsets)
        mean = torch.tensordot(self.weights, values, dims=1)
        return mean.reshape(*coordinates.shape[:-1], mean.shape[-1])


class ProfileInferer(ImplicitInferer):
    """:class:`ImplicitInferer` that takes an observed slice for the mean over its thickness.

    Args:
        network: makes a new network, mapping (N, 3) to (N, 1).
        options: how to fit it; None: the paper's values.
        profile_mm: slice thickness in mm; None or 0: slices are taken for planes, and nothing differs from
            :class:`ImplicitInferer`.
        samples: points over the thickness; a fit takes about so many times as long.
        device: where to fit; None: the first GPU if there is one, else the CPU.
        chunk: voxels at a time in the dense evaluation.
        keep_observed: return the observed slices as they are; None: only without a profile, as a slice that is a
            mean is no slice of the dense volume.

    Example:
        >>> from bundle.networks import Siren
        >>> thick = ProfileInferer(Siren, FitOptions(epochs=2), profile_mm=5.0, device="cpu")
        >>> thick(np.zeros((8, 8, 3)), positions=[0, 5, 10], targets=range(11)).shape
        (8, 8, 11)
    """

    def __init__(
        self,
        network: Callable[[], nn.Module],
        options: FitOptions | None = None,
        profile_mm: float | None = None,
        samples: int = 5,
        device: str | None = None,
        chunk: int = 65536,
        keep_observed: bool | None = None,
    ) -> None:
        self.profile_mm = _thickness(profile_mm)
        if not (isinstance(samples, int) and samples >= 1):
            raise InputError(f"samples is {samples!r}, expected a whole number of points over the thickness")
        self.samples = samples
        keep = not self.profile_mm if keep_observed is None else keep_observed
        super().__init__(network, options, device, chunk, keep)

    def _fit(self, many: Sequence[ObservedSlices], make: Callable[[], nn.Module]) -> list[Reconstruction]:
        if not self.profile_mm:
            return super()._fit(many, make)
        results = []
        for observed in many:
            half_width = self._half_width(observed)
            (result,) = super()._fit([observed], lambda w=half_width: ProfileMean(make(), w, self.samples))  # type: ignore[misc]
            assert result.state is not None
            result.state = {name.removeprefix("network."): value for name, value in result.state.items()}
            results.append(result)
        return results

    def _half_width(self, observed: ObservedSlices) -> float:
        """Half the thickness in the network's coordinates, which span positions and targets from -1 to 1."""
        both = np.concatenate([observed.positions, observed.targets])
        return float(self.profile_mm / np.ptp(both))


def _thickness(value: float | None) -> float:
    if value is None:
        return 0.0
    if not isinstance(value, int | float) or not 0 <= value < np.inf:
        raise InputError(f"profile_mm is {value!r}, expected the slice thickness in mm, 0 or more")
    return float(value)
