"""A CT on its own, without a mask: one NIfTI file, or a folder with the DICOM files of one series.

A *volume* is a dictionary with ``image``: MetaTensor (1, X, Y, Z) float32, HU, axes towards the patient's left,
posterior and superior, affine voxel -> RAS mm.
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

from bundle.data.datalist import read_nifti
from bundle.data.dicom import read_series
from bundle.data.nodule import to_lps
from bundle.errors import InputError


def volumes(image: str | Path | None, folder: str | Path) -> list[dict[str, str]]:
    """The volumes to work on: the one that was named, else every NIfTI file of a folder.

    Args:
        image: a NIfTI file or a folder of DICOM files.
        folder: used if ``image`` is None. One without NIfTI files is taken for a folder of DICOM files.

    Example:
        >>> volumes("scan.nii.gz", "input")
        [{'image': 'scan.nii.gz'}]
    """
    found = [] if image is not None else sorted(str(path) for path in Path(folder).glob("*.nii*"))
    # whatever is wrong with a path is told when it is loaded
    return [{"image": path} for path in found or [str(folder if image is None else image)]]


def load_volume(path: str | Path) -> MetaTensor:
    """Read a CT.

    Args:
        path: a NIfTI file or a folder of DICOM files.

    Returns:
        (1, X, Y, Z) float32 HU, with its affine.

    Raises:
        InputError: absent, damaged, not of three axes, voxels that are nan or infinite; for DICOM, see
            :func:`bundle.data.dicom_geometry.read_geometry`.

    Example:
        >>> load_volume("scan.nii.gz").shape  # doctest: +SKIP
        torch.Size([1, 512, 512, 133])
    """
    path = Path(path).expanduser()
    if not path.exists():
        raise InputError(f"{path} does not exist: name a scan with --image, a NIfTI file or a folder of DICOM files")
    if path.is_dir():
        ct = read_series(path)
        voxels, affine = ct.volume, ct.affine
    else:
        voxels, affine = read_nifti(path, "scan")
    bad = int(voxels.size - np.isfinite(voxels).sum())
    if bad:
        raise InputError(f"{path} has {bad} voxels that are nan or infinite: give each a number")
    tensor = MetaTensor(
        torch.from_numpy(np.ascontiguousarray(voxels, dtype=np.float32))[None],
        affine=torch.from_numpy(np.asarray(affine, dtype=float)),
        meta={"filename_or_obj": str(path)},
    )
    return to_lps(tensor)


class LoadVolumed(MapTransform):
    """Dictionary transform around :func:`load_volume`: a path becomes a MetaTensor.

    Example:
        >>> LoadVolumed("image")({"image": "scan.nii.gz"})["image"].shape  # doctest: +SKIP
        torch.Size([1, 512, 512, 133])
    """

    def __init__(self, keys: KeysCollection, allow_missing_keys: bool = False) -> None:
        super().__init__(keys, allow_missing_keys)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Load every key."""
        out = dict(data)
        for key in self.key_iterator(out):
            out[key] = load_volume(out[key])
        return out
