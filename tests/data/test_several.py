"""Several nodules in one mask of a datalist: each is a nodule of its own; a mask of one stays what it was."""

from __future__ import annotations

import csv
import json

import nibabel as nib
import numpy as np
import pytest
from helpers.configs import make_evaluation, make_study
from scipy import ndimage

from bundle.data import datalist_entries, open_source
from bundle.data.several import in_masks

AFFINE = np.diag([-0.7, -0.7, 1.0, 1.0])
CENTRES = {"a": (12, 14, 8), "b": (34, 14, 11), "c": (34, 36, 9)}


def balls(shape=(48, 48, 20)):
    grid = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)
    away = {n: np.linalg.norm((grid - c) * (0.7, 0.7, 1.0), axis=-1) for n, c in CENTRES.items()}
    return {name: away[name] < 4.5 for name in CENTRES}


def save(folder, name, labels, affine=AFFINE):
    rng = np.random.default_rng(0)
    hu = np.where(labels > 0, 40, -850) + rng.normal(0, 10, labels.shape)
    nib.save(nib.Nifti1Image(hu.astype(np.int16), affine), folder / f"{name}_image.nii.gz")
    nib.save(nib.Nifti1Image(labels.astype(np.uint16), affine), folder / f"{name}_mask.nii.gz")


def test_each_label_and_each_part_is_a_nodule_and_one_alone_stays(tmp_path):
    ball = balls()
    save(tmp_path, "one", 3 * ball["a"])
    save(tmp_path, "map", 300 * ball["a"] + 7 * (ball["b"] | ball["c"]))
    save(tmp_path, "two", 1 * (ball["a"] | ball["b"]))
    listed = datalist_entries(tmp_path)
    entries, notes = in_masks(listed)
    ids = ["map_label7_part1", "map_label7_part2", "map_label300", "one", "two_part1", "two_part2"]
    assert [entry["nodule_id"] for entry in entries] == ids
    assert entries[3] == listed[1]  # so its fingerprint is what it was
    assert len(notes) == 2
    source = open_source(datalist=tmp_path)
    assert (source.ids, source.notes) == (ids, notes)
    # the lowest part first: c begins at slice 5, b at 7
    for index, name in enumerate(["c", "b", "a", "a", "a", "b"]):
        item = source[index]
        np.testing.assert_array_equal(item["label"][0].numpy() > 0, ball[name])
        if index != 3:
            assert item["part_of"]["voxels"] == ball[name].sum()
            assert item["part_of"]["mm3"] == pytest.approx(ball[name].sum() * 0.49, abs=1e-3)
    assert "part_of" not in source[3]
    assert len({json.dumps(source.fingerprint(index)) for index in range(6)}) == 6


@pytest.mark.parametrize("turn", [((1, 0, 2), (1, 1, 1)), ((2, 0, 1), (-1, 1, -1)), ((0, 1, 2), (-1, -1, -1))])
def test_ids_do_not_depend_on_how_the_file_has_its_axes(tmp_path, turn):
    ball, (order, signs) = balls(), turn
    labels = 2 * ball["a"] + 5 * ball["b"] + 5 * ball["c"]
    lps = nib.orientations.io_orientation(AFFINE)
    wanted = np.array([[order[axis], signs[axis] * lps[axis, 1]] for axis in range(3)])
    change = nib.orientations.ornt_transform(lps, wanted)
    turned = nib.orientations.apply_orientation(labels, change)
    save(tmp_path, "n", turned, AFFINE @ nib.orientations.inv_ornt_aff(change, labels.shape))
    source = open_source(datalist=tmp_path)
    assert source.ids == ["n_label2", "n_label5_part1", "n_label5_part2"]
    for index, name in enumerate(["a", "c", "b"]):
        np.testing.assert_array_equal(source[index]["label"][0].numpy() > 0, ball[name])


def test_nodules_over_each_other_are_two_and_dust_is_one(tmp_path):
    over = np.zeros((48, 48, 20), int)
    over[20:26, 20:26, 2:6] = over[20:26, 20:26, 10:15] = 1
    save(tmp_path, "over", over)
    dust = np.zeros_like(over)
    dust[::3, ::3, ::4] = 1
    save(tmp_path, "dust", np.where(np.arange(20) % 4 == 0, dust, 0))
    source = open_source(datalist=tmp_path)
    assert source.ids == ["dust", "over_part1", "over_part2"]
    assert "is it a threshold of an image?" in source.notes[0]


def test_a_nodule_that_is_described_is_one_and_a_broken_mask_fails_alone(tmp_path):
    ball = balls()
    save(tmp_path, "n1", 1 * (ball["a"] | ball["b"]))
    save(tmp_path, "n2", 1 * ball["a"])
    (tmp_path / "n2_mask.nii.gz").write_bytes(b"no image")
    rows = [{"nodule_id": "n1", "mean_malignancy": 4.0, "mean_diameter_mm": 9.0}]
    (tmp_path / "index.json").write_text(json.dumps(rows))
    source = open_source(datalist=tmp_path)
    assert source.ids == ["n1", "n2"]
    assert "described as one nodule" in source.notes[0]
    np.testing.assert_array_equal(source[0]["label"][0].numpy() > 0, ball["a"] | ball["b"])
    save(tmp_path, "n1", 1 * ball["a"] + 2 * ball["b"])
    source = open_source(datalist=tmp_path)
    assert source.ids == ["n1_label1", "n1_label2", "n2"]
    assert source[0]["ratings"] == {}
    assert "none of theirs" in source.notes[0]


def test_a_limit_opens_no_more_masks_than_it_needs(tmp_path):
    ball = balls()
    for name in ("n1", "n2", "n3"):
        save(tmp_path, name, 1 * ball["a"] + 2 * ball["b"])
    (tmp_path / "n3_mask.nii.gz").unlink()
    source = open_source(datalist=tmp_path, limit=3)
    assert source.ids == ["n1_label1", "n1_label2", "n2_label1"]


def test_the_study_carries_each_as_if_it_were_alone_and_answers_with_its_value(tmp_path):
    ball = balls()
    together, alone = tmp_path / "together", tmp_path / "alone"
    together.mkdir()
    alone.mkdir()
    labels = 4 * ball["a"] + 9 * ball["b"]
    save(together, "n", labels)
    hu = (together / "n_image.nii.gz").read_bytes()
    for value in (4, 9):
        save(alone, f"n_label{value}", 1 * (labels == value))
        (alone / f"n_label{value}_image.nii.gz").write_bytes(hu)
    rows = {}
    for folder in (together, alone):
        make_study(folder, folder / "out", ["linear", "morphological"], stride=3).run()
        with (folder / "out" / "metrics.csv").open(encoding="utf-8") as file:
            rows[folder.name] = list(csv.reader(file))
    assert rows["together"] == rows["alone"]
    for value in (4, 9):
        for part in ("truth/mask", "morphological/mask", "linear/mask_-400HU"):
            path = f"out/nodules/n_label{value}/{part}.nii.gz"
            own, other = (np.asarray(nib.load(folder / path).dataobj) for folder in (together, alone))
            np.testing.assert_array_equal(own, other * value)
        assert ndimage.label(own)[1] == 1
        facts = json.loads((together / f"out/nodules/n_label{value}/truth/result.json").read_text())
        assert facts["part_of"]["label"] == value
        assert facts["part_of"]["voxels"] == (labels == value).sum()


def test_one_image_of_all_nodules_is_measured_around_each(tmp_path):
    ball = balls()
    save(tmp_path, "n", 4 * ball["a"] + 9 * ball["b"])
    (tmp_path / "rec" / "ours").mkdir(parents=True)
    (tmp_path / "n_image.nii.gz").rename(tmp_path / "rec" / "ours" / "n.nii.gz")
    save(tmp_path, "n", 4 * ball["a"] + 9 * ball["b"])
    make_evaluation(tmp_path, tmp_path / "rec", tmp_path / "out").run()
    with (tmp_path / "out" / "metrics.csv").open(encoding="utf-8") as file:
        mae = {row["nodule_id"]: float(row["value"]) for row in csv.DictReader(file) if row["metric"] == "mae"}
    assert mae == {"n_label4": 0, "n_label9": 0}
