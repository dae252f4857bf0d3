"""A nodule of LIDC-IDRI and a made scan that it lies in."""

from __future__ import annotations

import numpy as np

from bundle.data.lidc.annotations import LidcCluster, candidate_series, consensus_mask, lidc_clusters


def cluster_of(patient: str) -> LidcCluster:
    """The first nodule of a patient of the cohort."""
    uid = next(uid for uid, name in candidate_series().items() if name == patient)
    return lidc_clusters(series_uids=frozenset([uid]))[0]


def series_around(cluster: LidcCluster, beyond: int = 4) -> tuple[np.ndarray, list[float], int]:
    """A scan whose voxels are bright where the readers' consensus is, in the slices around it: HU, z, first slice."""
    mask, origin = consensus_mask(cluster.annotation_ids)
    first = origin[2] - beyond
    z = list(cluster.slice_positions[first : origin[2] + mask.shape[2] + beyond])
    volume = np.full((512, 512, len(z)), -900.0, np.float32)
    box = tuple(slice(o, o + n) for o, n in zip((*origin[:2], beyond), mask.shape, strict=True))
    volume[box][mask] = 40
    return volume, z, first
