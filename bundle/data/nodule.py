"""The one dictionary that every source delivers for a nodule, and the checks it has to pass.

Vocabulary: an *item* is that dictionary. Its ``image`` (float32, HU) and ``label`` (uint8, 1 inside the
nodule) are :class:`monai.data.MetaTensor` of shape (1, X, Y, Z) with one affine, voxel index -> RAS mm. The
array axes point to the patient's left, posterior and superior (LPS): x = columns, y = rows, z = slices,
lowest first.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from nibabel.orientations import apply_orientation, axcodes2ornt, inv_ornt_aff, io_orientation, ornt_transform

from bundle.errors import InputError

AFFINE_TOLERANCE_MM = 1e-3


def in_lps(values: np.ndarray, affine: np.ndarray, dtype: Any, **meta: Any) -> MetaTensor:
    """Voxels as a MetaTensor whose axes point to the patient's left, posterior and superior; copied once at most.

    Not traced for MONAI's inverse: a source's items start here, and nothing should turn them back.

    Args:
        values: (X, Y, Z).
        affine: (4, 4) voxel index -> RAS mm.
        dtype: numpy's, of the result.
        meta: of the result.

    Returns:
        (1, X', Y', Z'), the same voxels at the same places in mm.

    Example:
        >>> in_lps(np.zeros((2, 3, 4)), np.diag([-1.0, -1, -1, 1]), np.float32).affine[2, 2].item()
        1.0
    """
    turn = ornt_transform(io_orientation(affine), axcodes2ornt("LPS"))
    turned = np.ascontiguousarray(apply_orientation(values, turn), dtype)
    where = np.asarray(affine, dtype=float) @ inv_ornt_aff(turn, values.shape)
    return MetaTensor(torch.from_numpy(turned)[None], affine=torch.from_numpy(where), meta=meta)


def make_item(
    image: np.ndarray,
    label: np.ndarray,
    affine: np.ndarray,
    *,
    nodule_id: str,
    source: str,
    slice_thickness: float | None = None,
    ratings: dict[str, float] | None = None,
    diameter_mm: float | None = None,
    scanner: Mapping[str, str | float] | None = None,
) -> dict[str, Any]:
    """Check one nodule's arrays, turn them to LPS and wrap them as the dictionary every source delivers.

    Args:
        image: (X, Y, Z), HU.
        label: (X, Y, Z), not 0 inside the nodule.
        affine: 4 x 4, voxel index -> RAS mm, of both.
        nodule_id: name of the nodule.
        source: ``lidc``, ``datalist`` or ``phantom``.
        slice_thickness: mm, None if unknown.
        ratings: mean over the readers, None if unknown.
        diameter_mm: largest in-plane diameter, None if unknown.
        scanner: see :mod:`bundle.data.scanner`; None if unknown.

    Returns:
        keys ``image``, ``label``, ``nodule_id``, ``source``, ``spacing`` (mm), ``slice_thickness``,
        ``ratings``, ``diameter_mm``, ``scanner``.

    Raises:
        InputError: not three axes, shapes that differ, values that are not finite, an empty mask, or an
            affine that gives an axis no length.

    Example:
        >>> item = make_item(np.zeros((4, 5, 6)), np.ones((4, 5, 6)), np.diag([1, 1, 2, 1]),
        ...                  nodule_id="n", source="datalist")
        >>> tuple(item["image"].shape), item["spacing"]
        ((1, 4, 5, 6), (1.0, 1.0, 2.0))
    """
    image, label, affine = np.asarray(image), np.asarray(label), np.asarray(affine, dtype=float)
    if image.ndim != 3:
        raise InputError(f"the image of {nodule_id} has {image.ndim} axes, expected 3 (x, y, z)")
    if label.shape != image.shape:
        raise InputError(
            f"the mask of {nodule_id} has shape {label.shape}, expected its image's {image.shape}: "
            "resample one onto the other"
        )
    for name, values in (("image", image), ("mask", label)):
        bad = int(values.size - np.isfinite(values).sum())
        if bad:
            raise InputError(f"the {name} of {nodule_id} has {bad} voxels that are nan or infinite: give each a number")
    if not label.any():
        raise InputError(f"the mask of {nodule_id} is empty: expected at least one voxel inside the nodule")
    steps = np.linalg.norm(affine[:3, :3], axis=0)
    if not np.isfinite(affine).all() or (steps < 1e-6).any() or abs(np.linalg.det(affine[:3, :3])) < 1e-9:
        raise InputError(f"the affine of {nodule_id} is singular or not finite: expected voxel sizes in mm")

    own = {"filename_or_obj": nodule_id}
    voxels, mask = in_lps(image, affine, np.float32, **own), in_lps(label != 0, affine, np.uint8, **own)
    spacing = np.linalg.norm(voxels.affine[:3, :3].numpy(), axis=0)
    return {
        "image": voxels,
        "label": mask,
        "nodule_id": nodule_id,
        "source": source,
        "spacing": tuple(float(step) for step in spacing),
        "slice_thickness": None if slice_thickness is None else float(slice_thickness),
        "ratings": dict(ratings or {}),
        "diameter_mm": None if diameter_mm is None else float(diameter_mm),
        "scanner": dict(scanner or {}),
    }
