"""A mask that was drawn on a CT: its labels, on the grid of the volume.

Vocabulary: a *label map* has 0 outside and a whole number for each nodule; a *soft* mask has probabilities from 0 to 1,
of which one half and more is inside.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform

from bundle.data.dicom.outlines import Grid, read_outlines
from bundle.data.formats import read_image, suffix_of
from bundle.data.nodule import in_lps
from bundle.data.notes import add_notes, notes_of
from bundle.errors import InputError
from bundle.transforms.grid import check_place

EVEN_MM = 0.01  # slices this close to an even grid are on it: headers round positions to a hundredth of a mm
# more values than this are no labels but an image
_MOST_LABELS = 64


def labels_of(values: np.ndarray, what: str) -> tuple[np.ndarray, list[str]]:
    """The labels of a mask, and what had to be decided about it.

    Args:
        values: any shape; bool, whole numbers from 0, or probabilities from 0 to 1.
        what: named in the error.

    Returns:
        whole numbers of the shape of ``values``, uint8 or uint16; notes.

    Raises:
        InputError: nan, negative numbers, fractions above 1, more than 64 values, or nothing above 0.

    Example:
        >>> labels_of(np.array([0.0, 0.2, 0.9]), "mask.nii")[0].tolist()
        [0, 0, 1]
        >>> labels_of(np.array([0, 7, 2]), "mask.nii")[1]
        ['mask.nii has 2 labels (2, 7): each is taken as a nodule of its own']
    """
    values, notes = np.asarray(values), []
    if values.dtype.kind == "f":
        if not np.isfinite(values).all():
            raise InputError(f"{what} has {int((~np.isfinite(values)).sum())} voxels that are nan or infinite: "
                             "give each a number")  # fmt: skip
        if (values != np.rint(values)).any():
            if values.min() < 0 or values.max() > 1:
                raise InputError(
                    f"{what} has fractions from {values.min():.4g} to {values.max():.4g}, expected labels (0, 1, ...) "
                    "or probabilities from 0 to 1: is it an image?"
                )
            values = values >= 0.5
            notes.append(f"{what} is soft: voxels of 0.5 and above are inside")
    found = np.unique(values)
    if found[0] < 0 or found[-1] > 65535 or len(found) > _MOST_LABELS:
        raise InputError(
            f"{what} has {len(found)} values from {found[0]:g} to {found[-1]:g}, expected 0 outside and one whole "
            "number for each nodule: is it an image?"
        )
    labels = [int(value) for value in found if value]
    if not labels:
        raise InputError(f"{what} is empty: expected at least one voxel inside the nodule")
    if len(labels) > 1:
        notes.append(f"{what} has {len(labels)} labels ({', '.join(map(str, labels))}): "
                     "each is taken as a nodule of its own")  # fmt: skip
    return values.astype(np.uint8 if labels[-1] < 256 else np.uint16), notes


def load_mask(path: str | Path, image: MetaTensor, segment: str | int | None = None) -> MetaTensor:
    """Read a mask that was drawn on a volume.

    Args:
        path: an image file on the grid of the volume's file, in any order and direction of its axes; or a DICOM SEG
            or RTSTRUCT.
        image: of :func:`bundle.data.volume.load_volume`.
        segment: number or name of the segment or ROI; "all": each with its number; None: the only one.

    Returns:
        (1, X, Y, Z) float32 labels, 0 outside, on the volume's grid; its notes say what was odd.

    Raises:
        InputError: absent, damaged, empty, no mask (see :func:`labels_of`), or on another grid, as a mask of another
            image is.

    Example:
        >>> load_mask("nodule.nii.gz", load_volume("scan.nii.gz")).shape  # doctest: +SKIP
        torch.Size([1, 512, 512, 133])
    """
    path = Path(path).expanduser()
    of = Path(str(image.meta.get("filename_or_obj", "the image"))).name
    if path.is_file() and not suffix_of(path):
        return _load_outlines(path, image, segment)
    voxels, affine, notes = read_image(path, "mask")
    labels, more = labels_of(voxels, path.name)
    mask = in_lps(labels, affine, np.float32, filename_or_obj=str(path))
    if mask.shape != image.shape:
        raise InputError(
            f"{path} has {tuple(mask.shape[1:])} voxels and {of} {tuple(image.shape[1:])}: "
            "give a mask that was drawn on this image"
        )
    uneven = bool(np.ptp(np.diff(image.meta["slice_positions"])) > EVEN_MM)
    off = check_place(image.affine.numpy(), mask.affine.numpy(), tuple(image.shape[1:]), str(path), of, uneven)
    mask.affine = image.affine
    mask.meta["slice_positions"] = image.meta["slice_positions"]
    add_notes(mask, [*notes, *more, *([off] if off else [])])
    return mask


def _load_outlines(path: Path, image: MetaTensor, segment: str | int | None) -> MetaTensor:
    affine, shape = image.affine.double().cpu().numpy(), image.shape[1:]
    positions = np.asarray(image.meta["slice_positions"], dtype=float)
    grid = Grid(affine, positions, (shape[0], shape[1], shape[2]))
    passes = {name: str(image.meta[name]) for name in ("PatientID", "FrameOfReferenceUID") if name in image.meta}
    numbers, notes = read_outlines(path, grid, segment, passes)
    labels, more = labels_of(numbers, path.name)
    mask = MetaTensor(torch.from_numpy(labels.astype(np.float32))[None], affine=image.affine)
    mask.meta.update(filename_or_obj=str(path), slice_positions=image.meta["slice_positions"])
    add_notes(mask, [*notes, *more])
    return mask


class LoadMaskd(MapTransform):
    """Dictionary transform around :func:`load_mask`; what it notes is also said of the image.

    Args:
        keys: of the masks' paths.
        image_key: of the volume they were drawn on, loaded before.
        segment: see :func:`load_mask`.
        allow_missing_keys: pass over keys that are absent.

    Example:
        >>> LoadMaskd("mask", allow_missing_keys=True)({})
        {}
    """

    def __init__(
        self,
        keys: KeysCollection,
        image_key: str = "image",
        segment: str | int | None = None,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.image_key = image_key
        self.segment = segment

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Load every key."""
        out = dict(data)
        for key in self.key_iterator(out):
            out[key] = load_mask(out[key], out[self.image_key], self.segment)
            add_notes(out[self.image_key], notes_of(out[key]))
        return out
