"""Drop slices: keep every n-th along an axis, or the average of some, with an affine that says where they are.

Vocabulary: the *observed* slices are ``offset, offset + stride, offset + 2 stride, ...``; all others are
*unobserved*; those after the last observed slice lie *beyond the last*. A *thick* observed slice is the average of
``average`` thin ones from there on; it lies at their centre, and none of them is known. A MetaTensor that is indexed
with a step keeps its old affine, so that a viewer would show the kept slices packed together; :class:`Decimate`
corrects it.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.data.meta_obj import get_track_meta
from monai.transforms import InvertibleTransform, MapTransform
from monai.utils import TraceKeys, TransformBackends, convert_to_tensor

from bundle.errors import InputError
from bundle.profile import block_average, checked_profile


def observed_indices(n_slices: int, stride: int = 5, offset: int = 0) -> np.ndarray:
    """Indices of the slices that are kept.

    Args:
        n_slices: number of slices along the axis.
        stride: every how many slices one is kept; 1 keeps all.
        offset: index of the first kept slice, 0 <= offset < stride.

    Returns:
        (K,) int, ascending; K is at least 1.

    Raises:
        InputError: a stride below 1, an offset outside of 0 ... stride - 1, or one beyond the volume.

    Example:
        >>> observed_indices(13)
        array([ 0,  5, 10])
    """
    _check(stride, offset)
    if offset >= n_slices:
        raise InputError(
            f"offset {offset} lies beyond a volume of {n_slices} slice(s): give a smaller offset or more slices"
        )
    return np.arange(offset, n_slices, stride)


def observed_centres(n_slices: int, stride: int = 5, offset: int = 0, average: int = 1) -> np.ndarray:
    """Places of the observed slices in slices: whole numbers, or half ones where an even number is averaged.

    Args:
        n_slices: number of slices along the axis.
        stride: every how many slices one is observed.
        offset: index of the first thin slice that is used, 0 <= offset < stride.
        average: thin slices that an observed one is the average of, all of them in the volume.

    Returns:
        (K,) float, ascending; K is at least 1.

    Raises:
        InputError: as :func:`observed_indices`; fewer than ``average`` slices from the offset on.

    Example:
        >>> observed_centres(13, 5, 0, 4), observed_centres(13)
        (array([1.5, 6.5]), array([ 0.,  5., 10.]))
    """
    _check(stride, offset, average)
    if average > 1 and offset + average > n_slices:
        raise InputError(
            f"a volume of {n_slices} slice(s) holds no {average} slices from slice {offset} on: give more slices, or "
            "average fewer"
        )
    return observed_indices(n_slices - average + 1, stride, offset) + (average - 1) / 2


class Decimate(InvertibleTransform):
    """Keep every ``stride``-th slice of a channel-first volume, or the average of some; its affine follows.

    The world coordinates of voxel (i, j, k) of the result are those of voxel (i, j, offset + k stride) of
    the input, so that the result overlays the input in a viewer. Save it with
    ``SaveImage(resample=False)``; MONAI's default puts a saved volume back on the grid it was loaded from.

    The inverse puts the kept slices back at their places in a volume of the original shape and affine.

    Args:
        stride: every how many slices one is kept; 1 keeps all.
        offset: index of the first kept slice, 0 <= offset < stride.
        axis: spatial axis, not counting the channels; 2 is axial.
        fill: what the inverse writes in the slices that were dropped: None copies the nearest kept slice (the
            lower of two), so that the result can be looked at; a number is written as it is.
        average: thin slices that a kept one is the average of: from the kept one on, so that ``stride = average`` is a
            scan of contiguous thick slices and a smaller stride one of overlapping ones. 1: none.
        profile: how a thick slice weighs them, ``"box"``, ``"trapezoid"`` or ``"bell"`` (:mod:`bundle.profile`), each
            with a full width at half maximum of ``average`` slices.

    Raises:
        InputError: a stride or average below 1, an offset outside of 0 ... stride - 1, an unknown profile, or (when
            called) an axis, offset or thick slice that the volume does not have. A single kept slice is no error here.

    Example:
        >>> dense = MetaTensor(torch.zeros(1, 4, 4, 13), affine=torch.eye(4))
        >>> sparse = Decimate(stride=5)(dense)
        >>> tuple(sparse.shape), sparse.pixdim.tolist()
        ((1, 4, 4, 3), [1.0, 1.0, 5.0])
    """

    backend = [TransformBackends.TORCH]  # noqa: RUF012 (MONAI's own form)

    def __init__(
        self,
        stride: int = 5,
        offset: int = 0,
        axis: int = 2,
        fill: float | None = None,
        average: int = 1,
        profile: str = "box",
    ) -> None:
        _check(stride, offset, average)
        self.stride, self.offset, self.axis, self.fill = stride, offset, axis, fill
        self.average, self.profile = average, checked_profile(profile)

    def centres(self, n_slices: int) -> np.ndarray:
        """(K,) places of the observed slices of a volume, see :func:`observed_centres`."""
        return observed_centres(n_slices, self.stride, self.offset, self.average)

    def averaged(self, volume: np.ndarray, axis: int) -> np.ndarray:
        """The observed slices of a volume (...), along one of its axes; as they are where none are averaged."""
        centres, thin = self.centres(volume.shape[axis]), np.moveaxis(volume, axis, -1)
        if self.average == 1:
            return np.moveaxis(thin[..., centres.astype(int)], -1, axis)
        thick = block_average(thin, np.arange(thin.shape[-1]), centres, self.average, self.profile)
        return np.moveaxis(thick, -1, axis)

    def __call__(self, img: Any) -> torch.Tensor:
        """Drop the unobserved slices of a (C, ...) MetaTensor, tensor or array."""
        if not 0 <= self.axis < img.ndim - 1:
            raise InputError(
                f"axis {self.axis} is not in a volume of shape {tuple(img.shape[1:])}: give 0 to {img.ndim - 2}"
            )
        size = tuple(int(n) for n in img.shape[1:])
        centres = self.centres(size[self.axis])
        step = _step(len(size), self.axis, self.stride, float(centres[0]))
        if self.average == 1:
            return self._take(img, centres.astype(int), step, orig_size=size)
        weights = self.averaged(np.eye(size[self.axis]), axis=0)
        return self._take(img, weights, step, orig_size=size)

    def inverse(self, data: torch.Tensor) -> torch.Tensor:
        """Put the kept slices back where they were.

        Raises:
            InputError: the number of slices is not what was kept, as in a reconstruction that is dense
                already.
        """
        size = [int(n) for n in self.pop_transform(data)[TraceKeys.ORIG_SIZE]]
        n_slices = size[self.axis]
        kept = self.centres(n_slices)
        if data.shape[1 + self.axis] != len(kept):
            raise InputError(
                f"{data.shape[1 + self.axis]} slices cannot be put back where {len(kept)} of {n_slices} were "
                "kept: invert the decimated volume itself, not a reconstruction of it"
            )
        # ceil(x - 0.5) rounds to the nearest, and a tie to the lower
        source = np.ceil((np.arange(n_slices) - kept[0]) / self.stride - 0.5).astype(int)
        back = torch.linalg.inv(_step(len(size), self.axis, self.stride, float(kept[0])))
        with self.trace_transform(False):
            out = self._take(data, source.clip(0, len(kept) - 1), back)
        if self.fill is not None:
            dropped = np.setdiff1d(np.arange(n_slices), np.floor(kept))
            out.index_fill_(1 + self.axis, torch.as_tensor(dropped, device=out.device), self.fill)
        return out

    def _take(
        self, img: Any, what: np.ndarray, affine: torch.Tensor, orig_size: tuple[int, ...] | None = None
    ) -> torch.Tensor:
        """The slices at indices (K,), or averages by weights (K, N); the affine moved and the transform recorded."""
        tracked = convert_to_tensor(img, track_meta=get_track_meta())
        plain = tracked.as_tensor() if isinstance(tracked, MetaTensor) else tracked
        chosen = torch.as_tensor(what, device=plain.device)
        if what.ndim == 1:
            out = plain.index_select(1 + self.axis, chosen)
        else:
            thick = torch.tensordot(plain.double(), chosen, dims=([1 + self.axis], [1])).movedim(-1, 1 + self.axis)
            out = thick.to(plain.dtype if plain.is_floating_point() else torch.float32)
        if not isinstance(tracked, MetaTensor):
            return out
        meta = self.track_transform_meta(
            tracked,
            sp_size=out.shape[1:],
            affine=affine,
            orig_size=orig_size,
            transform_info=self.get_transform_info(),
        )
        return MetaTensor(out).copy_meta_from(meta)


class Decimated(MapTransform, InvertibleTransform):
    """Dictionary form of :class:`Decimate`: drop the same slices of every key.

    A ``spacing`` entry beside the volumes is left as it is: the affine is what tells their spacing.

    Args:
        keys: the volumes.
        stride: every how many slices one is kept; 1 keeps all.
        offset: index of the first kept slice, 0 <= offset < stride.
        axis: spatial axis, not counting the channels; 2 is axial.
        fill: what the inverse writes in the slices that were dropped; None copies the nearest kept slice.
        average: thin slices that a kept one is the average of.
        profile: how it weighs them.
        allow_missing_keys: pass over keys that are absent.

    Example:
        >>> data = {"image": torch.zeros(1, 4, 4, 13), "label": torch.zeros(1, 4, 4, 13)}
        >>> Decimated(["image", "label"], stride=4)(data)["label"].shape[-1]
        4
    """

    backend = Decimate.backend

    def __init__(
        self,
        keys: KeysCollection,
        stride: int = 5,
        offset: int = 0,
        axis: int = 2,
        fill: float | None = None,
        allow_missing_keys: bool = False,
        average: int = 1,
        profile: str = "box",
    ) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        self.decimate = Decimate(stride, offset, axis, fill, average, profile)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Drop the unobserved slices at the keys; the other entries pass through."""
        out = dict(data)
        for key in self.key_iterator(out):
            out[key] = self.decimate(out[key])
        return out

    def inverse(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Put the kept slices back where they were."""
        out = dict(data)
        for key in self.key_iterator(out):
            out[key] = self.decimate.inverse(out[key])
        return out


def _check(stride: int, offset: int, average: int = 1) -> None:
    if average != int(average) or average < 1:
        raise InputError(f"an average of {average} slices is none: give a whole number of 1 or more")
    if stride != int(stride) or stride < 1:
        raise InputError(f"stride {stride} keeps no sensible slices: give a whole number of 1 or more")
    if offset != int(offset) or not 0 <= offset < stride:
        raise InputError(f"offset {offset} does not fit stride {stride}: give a whole number from 0 to {stride - 1}")


def _step(n_axes: int, axis: int, stride: int, offset: float) -> torch.Tensor:
    """Affine from a voxel of the decimated volume to the same voxel of the dense one."""
    affine = torch.eye(n_axes + 1, dtype=torch.float64)
    affine[axis, axis], affine[axis, -1] = stride, offset
    return affine
