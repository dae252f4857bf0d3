"""Save a dense volume as NIfTI, under the name of the scan it was made of."""

from __future__ import annotations

import logging
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import SaveImaged

from bundle.errors import InputError

log = logging.getLogger(__name__)


class SaveVolumed(SaveImaged):
    """Save a dense volume as ``<name of its source>_<postfix>.nii.gz``, HU as int16, masks as uint8.

    A ``SaveImaged``, so that whoever leaves MONAI's saver out, as MONAI Label does, leaves this one out; unlike it,
    HU are rounded, not cut, and the affine is the volume's own.

    A volume that says how far it may be off, ``meta["expected_error"]`` (X, Y, Z) in HU, has this saved beside it, as
    ``..._<postfix>_uncertainty.nii.gz``.

    Args:
        keys: of MetaTensors (1, X, Y, Z).
        output_dir: where to; made if absent.
        output_postfix: see above.
        allow_missing_keys: pass over keys that are absent.

    Raises:
        InputError: when called: the folder can't be written.

    Example:
        >>> SaveVolumed("pred", "output", "dense")({"pred": volume})  # doctest: +SKIP
    """

    def __init__(
        self, keys: KeysCollection, output_dir: str | Path, output_postfix: str, allow_missing_keys: bool = False
    ) -> None:
        super().__init__(
            keys, output_dir=output_dir, output_postfix=output_postfix, allow_missing_keys=allow_missing_keys
        )
        self.folder, self.postfix = Path(output_dir).expanduser(), output_postfix

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Save every key; the data pass through."""
        out = dict(data)
        for key in self.key_iterator(out):
            volume = out[key]
            source = Path(str(volume.meta.get("filename_or_obj", "volume"))).name
            stem = self.folder / f"{source.removesuffix('.gz').removesuffix('.nii')}_{self.postfix}"
            voxels, expected = volume[0].numpy(), volume.meta.get("expected_error")
            path = Path(f"{stem}.nii.gz")
            try:
                self.folder.mkdir(parents=True, exist_ok=True)
                save_nifti(path, voxels > 0 if volume.meta.get("content") == "mask" else voxels, _affine(volume))
                log.info("saved %s", path)
                if expected is not None:
                    path = Path(f"{stem}_uncertainty.nii.gz")
                    save_nifti(path, np.asarray(expected), _affine(volume), whole=False)
                    log.info("saved %s", path)
            except OSError as error:
                raise InputError(f"{path} can't be written ({error.strerror}): choose another folder") from error
        return out


def _affine(volume: MetaTensor) -> np.ndarray:
    return np.asarray(volume.affine, dtype=float).reshape(4, 4)


def save_nifti(path: str | Path, volume: np.ndarray, affine: np.ndarray, whole: bool = True) -> None:
    """Save a volume: masks as uint8, HU rounded to int16 or, if not ``whole``, as float32.

    Args:
        path: ends in .nii.gz.
        volume: (X, Y, Z), bool or HU.
        affine: (4, 4) voxel to RAS mm.
        whole: whether HU are rounded to whole numbers.

    Example:
        >>> save_nifti("dense.nii.gz", np.zeros((4, 4, 4)), np.eye(4))  # doctest: +SKIP
    """
    if volume.dtype == bool:
        data = volume.astype(np.uint8)
    elif not whole:
        data = volume.astype(np.float32)
    else:
        # a slice at a time: a whole chest in floating point has no second copy
        data = np.empty(volume.shape, dtype=np.int16)
        for z in range(volume.shape[2]):
            data[..., z] = np.clip(np.rint(volume[..., z]), -32768, 32767)
    image = nib.Nifti1Image(data, affine)
    image.header.set_xyzt_units("mm")
    image.set_sform(affine, code="scanner")
    image.set_qform(affine, code="scanner")
    nib.save(image, path)
