"""Fill the gap by interpolating along the decimated axis, voxel column by voxel column.

Vocabulary: *positions* (K,) are the places in mm of the observed slices, strictly ascending and possibly
    uneven; *targets* (Z,) are the places where slices are wanted; *beyond* is before the first or after the
    last position, where a method either *extrapolates* or *holds* the nearest observed slice.

Nearest, linear and cubic interpolation are linear in the data: each is a (Z, K) matrix of weights that
    depends on the positions alone (:func:`nearest_weights`, :func:`linear_weights`, :func:`cubic_weights`),
    so that a whole volume is one matrix product. PCHIP chooses its slopes from the data and is evaluated in
    blocks of columns.
"""

from __future__ import annotations

import numpy as np

# fractions of a gap this close to 0, 1/2 or 1 are meant to be just that (positions come from decimal text
# in mm)
_SNAP = 1e-7


def bracket(positions: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Find the two observed slices around each target.

    Args:
        positions: (K,) mm, strictly ascending, K >= 2.
        targets: (Z,) mm.

    Returns:
        lower, upper: (Z,) indices of neighbouring positions.
        fraction: (Z,) place between them, 0 at the lower and 1 at the upper; below 0 before the first
            position, above 1 after the last; exactly 0, 0.5 or 1 where rounding alone would keep it from
            that.

    Example:
        >>> bracket(np.array([0.0, 5.0, 7.0]), np.array([1.0, 6.0, 8.0]))
        (array([0, 1, 1]), array([1, 2, 2]), array([0.2, 0.5, 1.5]))
    """
    upper = np.clip(np.searchsorted(positions, targets, side="right"), 1, len(positions) - 1)
    lower = upper - 1
    fraction = (targets - positions[lower]) / (positions[upper] - positions[lower])
    for place in (0.0, 0.5, 1.0):
        fraction[np.abs(fraction - place) < _SNAP] = place
    return lower, upper, fraction
