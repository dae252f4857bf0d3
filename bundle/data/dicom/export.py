"""Write a volume as a CT series of DICOM files, derived from the series it was made of.

The new series belongs to the source's study and frame of reference, so that a viewer lays one over the other. It has
UIDs of its own, is marked as derived, and names the slices it was made of; see :mod:`bundle.data.dicom.derive`.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from monai.config import KeysCollection
from monai.transforms import MapTransform
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid
from pydicom.valuerep import format_number_as_ds

from bundle.data.dicom.derive import common_attributes, read_source, tell_derivation
from bundle.data.dicom.segmentation import highdicom_or_refusal, write_segmentation
from bundle.data.volume import gaps_in_words
from bundle.errors import InputError
from bundle.files import whole_folder
from bundle.units import whole_hu
from bundle.version import __version__

SEGMENTATION = "segmentation.dcm"
PCHIP_IMAGE = "pchip"  # what makes the image under a mask
PYDICOM_3 = int(pydicom.__version__.split(".")[0]) >= 3


def write_series(
    folder: str | Path,
    volume: np.ndarray,
    affine: np.ndarray,
    *,
    source: str | Path | Sequence[str | Path] | None = None,
    description: str = "dense volume",
    derivation: str = "",
    padding_hu: float | None = None,
) -> list[Path]:
    """Write a volume as a derived CT series, one file a slice.

    Args:
        folder: where to; made if absent, must be empty.
        volume: (X, Y, Z) HU, rounded to whole numbers.
        affine: 4 x 4, voxel -> RAS mm; axes at right angles.
        source: folder or files of the DICOM series it was made of; None: there is none, and patient and study are
            placeholders.
        description: SeriesDescription, cut at 64 characters.
        derivation: DerivationDescription, how it was made; cut at 1,024.
        padding_hu: value of voxels that are padding.

    Returns:
        the files, slice 0 first; the folder is there with all of them or not at all.

    Raises:
        InputError: the folder holds files already or can't be written, the disk is full, or the affine is sheared.

    Example:
        >>> write_series("dense", np.zeros((8, 8, 3)), np.diag([-1.0, -1, 1, 1]))[0].name  # doctest: +SKIP
        'IM0001.dcm'
    """
    folder = check_empty_folder(folder)
    columns = np.diag([-1.0, -1, 1, 1]) @ np.asarray(affine, dtype=float)  # RAS -> LPS
    steps = np.linalg.norm(columns[:3, :3], axis=0)
    directions = columns[:3, :3] / steps
    if np.abs(directions.T @ directions - np.eye(3)).max() > 1e-3:
        raise InputError(f"{folder} can't hold this volume as DICOM: its axes aren't at right angles, save it as NIfTI")
    places = [columns[:3, 3] + columns[:3, 2] * z for z in range(volume.shape[2])]
    ends = (float(places[0] @ directions[:, 2]), float(places[-1] @ directions[:, 2]))
    slices = None if source is None else read_source(source, directions[:, 2], ends)
    common = common_attributes(slices, description)
    common.Rows, common.Columns = int(volume.shape[1]), int(volume.shape[0])
    common.PixelSpacing = [_ds(steps[1]), _ds(steps[0])]
    common.SliceThickness = common.SpacingBetweenSlices = _ds(steps[2])
    common.ImageOrientationPatient = [_ds(value) for value in directions[:, :2].T.ravel()]
    if padding_hu is not None:
        common.add_new("PixelPaddingValue", "SS", int(padding_hu))
    names = [f"IM{z + 1:04d}.dcm" for z in range(len(places))]
    with whole_folder(folder) as made:
        for z, place in enumerate(places):
            dataset = _slice(common, z, place)
            tell_derivation(dataset, slices, float(place @ directions[:, 2]), derivation)
            hu = whole_hu(f"slice {z}", volume[..., z]).astype("<i2")
            dataset.PixelData = np.ascontiguousarray(hu.T).tobytes()
            # pydicom 2 and 3 call a complete file header by different names
            whole = {"enforce_file_format": True} if PYDICOM_3 else {"write_like_original": False}
            dataset.save_as(made / names[z], **whole)
    return [folder / name for name in names]


def check_dicom_output(shape_method: bool) -> None:
    """Refuse what can't be written as DICOM, before anything is computed.

    Args:
        shape_method: whether a mask is to be written.

    Raises:
        InputError: a mask is to be written, and highdicom is not installed.

    Example:
        >>> check_dicom_output(False)
    """
    if shape_method:
        highdicom_or_refusal()


def check_empty_folder(folder: str | Path) -> Path:
    """The folder, if a series can be written to it.

    Raises:
        InputError: it is a file, or holds files, among which a viewer would find two series.

    Example:
        >>> check_empty_folder("not/there/yet").name
        'yet'
    """
    folder = Path(folder).expanduser()
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file, expected a folder for the DICOM series: choose another")
    if folder.is_dir() and any(folder.iterdir()):
        raise InputError(f"{folder} holds files already, and a DICOM series needs a folder of its own: choose another")
    return folder


def _ds(value: float) -> str:
    """A decimal string of at most 16 characters."""
    return format_number_as_ds(float(value) + 0.0)


def _slice(common: Dataset, z: int, place: np.ndarray) -> FileDataset:
    """One file without its pixels."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = CTImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    new = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    if not PYDICOM_3:
        new.is_little_endian, new.is_implicit_VR = True, False
    new.update(common)
    new.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    new.InstanceNumber = z + 1
    new.ImagePositionPatient = [_ds(round(value, 6)) for value in place]
    new.SliceLocation = _ds(round(float(place[2]), 6))
    return new


class SaveDicomSeriesd(MapTransform):
    """Write a dense volume as a DICOM series; see :func:`write_series`. The data pass through.

    A mask is written as ``segmentation.dcm``, a DICOM SEG, beside the series of the image under it,
    ``meta["dense_image"]``, to which it refers.

    Args:
        keys: of MetaTensors (1, X, Y, Z), HU, whose ``dicom_files`` are the source, where it is DICOM.
        folder: where to, for data without a ``dicom_output`` of their own.
        method: how the slices between were made, for the description.

    Raises:
        InputError: when called: see :func:`write_series`; a mask without an image, or without highdicom.

    Example:
        >>> SaveDicomSeriesd("pred", "dense", method="cubic").method
        'cubic'
    """

    def __init__(
        self, keys: KeysCollection, folder: str | Path, method: str = "", allow_missing_keys: bool = False
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.folder = folder
        self.method = method

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Write every key."""
        for key in self.key_iterator(dict(data)):
            volume = data[key]
            mask = volume.meta.get("content") == "mask"
            image = volume.meta.get("dense_image") if mask else volume[0].numpy()
            if image is None:
                raise InputError(f"--method {self.method} gives a mask, and there is no image to lay it on")
            files = str(volume.meta.get("dicom_files") or "").splitlines()
            affine = np.asarray(volume.affine, dtype=float).reshape(4, 4)
            spacing = float(np.linalg.norm(affine[:3, 2]))
            kept = ", which are unchanged where planes coincide" if volume.meta.get("observed_kept", True) else ""
            marked = f" It is {volume.meta['sample']}." if volume.meta.get("sample") else ""
            method = PCHIP_IMAGE if mask else str(volume.meta.get("method") or self.method)
            made = write_series(
                data.get("dicom_output") or self.folder,
                np.asarray(image),
                affine,
                source=files or None,
                padding_hu=volume.meta.get("padding_hu"),
                description=f"{method} {spacing:.3g} mm, derived",
                derivation=f"Slices {spacing:.4g} mm apart, reconstructed by {method} from {_told(volume)}{kept}."
                f"{marked} lung_nodule_ct_reconstruction {__version__}, research only.",
            )
            if mask and volume.any():
                labels = volume[0].numpy().astype(np.uint16)
                write_segmentation(made[0].parent / SEGMENTATION, labels, made, self.method)
        return dict(data)


def _told(volume: Any) -> str:
    """How many slices a volume was made of, and how far apart they are, in words."""
    positions = np.asarray(volume.meta.get("observed_positions", []), dtype=float).reshape(-1)
    if len(positions) < 2:
        return "the source's slices"
    return f"{len(positions)} slices {gaps_in_words(positions)} mm apart"
