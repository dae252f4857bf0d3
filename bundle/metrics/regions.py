"""Which slices and which voxels a figure is about.

Vocabulary: along one axis, slices are *observed* (they were given to the method) or *unobserved*;
*interpolated* are the unobserved ones between the first and the last observed slice, so without those beyond,
where a method extrapolates; *all* is every slice. A *region* is a boolean array of the volume's shape.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bundle.errors import InputError

SLICE_SETS = ("unobserved", "interpolated", "all")


def slice_sets(
    count: int, observed: Sequence[int] | np.ndarray, ends: tuple[float, float] | None = None
) -> dict[str, np.ndarray]:
    """Tell which of ``count`` slices belong to each set.

    Args:
        count: number of slices along the axis.
        observed: their indices that were given to the method, in any order.
        ends: places, in slices, of the first and the last observed slice, where those are averages and none of the
            volume's own; None: the first and the last of ``observed``.

    Returns:
        one bool array (count,) for each of ``SLICE_SETS``; a set may be empty.

    Raises:
        InputError: an index that is no slice of the volume.

    Example:
        >>> {name: np.flatnonzero(chosen).tolist() for name, chosen in slice_sets(6, [0, 3]).items()}
        {'unobserved': [1, 2, 4, 5], 'interpolated': [1, 2], 'all': [0, 1, 2, 3, 4, 5]}
    """
    indices = np.asarray(observed, dtype=int).reshape(-1)
    if np.any((indices < 0) | (indices >= count)):
        raise InputError(
            f"observed slices {indices.tolist()} do not all lie in a volume of {count} slices: "
            f"give indices from 0 to {count - 1}"
        )
    unobserved = np.ones(count, dtype=bool)
    unobserved[indices] = False
    if ends is None:
        ends = (indices.min(), indices.max()) if len(indices) else (0.0, -1.0)
    places = np.arange(count)
    interpolated = unobserved & (places >= ends[0]) & (places <= ends[1])
    return {"unobserved": unobserved, "interpolated": interpolated, "all": np.ones(count, dtype=bool)}


def slice_region(shape: Sequence[int], chosen: np.ndarray, axis: int = 2) -> np.ndarray:
    """Region of the volume that the chosen slices make up.

    Args:
        shape: of the volume.
        chosen: bool, one for each slice along ``axis``.
        axis: of the slices.

    Returns:
        bool array of ``shape``, read-only.

    Example:
        >>> int(slice_region((2, 2, 3), np.array([True, False, True])).sum())
        8
    """
    line = np.expand_dims(chosen, tuple(k for k in range(len(shape)) if k != axis % len(shape)))
    return np.broadcast_to(line, tuple(shape))
