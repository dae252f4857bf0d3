"""Find the box around the lungs in a CT of the chest, without a network.

Air inside the body is what is below -400 HU, but for the air around the patient, which touches the border of a slice
and is near -1000 HU. What is left in pieces of at least 100 mL is taken for lung.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

AIR_HU = -400.0
OUTSIDE_HU = -930.0
CHEST_MM = 200.0
LUNG_ML = 100.0
LUNG_MARGIN_MM = 5.0
_GRID_MM = 2.0


def lung_box(
    volume: np.ndarray, axes: Sequence[np.ndarray], margin_mm: float = LUNG_MARGIN_MM
) -> tuple[np.ndarray, np.ndarray]:
    """Box of whole voxels around the lungs.

    Args:
        volume: (X, Y, Z) HU; x and y in plane.
        axes: places in mm of the voxels along each axis, ascending.
        margin_mm: added on all sides.

    Returns:
        first voxel and one past the last, for each axis. All of the image if it is less than 200 mm wide, so a crop
        already, or if no lung is found.

    Example:
        >>> start, end = lung_box(np.zeros((8, 8, 4)), [np.arange(8.0), np.arange(8.0), np.arange(4.0)])
        >>> end.tolist()
        [8, 8, 4]
    """
    shape = np.array(volume.shape)
    everything = np.zeros(3, dtype=int), shape
    if min(np.ptp(axes[0]), np.ptp(axes[1])) < CHEST_MM:
        return everything
    # lungs are large: a grid of about 2 mm in plane is enough, and a slice at a time
    steps = [max(int(_GRID_MM / (np.ptp(axis) / (len(axis) - 1))), 1) for axis in axes[:2]]
    air = np.stack([_inner_air(volume[:: steps[0], :: steps[1], z]) for z in range(volume.shape[2])], axis=-1)
    labels, count = ndimage.label(air)
    if not count:
        return everything
    thickness = np.gradient(axes[2]) if len(axes[2]) > 1 else np.ones(1)
    in_plane = np.prod([step * np.ptp(axis) / (len(axis) - 1) for step, axis in zip(steps, axes, strict=False)])
    ml = np.zeros(count + 1)
    for z in range(labels.shape[2]):
        ml += np.bincount(labels[..., z].ravel(), minlength=count + 1) * thickness[z] * in_plane / 1000
    ml[0] = 0  # what is not air
    lung = np.isin(labels, np.flatnonzero(ml >= LUNG_ML))
    if not lung.any():
        return everything
    start, end = np.zeros(3, dtype=int), shape.copy()
    for i, step in enumerate([*steps, 1]):
        seen = np.flatnonzero(lung.any(axis=tuple(j for j in range(3) if j != i)))
        low, high = axes[i][seen[0] * step] - margin_mm, axes[i][min(seen[-1] * step, shape[i] - 1)] + margin_mm
        start[i] = max(int(np.searchsorted(axes[i], low, side="right")) - 1, 0)
        end[i] = min(int(np.searchsorted(axes[i], high, side="left")) + 1, shape[i])
    return start, end


def _inner_air(hu: np.ndarray) -> np.ndarray:
    """Air of one slice that isn't the air around the patient; (X, Y) bool."""
    air = hu < AIR_HU
    labels, count = ndimage.label(air)
    edge = np.unique(np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]]))
    edge = edge[edge > 0]
    if count and edge.size:
        # a lung that is cut off by the border of the field of view stays
        means = ndimage.mean(hu, labels, edge)
        air[np.isin(labels, edge[np.atleast_1d(means) < OUTSIDE_HU])] = False
    return air
