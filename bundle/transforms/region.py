"""Cut the region to be made dense out of a CT: around a mask, around a point, or the lungs.

Vocabulary: a *region* is a box of whole voxels, rounded outwards, so that it holds the box that was asked for; where
that reaches past the image it is clipped. Slices may lie unevenly, see :mod:`bundle.data.volume`: along z all
distances are measured between the slices' positions.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform

from bundle.errors import InputError
from bundle.transforms.grid import bounding_box, check_same_place
from bundle.transforms.region_lung import LUNG_MARGIN_MM, lung_box
from bundle.units import to_array

Unit = Literal["mm", "voxel"]
Box = tuple[np.ndarray, np.ndarray]
Numbers = Sequence[float] | np.ndarray

_TOLERANCE = 1e-4  # of a voxel: 10 mm / 2.5 mm is 4 voxels, whatever the rounding


def slice_positions(image: MetaTensor) -> np.ndarray:
    """Where the slices of a (C, X, Y, Z) volume lie: (Z,) mm along its last axis from the first slice.

    Example:
        >>> slice_positions(MetaTensor(torch.zeros(1, 2, 2, 3), affine=torch.diag(torch.tensor([1.0, 1, 5, 1]))))
        array([ 0.,  5., 10.])
    """
    known = image.meta.get("slice_positions")
    if known is not None:
        return np.asarray(known, dtype=float).reshape(-1)
    return np.arange(image.shape[-1]) * float(np.linalg.norm(np.asarray(image.affine)[:3, 2]))


def box_around_mask(mask: np.ndarray, axes: Sequence[np.ndarray], margin_mm: float) -> Box:
    """Region that holds a mask and a margin on all its sides.

    Args:
        mask: (X, Y, Z) bool.
        axes: places in mm of the voxels along each axis, ascending.
        margin_mm: mm.

    Returns:
        first voxel and one past the last, for each axis.

    Raises:
        InputError: the mask is empty, or the margin is negative.

    Example:
        >>> mask = np.zeros((9, 9, 9), bool); mask[4, 4, 4] = True
        >>> [edge.tolist() for edge in box_around_mask(mask, [np.arange(9.0)] * 3, 2.5)]
        [[1, 1, 1], [8, 8, 8]]
    """
    if not (np.isfinite(margin_mm) and margin_mm >= 0):
        raise InputError(f"margin_mm is {margin_mm}, expected 0 mm or more")
    start, end = bounding_box(mask)
    low = [axis[i] - margin_mm for axis, i in zip(axes, start, strict=True)]
    high = [axis[i - 1] + margin_mm for axis, i in zip(axes, end, strict=True)]
    return _outwards(axes, low, high)


def box_around_point(place: Numbers, axes: Sequence[np.ndarray], size_mm: Numbers) -> Box:
    """Region of a size around a point.

    Args:
        place: the centre, in voxels of the image, fractions allowed.
        axes: places in mm of the voxels along each axis, ascending.
        size_mm: length of each side.

    Returns:
        first voxel and one past the last, for each axis.

    Raises:
        InputError: the centre lies outside of the image.

    Example:
        >>> [edge.tolist() for edge in box_around_point((4, 4, 4), [np.arange(9.0)] * 3, (3, 3, 3))]
        [[2, 2, 2], [7, 7, 7]]
    """
    sizes = tuple(len(axis) for axis in axes)
    if not all(-0.5 <= p <= n - 0.5 for p, n in zip(place, sizes, strict=True)):
        told = ", ".join(f"{p:.1f}" for p in place)
        raise InputError(
            f"the centre is voxel ({told}), outside of the image of {sizes} voxels: "
            "give one inside, in RAS mm or, with --center_unit voxel, in voxels of the file"
        )
    centre = [float(np.interp(p, np.arange(len(axis)), axis)) for p, axis in zip(place, axes, strict=True)]
    half = np.asarray(size_mm, dtype=float) / 2
    return _outwards(axes, np.subtract(centre, half), np.add(centre, half))


def _outwards(axes: Sequence[np.ndarray], low: Numbers, high: Numbers) -> Box:
    """Voxels from the last at or below ``low`` to the first at or above ``high``."""
    start, end = [], []
    for axis, a, b in zip(axes, low, high, strict=True):
        small = _TOLERANCE * ((axis[-1] - axis[0]) / max(len(axis) - 1, 1))
        start.append(max(int(np.searchsorted(axis, a + small, side="right")) - 1, 0))
        end.append(min(int(np.searchsorted(axis, b - small, side="left")) + 1, len(axis)))
    return np.array(start), np.array(end)


def cut(image: MetaTensor, box: Box) -> MetaTensor:
    """Cut a region out of a (C, X, Y, Z) volume; affine and slice positions follow.

    Example:
        >>> volume = MetaTensor(torch.zeros(1, 4, 4, 4), affine=torch.eye(4))
        >>> cut(volume, (np.array([1, 0, 2]), np.array([3, 4, 4]))).affine[:3, 3].tolist()
        [1.0, 0.0, 2.0]
    """
    start, end = (np.asarray(edge, dtype=int) for edge in box)
    positions = slice_positions(image)[start[2] : end[2]]
    affine = image.affine.double().cpu().numpy().copy()
    along = affine[:3, 2] / np.linalg.norm(affine[:3, 2])
    affine[:3, 3] += affine[:3, 0] * start[0] + affine[:3, 1] * start[1]
    affine[:3, 3] += along * slice_positions(image)[start[2]]
    if len(positions) > 1:
        affine[:3, 2] = along * (positions[-1] - positions[0]) / (len(positions) - 1)
    data = image.as_tensor()[:, start[0] : end[0], start[1] : end[1], start[2] : end[2]].contiguous()
    meta = {**image.meta, "slice_positions": positions - positions[0], "spatial_shape": np.array(data.shape[1:])}
    meta["original_affine"] = affine.copy()
    meta.pop("affine", None)
    return MetaTensor(data, affine=torch.from_numpy(affine), meta=meta)


class CropRegiond(MapTransform):
    """Cut every key to one region: the box around a mask, else around a centre, else around the lungs.

    An image that is no whole chest is kept whole where neither mask nor centre is given. An item's own ``center``,
    ``center_unit`` and ``size_mm`` go before those of the transform.

    Args:
        keys: the volumes to cut, on one grid; the first gives the geometry and the HU.
        mask_key: of the mask; used if it is in the data.
        center: (x, y, z); None for none.
        center_unit: ``"mm"``: RAS mm; ``"voxel"``: of the file as it is stored, from 0.
        size_mm: of the region around the centre: one number, or one for each axis.
        margin_mm: around the mask.
        allow_missing_keys: pass over keys that are absent.

    Raises:
        InputError: when called: values that are no numbers, a mask of another place, a centre outside of the image,
            or a region with a
            single slice.

    Example:
        >>> scan = MetaTensor(torch.zeros(1, 60, 60, 20), affine=torch.diag(torch.tensor([1.0, 1, 5, 1])))
        >>> tuple(CropRegiond("image", center=(30, 30, 50), size_mm=20)({"image": scan})["image"].shape)
        (1, 21, 21, 5)
    """

    def __init__(
        self,
        keys: KeysCollection,
        mask_key: str = "mask",
        center: Sequence[float] | None = None,
        center_unit: Unit = "mm",
        size_mm: float | Sequence[float] = 50.0,
        margin_mm: float = 10.0,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.mask_key = mask_key
        self.center, self.center_unit, self.size_mm, self.margin_mm = center, center_unit, size_mm, margin_mm

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Cut every key."""
        out = dict(data)
        box = self.box(out)
        for key in self.key_iterator(out):
            out[key] = cut(out[key], box)
        return out

    def box(self, data: Mapping[Hashable, Any]) -> Box:
        """First voxel and one past the last, for each axis."""
        image = data[self.keys[0]]
        spacing = np.linalg.norm(image.affine.double().cpu().numpy()[:3, :3], axis=0)
        axes = [np.arange(n) * step for n, step in zip(image.shape[1:3], spacing[:2], strict=True)]
        axes.append(slice_positions(image))
        center, margin = data.get("center", self.center), self.margin_mm
        if data.get(self.mask_key) is not None:
            check_same_place(image, data[self.mask_key])
            box = box_around_mask(to_array(data[self.mask_key][0]) > 0, axes, margin)
            what = f"the mask and {margin:g} mm around it"
        elif center is not None:
            size = _numbers("size_mm", data.get("size_mm", self.size_mm), above=0)
            place = _numbers("center", center)
            box = box_around_point(as_voxel(image, place, data.get("center_unit", self.center_unit)), axes, size)
            what = "the box around the centre"
        else:
            box = lung_box(to_array(image[0]), axes, LUNG_MARGIN_MM)
            what = "the image"
        if box[1][2] - box[0][2] < 2:
            raise InputError(
                f"{what} holds 1 observed slice, which leaves no gap to fill: give a region of at least 2 slices"
            )
        return box


def _numbers(name: str, value: Any, above: float = -np.inf) -> np.ndarray:
    """Three finite numbers; one number stands for all three."""
    try:
        numbers = np.broadcast_to(np.asarray(value, dtype=float), (3,))
    except (TypeError, ValueError):
        numbers = np.full(3, np.nan)
    if not (np.isfinite(numbers) & (numbers > above)).all():
        more = f" above {above:g}" if np.isfinite(above) else ""
        raise InputError(f"{name} is {value!r}, expected three numbers{more}, such as [40, 40, 30]")
    return numbers


def as_voxel(image: MetaTensor, place: np.ndarray, unit: str) -> np.ndarray:
    """A place in mm, or in voxels of the stored file, as a place in voxels of the image.

    Example:
        >>> scan = MetaTensor(torch.zeros(1, 9, 9, 9), affine=torch.diag(torch.tensor([1.0, 1, 5, 1])))
        >>> as_voxel(scan, np.array([1.0, 2.0, 10.0]), "mm").tolist()
        [1.0, 2.0, 2.0]
    """
    affine = image.affine.double().cpu().numpy()
    if unit == "voxel":
        stored = np.asarray(image.meta.get("original_affine", affine), dtype=float).reshape(4, 4)
        return (np.linalg.inv(affine) @ stored @ [*place, 1])[:3]
    if unit != "mm":
        raise InputError(f'center_unit is {unit!r}, expected "mm" or "voxel"')
    voxel = (np.linalg.inv(affine) @ [*place, 1])[:3]
    # along z the affine has the mean spacing: find the place between the slices as they lie
    positions, step = slice_positions(image), float(np.linalg.norm(affine[:3, 2]))
    at = voxel[2] * step
    if positions[0] <= at <= positions[-1]:
        voxel[2] = np.interp(at, positions, np.arange(len(positions)))
    return voxel
