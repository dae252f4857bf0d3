"""A CT on its own: an image file, or the DICOM files of one series.

A *volume* is a MetaTensor (1, X, Y, Z) float32, HU, axes towards the patient's left, posterior and superior, affine
voxel -> RAS mm. Slices may lie unevenly: ``meta["slice_positions"]``, (Z,) mm along the last axis, ascending from 0,
says where each one is, and the affine has the first slice's place and the mean spacing. An image file is evenly spaced
by its affine, unless positions are given beside it.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform

from bundle.data.dicom.geometry import read_geometry
from bundle.data.dicom.read import CtVolume, read_voxels
from bundle.data.formats import read_image, suffix_of
from bundle.data.intensity import check_hu, padding_of
from bundle.data.masks import EVEN_MM
from bundle.data.nodule import in_lps
from bundle.data.notes import add_notes
from bundle.data.scans import DicomSeries
from bundle.errors import InputError

log = logging.getLogger(__name__)


def load_volume(path: str | Path | DicomSeries, positions: str | Path | Sequence[float] | None = None) -> MetaTensor:
    """Read a CT.

    Args:
        path: an image file (NIfTI, MetaImage, NRRD), a multi-frame DICOM file, a folder with the DICOM files of one
            series, or a series as :func:`bundle.data.scans.find_scans` finds them.
        positions: where the slices of an image file lie, mm in the file's order, ascending: numbers, or a JSON file
            with a list of them. None: evenly, as its affine says.

    Returns:
        (1, X, Y, Z) float32 HU; ``meta`` has ``slice_positions``, ``slice_thickness`` where DICOM tells it,
        ``padding_hu`` where voxels are padding, the file's own ``original_affine`` and ``spatial_shape``,
        ``filename_or_obj``, ``notes`` (:mod:`bundle.data.notes`); of DICOM ``dicom_files``, a file a line,
        ``PatientID`` and ``FrameOfReferenceUID``.

    Raises:
        InputError: absent, damaged, not of three axes, no CT in HU; positions that do not fit; for the formats, see
            :func:`bundle.data.formats.read_image` and :func:`bundle.data.dicom.geometry.read_geometry`.

    Example:
        >>> load_volume("scan.nii.gz").shape  # doctest: +SKIP
        torch.Size([1, 512, 512, 133])
    """
    series = path if isinstance(path, DicomSeries) else None
    path = Path(str(path)).expanduser()
    if not path.exists():
        raise InputError(f"{path} does not exist: name a scan with --image, an image file or a folder of DICOM files")
    if path.is_dir() or not suffix_of(path):
        if positions is not None:
            raise InputError(f"{path} is DICOM, which says where its slices lie: leave the positions out")
        return _load_dicom(path, series)
    voxels, affine, notes = read_image(path, "scan")
    given = None
    if positions is not None:
        given = _read_positions(positions, voxels.shape[2])
        affine[:3, 2] *= (given[-1] - given[0]) / (len(given) - 1) / np.linalg.norm(affine[:3, 2])
    bad = int(voxels.size - np.isfinite(voxels).sum())
    if bad:
        raise InputError(f"{path} has {bad} voxels that are nan or infinite: give each a number")
    return _as_volume(path, CtVolume(voxels, affine, given, None, None, tuple(notes)))


def _load_dicom(path: Path, series: DicomSeries | None) -> MetaTensor:
    geometry = read_geometry(series.files if series else path, series.uid if series else None, allow_uneven=True)
    ct = read_voxels(geometry)
    if series and series.copies:
        ct = ct._replace(notes=(*ct.notes, f"{series.copies} files are copies of others and were left out"))
    volume = _as_volume(path, ct)
    known = dict(geometry.slices[0].passes)
    volume.meta |= {name: known[name] for name in ("PatientID", "FrameOfReferenceUID") if name in known}
    volume.meta["dicom_files"] = "\n".join(dict.fromkeys(map(str, geometry.files)))
    return volume


def _as_volume(path: Path, ct: CtVolume) -> MetaTensor:
    """A CT as read, turned to LPS, with all that is known of it."""
    padding = padding_of(ct.volume) if ct.padding_hu is None else ct.padding_hu
    check_hu(ct.volume, str(path), padding)
    known = {"slice_thickness": ct.slice_thickness, "padding_hu": padding}
    meta: dict[str, Any] = {"filename_or_obj": str(path), "original_affine": ct.affine.copy()}
    meta |= {"spatial_shape": np.array(ct.volume.shape)} | {k: v for k, v in known.items() if v is not None}
    tensor = in_lps(ct.volume, ct.affine, np.float32, **meta)
    tensor.meta["slice_positions"] = _positions(tensor, ct.affine, ct.positions, path)
    add_notes(tensor, ct.notes)
    for note in ct.notes:
        log.info("%s: %s", path.name, note)
    return tensor


def _read_positions(positions: str | Path | Sequence[float], count: int) -> np.ndarray:
    """Check positions of slices; (count,) mm."""
    where, values = "the positions", positions
    if isinstance(positions, str | Path):
        where = str(positions)
        try:
            values = json.loads(Path(positions).expanduser().read_text(encoding="utf-8-sig"))
        except (OSError, ValueError) as error:
            if where.startswith("["):
                raise InputError(
                    f"--positions is {where}, expected ascending numbers, the place of each slice in mm"
                ) from None
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
