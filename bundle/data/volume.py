"""A CT on its own: one NIfTI file, or a folder with the DICOM files of one series; and a mask drawn on it.

A *volume* is a MetaTensor (1, X, Y, Z) float32, HU, axes towards the patient's left, posterior and superior, affine
voxel -> RAS mm. Slices may lie unevenly: ``meta["slice_positions"]``, (Z,) mm along the last axis, ascending from 0,
says where each one is, and the affine has the first slice's place and the mean spacing. A NIfTI file is evenly spaced
by its affine, unless positions are given beside it.
"""

from __future__ import annotations

import json
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform

from bundle.data.datalist import read_nifti
from bundle.data.dicom.read import read_series
from bundle.data.nodule import AFFINE_TOLERANCE_MM, corner_distance, to_lps
from bundle.errors import InputError

# slices this close to an even grid are on it: headers round positions to a hundredth of a mm
EVEN_MM = 0.01


def volumes(image: str | Path | None, folder: str | Path, mask: str | Path | None = None) -> list[dict[str, str]]:
    """The volumes to work on: the one that was named, else every NIfTI file of a folder.

    Args:
        image: a NIfTI file or a folder of DICOM files.
        folder: used if ``image`` is None. One without NIfTI files is taken for a folder of DICOM files.
        mask: a NIfTI file, drawn on the volume.

    Example:
        >>> volumes("scan.nii.gz", "input")
        [{'image': 'scan.nii.gz'}]
    """
    found = [] if image is not None else sorted(str(path) for path in Path(folder).glob("*.nii*"))
    # whatever is wrong with a path is told when it is loaded
    paths = found or [str(folder if image is None else image)]
    drawn = {} if mask is None else {"mask": str(mask)}
    return [{"image": path, **drawn} for path in paths]


def load_volume(path: str | Path, positions: str | Path | Sequence[float] | None = None) -> MetaTensor:
    """Read a CT.

    Args:
        path: a NIfTI file or a folder of DICOM files.
        positions: where the slices of a NIfTI file lie, mm in the file's order, ascending: numbers, or a JSON file
            with a list of them. None: evenly, as its affine says.

    Returns:
        (1, X, Y, Z) float32 HU; ``meta`` has ``slice_positions``, ``slice_thickness`` where DICOM tells it, the
        file's own ``original_affine`` and ``spatial_shape``, and ``filename_or_obj``.

    Raises:
        InputError: absent, damaged, not of three axes, voxels that are nan or infinite; positions that do not fit;
            for DICOM, see :func:`bundle.data.dicom.geometry.read_geometry`.

    Example:
        >>> load_volume("scan.nii.gz").shape  # doctest: +SKIP
        torch.Size([1, 512, 512, 133])
    """
    path = Path(path).expanduser()
    if not path.exists():
        raise InputError(f"{path} does not exist: name a scan with --image, a NIfTI file or a folder of DICOM files")
    meta: dict[str, Any] = {"filename_or_obj": str(path)}
    given = None
    if path.is_dir():
        if positions is not None:
            raise InputError(f"{path} is DICOM, which says where its slices lie: leave the positions out")
        ct = read_series(path, allow_uneven=True)
        voxels, affine, given = ct.volume, ct.affine, ct.positions
        if ct.slice_thickness is not None:
            meta["slice_thickness"] = ct.slice_thickness
    else:
        voxels, affine = read_nifti(path, "scan")
        affine = np.array(affine, dtype=float)
        if positions is not None:
            given = _read_positions(positions, voxels.shape[2])
            mean = (given[-1] - given[0]) / (len(given) - 1)
            affine[:3, 2] *= mean / np.linalg.norm(affine[:3, 2])
    _check_numbers(path, voxels, affine)
    tensor = MetaTensor(
        torch.from_numpy(np.ascontiguousarray(voxels, dtype=np.float32))[None],
        affine=torch.from_numpy(affine),
        meta=meta | {"original_affine": affine.copy(), "spatial_shape": np.array(voxels.shape)},
    )
    tensor = to_lps(tensor)
    tensor.meta["slice_positions"] = _positions(tensor, affine, given, path)
    return tensor


def _check_numbers(path: Path, voxels: np.ndarray, affine: np.ndarray) -> None:
    bad = int(voxels.size - np.isfinite(voxels).sum())
    if bad:
        raise InputError(f"{path} has {bad} voxels that are nan or infinite: give each a number")
    if not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-9:
        raise InputError(f"{path} has an affine that gives an axis no length: expected voxel sizes in mm")


def _read_positions(positions: str | Path | Sequence[float], count: int) -> np.ndarray:
    """Check positions of slices; (count,) mm."""
    where, values = "the positions", positions
    if isinstance(positions, str | Path):
        where = str(positions)
        try:
            values = json.loads(Path(positions).expanduser().read_text(encoding="utf-8-sig"))
        except (OSError, ValueError) as error:
            raise InputError(f"{where} is not a JSON file with slice positions in mm ({error})") from error
    try:
        numbers = np.array(values, dtype=float)
    except (TypeError, ValueError):
        numbers = np.empty(0)
    if numbers.shape != (count,) or count < 2 or not np.all(np.diff(numbers) > 0):
        raise InputError(
            f"{where} must be {count} ascending numbers, the place of each slice in mm: "
            f"got {numbers.size if numbers.ndim == 1 else 'something else'}"
        )
    return numbers


def _positions(tensor: MetaTensor, affine: np.ndarray, given: np.ndarray | None, path: Path) -> np.ndarray:
    """Where the slices of a volume lie along its last axis; even ones on an exact grid."""
    now = tensor.affine.numpy()
    step = float(np.linalg.norm(now[:3, 2]))
    even = np.arange(tensor.shape[3]) * step
    if given is None or len(even) < 2:
        return even
    along = float(now[:3, 2] @ affine[:3, 2]) / step / float(np.linalg.norm(affine[:3, 2]))
    if abs(along) < 0.999:
        raise InputError(f"{path} has no axial slices along its third axis: positions can't be given for it")
    uneven = given - given[0] if along > 0 else given[-1] - given[::-1]
    return even if np.abs(uneven - even).max() < EVEN_MM else uneven


def gaps_in_words(positions: np.ndarray) -> str:
    """How far apart slices are: their spacing, or its range where they are uneven.

    Args:
        positions: (K,) mm, ascending, K >= 2.

    Example:
        >>> gaps_in_words(np.array([0.0, 2.5, 7.5]))
        '2.5 to 5'
    """
    gaps = np.diff(positions)
    return f"{gaps.mean():.4g}" if np.ptp(gaps) < EVEN_MM else f"{gaps.min():.4g} to {gaps.max():.4g}"


def load_mask(path: str | Path, image: MetaTensor) -> MetaTensor:
    """Read a mask that was drawn on a volume.

    Args:
        path: a NIfTI file on the grid of the volume's file.
        image: of :func:`load_volume`.

    Returns:
        (1, X, Y, Z) float32 of 0 and 1, on the volume's grid.

    Raises:
        InputError: absent, damaged, empty, or on another grid, as a mask of another image is.

    Example:
        >>> load_mask("nodule.nii.gz", load_volume("scan.nii.gz")).shape  # doctest: +SKIP
        torch.Size([1, 512, 512, 133])
    """
    path = Path(path).expanduser()
    voxels, affine = read_nifti(path, "mask")
    of = Path(str(image.meta.get("filename_or_obj", "the image"))).name
    mask = MetaTensor(
        torch.from_numpy(np.ascontiguousarray(np.nan_to_num(voxels) > 0, dtype=np.float32))[None],
        affine=torch.from_numpy(np.array(affine, dtype=float)),
        meta={"filename_or_obj": str(path)},
    )
    mask = to_lps(mask)
    if mask.shape != image.shape:
        raise InputError(
            f"{path} has {tuple(mask.shape[1:])} voxels and {of} {tuple(image.shape[1:])}: "
            "give a mask that was drawn on this image"
        )
    here, there = image.affine.numpy().copy(), mask.affine.numpy().copy()
    if np.ptp(np.diff(image.meta["slice_positions"])) > EVEN_MM:
        here[:3, 2] = there[:3, 2] = 0  # whoever wrote the mask had no spacing to write
    apart = corner_distance(here, there, tuple(image.shape[1:]))
    # the header of a NIfTI file rounds to seven digits, over the whole of a scan
    if not apart <= 10 * AFFINE_TOLERANCE_MM:
        raise InputError(
            f"{path} lies up to {apart:.3g} mm away from {of} (their affines differ): "
            "give a mask that was drawn on this image"
        )
    if not mask.any():
        raise InputError(f"{path} is empty: expected at least one voxel inside the nodule")
    mask.affine = image.affine
    mask.meta["slice_positions"] = image.meta["slice_positions"]
    return mask


class LoadVolumed(MapTransform):
    """Dictionary transform around :func:`load_volume`: a path becomes a MetaTensor.

    Args:
        keys: of the paths.
        positions: see :func:`load_volume`.
        allow_missing_keys: pass over keys that are absent.

    Example:
        >>> LoadVolumed("image")({"image": "scan.nii.gz"})["image"].shape  # doctest: +SKIP
        torch.Size([1, 512, 512, 133])
    """

    def __init__(
        self,
        keys: KeysCollection,
        positions: str | Path | Sequence[float] | None = None,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.positions = positions

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Load every key."""
        out = dict(data)
        for key in self.key_iterator(out):
            out[key] = load_volume(out[key], self.positions)
        return out


class LoadMaskd(MapTransform):
    """Dictionary transform around :func:`load_mask`.

    Args:
        keys: of the masks' paths.
        image_key: of the volume they were drawn on, loaded before.
        allow_missing_keys: pass over keys that are absent.

    Example:
        >>> LoadMaskd("mask", allow_missing_keys=True)({})
        {}
    """

    def __init__(self, keys: KeysCollection, image_key: str = "image", allow_missing_keys: bool = False) -> None:
        super().__init__(keys, allow_missing_keys)
        self.image_key = image_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Load every key."""
        out = dict(data)
        for key in self.key_iterator(out):
            out[key] = load_mask(out[key], out[self.image_key])
        return out
