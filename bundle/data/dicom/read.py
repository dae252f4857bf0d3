"""Read an axial CT series from DICOM files in HU, or refuse it with the reason.

Vocabulary: as in :mod:`bundle.data.dicom.geometry`, which orders the slices. Arrays are (x, y, z) = (columns, rows,
slices), slice 0 the lowest.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pydicom
from pydicom.errors import InvalidDicomError

from bundle.data.dicom.geometry import SPACING_TOLERANCE_MM, SeriesGeometry, read_geometry
from bundle.data.dicom.search import BROKEN
from bundle.errors import InputError


class CtVolume(NamedTuple):
    """A CT volume.

    Attributes:
        volume: float32 (x, y, z), HU.
        affine: 4 x 4, voxel index -> RAS mm.
        positions: (z,) position of every slice in mm, ascending.
        slice_thickness: mm, None where the header has none.
    """

    volume: np.ndarray
    affine: np.ndarray
    positions: np.ndarray
    slice_thickness: float | None


def _read_hu(path: Path, shape: tuple[int, int]) -> np.ndarray:
    """Read the pixels of one file in HU, float32 (x, y)."""
    compressed = None
    try:
        dataset: Any = pydicom.dcmread(path)
        syntax = dataset.file_meta.TransferSyntaxUID
        compressed = syntax.name if syntax.is_compressed and syntax.is_encapsulated else None
        if "PixelData" not in dataset:
            raise InputError(f"{path} holds no pixel data, expected a CT slice: copy or download it again")
        pixels = dataset.pixel_array
        slope = float(dataset.get("RescaleSlope", 1) or 1)
        intercept = float(dataset.get("RescaleIntercept", 0) or 0)
    except InputError:
        raise
    except (InvalidDicomError, *BROKEN) as error:
        reason = " ".join(str(error).split())
        if compressed:
            raise InputError(
                f"{path} is compressed as {compressed} and can't be decoded here: install pylibjpeg with "
                "pylibjpeg-libjpeg and pylibjpeg-openjpeg, or decompress the series"
            ) from error
        raise InputError(f"{path} is cut short or damaged ({reason[:120]}): copy or download it again") from error
    if pixels.shape != shape[::-1]:
        raise InputError(f"{path} holds pixels of shape {pixels.shape}, expected {shape[::-1]} (rows, columns)")
    return (pixels.astype(np.float32) * np.float32(slope) + np.float32(intercept)).T


def read_voxels(geometry: SeriesGeometry, start: int = 0, stop: int | None = None) -> CtVolume:
    """Read the voxels of consecutive slices of a series.

    Args:
        geometry: of the whole series.
        start: first slice, counted from the lowest.
        stop: one past the last slice (None: to the top).

    Returns:
        the volume of these slices, with its own affine.

    Raises:
        InputError: a file is cut short, damaged, without pixels, or compressed in a way that needs a plugin.

    Example:
        >>> ct = read_voxels(geometry, 10, 20)  # doctest: +SKIP
        >>> ct.volume.shape  # doctest: +SKIP
        (512, 512, 10)
    """
    start, stop, _ = slice(start, stop).indices(geometry.shape[2])
    volume = np.empty((*geometry.shape[:2], stop - start), np.float32)
    for k, path in enumerate(geometry.files[start:stop]):
        volume[:, :, k] = _read_hu(path, geometry.shape[:2])
    affine = geometry.affine.copy()
    affine[:3, 3] += start * affine[:3, 2]
    return CtVolume(volume, affine, geometry.positions[start:stop], geometry.slice_thickness)


def read_series(
    source: str | Path | Sequence[str | Path],
    series_uid: str | None = None,
    slices: slice | None = None,
    tolerance_mm: float = SPACING_TOLERANCE_MM,
    allow_uneven: bool = False,
) -> CtVolume:
    """Read a CT series in HU: :func:`read_geometry`, then :func:`read_voxels`.

    Args:
        source: the series' files, or a folder that holds them directly.
        series_uid: use only the CT slices of this series (None: all must be of one series).
        slices: read only these, counted from the lowest (None: all); the whole series is checked anyhow.
        tolerance_mm: how far a gap between slices may be from the median gap.
        allow_uneven: take gaps as they are; the affine has their mean, so go by ``positions``. Whole series only.

    Raises:
        InputError: see :func:`read_geometry` and :func:`read_voxels`.

    Example:
        >>> volume, affine, positions, thickness = read_series("LIDC-IDRI-0001/series")  # doctest: +SKIP
    """
    if allow_uneven and slices:
        raise ValueError("slices of an unevenly spaced series have no affine of their own: read the whole series")
    geometry = read_geometry(source, series_uid, tolerance_mm, allow_uneven)
    return read_voxels(geometry, slices.start or 0, slices.stop) if slices else read_voxels(geometry)
