"""Outlines as clinics have them, DICOM SEG and RTSTRUCT, as a label map on the grid of a CT.

Vocabulary: a *segment* (SEG) or *ROI* (RTSTRUCT) is one thing that was outlined, with a number and a name. Label maps
are (x, y, z) as the CT's; the value of a voxel is the number of what it lies in.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.errors import InvalidDicomError
from skimage.draw import polygon2mask

from bundle.data.dicom.header import BROKEN, read_dataset
from bundle.errors import InputError

_OFF_VOXELS = 0.1  # how far a segment's pixels may lie from the CT's


@dataclass(frozen=True)
class Grid:
    """Where the voxels of a CT lie.

    Attributes:
        affine: (4, 4) voxel -> RAS mm, of axes towards left, posterior, superior.
        positions: (Z,) mm of the slices along the last axis, from the first.
        shape: (X, Y, Z).
    """

    affine: np.ndarray
    positions: np.ndarray
    shape: tuple[int, int, int]

    def voxels(self, lps: np.ndarray) -> np.ndarray:
        """Places in LPS mm (N, 3) as voxels (N, 3), fractions allowed; beyond the slices, the nearest gap goes on."""
        ras = np.c_[lps * [-1, -1, 1], np.ones(len(lps))]
        found = (ras @ np.linalg.inv(self.affine).T)[:, :3]
        at = found[:, 2] * np.linalg.norm(self.affine[:3, 2])
        below = np.clip(np.searchsorted(self.positions, at, side="right") - 1, 0, len(self.positions) - 2)
        gap = np.diff(self.positions)[below]
        found[:, 2] = below + (at - self.positions[below]) / gap
        return found


def read_outlines(
    path: Path, grid: Grid, wanted: str | int | None = None, passes: Mapping[str, str] | None = None
) -> tuple[np.ndarray, list[str]]:
    """Read a SEG or an RTSTRUCT onto the grid of a CT.

    Args:
        path: of the DICOM file.
        grid: of the CT that it was drawn on.
        wanted: number or name of a segment or ROI, ``"all"`` for each; None: the only one.
        passes: PatientID and FrameOfReferenceUID of the CT, where it is DICOM.

    Returns:
        (X, Y, Z) int32, 0 outside; what was decided.

    Raises:
        InputError: no DICOM, neither SEG nor RTSTRUCT, damaged, of another patient; several and none chosen, or none of
            that name: lists them; pixels or contours that lie on no slice of the CT.

    Example:
        >>> labels, notes = read_outlines(Path("seg.dcm"), grid, "Nodule 1")  # doctest: +SKIP
    """
    try:
        dataset = read_dataset(path)
        modality = str(dataset.get("Modality", ""))
        if modality == "SEG":
            names = {int(s.SegmentNumber): str(s.get("SegmentLabel", "")) for s in dataset.SegmentSequence}
        elif modality == "RTSTRUCT":
            names = {int(s.ROINumber): str(s.get("ROIName", "")) for s in dataset.StructureSetROISequence}
        else:
            raise InputError(
                f"{path} has modality {modality or 'none'}, expected a mask as SEG, RTSTRUCT or image file"
            )
        numbers = _chosen(path, {number: name for number, name in names.items() if number}, wanted)
        notes = _belongs(path, dataset, passes or {})
        labels, more = (_segments if modality == "SEG" else _contours)(path, dataset, grid, numbers)
        return labels, notes + more
    except InputError:
        raise
    except InvalidDicomError as error:
        raise InputError(f"{path} is no mask: expected an image file, a DICOM SEG or an RTSTRUCT") from error
    except BROKEN as error:
        reason = " ".join(str(error).split())[:120]
        raise InputError(f"{path} is damaged or lacks what places it in space ({reason}): export it again") from error


def _belongs(path: Path, dataset: Any, passes: Mapping[str, str]) -> list[str]:
    """Refuse the outlines of another patient; a note on another frame of reference."""
    patient = str(dataset.get("PatientID") or "")
    if patient and passes.get("PatientID", patient) != patient:
        raise InputError(f"{path} is of patient {patient}, the image of {passes['PatientID']}: give this image's mask")
    rois = dataset.get("StructureSetROISequence") or []
    frames = {str(item.get("ReferencedFrameOfReferenceUID") or "") for item in rois}
    frames |= {str(dataset.get("FrameOfReferenceUID") or "")}
    if passes.get("FrameOfReferenceUID") and not frames <= {"", passes["FrameOfReferenceUID"]}:
        return [f"{path.name} refers to another frame of reference than the image: placed by its coordinates"]
    return []


def _chosen(path: Path, names: Mapping[int, str], wanted: str | int | None) -> list[int]:
    told = ", ".join(f"{number} {name!r}" for number, name in names.items())
    if not names:
        raise InputError(f"{path} holds no segment: expected at least one")
    if wanted is None:
        if len(names) > 1:
            raise InputError(f"{path} has {len(names)} segments ({told}): choose one by --segment NUMBER, or all")
        return list(names)
    if str(wanted).strip().lower() == "all":
        return list(names)
    by_name = [number for number, name in names.items() if name == str(wanted)]
    by_number = [number for number in names if str(number) == str(wanted).strip()]
    if len(by_name or by_number) == 1:
        return by_name or by_number
    if by_name:
        raise InputError(f"{path} has {len(by_name)} segments called {wanted!r} ({told}): choose one by its number")
    near = difflib.get_close_matches(str(wanted), list(names.values()), n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise InputError(f"{path} has no segment {wanted!r}: {hint}choose from {told}")


def _group(dataset: Any, frame: int, name: str, item: str) -> Any:
    """An attribute of a frame: of its own functional groups, else of the shared ones."""
    for groups in ((dataset.get("PerFrameFunctionalGroupsSequence") or [])[frame : frame + 1],
                   (dataset.get("SharedFunctionalGroupsSequence") or [])[:1]):  # fmt: skip
        for group in groups:
            if group.get(name) and item in group[name].value[0]:
                return group[name].value[0][item].value
    raise AttributeError(f"no {item}")


def _segments(path: Path, dataset: Any, grid: Grid, numbers: Sequence[int]) -> tuple[np.ndarray, list[str]]:
    pixels = np.asarray(dataset.pixel_array).reshape(-1, int(dataset.Rows), int(dataset.Columns))
    kind, notes = str(dataset.get("SegmentationType", "BINARY")), []
    if kind == "FRACTIONAL":
        pixels = pixels >= 0.5 * float(dataset.MaximumFractionalValue)
        notes.append(f"{path.name} is fractional: voxels of one half and above are inside")
    out = np.zeros(grid.shape, dtype=np.int32)
    shared = 0
    for frame, plane in enumerate(pixels):
        if not plane.any():
            continue
        if kind == "LABELMAP":
            values = np.where(np.isin(plane, numbers), plane, 0).astype(np.int32)
        else:
            number = int(_group(dataset, frame, "SegmentIdentificationSequence", "ReferencedSegmentNumber"))
            values = np.where(plane, number, 0) if number in numbers else np.zeros_like(plane, dtype=np.int32)
        if values.any():
            shared += _place(path, out, values, _frame(dataset, frame, grid))
    if shared:
        notes.append(f"segments of {path.name} overlap in {shared} voxels, which are taken for the first of them")
    return out, notes


def _frame(dataset: Any, frame: int, grid: Grid) -> np.ndarray:
    """(3, 3) voxels of the CT at a frame's pixel (0, 0), one column on and one row on."""
    first = np.array([float(v) for v in _group(dataset, frame, "PlanePositionSequence", "ImagePositionPatient")])
    turn = _group(dataset, frame, "PlaneOrientationSequence", "ImageOrientationPatient")
    rows, columns = np.array([float(v) for v in turn]).reshape(2, 3)
    down, across = (float(v) for v in _group(dataset, frame, "PixelMeasuresSequence", "PixelSpacing"))
    return grid.voxels(np.array([first, first + rows * across, first + columns * down]))


def _place(path: Path, out: np.ndarray, values: np.ndarray, corners: np.ndarray) -> int:
    """Put a frame, (rows, columns), into its slice; how many voxels were taken already."""
    steps = np.array([corners[1] - corners[0], corners[2] - corners[0]])
    whole = np.rint(steps[:, :2])
    start = np.rint(corners[0]).astype(int)
    row, column = np.nonzero(values)
    size = max(values.shape)
    if (
        not np.array_equal(np.abs(whole).sum(axis=1), [1, 1])
        or np.abs(steps - np.c_[whole, [0, 0]]).max() * size > 2 * _OFF_VOXELS
        or np.abs(corners[0] - start).max() > _OFF_VOXELS
    ):
        raise InputError(
            f"{path} has a frame at voxel ({', '.join(f'{v:.2f}' for v in corners[0])}) of the image, which is on "
            "another grid: give a mask that was drawn on this image, or resample it"
        )
    where = start[:2] + column[:, None] * whole[0].astype(int) + row[:, None] * whole[1].astype(int)
    if (where < 0).any() or (where >= out.shape[:2]).any() or not 0 <= start[2] < out.shape[2]:
        raise InputError(f"{path} reaches beyond the image: give a mask that was drawn on this image")
    slice_ = out[..., start[2]]
    free = slice_[where[:, 0], where[:, 1]] == 0
    slice_[where[free, 0], where[free, 1]] = values[row[free], column[free]]
    return int((~free).sum())


def _contours(path: Path, dataset: Any, grid: Grid, numbers: Sequence[int]) -> tuple[np.ndarray, list[str]]:
    """Closed contours, the inner ones of a slice cut out of the outer ones."""
    out, notes, shared = np.zeros(grid.shape, dtype=np.int32), [], 0
    for roi in dataset.ROIContourSequence:
        number = int(roi.ReferencedROINumber)
        if number not in numbers:
            continue
        inside, other = np.zeros(grid.shape, dtype=bool), 0
        for contour in roi.get("ContourSequence") or []:
            if str(contour.get("ContourGeometricType", "")) not in ("CLOSED_PLANAR", "CLOSEDPLANAR_XOR"):
                other += 1
                continue
            points = grid.voxels(np.array([float(v) for v in contour.ContourData]).reshape(-1, 3))
            z = np.rint(points[:, 2]).astype(int)
            if np.ptp(points[:, 2]) > _OFF_VOXELS or abs(points[0, 2] - z[0]) > _OFF_VOXELS or np.ptp(z):
                raise InputError(
                    f"{path} has a contour at slice {points[0, 2]:.2f} of the image, which lies in none of its slices: "
                    "give outlines that were drawn on this image"
                )
            if not 0 <= z[0] < grid.shape[2]:
                raise InputError(f"{path} reaches beyond the image: give outlines that were drawn on this image")
            inside[..., z[0]] ^= polygon2mask(grid.shape[:2], points[:, :2])
        if other:
            notes.append(f"{other} contours of ROI {number} are not closed in a plane and were left out")
        shared += int((inside & (out > 0)).sum())
        out[inside & (out == 0)] = number
    if shared:
        notes.append(f"ROIs of {path.name} overlap in {shared} voxels, which are taken for the first of them")
    return out, notes
