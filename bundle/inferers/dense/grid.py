"""Where the slices of a dense volume lie."""

from __future__ import annotations

import numpy as np

from bundle.errors import InputError
from bundle.slices import SAME_PLANE_MM, observed_index

MOST_THICK_MM = 100.0  # more is a damaged header
# from here on the average over a slice's thickness is seen
_THICK_MM = 2.0
_OVERLAP = 3.0  # gaps that a slice is thick; scanners make 1 to 2


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


def grid_notes(spacing: np.ndarray, positions: np.ndarray, step: float, thickness_mm: float, known: bool) -> list[str]:
    """What is odd about where slices lie and were asked for, a sentence each.

    Args:
        spacing: (3,) mm between voxels.
        positions: (K,) mm of the observed slices.
        step: mm between the new slices.
        thickness_mm: of the observed slices.
        known: whether anything told it.

    Example:
        >>> grid_notes(np.ones(3), np.arange(3.0), 2.0, 0.0, True)
        ['new slices are 2 mm apart, farther than those of the scan (1 mm): the result is coarser']
    """
    gap = float(np.median(np.diff(positions)))
    notes = []
    if step > gap * 1.001:
        notes.append(
            f"new slices are {step:.4g} mm apart, farther than those of the scan ({gap:.4g} mm): the result is coarser"
        )
    if spacing[:2].max() > 1.5 * max(gap, spacing[:2].min()):
        notes.append(
            f"voxels are {spacing[0]:.3g} x {spacing[1]:.3g} mm in plane and {gap:.3g} mm along z, so that the scan's "
            "slices seem not to be axial: new ones are made along z alone"
        )
    if not known and gap >= _THICK_MM:
        notes.append("how thick the slices are is not known: taken as planes; --thickness_mm says it")
    if thickness_mm > _OVERLAP * gap:
        notes.append(f"slices are {thickness_mm:g} mm thick and {gap:.3g} mm apart: each counts in many others")
    return notes


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
