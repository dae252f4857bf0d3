"""Read a NIfTI file strictly: what its header says wrongly or not at all is refused or told, never guessed.

Vocabulary: a *stored image* is voxels (X, Y, Z) in the file's order, an affine voxel -> RAS mm, and notes on what was
odd about the file.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import nibabel
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.imageglobals import LoggingOutputSuppressor
from nibabel.spatialimages import HeaderDataError

from bundle.errors import InputError
from bundle.transforms.grid import corner_distance

# xyzt_units: mm for one unit of the header
_MM = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 0.001}
_UNITS = {1: "metre", 3: "micron"}
SHEAR = 1e-3  # cosine between two axes that counts as a right angle
_BROKEN = (ImageFileError, HeaderDataError, OSError, EOFError, ValueError, TypeError, KeyError, OverflowError,
           MemoryError, IndexError, zlib.error)  # fmt: skip


class StoredImage(NamedTuple):
    """An image as a file has it; see the module."""

    voxels: np.ndarray
    affine: np.ndarray
    notes: list[str]


def read_nifti(path: Path, what: str = "volume") -> StoredImage:
    """Read a NIfTI volume whole, its gzip checksum included.

    Args:
        path: ``.nii`` or ``.nii.gz``.
        what: named in the error where the file is missing.

    Returns:
        voxels (X, Y, Z), scaled as the header says; the affine in mm, whatever the header's unit.

    Raises:
        InputError: the file is missing, cut short, damaged, not of three axes or of one number a voxel; a header
            that contradicts itself, or the size of the file.

    Example:
        >>> voxels, affine, notes = read_nifti(Path("n_image.nii.gz"))  # doctest: +SKIP
    """
    if not path.is_file():
        raise InputError(f"{path} is missing: expected the {what} in it")
    notes: list[str] = []
    with _damage_told(path, "is not a readable NIfTI file"):
        opened: Any = nibabel.load(path)
        header = _raw_header(path, type(opened.header))
    dtype, shape = opened.get_data_dtype(), opened.shape
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    if len(shape) != 3 or 0 in shape:
        raise InputError(f"{path} has {len(shape)} axes {shape}, expected 3 (x, y, z) of at least one voxel")
    if dtype.kind not in "iuf":
        kind = "complex numbers" if dtype.kind == "c" else "colours" if dtype.names else f"{dtype} values"
        raise InputError(f"{path} holds {kind}, expected one number a voxel: convert it")
    with _damage_told(path, "is cut short or damaged"):
        _check_bytes(path, header, int(np.prod(shape, dtype=float)) * dtype.itemsize)
        _check_scaling(path, header, notes)
        affine = _affine(path, header, opened.header.get_qform(), shape, notes)
        return StoredImage(np.asarray(opened.dataobj).reshape(shape), affine, notes)


@contextmanager
def _damage_told(path: Path, how: str) -> Iterator[None]:
    """One sentence for whatever a damaged file makes nibabel raise, and no lines of its logger."""
    try:
        with LoggingOutputSuppressor(), np.errstate(all="ignore"):
            yield
    except InputError:
        raise
    except _BROKEN as error:
        reason = " ".join(str(error).replace(str(path), path.name).split())[:100] or type(error).__name__
        raise InputError(f"{path} {how} ({reason}): copy it again") from error


def _raw_header(path: Path, kind: Any) -> Any:
    """The header as it is, without the corrections that nibabel makes in silence."""
    with gzip.open(path) if path.suffix.lower() == ".gz" else path.open("rb") as stream:
        return kind.from_fileobj(stream, check=False)


def _check_bytes(path: Path, header: Any, needed: int) -> None:
    """Compare what the voxels need with what the file holds, before memory is asked for."""
    offset, start = float(header["vox_offset"]), header.sizeof_hdr + 4
    if not (np.isfinite(offset) and offset == int(offset) and offset >= start):
        raise InputError(
            f"{path} has vox_offset {offset:g}, expected a whole number of at least {start}, the size of the header: "
            "save it again"
        )
    if path.suffix.lower() == ".gz":
        # nibabel stops at the last voxel: only reading to the end finds a cut or a wrong checksum there
        held = 0
        with gzip.open(path) as stream:
            while block := stream.read(2**24):
                held += len(block)
    else:
        held = path.stat().st_size
    if held < offset + needed:
        raise InputError(
            f"{path} is cut short or damaged: its header tells of {needed:.4g} bytes of voxels, and it holds "
            f"{max(held - offset, 0):.4g}: copy it again"
        )


def _check_scaling(path: Path, header: Any, notes: list[str]) -> None:
    slope, intercept = float(header["scl_slope"]), float(header["scl_inter"])
    if np.isinf(slope) or (slope not in (0.0, 1.0) and np.isfinite(slope) and not np.isfinite(intercept)):
        raise InputError(f"{path} scales its voxels by {slope:g} and {intercept:g}: save it with finite numbers")
    if slope == 1 and not np.isfinite(intercept):
        raise InputError(f"{path} adds {intercept:g} to its voxels (scl_inter): save it with a finite number")
    if np.isnan(slope) and header["magic"] in (b"n+1", b"ni1") and not np.isnan(intercept):
        notes.append("scl_slope is no number: the voxels are taken as they are stored")


def _affine(path: Path, header: Any, qform: np.ndarray, shape: tuple[int, ...], notes: list[str]) -> np.ndarray:
    """Voxel -> RAS mm, as ITK's viewers place it where the header does not say."""
    unit = int(header["xyzt_units"]) & 7
    if unit not in _MM:
        raise InputError(f"{path} has unit {unit} of space (xyzt_units), expected mm: save it in mm")
    if unit == 0:
        notes.append("the header names no unit of length: taken as mm")
    if unit in _UNITS:
        notes.append(f"the header is in {_UNITS[unit]}s: converted to mm")
    pixdim = np.array(header["pixdim"][1:4], dtype=float)
    usable = bool((np.isfinite(pixdim) & (pixdim > 0)).all())
    s_code, q_code = int(header["sform_code"]), int(header["qform_code"])
    if s_code <= 0 and not usable:
        raise InputError(f"{path} has voxels of {_told(pixdim)} (pixdim) and no sform: expected sizes in mm above 0")
    if s_code > 0:
        affine = np.array(header.get_sform(), dtype=float)
        check_grid(affine, path)
        lengths = np.linalg.norm(affine[:3, :3], axis=0)
        if usable and np.abs(lengths / pixdim - 1).max() > 2e-3:
            raise InputError(
                f"{path} has voxels of {_told(lengths)} by its sform and {_told(pixdim)} by its pixdim (qform): find "
                "out which is right, and save it with one"
            )
        if q_code > 0 and usable:
            apart = corner_distance(affine, qform, shape) * _MM[unit]
            if apart > 0.1:
                notes.append(f"sform and qform lie up to {apart:.3g} mm apart: placed by the sform")
    elif q_code > 0:
        affine = np.array(qform, dtype=float)
    else:
        affine = np.diag([-pixdim[0], -pixdim[1], pixdim[2], 1.0])
        notes.append(
            "neither sform nor qform says how the image lies in the body: taken as rows to the left, columns to the "
            "back, slices upwards, as ITK does; left and right may be exchanged"
        )
    affine[:3] *= _MM[unit]
    return affine


def _told(sizes: np.ndarray) -> str:
    return " x ".join(f"{size:.4g}" for size in sizes)


def check_grid(affine: np.ndarray, path: Path) -> None:
    """Refuse an affine whose axes have no length or no right angles.

    Raises:
        InputError: see above; a sheared one is what converting a scan with a tilted gantry leaves.

    Example:
        >>> check_grid(np.eye(4), Path("scan.nii.gz"))
    """
    steps = np.linalg.norm(affine[:3, :3], axis=0) if np.isfinite(affine).all() else np.zeros(3)
    if not (steps > 1e-6).all() or abs(np.linalg.det(affine[:3, :3] / steps)) < 1e-6:
        raise InputError(f"{path} has an affine that gives an axis no length: expected voxel sizes in mm")
    cosines = (affine[:3, :3] / steps).T @ (affine[:3, :3] / steps) - np.eye(3)
    if np.abs(cosines).max() > SHEAR:
        degrees = np.degrees(np.arcsin(min(np.abs(cosines).max(), 1.0)))
        raise InputError(
            f"{path} has axes {degrees:.2g} degrees from right angles, as a scan with a tilted gantry has: resample it "
            "to right angles"
        )
