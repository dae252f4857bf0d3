"""Put the slices of an axial CT series in order from their headers, or refuse the series with the reason.

Vocabulary: a *series* is the files that share one SeriesInstanceUID; a *slice* is one of its images; a
slice's *position* is its ImagePositionPatient projected on the *normal* of the image plane, in mm, ascending
towards the head. Files are ordered by position, never by name or InstanceNumber. Arrays are (x, y, z) =
(columns, rows, slices), slice 0 the lowest, in HU. DICOM's patient coordinates are LPS; affines here are RAS,
as NIfTI's.

What is refused follows highdicom's ``get_series_volume_positions``: a volume is only built from slices that
are parallel, aligned, evenly spaced and all there. Neighbouring gaps may differ from their median by
``SPACING_TOLERANCE_MM``, which covers the rounding of positions in real headers. Where ``allow_uneven`` is given,
slices may lie anywhere along the normal; the affine then has their mean spacing, and ``positions`` say the truth.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
from pydicom.errors import InvalidDicomError

from bundle.data.dicom.search import BROKEN
from bundle.errors import InputError

SPACING_TOLERANCE_MM = 0.1
DUPLICATE_MM = 0.01
TILT_TOLERANCE_DEGREES = 0.1

_GEOMETRY_TAGS = (
    "SeriesInstanceUID",
    "Modality",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "PixelSpacing",
    "Rows",
    "Columns",
    "NumberOfFrames",
    "SliceThickness",
    "GantryDetectorTilt",
)


@dataclass(frozen=True)
class SeriesGeometry:
    """Where the slices of a series lie, known from the headers alone.

    Attributes:
        files: one a slice, lowest first.
        positions: (z,) mm, ascending.
        shape: voxels (x, y, z).
        affine: 4 x 4, voxel index -> RAS mm.
        slice_thickness: mm, None where the header has none.
        series_uid: SeriesInstanceUID.
    """

    files: tuple[Path, ...]
    positions: np.ndarray
    shape: tuple[int, int, int]
    affine: np.ndarray
    slice_thickness: float | None
    series_uid: str

    @property
    def slice_spacing(self) -> float:
        """Mean distance between neighbouring slices in mm."""
        return float(np.linalg.norm(self.affine[:3, 2]))


@dataclass(frozen=True)
class _Slice:
    path: Path
    series_uid: str
    modality: str
    position: np.ndarray
    orientation: np.ndarray
    pixel_spacing: tuple[float, float]
    size: tuple[int, int]
    thickness: float | None
    tilt: float


def _number(header: pydicom.Dataset, name: str) -> float | None:
    value = header.get(name)
    return None if value in (None, "") else float(value)


def _read_slice(path: Path) -> _Slice | None:
    """Read one header; None where the file isn't DICOM and doesn't claim to be."""
    try:
        header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=list(_GEOMETRY_TAGS))
    except InvalidDicomError:
        if path.suffix.lower() in (".dcm", ".ima"):
            raise InputError(f"{path} is not a readable DICOM file: copy or download it again") from None
        return None
    except BROKEN as error:
        raise InputError(f"{path} can't be read ({error}): copy or download it again") from error
    modality = str(header.get("Modality", ""))
    if not modality and "SeriesInstanceUID" not in header and path.name.upper() == "DICOMDIR":
        return None
    if modality not in ("CT", ""):
        raise InputError(f"{path} has modality {modality}, expected CT only: move it out of the series")
    try:
        if int(header.get("NumberOfFrames") or 1) > 1:
            raise InputError(f"{path} is a multi-frame image, expected one slice a file: convert it first")
        return _Slice(
            path=path,
            series_uid=str(header.SeriesInstanceUID),
            modality=modality,
            position=np.array([float(v) for v in header.ImagePositionPatient]).reshape(3),
            orientation=np.array([float(v) for v in header.ImageOrientationPatient]).reshape(2, 3),
            pixel_spacing=(float(header.PixelSpacing[1]), float(header.PixelSpacing[0])),
            size=(int(header.Columns), int(header.Rows)),
            thickness=_number(header, "SliceThickness"),
            tilt=_number(header, "GantryDetectorTilt") or 0.0,
        )
    except InputError:
        raise
    except BROKEN as error:
        reason = str(error).splitlines()[0]
        raise InputError(
            f"{path} is cut short or lacks what places a CT slice in space ({reason}): copy or download it again"
        ) from error


def _check_alike(slices: Sequence[_Slice]) -> None:
    first = slices[0]
    for other in slices[1:]:
        for what, a, b, tolerance in (
            ("columns and rows", first.size, other.size, 0.0),
            ("pixel spacing in mm", first.pixel_spacing, other.pixel_spacing, 1e-4),
            ("orientation", first.orientation.ravel(), other.orientation.ravel(), 1e-3),
        ):
            if np.abs(np.subtract(a, b)).max() > tolerance:
                values = ", ".join(f"{v:g}" for v in b), ", ".join(f"{v:g}" for v in a)
                raise InputError(
                    f"{other.path} has {what} ({values[0]}) where {first.path.name} of its series has "
                    f"({values[1]}): expected one size, spacing and orientation"
                )


def _normal(slices: Sequence[_Slice], where: str) -> np.ndarray:
    """Unit normal of the image plane, towards the head; refuses what isn't a straight stack of axial slices."""
    rows, columns = slices[0].orientation
    if abs(rows @ columns) > 1e-3 or np.abs(np.linalg.norm([rows, columns], axis=1) - 1).max() > 1e-3:
        raise InputError(
            f"the series in {where} has an ImageOrientationPatient whose directions aren't at right angles: "
            "expected an axial CT"
        )
    normal = np.cross(rows, columns)
    normal *= np.sign(normal[np.abs(normal).argmax()]) / np.linalg.norm(normal)
    if np.abs(normal).argmax() != 2:
        raise InputError(f"the series in {where} isn't axial: expected slices across the body's long axis")
    tilt = max((s.tilt for s in slices), key=abs)
    points = np.array([s.position for s in slices])
    along = points @ normal
    aside = points - along[:, None] * normal
    drift, length = np.linalg.norm(np.ptp(aside, axis=0)), np.ptp(along)
    if drift > 0.05 + length * np.tan(np.radians(TILT_TOLERANCE_DEGREES)):
        tilt = tilt or np.degrees(np.arctan2(drift, length))
    if abs(tilt) > TILT_TOLERANCE_DEGREES:
        raise InputError(
            f"the series in {where} has a gantry tilt of {tilt:.1f} degrees, so its slices aren't stacked at "
            "right angles: expected an untilted scan"
        )
    return normal


def _check_gaps(slices: Sequence[_Slice], positions: np.ndarray, where: str, tolerance_mm: float | None) -> None:
    gaps = np.diff(positions)
    twice = np.flatnonzero(gaps < DUPLICATE_MM)
    if twice.size:
        a, b = slices[twice[0]].path, slices[twice[0] + 1].path
        raise InputError(
            f"{a} and {b.name if a.parent == b.parent else b} lie at the same position, "
            f"{positions[twice[0]]:.2f} mm ({twice.size} such pair{'s' if twice.size > 1 else ''}): "
            "keep one file a slice"
        )
    if tolerance_mm is None:
        return
    usual = float(np.median(gaps))
    uneven = np.flatnonzero(np.abs(gaps - usual) > tolerance_mm)
    if not uneven.size:
        return
    k = int(uneven[0])
    between = f"between {positions[k]:.2f} and {positions[k + 1]:.2f} mm"
    if gaps[k] > 1.5 * usual:
        lost = round(gaps[k] / usual) - 1
        raise InputError(
            f"the series in {where} misses {lost} slice{'s' if lost > 1 else ''} {between}, where slices "
            f"are {usual:.2f} mm apart: download the series again"
        )
    raise InputError(
        f"the series in {where} has slices {gaps[k]:.2f} mm apart {between}, expected {usual:.2f} mm as "
        f"elsewhere, within {tolerance_mm} mm: use a series of evenly spaced slices"
    )


def read_geometry(
    source: str | Path | Sequence[str | Path],
    series_uid: str | None = None,
    tolerance_mm: float = SPACING_TOLERANCE_MM,
    allow_uneven: bool = False,
) -> SeriesGeometry:
    """Read the headers of a CT series and put its slices in order, lowest first.

    Args:
        source: the series' files, or a folder that holds them directly; what isn't DICOM is passed over.
        series_uid: use only the CT slices of this series (None: all must be of one series).
        tolerance_mm: how far a gap between slices may be from the median gap.
        allow_uneven: take gaps as they are.

    Raises:
        InputError: no CT slice or a single one; a file that is damaged or of another modality; several
            series; slices that differ in size, pixel spacing or orientation; not axial; a gantry tilt; two
            slices at one position; a missing slice or uneven spacing, unless allowed.

    Example:
        >>> geometry = read_geometry("LIDC-IDRI-0001/series")  # doctest: +SKIP
        >>> geometry.shape  # doctest: +SKIP
        (512, 512, 133)
    """
    if isinstance(source, str | Path):
        folder = Path(source).expanduser()
        if not folder.is_dir():
            raise InputError(f"{folder} is not a folder: expected the folder of a CT series")
        paths = sorted(p for p in folder.iterdir() if p.is_file() and not p.name.startswith("."))
        where = str(folder)
    else:
        paths = [Path(p) for p in source]
        where = str(paths[0].parent) if paths else "an empty list of files"
    slices = [s for s in map(_read_slice, paths) if s is not None]
    if series_uid is not None:
        slices = [s for s in slices if s.series_uid == series_uid]
    if len(slices) < 2:
        wanted = "" if series_uid is None else f" of series {series_uid}"
        raise InputError(
            f"{where} holds {len(slices) or 'no'} CT slice{wanted}: expected the DICOM files of a whole series"
        )
    uids = sorted({s.series_uid for s in slices})
    if len(uids) > 1:
        raise InputError(f"{where} holds {len(uids)} series mixed ({uids[0]}, ...): give each its own folder")
    _check_alike(slices)
    normal = _normal(slices, where)
    slices.sort(key=lambda s: float(s.position @ normal))
    positions = np.array([s.position @ normal for s in slices])
    _check_gaps(slices, positions, where, None if allow_uneven else tolerance_mm)

    first = slices[0]
    affine = np.eye(4)
    affine[:3, 0] = first.orientation[0] * first.pixel_spacing[0]
    affine[:3, 1] = first.orientation[1] * first.pixel_spacing[1]
    # rounded, so that 0.5 mm is 0.5 and not a hair less: margins in mm are counted in voxels with it
    affine[:3, 2] = normal * round((positions[-1] - positions[0]) / (len(slices) - 1), 6)
    affine[:3, 3] = first.position
    affine[:2] *= -1  # LPS -> RAS
    return SeriesGeometry(
        files=tuple(s.path for s in slices),
        positions=positions,
        shape=(*first.size, len(slices)),
        affine=affine,
        slice_thickness=first.thickness,
        series_uid=first.series_uid,
    )
