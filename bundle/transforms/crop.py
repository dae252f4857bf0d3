"""Crop a scan to the surroundings of a nodule, with a margin in mm.

Vocabulary: the *box* is the bounding box of the mask and a *margin* of whole voxels on both sides of every
axis, at least as wide as asked in mm. Where the box reaches past the scan it is clipped, or padded where
asked to.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.data.meta_obj import get_track_meta
from monai.transforms import InvertibleTransform, MapTransform
from monai.transforms.utils import create_translate
from monai.utils import TraceKeys, TransformBackends, convert_to_tensor

from bundle.errors import InputError
from bundle.transforms.grid import bounding_box, check_same_place, voxel_spacing
from bundle.units import to_array


def margin_in_voxels(spacing: Sequence[float], margin_mm: float = 10.0) -> np.ndarray:
    """Number of voxels that make up a margin: ``ceil(margin_mm / spacing)``.

    Args:
        spacing: mm between voxel centres, for each axis (the slice spacing in z, not the slice thickness).
        margin_mm: mm.

    Returns:
        int, for each axis; a margin that is a whole number of voxels up to rounding is that number.

    Example:
        >>> margin_in_voxels((0.7, 0.7, 2.5))
        array([15, 15,  4])
    """
    return np.ceil(margin_mm / np.asarray(spacing, dtype=float) - 1e-4).astype(int)


def published_margin(spacing: Sequence[float], slice_thickness: float | None, margin_mm: float = 10.0) -> np.ndarray:
    """Number of voxels of the margin as the paper's code counts them.

    The code divides by (slice thickness, pixel, pixel) on axes that are (row, column, slice): rows (y) get
    the margin that was meant for slices, and slices (z) that of pixels.

    Args:
        spacing: (x, y, z) in mm.
        slice_thickness: mm; None: the slice spacing.
        margin_mm: mm.

    Returns:
        int, (x, y, z).

    Example:
        >>> published_margin((0.7, 0.7, 0.5), slice_thickness=1.0)
        array([15, 10, 15])
    """
    x, y, z = spacing
    return margin_in_voxels((x, z if slice_thickness is None else slice_thickness, y), margin_mm)


class CropWithMargin(InvertibleTransform):
    """Crop to the bounding box of a mask and a margin in mm on both sides of every axis.

    The affine follows the crop. The inverse puts the crop back into a volume of the original shape and
    affine.

    Args:
        margin_mm: margin in mm, turned into ``ceil(margin_mm / spacing)`` voxels; None keeps everything.
        margin_voxels: margin in voxels for each axis, instead of ``margin_mm``.
        pad: whether to pad where the box reaches past the volume; by default it is clipped there, so that no
            air is invented.
        pad_value: what to pad with, in the unit of the volume (-1000 HU is air).
        fill: what the inverse writes around the crop, in the unit of the volume.

    Example:
        >>> scan = MetaTensor(torch.zeros(1, 40, 40, 40), affine=torch.diag(torch.tensor([1.0, 1, 2, 1])))
        >>> mask = torch.zeros_like(scan)
        >>> mask[:, 20:22, 20:22, 3:5] = 1
        >>> tuple(CropWithMargin(margin_mm=10)(scan, mask).shape)
        (1, 22, 22, 10)
    """

    backend = [TransformBackends.TORCH]  # noqa: RUF012 (MONAI's own form)

    def __init__(
        self,
        margin_mm: float | None = 10.0,
        margin_voxels: Sequence[int] | None = None,
        pad: bool = False,
        pad_value: float = -1000.0,
        fill: float = 0.0,
    ) -> None:
        widths = [] if margin_mm is None else [margin_mm]
        widths += [] if margin_voxels is None else list(margin_voxels)
        for width in widths:
            if not (np.isfinite(width) and width >= 0):
                raise InputError(f"cannot crop with a margin of {width}: give 0 or more")
        if margin_voxels is not None and any(width != int(width) for width in margin_voxels):
            raise InputError(f"margin_voxels={list(margin_voxels)} are not whole voxels: give integers")
        self.margin_mm, self.margin_voxels = margin_mm, margin_voxels
        self.pad, self.pad_value, self.fill = pad, pad_value, fill

    @property
    def keeps_all(self) -> bool:
        """Whether nothing is ever cut away, so that no mask is needed."""
        return self.margin_mm is None and self.margin_voxels is None

    def __call__(self, img: Any, mask: Any = None) -> torch.Tensor:
        """Crop a volume.

        Args:
            img: (C, ...) MetaTensor, tensor or array.
            mask: of the same spatial shape; > 0 in any channel is inside; None: ``img`` is the mask. Its
                affine gives the spacing, and may be missing only where the margin is in voxels.

        Raises:
            InputError: the mask is empty, is shaped unlike the volume, lies elsewhere, or has no spacing.
        """
        start, end = self.box(img if mask is None else mask)
        if mask is not None:
            check_same_place(img, mask)
        return self.crop(img, start, end, self.pad_value)

    def box(self, mask: Any, margin_voxels: Sequence[int] | np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """First voxel and one past the last, for each axis; outside of the volume only where ``pad`` is set.

        Args:
            mask: (C, ...); > 0 in any channel is inside.
            margin_voxels: for this mask, instead of the transform's own.
        """
        size = np.asarray(mask.shape[1:])
        margin = self.margin_voxels if margin_voxels is None else margin_voxels
        if margin is None:
            if self.margin_mm is None:
                return np.zeros_like(size), size
            margin = margin_in_voxels(voxel_spacing(mask), self.margin_mm)
        if len(margin) != len(size):
            raise InputError(f"margin_voxels={tuple(margin)} does not fit {len(size)} axes: give one number for each")
        start, end = bounding_box(np.any(to_array(mask) > 0, axis=0))
        start, end = start - np.asarray(margin), end + np.asarray(margin)
        return (start, end) if self.pad else (start.clip(0), np.minimum(end, size))

    def crop(self, img: Any, start: np.ndarray, end: np.ndarray, pad_value: float) -> torch.Tensor:
        """Cut a box out of a (C, ...) volume; voxels of the box that are outside of it get ``pad_value``."""
        return self._cut(img, start, end, pad_value, orig_size=tuple(int(n) for n in img.shape[1:]))

    def inverse(self, data: torch.Tensor, fill: float | None = None) -> torch.Tensor:
        """Put a crop back into its place; ``fill`` overrides the transform's own."""
        info = self.pop_transform(data)
        start = np.array([int(s) for s in info[TraceKeys.EXTRA_INFO]["start"]])
        size = np.array([int(n) for n in info[TraceKeys.ORIG_SIZE]])
        with self.trace_transform(False):
            # seen from the crop, the volume is a box that starts at -start
            return self._cut(data, -start, size - start, self.fill if fill is None else fill)

    def _cut(
        self,
        img: Any,
        start: np.ndarray,
        end: np.ndarray,
        value: float,
        orig_size: tuple[int, ...] | None = None,
    ) -> torch.Tensor:
        """A box of the volume, with the affine moved and the transform recorded."""
        tracked = convert_to_tensor(img, track_meta=get_track_meta())
        plain = tracked.as_tensor() if isinstance(tracked, MetaTensor) else tracked
        size = np.asarray(plain.shape[1:])
        inside, past = start.clip(0), np.minimum(end, size)
        out = plain[(slice(None), *(slice(a, b) for a, b in zip(inside, past, strict=True)))]
        if (inside > start).any() or (past < end).any():
            # torch pads the last axis first
            sides = np.stack([inside - start, end - past], axis=1)[::-1].ravel().tolist()
            out = torch.nn.functional.pad(out, sides, value=value)
        out = out.clone(memory_format=torch.contiguous_format)
        if not isinstance(tracked, MetaTensor):
            return out
        meta = self.track_transform_meta(
            tracked,
            sp_size=out.shape[1:],
            affine=create_translate(len(size), start.tolist()),
            extra_info={"start": start.tolist()},
            orig_size=orig_size,
            transform_info=self.get_transform_info(),
        )
        return MetaTensor(out).copy_meta_from(meta)


class CropWithMargind(MapTransform, InvertibleTransform):
    """Dictionary form of :class:`CropWithMargin`: crop every key to the surroundings of one mask.

    Args:
        keys: the volumes to crop, the mask itself among them if it is to be cropped.
        label_key: the mask; it is always padded and filled with 0.
        margin_mm: margin in mm, turned into ``ceil(margin_mm / spacing)`` voxels; None keeps everything.
        margin_voxels: margin in voxels for each axis, instead of ``margin_mm``; "published" counts them as
            the paper's code does (:func:`published_margin`), with the data's ``slice_thickness``.
        pad: whether to pad where the box reaches past the volume; by default it is clipped there.
        pad_value: what to pad images with, in their unit (-1000 HU is air).
        fill: what the inverse writes around images.
        allow_missing_keys: pass over keys that are absent.

    Raises:
        InputError: when called: no mask, an empty one, or one of another shape or place than an image; names the
            data's ``nodule_id`` if there is one.

    Example:
        >>> scan = MetaTensor(torch.zeros(1, 40, 40, 40), affine=torch.eye(4))
        >>> mask = torch.zeros_like(scan)
        >>> mask[:, 20:22, 20:22, 20:22] = 1
        >>> crop = CropWithMargind(["image", "label"], margin_mm=5)
        >>> tuple(crop({"image": scan, "label": mask})["image"].shape)
        (1, 12, 12, 12)
    """

    backend = CropWithMargin.backend

    def __init__(
        self,
        keys: KeysCollection,
        label_key: str = "label",
        margin_mm: float | None = 10.0,
        margin_voxels: Sequence[int] | Literal["published"] | None = None,
        pad: bool = False,
        pad_value: float = -1000.0,
        fill: float = 0.0,
        allow_missing_keys: bool = False,
    ) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        self.label_key = label_key
        voxels = None if isinstance(margin_voxels, str) else margin_voxels
        self.published = isinstance(margin_voxels, str)
        if self.published and (margin_voxels != "published" or margin_mm is None):
            raise InputError(
                f'margin_voxels="{margin_voxels}" with margin_mm={margin_mm} is unknown: '
                'give numbers, or "published" with a margin in mm'
            )
        self.margin_mm = 0.0 if margin_mm is None else margin_mm
        self.cropper = CropWithMargin(margin_mm, voxels, pad, pad_value, fill)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Crop the volumes at the keys; the other entries pass through."""
        out = dict(data)
        if self.cropper.keeps_all:
            return out
        name = f"{out['nodule_id']}: " if "nodule_id" in out else ""
        if self.label_key not in out:
            raise InputError(f'{name}there is no mask under "{self.label_key}": give one to crop around')
        mask = out[self.label_key]
        try:
            margin = None
            if self.published:
                thickness = out.get("slice_thickness")
                margin = published_margin(voxel_spacing(mask), thickness, self.margin_mm)
            start, end = self.cropper.box(mask, margin)
            for key in self.key_iterator(out):
                check_same_place(out[key], mask, f'"{key}"')
        except InputError as error:
            raise InputError(f"{name}{error}") from None
        for key in self.key_iterator(out):
            pad_value = 0.0 if key == self.label_key else self.cropper.pad_value
            out[key] = self.cropper.crop(out[key], start, end, pad_value)
        return out

    def inverse(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Put the crops back into their places."""
        out = dict(data)
        if self.cropper.keeps_all:
            return out
        for key in self.key_iterator(out):
            out[key] = self.cropper.inverse(out[key], 0.0 if key == self.label_key else None)
        return out
