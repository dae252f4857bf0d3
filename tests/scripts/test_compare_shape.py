"""The script that compares mask methods on outlines alone: who is left out, its figures, the ends it measures."""

from __future__ import annotations

import json

import compare_shape
import numpy as np
import pytest
from helpers.nodules import ROOT

from bundle.data.lidc.annotations import consensus_mask, lidc_clusters
from bundle.inferers import ObservedSlices, SphereDistanceInferer
from bundle.metrics.geometric import dice_score
from bundle.transforms import margin_in_voxels

COHORT = json.loads((ROOT / "configs" / "cohort.json").read_text())["nodules"]


@pytest.fixture
def script():
    return compare_shape


@pytest.fixture(scope="module")
def clusters():
    """Two scans of the cohort: enough to see that the script works, no figures of it are used."""
    return lidc_clusters(series_uids=frozenset(n["series_uid"] for n in COHORT[:2]))


def test_no_patient_of_the_cohort_is_developed_on(script, clusters, monkeypatch):
    monkeypatch.setattr(script, "lidc_clusters", lambda *_: clusters)
    assert script.development_clusters() == []
    stranger = [type(c)(**{**vars(c), "patient_id": "LIDC-IDRI-9999"}) for c in clusters]
    monkeypatch.setattr(script, "lidc_clusters", lambda *_: clusters + stranger)
    assert script.development_clusters() == stranger


def test_figures(script, clusters, monkeypatch, capsys):
    monkeypatch.setattr(script, "development_clusters", lambda: clusters)
    assert script.main(["--json", "--limit", "1", "--offsets", "2"]) == 0
    rows = {row["method"]: row for row in json.loads(capsys.readouterr().out)}
    assert set(rows) == {"morphological", "signed_distance", "sphere_distance"}
    cluster, scores = clusters[0], []
    mask, origin = consensus_mask(cluster.annotation_ids)
    for offset in (0, 1):
        margin = int(margin_in_voxels(cluster.spacing)[2])
        room = len(cluster.slice_positions) - origin[2] - mask.shape[2]
        crop = np.pad(mask, [(20, 20), (20, 20), (min(margin, origin[2]), min(margin, room))])
        z = np.arange(crop.shape[2]) * cluster.slice_spacing
        seen = ObservedSlices(None, crop[..., offset::5], z[offset::5], z, cluster.spacing[:2])
        left_out = np.arange(len(z)) % 5 != offset
        scores.append(dice_score(SphereDistanceInferer().reconstruct(seen).mask[..., left_out], crop[..., left_out]))
    assert rows["sphere_distance"]["n"] == 2
    assert rows["sphere_distance"]["dsc"] == pytest.approx(np.mean(scores))
    assert rows["sphere_distance"]["dsc"] > rows["morphological"]["dsc"]
    assert script.main(["--limit", "1", "--offsets", "1"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 4


def test_ends(script):
    """A ball of radius 8 mm, 1 mm slices: its ends are 8 mm from its centre, give or take half a slice."""
    x, y, z = np.ogrid[-12:13, -12:13, -16:17]
    ball = x**2 + y**2 + z**2 < 64
    errors = np.array([e for offset in range(5) for e in script.end_errors(ball, (1.0, 1.0, 1.0), 5, offset)])
    assert errors.shape == (10, 2)
    assert errors[:, 1].mean() < 0.75 < 1 < errors[:, 0].mean()
    assert script.end_errors(np.zeros((3, 3, 9), bool), (1.0, 1.0, 1.0), 5, 0) == []
