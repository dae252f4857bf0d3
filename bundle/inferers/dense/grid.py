"""Where the slices of a dense volume lie."""

from __future__ import annotations

import numpy as np

from bundle.errors import InputError
from bundle.slices import SAME_PLANE_MM, observed_index

MOST_THICK_MM = 100.0  # more is a damaged header


def dense_targets(positions: np.ndarray, slice_spacing: float) -> np.ndarray:
    """Places of new slices: from the first observed one, not beyond the last.

    Args:
        positions: (K,) mm, strictly ascending, K >= 2.
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
    count = int(np.floor((positions[-1] - positions[0] + SAME_PLANE_MM / 2) / slice_spacing)) + 1
    targets = positions[0] + np.arange(count) * float(slice_spacing)
    index = observed_index(positions, targets)
    return np.where(index >= 0, positions[index], targets)


def checked_thickness(thickness_mm: object) -> float:
    """A thickness of slices as a number of mm.

    Raises:
        InputError: no number from 0 to ``MOST_THICK_MM``.

    Example:
        >>> checked_thickness(5)
        5.0
    """
    number = isinstance(thickness_mm, int | float) and not isinstance(thickness_mm, bool)
    thickness = float(thickness_mm) if number else np.nan  # type: ignore[arg-type]
    if not 0 <= thickness <= MOST_THICK_MM:
        raise InputError(
            f"the slices are {thickness_mm!r} mm thick, expected 0 to {MOST_THICK_MM:g} mm: give --thickness_mm"
        )
    return thickness
