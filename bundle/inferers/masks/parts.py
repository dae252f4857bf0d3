"""Several nodules in one mask, each carried by itself: else one's outline would depend on where the others lie."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from bundle.data.parts import parts_of


def carry_parts(
    labels: np.ndarray,
    spacing: Sequence[float],
    carry: Callable[[np.ndarray], np.ndarray],
    drawn_on_some: bool = False,
) -> np.ndarray:
    """Carry every part of a label map by itself and give it its label again.

    Args:
        labels: (X, Y, K) whole numbers, 0 outside.
        spacing: in-plane spacing (x, y) in mm.
        carry: makes the mask (X, Y, Z) of the wanted slices from the mask (X, Y, K) of one part.
        drawn_on_some: see :func:`bundle.data.parts.parts_of`.

    Returns:
        (X, Y, Z) of the type of ``labels``; where two parts meet, the first has the voxel.

    Example:
        >>> labels = np.array([[[1, 1], [0, 0], [2, 2]]])
        >>> carry_parts(labels, (1, 1), lambda mask: mask[..., :1])[..., 0].tolist()
        [[1, 0, 2]]
    """
    out: np.ndarray | None = None
    for part in parts_of(labels, spacing, drawn_on_some):
        made = carry(part.mask)
        if out is None:
            out = np.zeros(made.shape, dtype=labels.dtype)
        out[made & (out == 0)] = part.label
    return carry(labels > 0).astype(labels.dtype) if out is None else out
