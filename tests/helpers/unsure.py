"""A method that says how far it may be off, for tests: linear, with an error that grows away from observed slices."""

from __future__ import annotations

import numpy as np

from bundle.inferers import LinearInferer, ObservedSlices, Reconstruction


class UnsureInferer(LinearInferer):
    """Linear; its raw error is a floor and half of the difference between slices, more in the middle of a gap.

    Args:
        floor: raw error everywhere, normalised.
    """

    def __init__(self, floor: float = 0.01) -> None:
        super().__init__()
        self.floor = floor

    def reconstruct(self, observed: ObservedSlices) -> Reconstruction:
        """What :class:`LinearInferer` gives, and an error."""
        result = super().reconstruct(observed)
        above = np.clip(np.searchsorted(observed.positions, observed.targets), 1, len(observed.positions) - 1)
        low, high = observed.positions[above - 1], observed.positions[above]
        away = np.clip(np.minimum(observed.targets - low, np.abs(high - observed.targets)) / (high - low), 0, 1)
        step = np.abs(observed.image[..., above] - observed.image[..., above - 1])
        result.error = self.expected_error(self.floor + step * away, observed)
        return result


class HalfUnsureInferer(UnsureInferer):
    """The same, without a map where a tile's first voxel is dark: no method should be so."""

    def reconstruct(self, observed: ObservedSlices) -> Reconstruction:
        """An error, or none."""
        result = super().reconstruct(observed)
        if observed.image[0, 0, 0] < 0.5:
            result.error = None
        return result


class WrongInferer(LinearInferer):
    """A method whose expected error is negative."""

    def reconstruct(self, observed: ObservedSlices) -> Reconstruction:
        """What can't be."""
        result = super().reconstruct(observed)
        result.error = np.full_like(result.image, -0.1)
        return result
