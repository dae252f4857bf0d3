from __future__ import annotations

import dataclasses
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pydicom
import pytest
from helpers.lidc_series import cluster_of, series_around
from helpers.synthetic_dicom import write_series
from hypothesis import given
from hypothesis import strategies as st

from bundle.data.lidc.annotations import LidcCluster, candidate_series, consensus_mask
from bundle.data.lidc.nodules import MERGED_CLUSTER, LoadLidcNodule, lidc_entries, match_slices, odd_gaps
from bundle.errors import InputError


@pytest.fixture(scope="module")
def cluster() -> LidcCluster:
    return cluster_of("LIDC-IDRI-0314")


@pytest.fixture
def make_root(tmp_path: Path, cluster: LidcCluster) -> Callable[..., Path]:
    """Write the series of `cluster` under a folder name that says nothing."""

    def make(z_shift: float = 0.0, **kwargs: Any) -> Path:
        volume, z, _ = series_around(cluster)
        settings = {
            "series_uid": cluster.series_uid,
            "spacing": (cluster.pixel_spacing, cluster.pixel_spacing),
            "thickness": cluster.slice_thickness,
            "origin": (-170.0, -180.0),
            **kwargs,
        }
        write_series(tmp_path / "root" / "x", volume, [v + z_shift for v in z], **settings)
        return tmp_path / "root"

    return make


def test_mask_lies_on_the_voxels_the_readers_outlined(make_root: Callable[..., Path], cluster: LidcCluster):
    nodules = lidc_entries(make_root())
    assert [entry["nodule_id"] for entry in nodules.entries] == [cluster.nodule_id]
    assert nodules.absent == len(candidate_series()) - 1
    item = LoadLidcNodule()(nodules.entries[0])
    image, label = item["image"], item["label"]
    np.testing.assert_array_equal(image[0].numpy() == 40, label[0].numpy() == 1)
    assert label.sum() == consensus_mask(cluster.annotation_ids)[0].sum()
    assert item["source"] == "lidc"
    assert item["ratings"] == cluster.ratings
    assert item["slice_thickness"] == cluster.slice_thickness
    assert item["spacing"] == pytest.approx(cluster.spacing, abs=1e-4)
    # the affine puts each voxel where DICOM has it
    voxel = np.argwhere(label[0].numpy())[0]
    mask, origin = consensus_mask(cluster.annotation_ids)
    x, y, k = np.argwhere(mask)[0] + origin
    expected = [170 - x * cluster.pixel_spacing, 180 - y * cluster.pixel_spacing, cluster.slice_positions[k]]
    np.testing.assert_allclose((image.affine.numpy() @ [*voxel, 1])[:3], expected, atol=1e-3)


def test_margin_is_in_mm_and_ends_at_the_border(make_root: Callable[..., Path], cluster: LidcCluster):
    entry = lidc_entries(make_root()).entries[0]
    box = np.array(consensus_mask(cluster.annotation_ids)[0].shape)
    for margin in (0.0, 3.0, 20.0):
        shape = np.array(LoadLidcNodule(margin)(entry)["image"].shape[1:])
        pad = np.ceil(margin / np.array([cluster.pixel_spacing, cluster.pixel_spacing, cluster.slice_spacing]) - 1e-6)
        pad[2] = min(pad[2], 4)  # the series ends there
        np.testing.assert_array_equal(shape, box + 2 * pad)


def test_prone_scan_is_turned_to_lps(make_root: Callable[..., Path]):
    supine = LoadLidcNodule()(lidc_entries(make_root()).entries[0])
    prone = LoadLidcNodule()(lidc_entries(make_root(orientation=(-1, 0, 0, 0, -1, 0))).entries[0])
    np.testing.assert_array_equal(prone["image"].numpy(), supine["image"].numpy()[:, ::-1, ::-1])
    np.testing.assert_array_equal(prone["label"].numpy(), supine["label"].numpy()[:, ::-1, ::-1])
    steps = np.diag(prone["image"].affine.numpy())
    assert (np.sign(steps[:3]) == [-1, -1, 1]).all()


def test_series_elsewhere_in_z_is_refused(make_root: Callable[..., Path], cluster: LidcCluster):
    entry = lidc_entries(make_root(z_shift=0.4 * cluster.slice_spacing)).entries[0]
    with pytest.raises(InputError, match=f"{cluster.nodule_id} is outlined at z"):
        LoadLidcNodule()(entry)


def test_series_without_the_nodules_slices_is_refused(make_root: Callable[..., Path], cluster: LidcCluster):
    entry = lidc_entries(make_root()).entries[0]
    kept = sorted(
        entry["files"], key=lambda path: pydicom.dcmread(path, stop_before_pixels=True).ImagePositionPatient[2]
    )[:-6]
    with pytest.raises(InputError, match="no slice of its own"):
        LoadLidcNodule()({**entry, "files": kept})


def test_series_smaller_than_the_contours_is_refused(tmp_path: Path, cluster: LidcCluster):
    volume, z, _ = series_around(cluster)
    write_series(tmp_path / "x", volume[:100, :100], z, series_uid=cluster.series_uid)
    with pytest.raises(InputError, match="reach beyond"):
        LoadLidcNodule()(lidc_entries(tmp_path).entries[0])


@given(st.lists(st.sampled_from([1.0, 1.05, 0.5, 2.0]), min_size=4, max_size=12), st.data())
def test_slices_between_odd_gaps_and_a_nodule_are_counted(gaps, data):
    first = data.draw(st.integers(0, len(gaps) - 1))
    stop = data.draw(st.integers(first + 1, len(gaps) + 1))
    found = dict(zip(*map(np.ndarray.tolist, odd_gaps(np.cumsum([0.0, *gaps]), first, stop)), strict=True))
    nodule = set(range(first, stop))
    for k, gap in enumerate(gaps):
        assert (k in found) is bool(abs(gap - np.median(gaps)) > 0.1)
        if k in found:
            below, above = set(range(k + 1)), set(range(k + 1, len(gaps) + 1))
            side = above if nodule <= above else below if nodule <= below else None
            between = (
                -1
                if side is None
                else sum(min(k + 1, first) <= s < first or stop <= s <= max(k, stop - 1) for s in side)
            )
            assert found[k] == between


def test_an_odd_gap_far_from_the_nodule_does_not_matter_and_a_near_one_is_told(tmp_path: Path, cluster: LidcCluster):
    volume, z, first = series_around(cluster, beyond=16)
    settings = {"series_uid": cluster.series_uid, "spacing": (cluster.pixel_spacing,) * 2}
    entry = {"cluster": cluster, "nodule_id": cluster.nodule_id}

    def load(name: str, without: Any, entry: dict[str, Any]) -> dict[str, Any]:
        keep = np.delete(np.arange(len(z)), without)
        files = write_series(tmp_path / name, volume[..., keep], [z[k] for k in keep], **settings)
        return LoadLidcNodule()({**entry, "files": files})

    far, whole = load("far", 2, entry), load("whole", slice(0, 3), entry)
    for key in ("image", "label"):
        np.testing.assert_array_equal(far[key].numpy(), whole[key].numpy())
        np.testing.assert_allclose(far[key].affine.numpy(), whole[key].affine.numpy(), atol=1e-6)
    with pytest.raises(InputError, match=r"has slices 2\.00 mm apart at z = .*: download the series again"):
        load("near", 10, entry)
    z[10] += 0.4
    published = [*cluster.slice_positions[: first + 10], z[10], *cluster.slice_positions[first + 11 :]]
    own = {**entry, "cluster": dataclasses.replace(cluster, slice_positions=tuple(published))}
    with pytest.raises(InputError, match="the archive's own series is so, leave this nodule out"):
        load("archive", [], own)


def test_a_series_that_lies_there_twice_is_found_once(make_root: Callable[..., Path], tmp_path: Path):
    whole = lidc_entries(make_root()).entries[0]["files"]
    shutil.copytree(tmp_path / "root", tmp_path / "root" / "backup")
    assert len(lidc_entries(tmp_path / "root").entries[0]["files"]) == len(whole)
    other = next((tmp_path / "root" / "backup").rglob("*.dcm"))
    other.write_bytes(other.read_bytes() + b"\0")  # no copy: left in, for the loader to refuse
    assert len(lidc_entries(tmp_path / "root").entries[0]["files"]) == len(whole) + 1


def test_folder_named_as_the_series_with_another_modality_is_refused(tmp_path: Path, cluster: LidcCluster):
    volume, z, _ = series_around(cluster, beyond=1)
    folder = tmp_path / cluster.patient_id / "study" / cluster.series_uid
    write_series(folder, volume[:8, :8], z, series_uid=cluster.series_uid)
    edit = lambda k, ds: setattr(ds, "Modality", "SEG")  # noqa: E731
    write_series(tmp_path / "t", volume[:8, :8], z[:1], series_uid=cluster.series_uid, edit=edit)
    next((tmp_path / "t").iterdir()).rename(folder / "seg.dcm")
    with pytest.raises(InputError, match=r"seg\.dcm has modality SEG"):
        LoadLidcNodule()(lidc_entries(tmp_path).entries[0])


def test_nothing_found_is_refused_in_one_sentence(tmp_path: Path, make_root: Callable[..., Path]):
    with pytest.raises(InputError, match="holds no LIDC-IDRI series") as caught:
        lidc_entries(tmp_path)
    assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match="is not a folder"):
        lidc_entries(tmp_path / "nowhere")
    root = make_root()
    with pytest.raises(InputError, match=r"slice thickness <= 0\.1 mm"):
        lidc_entries(root, max_slice_thickness=0.1)
    with pytest.raises(InputError, match=r"malignancy > 4\.9"):
        lidc_entries(root, min_malignancy=4.9)


def test_merged_cluster_is_left_out_unless_asked_for(tmp_path: Path):
    patient = MERGED_CLUSTER.split("_")[0]
    uid = next(uid for uid, name in candidate_series().items() if name == patient)
    write_series(tmp_path, np.zeros((4, 4, 2), np.float32), [0, 1], series_uid=uid)
    names = [entry["nodule_id"] for entry in lidc_entries(tmp_path, exclude=()).entries]
    assert MERGED_CLUSTER in names
    if len(names) > 1:
        assert MERGED_CLUSTER not in [entry["nodule_id"] for entry in lidc_entries(tmp_path).entries]
    else:
        with pytest.raises(InputError):
            lidc_entries(tmp_path)


@given(st.integers(3, 40), st.floats(0.4, 3), st.data())
def test_match_slices_undoes_a_known_offset(n: int, step: float, data):
    z = -300 + np.arange(n) * step
    start = data.draw(st.integers(0, n - 1))
    count = data.draw(st.integers(1, n - start))
    jitter = data.draw(st.floats(-0.09, 0.09))
    assert match_slices(z[start : start + count] + jitter, z) == start


@pytest.mark.realdata
def test_real_series_gives_the_nodules_own_voxels(real_data: Path):
    nodules = lidc_entries(real_data / "dicom", max_slice_thickness=2.5)
    assert [entry["nodule_id"] for entry in nodules.entries] == ["LIDC-IDRI-0001_nodule_0"]
    item = LoadLidcNodule()(pickle.loads(pickle.dumps(nodules.entries[0])))
    file = nib.load(real_data / "full_context" / "LIDC-IDRI-0001_annot1_0.nii.gz")
    shift = np.rint((np.linalg.inv(item["image"].affine.numpy()) @ file.affine)[:3, 3]).astype(int)
    own = item["image"][0].numpy()
    theirs = np.asarray(file.dataobj)
    low, high = np.maximum(shift, 0), np.minimum(shift + theirs.shape, own.shape)
    assert np.prod(high - low) > 30_000
    inside = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    same = tuple(slice(a, b) for a, b in zip(low - shift, high - shift, strict=True))
    np.testing.assert_array_equal(own[inside], theirs[same])
