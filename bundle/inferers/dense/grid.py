"""Where the slices of a dense volume lie, and which of them were observed."""

from __future__ import annotations

import numpy as np

from bundle.errors import InputError

# planes this close are one plane: affines in NIfTI files have seven digits
PLANE_MM = 1e-3


def dense_targets(positions: np.ndarray, slice_spacing: float) -> np.ndarray:
    """Places of new slices: from the first observed one, not beyond the last.

    Args:
        positions: (K,) mm, ascending.
        slice_spacing: mm between the new slices.

    Returns:
        (Z,) mm; a place within a thousandth of a mm of an observed slice is that slice's exactly.

    Raises:
        InputError: a spacing that is no number above 0.

    Example:
        >>> dense_targets(np.array([0.0, 2.0, 5.0]), 2.0)
        array([0., 2., 4.])
    """
    if not (isinstance(slice_spacing, int | float) and 0 < slice_spacing < np.inf):
        raise InputError(f"slice_spacing is {slice_spacing}, expected mm above 0")
    # half of the tolerance: what is beyond the last plane by less than that is surely put on it below
    count = int(np.floor((positions[-1] - positions[0] + PLANE_MM / 2) / slice_spacing)) + 1
    targets = positions[0] + np.arange(count) * float(slice_spacing)
    for z, k in observed_planes(positions, targets):
        targets[z] = positions[k]
    return targets


def observed_planes(positions: np.ndarray, targets: np.ndarray) -> list[tuple[int, int]]:
    """Pairs (new slice, observed slice) that lie in one plane.

    Example:
        >>> observed_planes(np.array([0.0, 2.5, 5.0]), np.arange(6.0))
        [(0, 0), (5, 2)]
    """
    nearest = np.abs(targets[:, None] - positions[None, :]).argmin(axis=1)
    return [(z, int(k)) for z, k in enumerate(nearest) if abs(targets[z] - positions[k]) <= PLANE_MM]
