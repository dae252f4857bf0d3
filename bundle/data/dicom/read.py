"""Read an axial CT series from DICOM files in HU, or refuse it with the reason.

Vocabulary: as in :mod:`bundle.data.dicom.geometry`, which orders the slices. Arrays are (x, y, z) = (columns, rows,
slices), slice 0 the lowest. *Padding* is what fills the image outside of the scanned circle; PixelPaddingValue says
which pixels it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from pydicom.errors import InvalidDicomError

from bundle.data.dicom.geometry import SPACING_TOLERANCE_MM, SeriesGeometry, read_geometry
from bundle.data.dicom.header import BROKEN, SliceHeader, read_dataset
from bundle.data.intensity import AIR_HU, PADDING_HU
from bundle.errors import InputError

try:
    from pydicom.pixels.processing import apply_modality_lut
except ImportError:  # pydicom 2
    from pydicom.pixel_data_handlers.util import apply_modality_lut  # type: ignore[no-redef]


class CtVolume(NamedTuple):
    """A CT volume.

    Attributes:
        volume: float32 (x, y, z), HU.
        affine: 4 x 4, voxel index -> RAS mm.
        positions: (z,) position of every slice in mm, ascending; None where the affine says it all.
        slice_thickness: mm, None where the header has none.
        padding_hu: HU of the voxels that are padding, below that of air; None where there are none.
        notes: what is odd and was accepted, a sentence each.
    """

    volume: np.ndarray
    affine: np.ndarray
    positions: np.ndarray | None
    slice_thickness: float | None
    padding_hu: float | None = None
    notes: tuple[str, ...] = ()


def _decoded(path: Path) -> tuple[Any, np.ndarray]:
    """A file's header and its stored pixels, (rows, columns) or (frames, rows, columns)."""
    compressed = None
    try:
        dataset = read_dataset(path)
        syntax = dataset.file_meta.TransferSyntaxUID
        compressed = syntax.name if syntax.is_compressed and syntax.is_encapsulated else None
        if "PixelData" not in dataset:
            raise InputError(f"{path} holds no pixel data, expected a CT slice: copy or download it again")
        return dataset, dataset.pixel_array
    except InputError:
        raise
    except (InvalidDicomError, *BROKEN) as error:
        reason = " ".join(str(error).split())
        if compressed:
            raise InputError(
                f"{path} is compressed as {compressed} and can't be decoded here: install the extra compressed "
                "(pylibjpeg with its libjpeg and openjpeg), or decompress the series"
            ) from error
        raise InputError(f"{path} is cut short or damaged ({reason[:120]}): copy or download it again") from error


def _slices(headers: Sequence[SliceHeader]) -> Iterator[tuple[SliceHeader, Any, np.ndarray]]:
    """Each slice with its file's header and its stored pixels; a multi-frame file is decoded once."""
    path, dataset, pixels = None, None, np.empty(0)
    for header in headers:
        if header.path != path:
            dataset, pixels = _decoded(header.path)
            path = header.path
        stored = pixels if header.frame is None else pixels.reshape(-1, *pixels.shape[-2:])[header.frame]
        if stored.shape != header.size[::-1]:
            raise InputError(
                f"{header.path} holds pixels of shape {stored.shape}, expected {header.size[::-1]} (rows, columns) "
                "of one grey value: convert it, or copy it again"
            )
        yield header, dataset, stored


def _padding(dataset: Any, stored: np.ndarray) -> tuple[float, float] | None:
    """Smallest and largest stored value that is padding; None where the header names none.

    The tag is often written unsigned beside signed pixels: 63536 is then -2000.
    """
    try:
        value = dataset.get("PixelPaddingValue")
        limit = dataset.get("PixelPaddingRangeLimit")
        ends = [float(v) for v in (value, value if limit in (None, "") else limit) if v not in (None, "")]
        if isinstance(value, bytes) or len(ends) < 2:
            return None
        bits, signed = 2 ** int(dataset.BitsAllocated), stored.dtype.kind == "i"
    except BROKEN:
        return None
    ends = [v - bits if signed and v >= bits / 2 else v + bits if not signed and v < 0 else v for v in ends]
    return min(ends), max(ends)


def _hu(header: SliceHeader, dataset: Any, stored: np.ndarray) -> tuple[np.ndarray, np.ndarray | None, float]:
    """HU (x, y), which of them are padding, and what padding was in HU."""
    if header.lut:
        lut_type = str(dataset.ModalityLUTSequence[0].get("ModalityLUTType", "")).strip().upper()
        if lut_type != "HU":
            raise InputError(
                f"{header.path} has a modality LUT of type {lut_type or 'none'}, expected HU: use the series in HU"
            )
        hu = np.asarray(apply_modality_lut(stored, dataset), dtype=np.float32)
        slope, intercept = 1.0, 0.0
    else:
        slope, intercept = (float(value) for value in header.rescale[:2])
        hu = stored.astype(np.float32) * np.float32(slope) + np.float32(intercept)
    ends = _padding(dataset, stored)
    if ends is None:
        return hu.T, None, 0.0
    padded = (stored >= ends[0]) & (stored <= ends[1])
    return hu.T, padded.T if padded.any() else None, ends[0] * slope + intercept


def read_voxels(geometry: SeriesGeometry, start: int = 0, stop: int | None = None) -> CtVolume:
    """Read the voxels of consecutive slices of a series.

    Args:
        geometry: of the whole series.
        start: first slice, counted from the lowest.
        stop: one past the last slice (None: to the top).

    Returns:
        the volume of these slices, with its own affine. Padding above the HU of air, or that no 16-bit file can hold,
        is put to -2048 HU; a note says so.

    Raises:
        InputError: a file is cut short, damaged, without pixels, or compressed in a way that needs a plugin.

    Example:
        >>> ct = read_voxels(geometry, 10, 20)  # doctest: +SKIP
        >>> ct.volume.shape  # doctest: +SKIP
        (512, 512, 10)
    """
    start, stop, _ = slice(start, stop).indices(geometry.shape[2])
    volume = np.empty((*geometry.shape[:2], stop - start), np.float32)
    padding_hu, notes = None, list(geometry.notes)
    for k, (header, dataset, stored) in enumerate(_slices(geometry.slices[start:stop])):
        hu, padded, value = _hu(header, dataset, stored)
        if padded is not None and (value < AIR_HU or value > _LARGEST_HU):
            if padding_hu is None:
                padding_hu = value if -32768 <= value < AIR_HU else PADDING_HU
            if value != padding_hu:
                note = f"padding outside of the scanned circle is {value:g} HU in the file and {padding_hu:g} here"
                notes += [note] if note not in notes else []
                hu[padded] = padding_hu
        volume[:, :, k] = hu
    affine = geometry.affine.copy()
    affine[:3, 3] += start * affine[:3, 2]
    return CtVolume(volume, affine, geometry.positions[start:stop], geometry.slice_thickness, padding_hu, tuple(notes))


# no tissue, contrast or metal is brighter: padding there is no HU at all
_LARGEST_HU = 32767 - 2048


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
        >>> ct = read_series("LIDC-IDRI-0001/series")  # doctest: +SKIP
        >>> ct.volume.shape, ct.slice_thickness  # doctest: +SKIP
        ((512, 512, 133), 2.5)
    """
    if allow_uneven and slices:
        raise ValueError("slices of an unevenly spaced series have no affine of their own: read the whole series")
    geometry = read_geometry(source, series_uid, tolerance_mm, allow_uneven)
    return read_voxels(geometry, slices.start or 0, slices.stop) if slices else read_voxels(geometry)
