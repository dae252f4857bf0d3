"""Which observed slices are around a target, and the numbers that describe them to the network.

Vocabulary: a *window*, its *offsets* and its *geometry* are those of :mod:`bundle.networks.slice_window`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bundle.profile import block_kriging_weights, profile_nodes
from bundle.slices import SAME_PLANE_MM


@dataclass(frozen=True)
class Windows:
    """The windows of all targets; targets of one gap share one.

    Attributes:
        index: (W, 6) of the observed slices of each window.
        valid: (W, 6) bool.
        window: (T,) number of the window of each target.
        offsets: (T, 6) mm from each target to the slices of its window.
    """

    index: np.ndarray
    valid: np.ndarray
    window: np.ndarray
    offsets: np.ndarray


def windows_at(positions: np.ndarray, targets: np.ndarray) -> Windows:
    """The window of each target.

    Args:
        positions: (K,) mm of the observed slices, strictly ascending, K >= 2.
        targets: (T,) mm, anywhere; one at an observed slice is in the gap above it, or the last.

    Example:
        >>> windows = windows_at(np.array([0.0, 5.0, 10.0]), np.array([7.0, 10.0, 12.0]))
        >>> windows.offsets[[0, 2]]
        array([[ -7.,  -7.,  -2.,   3.,   3.,   3.],
               [-12.,  -7.,  -2.,  -2.,  -2.,  -2.]])
        >>> windows.valid.astype(int)
        array([[0, 1, 1, 1, 0, 0],
               [1, 1, 1, 0, 0, 0]])
        >>> windows.window
        array([0, 0, 1])
    """
    last = len(positions) - 1
    upper = np.searchsorted(positions, targets, side="right")
    upper[abs(np.asarray(targets) - positions[-1]) <= SAME_PLANE_MM] = last
    gaps, window = np.unique(upper, return_inverse=True)
    wanted = gaps[:, None] + np.arange(-3, 3)
    # a missing slice is a copy of its neighbour towards the target, or else of the nearest that there is
    index = np.clip(wanted, 0, last)
    offsets = positions[index][window] - np.asarray(targets)[:, None]
    return Windows(index, wanted == index, window.ravel(), offsets)


def geometry_of(
    offsets: np.ndarray, valid: np.ndarray, thickness_mm: float, profile: str, spacing: Sequence[float]
) -> np.ndarray:
    """The numbers that describe windows to the network.

    Args:
        offsets: (T, 6) mm.
        valid: (T, 6) bool.
        thickness_mm: FWHM of the observed slices; 0 for planes.
        profile: name of their profile.
        spacing: pixel size along x and y in mm.

    Returns:
        (T, 21) float64, as :mod:`bundle.networks.slice_window` has them.

    Example:
        >>> geometry_of(np.array([[-9.0, -6, -3, 3, 6, 9]]), np.ones((1, 6), bool), 0.0, "box", (0.7, 0.7)).shape
        (1, 21)
    """
    nodes = profile_nodes(thickness_mm, profile) if thickness_mm > 0 else np.zeros(1)
    weights = block_kriging_weights(offsets, valid, np.broadcast_to(nodes, (len(offsets), len(nodes))))
    constant = np.broadcast_to([thickness_mm, *spacing], (len(offsets), 3))
    return np.concatenate([offsets, valid, weights, constant], axis=1)
