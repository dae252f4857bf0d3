from __future__ import annotations

import json
import pickle
import shutil
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.synthetic_dicom import write_series
from monai.data import Dataset, MetaTensor
from monai.transforms import Lambdad

from bundle.data.lidc.annotations import consensus_mask, lidc_clusters
from bundle.data.lidc.cohort import load_cohort
from bundle.data.source import NoduleSource, open_source
from bundle.errors import InputError

KEYS = {"image", "label", "nodule_id", "source", "spacing", "slice_thickness", "ratings", "diameter_mm", "scanner"}


@pytest.fixture
def dicom_root(tmp_path: Path) -> Path:
    """One small nodule of the cohort as DICOM."""
    count = Counter(n["series_uid"] for n in load_cohort())
    alone = [n for n in load_cohort() if count[n["series_uid"]] == 1]
    nodule = min(alone, key=lambda n: n["diameter_mm"])
    mask, origin = consensus_mask(nodule["annotation_ids"])
    (cluster,) = lidc_clusters(series_uids=frozenset([nodule["series_uid"]]))
    z = cluster.slice_positions[origin[2] - 2 : origin[2] + mask.shape[2] + 2]
    volume = np.random.default_rng(0).integers(-900, 100, (512, 512, len(z))).astype(np.float32)
    spacing = (cluster.pixel_spacing, cluster.pixel_spacing)
    root = tmp_path / "LIDC-IDRI"
    write_series(root / "a", volume, z, series_uid=cluster.series_uid, spacing=spacing)
    return root


def _check(source: NoduleSource) -> None:
    for k, nodule_id in enumerate(source.ids):
        item = source[k]
        assert set(item) == KEYS
        image, label = item["image"], item["label"]
        assert isinstance(image, MetaTensor)
        assert isinstance(label, MetaTensor)
        assert (image.dtype, label.dtype) == (torch.float32, torch.uint8)
        assert image.shape == label.shape
        assert image.ndim == 4
        assert image.shape[0] == 1
        torch.testing.assert_close(image.affine, label.affine)
        assert set(np.unique(label)) == {0, 1}
        assert (item["nodule_id"], item["source"]) == (nodule_id, source.kind)
        np.testing.assert_allclose(item["spacing"], np.linalg.norm(image.affine[:3, :3], axis=0), rtol=1e-6)
        np.testing.assert_array_equal(np.sign(np.diag(image.affine)[:3]), [-1, -1, 1])


def test_every_source_gives_the_same_dictionary(dicom_root: Path, nodule_folder: Callable[..., Path]):
    for kind, source in (
        ("lidc", open_source(dicom_root=dicom_root)),
        ("datalist", open_source(datalist=nodule_folder(2))),
        ("phantom", open_source(phantom_count=1)),
    ):
        assert source.kind == kind
        _check(source)


def test_descriptions_are_one_line_that_says_what_and_where(dicom_root: Path, nodule_folder: Callable[..., Path]):
    folder = nodule_folder(3)
    assert open_source(datalist=folder).description == f"3 nodules from {folder}"
    assert open_source(datalist=folder, limit=2).description == f"the first 2 of 3 nodules from {folder}"
    assert open_source(dicom_root=dicom_root).description.startswith(
        f"1 nodule of LIDC-IDRI from {dicom_root} (55 more"
    )
    assert open_source(limit=1).description.startswith("1 phantom:")


def test_limits_and_splits_choose_nodules(nodule_folder: Callable[..., Path]):
    everyone = [n["nodule_id"] for n in load_cohort()]
    assert open_source().ids == everyone[:3]
    assert open_source(phantom_count=5).ids == everyone[:5]
    assert open_source(limit=2).ids == everyone[:2]
    assert len(open_source(limit=1000)) == 57
    development = [n["nodule_id"] for n in load_cohort(split="development")]
    assert open_source(split="development", limit=7).ids == development
    assert open_source(datalist=nodule_folder(3), limit=2).ids == ["n0", "n1"]
    assert everyone[0] not in open_source(exclude=[everyone[0]]).ids


def test_split_of_a_datalist_goes_by_the_cohort(nodule_folder: Callable[..., Path], tmp_path: Path):
    folder = nodule_folder(3)
    with pytest.raises(InputError, match="none of the nodules"):
        open_source(datalist=folder, split="test")
    rows = [{"nodule_id": "n0", "split": "test"}, {"nodule_id": "n2", "split": "development"}]
    cohort = tmp_path / "cohort.json"
    cohort.write_text(json.dumps({"nodules": rows}))
    assert open_source(datalist=folder, cohort=cohort, split="development").ids == ["n2"]


@pytest.mark.parametrize("limit", [0, -1, 1.5, "3", True, [1]])
def test_bad_limit_is_refused(limit: Any):
    with pytest.raises(InputError, match=r"limit is .*, expected a whole number"):
        open_source(limit=limit)


def test_other_mistakes_are_refused(tmp_path: Path):
    with pytest.raises(InputError, match="both dicom_root and datalist"):
        open_source(dicom_root=tmp_path, datalist=tmp_path)
    with pytest.raises(InputError, match="phantom_count is 0"):
        open_source(phantom_count=0)
    with pytest.raises(InputError, match="split is 'train'"):
        open_source(split="train")
    with pytest.raises(InputError, match="does not exist"):
        open_source(cohort=tmp_path / "nowhere.json")
    with pytest.raises(InputError, match="does not exist"):
        open_source(datalist=tmp_path / "nowhere")
    with pytest.raises(InputError, match="is not a folder"):
        open_source(dicom_root=tmp_path / "nowhere")


def test_one_bad_nodule_fails_alone(nodule_folder: Callable[..., Path]):
    folder = nodule_folder(3)
    (folder / "n1_mask.nii.gz").unlink()
    source = open_source(datalist=folder)
    with pytest.raises(InputError, match=r"n1_mask\.nii\.gz is missing"):
        source[1]
    assert [source[k]["nodule_id"] for k in (0, 2)] == ["n0", "n2"]


def test_source_is_a_sequence_that_pickles_and_feeds_monai(nodule_folder: Callable[..., Path]):
    source = pickle.loads(pickle.dumps(open_source(datalist=nodule_folder(3))))
    assert [item["nodule_id"] for item in source] == source.ids
    assert source[-1]["nodule_id"] == "n2"
    assert source[1:].ids == ["n1", "n2"]
    with pytest.raises(IndexError):
        source[3]
    doubled = Dataset(source, Lambdad("image", lambda image: image * 2))[1]
    torch.testing.assert_close(doubled["image"], source[1]["image"] * 2)


def test_fingerprint_tells_a_changed_file_from_a_moved_one(nodule_folder: Callable[..., Path], tmp_path: Path):
    folder = nodule_folder(1)
    before = open_source(datalist=folder).fingerprint(0)
    assert json.loads(json.dumps(before)) == before
    shutil.copytree(folder, tmp_path / "moved")
    assert open_source(datalist=tmp_path / "moved").fingerprint(0) == before
    path = tmp_path / "moved" / "n0_mask.nii.gz"
    moved = open_source(datalist=tmp_path / "moved")
    path.write_bytes(path.read_bytes()[:-1] + b"\1")
    assert moved.fingerprint(0) != before
    path.unlink()
    assert moved.fingerprint(0) != before


def test_fingerprints_of_every_source_are_json_and_quick(dicom_root: Path, nodule_folder: Callable[..., Path]):
    for source in (open_source(dicom_root=dicom_root), open_source(datalist=nodule_folder(1)), open_source(limit=2)):
        start = time.perf_counter()
        prints = [source.fingerprint(k) for k in range(len(source))]
        assert time.perf_counter() - start < 0.05 * len(source) + 0.2
        assert json.loads(json.dumps(prints)) == prints
        assert len({json.dumps(p) for p in prints}) == len(prints)
    assert open_source(limit=1).fingerprint(0) != open_source(limit=1, seed=1).fingerprint(0)
    source = open_source(dicom_root=dicom_root)
    before = source.fingerprint(0)
    Path(source.entries[0]["files"][0]).unlink()
    assert source.fingerprint(0) != before


@pytest.mark.realdata
def test_real_sources(real_data: Path):
    source = open_source(dicom_root=real_data / "dicom", max_slice_thickness=2.5)
    assert source.ids == ["LIDC-IDRI-0001_nodule_0"]
    _check(source)
    source = open_source(datalist=real_data / "lidc_cohort")
    assert len(source) == 28
    _check(source[:4])
    with pytest.raises(InputError, match="holds no LIDC-IDRI series"):
        open_source(dicom_root=real_data / "dicom")


def test_a_number_beyond_the_nodules_is_told_and_ends_a_loop() -> None:
    source = open_source(phantom_count=1)
    with pytest.raises(InputError, match=r"there is no nodule 9: 1 phantom.* numbered from 0 to 0"):
        source[9]
    assert [item["nodule_id"] for item in source] == source.ids
