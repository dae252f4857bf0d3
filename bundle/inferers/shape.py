"""Fill the gap between observed masks: what shape does the nodule have between two slices?

Vocabulary: *masks* (X, Y, K) are the observed masks, at *positions* (K,) in mm, strictly ascending and
possibly uneven; *targets* (Z,) in mm are the places where masks are wanted. Before the first and after the
last position a mask is *held* (the nearest observed one is repeated) or *empty*. An observed mask is always
returned as it is.
"""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from scipy.ndimage import distance_transform_edt

from bundle.errors import InputError
from bundle.inferers.base import ObservedSlices, Reconstruction, SliceInferer
from bundle.inferers.interpolation import bracket

Beyond = Literal["hold", "empty"]


def morphological(masks: np.ndarray, positions: np.ndarray, targets: np.ndarray, beyond: Beyond = "hold") -> np.ndarray:
    """Interpolate masks by the paper's Eq. 3: ``((1 - a) M_z + a M_{z+k}) > 0.5``.

    ``a`` is the target's fraction of the gap. Of two binary masks the formula takes the nearer one; in the
    middle of the gap, where ``a`` is 0.5, it is strict and takes what both have in common.

    Args:
        masks: (X, Y, K) bool, K >= 2.
        positions: (K,) mm, strictly ascending.
        targets: (Z,) mm.
        beyond: before the first and after the last position: "hold" the nearest mask, or leave it "empty".

    Returns:
        (X, Y, Z) bool.

    Example:
        >>> masks = np.array([[[True, False]]])
        >>> morphological(masks, np.array([0.0, 4.0]), np.arange(5.0))[0, 0].astype(int)
        array([1, 1, 0, 0, 0])
    """
    lower, upper, fraction = bracket(positions, targets)
    a = np.clip(fraction, 0, 1)
    out = np.empty((*masks.shape[:2], len(targets)), dtype=bool)
    for z, (low, up) in enumerate(zip(lower, upper, strict=True)):
        out[..., z] = (1 - a[z]) * masks[..., low] + a[z] * masks[..., up] > 0.5
    return _emptied_beyond(out, fraction, beyond)


def signed_distance(
    masks: np.ndarray,
    positions: np.ndarray,
    targets: np.ndarray,
    spacing: tuple[float, float] = (1.0, 1.0),
    beyond: Beyond = "hold",
) -> np.ndarray:
    """Interpolate masks by their in-plane signed distance (shape-based interpolation, Raya and Udupa 1990).

    In each observed slice every voxel gets its distance in mm to the nearest voxel of the other kind,
    positive inside and negative outside; the distances are interpolated linearly along z, and > 0 is
    inside.

    A slice without any mask has no distance. Next to a slice that has one, the nodule is made to shrink
    steadily and to vanish where it reaches the empty slice, which is given its neighbour's distances less the
    neighbour's greatest depth: a cone, the largest end that both slices allow. Between two empty slices there is
    nothing. A slice that is mask throughout is taken to end right outside of the field of view.

    Args:
        masks: (X, Y, K) bool, K >= 2.
        positions: (K,) mm, strictly ascending.
        targets: (Z,) mm.
        spacing: in-plane spacing (x, y) in mm.
        beyond: before the first and after the last position: "hold" the nearest mask, or leave it "empty".

    Returns:
        (X, Y, Z) bool.

    Example:
        >>> masks = np.zeros((9, 9, 2), bool)
        >>> masks[2:7, 2:7, 0] = masks[4:5, 4:5, 1] = True
        >>> signed_distance(masks, np.array([0.0, 2.0]), np.arange(3.0)).sum(axis=(0, 1))
        array([25,  9,  1])
    """
    lower, upper, fraction = bracket(positions, targets)
    a = np.clip(fraction, 0, 1)
    depth = [_signed_distance_2d(masks[..., k], spacing) for k in range(masks.shape[-1])]
    out = np.zeros((*masks.shape[:2], len(targets)), dtype=bool)
    for z, (low, up) in enumerate(zip(lower, upper, strict=True)):
        if a[z] in (0, 1):
            out[..., z] = masks[..., up if a[z] else low]
            continue
        below, above = depth[low], depth[up]
        if below is None and above is None:
            continue
        if below is None:
            below = above - above.max()
        if above is None:
            above = below - below.max()
        out[..., z] = (1 - a[z]) * below + a[z] * above > 0
    return _emptied_beyond(out, fraction, beyond)


def _signed_distance_2d(mask: np.ndarray, spacing: tuple[float, float]) -> np.ndarray | None:
    """Signed distance in mm, positive inside; None for a slice without mask, which has none."""
    if not mask.any():
        return None
    if mask.all():
        inside = distance_transform_edt(np.pad(mask, 1), sampling=spacing)
        return inside[1:-1, 1:-1]
    return distance_transform_edt(mask, sampling=spacing) - distance_transform_edt(~mask, sampling=spacing)


def _emptied_beyond(masks: np.ndarray, fraction: np.ndarray, beyond: Beyond) -> np.ndarray:
    """The masks, emptied before the first and after the last observed position if so asked."""
    if beyond == "empty":
        masks[..., (fraction < 0) | (fraction > 1)] = False
    return masks


class _ShapeInferer(SliceInferer):
    """What both shape inferers share: the check of what they are given, and the note on an unseen nodule."""

    kind = "shape"

    def __init__(self, beyond: Beyond = "hold") -> None:
        super().__init__()
        if beyond not in get_args(Beyond):
            raise InputError(f'beyond="{beyond}" is unknown to {type(self).__name__}: give "hold" or "empty"')
        self.beyond = beyond

    def reconstruct(self, observed: ObservedSlices) -> Reconstruction:
        """Reconstruct the mask at every target.

        Args:
            observed: the observed masks; an image is not looked at.

        Returns:
            ``mask`` (X, Y, Z) bool; empty, with a note, if no observed slice meets the nodule.

        Raises:
            InputError: there is no mask.
        """
        if observed.mask is None:
            raise InputError(f"{type(self).__name__} needs the observed masks and got none: give a label")
        masks = observed.mask > 0
        notes = [] if masks.any() else ["no observed slice meets the nodule: the reconstructed mask is empty"]
        return Reconstruction(mask=self._fill(masks, observed), notes=notes)

    def _fill(self, masks: np.ndarray, observed: ObservedSlices) -> np.ndarray:
        """(X, Y, Z) bool."""
        raise NotImplementedError


class MorphologicalInferer(_ShapeInferer):
    """The paper's geometric baseline, Eq. 3; see :func:`morphological`.

    Args:
        beyond: before the first and after the last observed slice: "hold" the nearest mask, or leave it
            "empty".

    Example:
        >>> masks = np.ones((4, 4, 2), bool)
        >>> MorphologicalInferer()(masks, positions=[0, 5], targets=range(7)).shape
        (4, 4, 7)
    """

    def _fill(self, masks: np.ndarray, observed: ObservedSlices) -> np.ndarray:
        return morphological(masks, observed.positions, observed.targets, self.beyond)


class SignedDistanceInferer(_ShapeInferer):
    """Shape-based interpolation of Raya and Udupa (1990); see :func:`signed_distance`.

    Args:
        beyond: before the first and after the last observed slice: "hold" the nearest mask, or leave it
            "empty".

    Example:
        >>> masks = np.ones((4, 4, 2), bool)
        >>> SignedDistanceInferer()(masks, positions=[0, 5], targets=range(7)).shape
        (4, 4, 7)
    """

    def _fill(self, masks: np.ndarray, observed: ObservedSlices) -> np.ndarray:
        return signed_distance(masks, observed.positions, observed.targets, observed.spacing, self.beyond)
