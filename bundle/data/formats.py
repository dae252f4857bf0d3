"""Images in the formats of others: NIfTI by nibabel, MetaImage (LUNA16's) and NRRD (3D Slicer's) by SimpleITK."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.openers import ImageOpener

from bundle.data.nifti import StoredImage, check_grid, read_nifti
from bundle.errors import InputError
from bundle.files import write_whole

NIFTI = (".nii.gz", ".nii")
OTHERS = (".mha", ".mhd", ".nrrd", ".nhdr")
SUFFIXES = NIFTI + OTHERS
# of NRRD, those that ITK knows
_SPACES = "(left|right)-(anterior|posterior)-superior|[lr][ap]s"
# gzip makes zeros smaller by no more than this
_LARGEST_RATIO = 1032


def suffix_of(path: str | Path) -> str:
    """The ending of an image's name in lower case, with a ``.gz``; "" where it is no format of an image.

    Example:
        >>> suffix_of("a.b.NII.gz"), suffix_of("scan.mha"), suffix_of("notes.txt")
        ('.nii.gz', '.mha', '')
    """
    name = Path(path).name.lower()
    return next((suffix for suffix in SUFFIXES if name.endswith(suffix)), "")


def stem_of(path: str | Path) -> str:
    """A name without the ending of its format.

    Example:
        >>> stem_of("in/scan.nii.gz"), stem_of("series")
        ('scan', 'series')
    """
    name = Path(path).name
    suffix = suffix_of(path)
    return name[: -len(suffix)] if suffix else name


def read_image(path: Path, what: str = "volume") -> StoredImage:
    """Read an image of any known format.

    Args:
        path: its name says which.
        what: named in the error where the file is missing.

    Raises:
        InputError: missing, damaged, of an unknown format, not of three axes, more than one number a voxel, or a grid
            without right angles.

    Example:
        >>> voxels, affine, notes = read_image(Path("scan.mha"))  # doctest: +SKIP
    """
    if not path.is_file():
        raise InputError(f"{path} is missing: expected the {what} in it")
    suffix = suffix_of(path)
    if not suffix:
        raise InputError(f"{path} is of no known format: expected a name that ends in {', '.join(SUFFIXES)}")
    read: Callable[[Path, str], StoredImage] = read_nifti if suffix in NIFTI else _read_by_itk
    image = read(path, what)
    check_grid(image.affine, path)
    return image


def _read_by_itk(path: Path, what: str) -> StoredImage:
    import SimpleITK as sitk  # noqa: N813

    notes: list[str] = []
    head = _head(path)
    meta_image = suffix_of(path) in (".mha", ".mhd")
    placed = r"^(ElementSpacing|ElementSize)\s*=" if meta_image else r"^(spacings|space directions)\s*:"
    if not re.search(placed, head, re.M):
        raise InputError(f"{path} does not say how large its voxels are: save it with their spacing in mm")
    units = re.search(r"^space units\s*:(.*)$", head, re.M)
    if units and set(re.findall(r'"([^"]*)"', units[1])) - {"mm", ""}:
        raise InputError(f"{path} is in{units[1]}, expected mm: save it in mm")
    space = re.search(r"^TransformMatrix\s*=" if meta_image else rf"^space\s*:\s*({_SPACES})\s*$", head, re.M | re.I)
    if not space:
        notes.append("the file does not say how it lies in the body: its axes are taken to the left, back and upwards")
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    reader = sitk.ImageFileReader()
    try:
        reader.SetFileName(str(path))
        reader.ReadImageInformation()
        size = reader.GetSize()
        if len(size) == 4 and size[3] == 1:
            size = size[:3]
        if len(size) != 3 or 0 in size:
            raise InputError(f"{path} has {len(size)} axes {size}, expected 3 (x, y, z) of at least one voxel")
        kind = sitk.GetPixelIDValueAsString(reader.GetPixelID())
        if reader.GetNumberOfComponents() != 1 or "complex" in kind:
            raise InputError(f"{path} holds {kind}, expected one number a voxel: convert it")
        _check_size(path, head, float(np.prod(size, dtype=float)) * int("".join(re.findall(r"\d+", kind)) or 32) / 8)
        image = reader.Execute()
    except InputError:
        raise
    except (RuntimeError, MemoryError, OSError) as error:
        reason = str(error).strip().splitlines()[-1][-100:]
        raise InputError(f"{path} is cut short or damaged ({reason}): copy it again") from error
    voxels = sitk.GetArrayFromImage(image).T.reshape(size)
    turn, step = np.array(image.GetDirection()), np.array(image.GetSpacing())
    axes = round(len(turn) ** 0.5)
    affine = np.eye(4)
    affine[:3, :3] = turn.reshape(axes, axes)[:3, :3] * step[:3]
    affine[:3, 3] = image.GetOrigin()[:3]
    affine[:2] *= -1  # LPS -> RAS
    return StoredImage(voxels, affine, notes)


def _head(path: Path) -> str:
    with path.open("rb") as stream:
        return stream.read(2**16).split(b"\n\n")[0].decode("latin-1")


def _voxels_file(head: str) -> str:
    """What a header names as the file of its voxels; "" where it is the same file."""
    named = re.search(r"^(?:ElementDataFile\s*=|data file\s*:)\s*(\S.*?)\s*$", head, re.M | re.I)
    return "" if named is None or named[1].upper() == "LOCAL" else named[1]


def image_files(path: Path) -> list[Path]:
    """The files that one image, or a file of another kind, consists of.

    Returns:
        the file itself, and one beside it that its header names; [] where one is missing, or lies elsewhere.

    Example:
        >>> image_files(Path("absent.mhd"))
        []
    """
    if not path.is_file():
        return []
    named = _voxels_file(_head(path)) if suffix_of(path) in OTHERS else ""
    files = [path, path.parent / named] if named else [path]
    return files if all(file.is_file() and file.parent == path.parent for file in files) else []


def _check_size(path: Path, head: str, needed: float) -> None:
    """Refuse a header that tells of more voxels than its file can hold, before memory is asked for."""
    named = _voxels_file(head)
    data = path.parent / (named or path.name)
    if not data.is_file():
        if re.search(r"[% ]|^LIST", named):
            return  # a list of files, which ITK looks for itself
        raise InputError(f"{path} names {data.name} as the file of its voxels, which is missing: copy both")
    packed = re.search(r"^CompressedData\s*=\s*True|^encoding\s*:\s*(gz|bz)", head, re.M | re.I)
    held = data.stat().st_size * (_LARGEST_RATIO if packed else 1)
    if held < needed:
        raise InputError(
            f"{path} is cut short or damaged: its header tells of {needed:.4g} bytes of voxels, and "
            f"{data.name} can't hold more than {held:.4g}: copy it again"
        )


def write_image(path: Path, data: np.ndarray, affine: np.ndarray, description: str = "") -> None:
    """Write voxels as they are, whole or not at all, in the format that the name says.

    Args:
        path: ends in one of ``SUFFIXES``; of ``.mhd`` and ``.nhdr`` the voxels lie in a second file.
        data: (X, Y, Z), of the number format that is to be stored.
        affine: (4, 4) voxel to RAS mm.
        description: of the content, for the header.

    Raises:
        OutputError: the disk is full, or the folder can't be written.

    Example:
        >>> write_image(Path("mask.nrrd"), np.zeros((4, 4, 4), np.uint8), np.eye(4))  # doctest: +SKIP
    """
    if suffix_of(path) in NIFTI:
        write_nifti(path, (data[..., z] for z in range(data.shape[2])), data.shape, data.dtype, affine, description)
        return
    import SimpleITK as sitk  # noqa: N813

    made: Any = sitk.GetImageFromArray(data.T)
    lps = np.diag([-1.0, -1, 1, 1]) @ affine
    steps = np.linalg.norm(lps[:3, :3], axis=0)
    made.SetSpacing(steps.tolist())
    made.SetDirection((lps[:3, :3] / steps).ravel().tolist())
    made.SetOrigin(lps[:3, 3].tolist())
    if description:
        made.SetMetaData("description", description)
    if path.suffix.lower() in (".mhd", ".nhdr"):
        _write_pair(path, lambda temporary: _write_by_itk(made, temporary))
    else:
        write_whole(path, lambda temporary: _write_by_itk(made, temporary))


def write_nifti(
    path: Path,
    slices: Iterable[np.ndarray],
    shape: tuple[int, ...],
    dtype: np.dtype,
    affine: np.ndarray,
    description: str = "",
) -> None:
    """Write a NIfTI file slice by slice, so that a volume in another number format has no second copy.

    Args:
        path: ends in ``.nii`` or ``.nii.gz``.
        slices: (X, Y) each, of ``dtype``, Z of them.
        shape: (X, Y, Z).
        dtype: number format that is stored.
        affine: (4, 4) voxel to RAS mm.
        description: of the content, of which the header takes 79 bytes.

    Raises:
        OutputError: the disk is full, or the folder can't be written.

    Example:
        >>> write_nifti(Path("a.nii"), [np.zeros((4, 4))] * 3, (4, 4, 3), np.dtype(float), np.eye(4))  # doctest: +SKIP
    """
    image: Any = nib.Nifti1Image(np.zeros((1, 1, 1), dtype), affine)
    image.header.set_data_shape(shape)
    image.header.set_xyzt_units("mm")
    image.header["descrip"] = description.encode("ascii", "replace")[:79]
    image.header.set_slope_inter(1, 0)
    image.header.set_sform(affine, code="scanner")
    image.header.set_qform(affine, code="scanner")

    def write(temporary: Path) -> None:
        with ImageOpener(str(temporary), "wb") as file:
            image.header.write_to(file)
            for plane in slices:
                file.write(np.asarray(plane, dtype).tobytes(order="F"))

    write_whole(path, write)


def _write_by_itk(image: Any, path: Path) -> None:
    import SimpleITK as sitk  # noqa: N813

    try:
        sitk.WriteImage(image, str(path), useCompression=path.suffix not in (".mhd", ".nhdr"))
    except RuntimeError as error:
        raise OSError(None, str(error).strip().splitlines()[-1]) from error


def _write_pair(path: Path, write: Callable[[Path], Any]) -> None:
    """Write a header that names a second file by its name: both in a folder beside, the header moved last."""

    def move(temporary: Path) -> None:
        with tempfile.TemporaryDirectory(prefix=".", dir=path.parent) as folder:
            write(Path(folder) / path.name)
            for file in Path(folder).iterdir():
                os.replace(file, temporary if file.name == path.name else path.parent / file.name)

    write_whole(path, move)
