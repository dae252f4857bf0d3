"""Several nodules in one mask of a datalist: each label, and each connected part of it, is a nodule of its own.

A mask of one nodule stays as it is listed. Else each nodule's id is that of the mask with ``_label<value>``, where
there are several labels, and ``_part<number>``, where a label has several parts (:mod:`bundle.data.parts`), lowest
first. What a list says of *the* nodule, its ratings and diameter, keeps the parts of a single label together: it is
described as one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import nibabel
import numpy as np

from bundle.data.formats import read_image
from bundle.data.masks import labels_of
from bundle.data.parts import Part, parts_of
from bundle.errors import InputError

_MOST = 64  # more parts than that are specks of a threshold
_OF_ONE = ("ratings", "diameter_mm")


def in_masks(entries: Sequence[Mapping[str, Any]], most: int | None = None) -> tuple[list[dict[str, Any]], list[str]]:
    """One entry a nodule, where entries had one a mask.

    Args:
        entries: of :func:`bundle.data.datalist.datalist_entries`.
        most: entries that are needed; masks after these are not opened, and stay one entry each.

    Returns:
        the entries, in order; one of several in a mask has ``part_of``, with the mask's ``nodule_id``, its ``label``
        and ``part``. And what was taken for what, a sentence a mask. A mask that can't be read stays as it is
        listed, and fails when it is loaded.

    Example:
        >>> in_masks([{"nodule_id": "n", "image": "absent.nii", "label": "absent.nii"}])[1]
        []
    """
    found: list[dict[str, Any]] = []
    notes: list[str] = []
    for entry in entries:
        if most is not None and len(found) >= most:
            found.append(dict(entry))
            continue
        ours, told = _in_mask(entry)
        found += ours
        notes += told
    return found, notes


def _in_mask(entry: Mapping[str, Any]) -> tuple[list[dict[str, Any]], list[str]]:
    name, alone = Path(entry["label"]).name, [dict(entry)]
    try:
        drawn, affine, _ = read_image(Path(entry["label"]), "nodule's mask")
        labels, notes = labels_of(drawn, name)
        parts, voxel = _parts(labels, affine)
    except InputError:
        return alone, []
    values = [part.label for part in parts]
    several = len(set(values)) > 1
    if len(parts) == 1:
        return alone, notes
    notes = [] if several else notes
    if not several and any(entry.get(key) for key in _OF_ONE):
        return alone, [*notes, f"{name} has {len(parts)} parts, described as one nodule: taken as one"]
    if len(parts) > _MOST:
        told = f"{name} has {len(parts)} parts that do not touch: taken as one nodule; is it a threshold of an image?"
        return alone, [*notes, told]
    kept = {key: value for key, value in entry.items() if key not in _OF_ONE}
    ours, sizes = [], []
    for part in parts:
        end = f"_label{part.label}" if several else ""
        end += f"_part{part.number}" if values.count(part.label) > 1 else ""
        place = {"nodule_id": entry["nodule_id"], "label": part.label, "part": part.number}
        ours.append({**kept, "nodule_id": f"{entry['nodule_id']}{end}", "part_of": place})
        sizes.append(f"{end[1:]} of {part.voxels * voxel:.4g} mm³")
    lost = "" if len(kept) == len(entry) else "; ratings and diameter of the list are none of theirs"
    return ours, [*notes, f"{name} has {len(ours)} nodules, each is taken by itself: {', '.join(sizes)}{lost}"]


def only(labels: np.ndarray, affine: np.ndarray, place: Mapping[str, Any], what: str) -> tuple[np.ndarray, float]:
    """One nodule of a mask.

    Args:
        labels: (X, Y, Z) of :func:`bundle.data.masks.labels_of`, axes in any order.
        affine: (4, 4) of the mask, voxel to RAS mm.
        place: ``label`` and ``part``, as :func:`in_masks` gives them.
        what: named in the error.

    Returns:
        (X, Y, Z) bool; its size in mm³.

    Raises:
        InputError: there is no such part.

    Example:
        >>> mask, size = only(np.array([[[0, 1, 0, 2]]]), np.eye(4), {"label": 2, "part": 1}, "m.nii")
        >>> mask[0, 0].tolist(), size
        ([False, False, False, True], 1.0)
    """
    parts, voxel = _parts(labels, affine)
    for part in parts:
        if (part.label, part.number) == (place["label"], place["part"]):
            return _turned(part.mask, _LPS, _orientation(affine)), part.voxels * voxel
    raise InputError(
        f"{what} has no part {place['part']} of label {place['label']}, as it had when it was listed: "
        "start again when it does not change any more"
    )


_LPS = nibabel.orientations.axcodes2ornt("LPS")


def _orientation(affine: np.ndarray) -> np.ndarray:
    turn: np.ndarray = nibabel.orientations.io_orientation(affine)
    if np.isnan(turn).any():
        raise InputError("the affine is singular: expected voxel sizes in mm")
    return turn


def _turned(values: np.ndarray, own: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Axes in another order and direction."""
    turn = nibabel.orientations.ornt_transform(own, wanted)
    return np.asarray(nibabel.orientations.apply_orientation(values, turn))


def _parts(labels: np.ndarray, affine: np.ndarray) -> tuple[list[Part], float]:
    """The parts, on axes towards left, posterior and superior, and the mm³ of a voxel."""
    own = _orientation(affine)
    steps = np.linalg.norm(affine[:3, :3], axis=0)
    spacing = steps[np.argsort(own[:, 0])]
    return parts_of(_turned(labels, own, _LPS), spacing[:2]), float(np.prod(steps))
