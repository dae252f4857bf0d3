"""Save a dense volume in the format asked for, under the name of the scan it was made of."""

from __future__ import annotations

import logging
from collections.abc import Hashable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import SaveImaged

from bundle.data.formats import NIFTI, SUFFIXES, stem_of, suffix_of, write_image, write_nifti
from bundle.errors import InputError
from bundle.units import whole_hu

log = logging.getLogger(__name__)


class SaveVolumed(SaveImaged):
    """Save a dense volume as ``<name of its source>_<postfix><format>``, HU as int16, labels as whole numbers.

    A ``SaveImaged``, so that whoever leaves MONAI's saver out, as MONAI Label does, leaves this one out; unlike it,
    HU are rounded, not cut, the affine is the volume's own, and the header names the method.

    A volume that says how far it may be off, ``meta["expected_error"]`` (X, Y, Z) in HU, has this saved beside it, as
    ``..._<postfix>_uncertainty<format>``. Data with a ``result`` are saved under that name instead.

    Args:
        keys: of MetaTensors (1, X, Y, Z).
        output_dir: where to; made if absent.
        output_postfix: see above.
        output_format: ending of the file's name, such as ``.nii.gz``, ``.mha`` or ``.nrrd``.
        allow_missing_keys: pass over keys that are absent.

    Raises:
        InputError: an unknown format.
        OutputError: when called: the disk is full, or the folder can't be written.

    Example:
        >>> SaveVolumed("pred", "output", "dense")({"pred": volume})  # doctest: +SKIP
    """

    def __init__(
        self,
        keys: KeysCollection,
        output_dir: str | Path,
        output_postfix: str,
        output_format: str = ".nii.gz",
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(
            keys, output_dir=output_dir, output_postfix=output_postfix, allow_missing_keys=allow_missing_keys
        )
        self.folder, self.postfix = Path(output_dir).expanduser(), output_postfix
        self.suffix = checked_format(output_format)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Save every key; the data pass through."""
        out = dict(data)
        for key in self.key_iterator(out):
            volume = out[key]
            source = stem_of(str(volume.meta.get("filename_or_obj", "volume")))
            name = str(out.get("result") or f"{source}_{self.postfix}")
            voxels, expected = volume[0].numpy(), volume.meta.get("expected_error")
            if volume.meta.get("content") == "mask":
                voxels = voxels.astype(np.uint8 if voxels.max(initial=0) < 256 else np.uint16)
            made = f"dense volume, slices made by {volume.meta['method']}" if volume.meta.get("method") else ""
            self._save(name, voxels, volume, description=str(volume.meta.get("sample") or made))
            if expected is not None:
                told = made and f"expected error of a {made}"
                self._save(f"{name}_uncertainty", np.asarray(expected), volume, whole=False, description=told)
        return out

    def _save(
        self, name: str, voxels: np.ndarray, volume: MetaTensor, whole: bool = True, description: str = ""
    ) -> None:
        path = self.folder / f"{name}{self.suffix}"
        save_volume(path, voxels, np.asarray(volume.affine, dtype=float).reshape(4, 4), whole, description)
        log.info("saved %s", path)


def checked_format(ending: str) -> str:
    """The ending of a file's name, with a point before it.

    Raises:
        InputError: of no format that can be written.

    Example:
        >>> checked_format("nrrd"), checked_format(".nii.gz")
        ('.nrrd', '.nii.gz')
    """
    suffix = "." + str(ending).lower().lstrip(".")
    if suffix not in SUFFIXES:
        raise InputError(f"output_format is {ending!r}, expected one of {', '.join(SUFFIXES)}")
    return suffix


def save_volume(
    path: str | Path, volume: np.ndarray, affine: np.ndarray, whole: bool = True, description: str = ""
) -> None:
    """Save a volume whole or not at all: masks as uint8, labels as they are, HU rounded to int16 or as float32.

    Args:
        path: its ending says the format, see :data:`bundle.data.formats.SUFFIXES`.
        volume: (X, Y, Z), bool, unsigned whole numbers (labels), or HU.
        affine: (4, 4) voxel to RAS mm.
        whole: whether HU are rounded to whole numbers.
        description: of the content, for the file's header.

    Raises:
        InputError: ``whole``, and voxels are nan.

    Example:
        >>> save_volume("dense.mha", np.zeros((4, 4, 4)), np.eye(4))  # doctest: +SKIP
    """
    if volume.dtype == bool:
        data = volume.astype(np.uint8)
    elif volume.dtype.kind == "u":
        data = volume
    elif not whole:
        data = volume.astype(np.float32)
    else:
        slices = _whole_slices(volume, path)
        if suffix_of(path) in NIFTI:
            write_nifti(Path(path), slices, volume.shape, np.dtype(np.int16), affine, description)
            return
        data = np.empty(volume.shape, dtype=np.int16)
        for z, plane in enumerate(slices):
            data[..., z] = plane
    write_image(Path(path), data, affine, description)


def _whole_slices(volume: np.ndarray, path: str | Path, count: int = 16) -> Iterator[np.ndarray]:
    """The slices of (X, Y, Z) HU as int16, some at a time, as they lie in memory: a whole chest has no second copy."""
    for z in range(0, volume.shape[2], count):
        some = np.ascontiguousarray(np.moveaxis(volume[..., z : z + count], 2, 0))
        yield from (whole_hu(f"slice {z + k} of {path}", plane) for k, plane in enumerate(some))
