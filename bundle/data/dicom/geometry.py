"""Put the slices of an axial CT series in order from their headers, or refuse the series with the reason.

Vocabulary: a *series* is the files that share one SeriesInstanceUID; a *slice* is one of its images (see
:mod:`bundle.data.dicom.header`); a slice's *position* is its ImagePositionPatient projected on the *normal* of the
image plane, in mm, ascending towards the head. Files are ordered by position, never by name or InstanceNumber. Arrays
are (x, y, z) = (columns, rows, slices), slice 0 the lowest, in HU. DICOM's patient coordinates are LPS; affines here
are RAS, as NIfTI's.

What is refused follows highdicom's ``get_series_volume_positions``: a volume is only built from slices that
are parallel, aligned, evenly spaced and all there. Neighbouring gaps may differ from their median by
``SPACING_TOLERANCE_MM``, which covers the rounding of positions in real headers. Where ``allow_uneven`` is given,
slices may lie anywhere along the normal; the affine then has their mean spacing, and ``positions`` say the truth.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bundle.data.dicom.consistency import check_kind, check_one_pass, check_unit
from bundle.data.dicom.header import SliceHeader, other_objects, read_headers
from bundle.data.scanner import scanner_facts
from bundle.errors import InputError

SPACING_TOLERANCE_MM = 0.1
# no CT has slices so close: two files there are copies, or two acquisitions
DUPLICATE_MM = 0.1
TILT_TOLERANCE_DEGREES = 0.1


@dataclass(frozen=True)
class SeriesGeometry:
    """Where the slices of a series lie, known from the headers alone.

    Attributes:
        slices: their headers, lowest first.
        positions: (z,) mm, ascending.
        shape: voxels (x, y, z).
        affine: 4 x 4, voxel index -> RAS mm.
        slice_thickness: mm, of most slices; None where the headers have none.
        series_uid: SeriesInstanceUID.
        notes: what is odd and was accepted, a sentence each.
    """

    slices: tuple[SliceHeader, ...]
    positions: np.ndarray
    shape: tuple[int, int, int]
    affine: np.ndarray
    slice_thickness: float | None
    series_uid: str
    notes: tuple[str, ...] = ()

    @property
    def files(self) -> tuple[Path, ...]:
        """The file of each slice, lowest first; of a multi-frame file always the same."""
        return tuple(header.path for header in self.slices)

    @property
    def slice_spacing(self) -> float:
        """Mean distance between neighbouring slices in mm."""
        return float(np.linalg.norm(self.affine[:3, 2]))

    @property
    def scanner(self) -> dict[str, str | float]:
        """What the headers say of the scanner and its protocol, see :mod:`bundle.data.scanner`."""
        return scanner_facts([dict(header.scanner) for header in self.slices])


def _check_alike(slices: Sequence[SliceHeader]) -> None:
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
                    f"{other.path.parent / other.name} has {what} ({values[0]}) where {first.name} of its series has "
                    f"({values[1]}): expected one size, spacing and orientation"
                )


def _normal(slices: Sequence[SliceHeader], where: str) -> np.ndarray:
    """Unit normal of the image plane, towards the head; refuses what isn't axial."""
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
    return normal


def _check_straight(slices: Sequence[SliceHeader], normal: np.ndarray, where: str) -> list[str]:
    """Refuse a tilted gantry, and slices that lie aside, by where the slices are; the tag is nominal.

    Args:
        slices: in order.
        normal: (3,) of their planes.
        where: named in errors.

    Returns:
        a note where the header names a tilt that the slices do not have.
    """
    points = np.array([header.position for header in slices])
    along = points @ normal
    aside = points - along[:, None] * normal
    steps = np.diff(aside, axis=0) / np.maximum(np.diff(along), DUPLICATE_MM)[:, None]
    # a tilt moves every slice by the same share of its gap, a table that was moved some of them
    tilt = float(np.degrees(np.arctan(np.linalg.norm(np.median(steps, axis=0)))))
    if tilt > TILT_TOLERANCE_DEGREES:
        raise InputError(
            f"the series in {where} has a gantry tilt of {tilt:.1f} degrees, so its slices aren't stacked at "
            "right angles: use an untilted scan, or resample it to right angles"
        )
    off = np.linalg.norm(aside - np.median(aside, axis=0), axis=1)
    allowed = 0.05 + np.ptp(along) * np.tan(np.radians(TILT_TOLERANCE_DEGREES))
    moved = np.flatnonzero(off > allowed)
    if moved.size:
        k = int(moved[0])
        raise InputError(
            f"{slices[k].path.parent / slices[k].name} lies {off[k]:.2f} mm aside of the other slices "
            f"({moved.size} such of {len(slices)}), which aren't stacked at right angles: the table was moved or the "
            "field of view changed; keep the slices of one position"
        )
    nominal = max((header.tilt for header in slices), key=abs)
    if abs(nominal) > TILT_TOLERANCE_DEGREES:
        return [f"GantryDetectorTilt is {nominal:g} degrees, but the slices are stacked straight: used as they lie"]
    return []


def _check_gaps(
    slices: Sequence[SliceHeader], positions: np.ndarray, where: str, tolerance_mm: float | None
) -> list[str]:
    """Refuse two slices in one place and, unless `tolerance_mm` is None, gaps that aren't the usual one.

    Returns:
        a note where `tolerance_mm` is None and slices are missing among such that are even elsewhere.
    """
    gaps = np.diff(positions)
    close = np.flatnonzero(gaps < DUPLICATE_MM)
    if close.size:
        a, b = slices[close[0]], slices[close[0] + 1]
        place = "at the same position" if gaps[close[0]] < 0.01 else f"{gaps[close[0]]:.2g} mm apart"
        raise InputError(
            f"{a.path.parent / a.name} and {b.name if a.path.parent == b.path.parent else b.path} lie {place}, "
            f"{positions[close[0]]:.2f} mm ({close.size} such pair{'s' if close.size > 1 else ''}), as two "
            "acquisitions do: keep one file a slice"
        )
    wide = float(np.median(np.sort(gaps)[len(gaps) // 2 :]))
    narrow = int((gaps < 0.2 * wide).sum())
    if len(gaps) > 3 and 3 * narrow >= len(gaps):
        raise InputError(
            f"the series in {where} has {narrow} gaps of about {np.median(gaps[gaps < 0.2 * wide]):.2g} mm among such "
            f"of {wide:.3g} mm, as two interleaved acquisitions do: keep the slices of one"
        )
    usual = float(np.median(gaps))
    uneven = np.flatnonzero(np.abs(gaps - usual) > (tolerance_mm or SPACING_TOLERANCE_MM))
    if tolerance_mm is None:
        wide_ones = uneven[gaps[uneven] > 1.5 * usual]
        if not wide_ones.size or 4 * uneven.size > len(gaps):
            return []
        k = int(wide_ones[0])
        return [
            f"{wide_ones.size} of {len(gaps)} gaps are wider than the usual {usual:.3g} mm, such as from "
            f"{positions[k]:.2f} to {positions[k + 1]:.2f} mm, as where slices are lost: they are filled all the same"
        ]
    if not uneven.size:
        return []
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
        InputError: no CT slice or a single one; a file that is empty, damaged or of another modality; several
            series, passes or patients; pixels that are no HU, images that are no slices; slices that differ in size,
            pixel spacing or orientation; not axial; a gantry tilt, a slice that lies aside; two slices at one
            position, two acquisitions interleaved; a missing slice or uneven spacing, unless allowed.

    Example:
        >>> geometry = read_geometry("LIDC-IDRI-0001/series")  # doctest: +SKIP
        >>> geometry.shape  # doctest: +SKIP
        (512, 512, 133)
    """
    paths, where = _paths(source)
    read = {path: read_headers(path) for path in paths}
    slices = [header for headers in read.values() for header in headers]
    if series_uid is not None:
        slices = [header for header in slices if header.series_uid == series_uid]
    uids = sorted({header.series_uid for header in slices})
    left = other_objects([path for path, headers in read.items() if not headers], uids)
    if len(slices) < 2:
        wanted = "" if series_uid is None else f" of series {series_uid}"
        raise InputError(
            f"{where} holds {len(slices) or 'no'} CT slice{wanted}: expected the DICOM files of a whole series"
        )
    if len(uids) > 1:
        raise InputError(f"{where} holds {len(uids)} series mixed ({uids[0]}, ...): give each its own folder")
    notes = [] if left is None else [left]
    notes += check_kind(slices, where) + check_one_pass(slices, where) + check_unit(slices, where)
    _check_alike(slices)
    normal = _normal(slices, where)
    slices.sort(key=lambda header: float(header.position @ normal))
    positions = np.array([header.position @ normal for header in slices])
    notes += _check_gaps(slices, positions, where, None if allow_uneven else tolerance_mm)
    notes += _check_straight(slices, normal, where)
    thickness, told = _thickness(slices)
    notes += told

    first = slices[0]
    affine = np.eye(4)
    affine[:3, 0] = first.orientation[0] * first.pixel_spacing[0]
    affine[:3, 1] = first.orientation[1] * first.pixel_spacing[1]
    # rounded, so that 0.5 mm is 0.5 and not a hair less: margins in mm are counted in voxels with it
    affine[:3, 2] = normal * round((positions[-1] - positions[0]) / (len(slices) - 1), 6)
    affine[:3, 3] = first.position
    affine[:2] *= -1  # LPS -> RAS
    return SeriesGeometry(
        slices=tuple(slices),
        positions=positions,
        shape=(*first.size, len(slices)),
        affine=affine,
        slice_thickness=thickness,
        series_uid=first.series_uid,
        notes=tuple(notes),
    )


def _thickness(slices: Sequence[SliceHeader]) -> tuple[float | None, list[str]]:
    """SliceThickness of the series, that of most slices, and a note where they differ."""
    counted = Counter(header.thickness for header in slices).most_common()
    most = counted[0][0]
    if len(counted) == 1:
        return most, []
    found = ", ".join("none" if value is None else f"{value:g}" for value, _ in counted[:4])
    return most, [f"SliceThickness differs from slice to slice ({found} mm): that of most slices is taken"]


def _paths(source: str | Path | Sequence[str | Path]) -> tuple[list[Path], str]:
    """The files of a series, or of the folder that holds them; and what to call that place."""
    if not isinstance(source, str | Path):
        paths = [Path(p) for p in source]
        return paths, str(paths[0].parent) if paths else "an empty list of files"
    path = Path(source).expanduser()
    if path.is_file():
        return [path], str(path)
    if not path.is_dir():
        raise InputError(f"{path} is not a folder: expected the folder of a CT series")
    return sorted(p for p in path.iterdir() if p.is_file() and not p.name.startswith(".")), str(path)
