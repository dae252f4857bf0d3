"""Fill the gap between observed masks: what shape does the nodule have between two slices?

Vocabulary: *masks* (X, Y, K) are the observed masks, at *positions* (K,) in mm, strictly ascending and
possibly uneven; *targets* (Z,) in mm are the places where masks are wanted. Before the first and after the
last position a mask is *held* (the nearest observed one is repeated), held for *half* a gap, or *empty*; the gap is
then that to the position's neighbour. An observed mask is always returned as it is, and nothing reaches past an
observed slice without mask.
"""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from scipy.ndimage import distance_transform_edt

from bundle.errors import InputError
from bundle.inferers.base import SliceInferer
from bundle.slices import ObservedSlices, Reconstruction, bracket

Beyond = Literal["hold", "half", "empty"]


def morphological(masks: np.ndarray, positions: np.ndarray, targets: np.ndarray, beyond: Beyond = "hold") -> np.ndarray:
    """Interpolate masks by the paper's Eq. 3: ``((1 - a) M_z + a M_{z+k}) > 0.5``.

    ``a`` is the target's fraction of the gap. Of two binary masks the formula takes the nearer one; in the
    middle of the gap, where ``a`` is 0.5, it is strict and takes what both have in common.

    Args:
        masks: (X, Y, K) bool, K >= 2.
        positions: (K,) mm, strictly ascending.
        targets: (Z,) mm.
        beyond: before the first and after the last position: "hold" the nearest mask, hold it for less than
            "half" a gap, or leave it "empty".

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
    beyond: Beyond = "half",
) -> np.ndarray:
    """Interpolate masks by their in-plane signed distance (shape-based interpolation, Raya and Udupa 1990).

    In each observed slice every voxel gets its distance in mm to the nearest voxel of the other kind,
    positive inside and negative outside; the distances are interpolated linearly along z, and > 0 is
    inside.

    A slice without any mask has no distance, and where between it and its neighbour the nodule ends is not known:
    the neighbour's mask is repeated for less than half the gap, which errs least wherever the end is. So it is beyond
    the first and the last position. Between two empty slices there is nothing. A slice that is mask throughout is
    taken to end right outside of the field of view.

    Args:
        masks: (X, Y, K) bool, K >= 2.
        positions: (K,) mm, strictly ascending.
        targets: (Z,) mm.
        spacing: in-plane spacing (x, y) in mm.
        beyond: before the first and after the last position: "hold" the nearest mask, hold it for less than
            "half" a gap, or leave it "empty".

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
    depth = [signed_depth(masks[..., k], spacing) for k in range(masks.shape[-1])]
    out = np.zeros((*masks.shape[:2], len(targets)), dtype=bool)
    for z, (low, up) in enumerate(zip(lower, upper, strict=True)):
        below, above = depth[low], depth[up]
        if a[z] in (0, 1):
            out[..., z] = masks[..., up if a[z] else low]
        elif below is not None and above is not None:
            out[..., z] = (1 - a[z]) * below + a[z] * above > 0
        elif a[z] != 0.5:
            out[..., z] = masks[..., up if a[z] > 0.5 else low]
    return _emptied_beyond(out, fraction, beyond)


def signed_depth(mask: np.ndarray, spacing: tuple[float, float] = (1.0, 1.0)) -> np.ndarray | None:
    """How deep each voxel of one slice lies in its mask.

    Args:
        mask: (X, Y) bool.
        spacing: (x, y) in mm.

    Returns:
        (X, Y) mm to the nearest voxel of the other kind, positive inside and negative outside; for a slice that is mask
        throughout, to the nearest voxel outside of the field of view; None for a slice without mask, which has none.

    Example:
        >>> signed_depth(np.array([[False, True, True]]), (1.0, 0.5))
        array([[-0.5,  0.5,  1. ]])
    """
    if not mask.any():
        return None
    if mask.all():
        inside = distance_transform_edt(np.pad(mask, 1), sampling=spacing)
        return inside[1:-1, 1:-1]
    return distance_transform_edt(mask, sampling=spacing) - distance_transform_edt(~mask, sampling=spacing)


def _emptied_beyond(masks: np.ndarray, fraction: np.ndarray, beyond: Beyond) -> np.ndarray:
    """The masks, emptied before the first and after the last observed position as far as asked."""
    if beyond != "hold":
        reach = 0.5 if beyond == "half" else 0.0
        past = np.maximum(-fraction, fraction - 1)  # in gaps, above 0 beyond the ends
        masks[..., (past > 0) & (past >= reach)] = False
    return masks


class MaskInferer(SliceInferer):
    """What all mask methods share: the check of what they are given, and the note on an unseen nodule.

    Args:
        beyond: before the first and after the last observed slice: "hold" the nearest mask, go on for less than "half"
            a gap, or leave it "empty".
    """

    kind = "mask"

    def __init__(self, beyond: Beyond = "half") -> None:
        super().__init__()
        if beyond not in get_args(Beyond):
            raise InputError(f'beyond="{beyond}" is unknown to {type(self).__name__}: give "hold", "half" or "empty"')
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
        masks, notes = self._checked(observed)
        return Reconstruction(mask=self._fill(masks, observed), notes=notes)

    def _checked(self, observed: ObservedSlices) -> tuple[np.ndarray, list[str]]:
        """The observed masks as bool, and what is to be said about them."""
        if observed.mask is None:
            raise InputError(f"{type(self).__name__} needs the observed masks and got none: give a label")
        masks = observed.mask > 0
        return masks, [] if masks.any() else ["no observed slice meets the nodule: the reconstructed mask is empty"]

    def _fill(self, masks: np.ndarray, observed: ObservedSlices) -> np.ndarray:
        """(X, Y, Z) bool."""
        raise NotImplementedError


class MorphologicalInferer(MaskInferer):
    """The paper's geometric baseline, Eq. 3; see :func:`morphological`.

    Args:
        beyond: see :func:`morphological`.

    Example:
        >>> masks = np.ones((4, 4, 2), bool)
        >>> MorphologicalInferer()(masks, positions=[0, 5], targets=range(7)).shape
        (4, 4, 7)
    """

    def __init__(self, beyond: Beyond = "hold") -> None:
        super().__init__(beyond)

    def _fill(self, masks: np.ndarray, observed: ObservedSlices) -> np.ndarray:
        return morphological(masks, observed.positions, observed.targets, self.beyond)


class SignedDistanceInferer(MaskInferer):
    """Shape-based interpolation of Raya and Udupa (1990); see :func:`signed_distance`.

    Args:
        beyond: see :func:`signed_distance`.

    Example:
        >>> masks = np.ones((4, 4, 2), bool)
        >>> SignedDistanceInferer()(masks, positions=[0, 5], targets=range(7)).shape
        (4, 4, 7)
    """

    def _fill(self, masks: np.ndarray, observed: ObservedSlices) -> np.ndarray:
        return signed_distance(masks, observed.positions, observed.targets, observed.spacing, self.beyond)
