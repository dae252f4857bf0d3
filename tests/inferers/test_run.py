"""Many scans: every place that scans lie at, names apart, a bad one passed over, a stopped run taken up again."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
from helpers.configs import mistake_in, run_config, save
from helpers.nodules import ROOT, small_nodule
from helpers.synthetic_dicom import write_series
from monai.bundle import ConfigParser

from bundle.data import find_scans
from bundle.data.formats import read_image, write_image
from bundle.errors import InputError
from bundle.inferers.dense.run import COLUMNS

AFFINE = np.diag([-0.7, -0.7, 4.0, 1.0])
HU, _ = small_nodule((20, 18, 6))


def run(output, **options):
    parser = ConfigParser()
    parser.read_config(ROOT / "configs" / "inference.json")
    parser.update({"bundle_root": str(ROOT), "output_dir": str(output), "device": "cpu", "method": "linear", **options})
    parser.get_parsed_content("initialize")
    parser.get_parsed_content("run")


def names(item, split=False):
    return [one["name"] for one in find_scans(item, ".", split=split)]


def rows(path):
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def mixed(tmp_path):
    """Image files of one name, two patients' CT folders, two series in one folder, things that are no scans."""
    root = tmp_path / "in"
    root.mkdir()
    write_image(root / "a.nii", HU, AFFINE)
    write_image(root / "a.nii.gz", HU + 1, AFFINE)
    write_image(root / "b.nrrd", HU + 2, AFFINE)
    (root / "._a.nii.gz").write_bytes(b"\0\5\26\7")
    write_image(root / "b_dense_linear.nii.gz", HU, AFFINE)
    (root / "notes.txt").write_text("none")
    for k in (1, 2):
        write_series(root / f"patient{k}" / "CT", HU[..., :3] + k, [0, 4, 8], series_uid=f"1.2.{k}")
    for k in (3, 4):
        for path in write_series(root / "tmp", HU[..., :3] + k, [0, 4, 8], series_uid=f"1.2.{k}"):
            (root / "both").mkdir(exist_ok=True)
            path.rename(root / "both" / f"{k}{path.name}")
    shutil.rmtree(root / "tmp")
    return root


def test_every_scan_below_a_folder_has_a_name_of_its_own(mixed, tmp_path):
    expected = ["a", "a_2", "b", "both_3", "both_4", "patient1_CT", "patient2_CT"]
    assert sorted(names(mixed)) == expected
    assert names(mixed / "a.nii.gz") == ["a"]
    assert names(mixed / "patient1" / "CT") == ["CT"]
    archive = shutil.make_archive(str(tmp_path / "all"), "zip", mixed)
    assert sorted(names(archive)) == expected
    (tmp_path / "empty").mkdir()
    assert find_scans(None, tmp_path / "empty") == [{"image": str(tmp_path / "empty"), "name": "empty"}]
    (tmp_path / "bad.zip").write_bytes(b"PK\3\4nothing")
    with pytest.raises(InputError, match=r"bad\.zip can't be unpacked"):
        find_scans(tmp_path / "bad.zip", ".")


@pytest.mark.parametrize("method", ["linear", "prior"])
def test_scans_are_the_same_on_two_processes(tmp_path, method):
    (tmp_path / "in").mkdir()
    for k in range(3):
        write_image(tmp_path / "in" / f"s{k}.nii.gz", HU[..., : 3 + k] + k, AFFINE)
    (tmp_path / "in" / "bad.nii.gz").write_bytes(b"nothing")
    for name, workers in (("one", 1), ("two", 2)):
        run(tmp_path / name, image=str(tmp_path / "in"), method=method, workers=workers, preview=False)
    results = sorted(path.name for path in (tmp_path / "one").glob("*.nii.gz"))
    assert len(results) >= 3
    for name in results:
        one, two = (read_image(tmp_path / folder / name)[0] for folder in ("one", "two"))
        assert np.array_equal(one, two)
    told = [(tmp_path / name / "failures.csv").read_text(encoding="utf-8") for name in ("one", "two")]
    assert told[0] == told[1]
    assert "bad.nii.gz" in told[0]
    inputs = [[row["input"] for row in rows(tmp_path / name / "results.csv")] for name in ("one", "two")]
    assert inputs[0] == inputs[1]


def test_a_zip_can_write_nowhere_else(tmp_path):
    with zipfile.ZipFile(tmp_path / "evil.zip", "w") as archive:
        archive.writestr("../../escaped.nii", b"x")
    (scan,) = find_scans(tmp_path / "evil.zip", ".")
    assert not list(tmp_path.parent.glob("escaped*"))
    assert scan["image"].endswith("escaped.nii")


def test_copies_of_a_series_are_one_scan(tmp_path):
    write_series(tmp_path / "a", HU, np.arange(6) * 4.0)
    shutil.copytree(tmp_path / "a", tmp_path / "backup")
    (scan,) = find_scans(tmp_path, ".")
    assert scan["image"].copies == 6
    assert len({path.name for path in scan["image"].files}) == len(scan["image"].files) == 6


def test_many_scans_go_on_after_a_bad_one(mixed, tmp_path, capsys):
    (mixed / "cut.nii.gz").write_bytes((mixed / "a.nii.gz").read_bytes()[:200])
    out = tmp_path / "out"
    run(out, image=str(mixed), slice_spacing=2.0, dicom_output=str(tmp_path / "dicom"), output_format=".mha")
    made = rows(out / "results.csv")
    assert tuple(made[0]) == COLUMNS
    assert len(made) == 7
    for row in made:
        voxels, affine, _ = read_image(out / row["output"])
        assert abs(affine[2, 2]) == pytest.approx(2)
        record = json.loads((out / row["output"]).with_suffix(".json").read_text(encoding="utf-8"))
        assert len(list(Path(record["dicom"]).iterdir())) == voxels.shape[2]
    voxels = {row["output"]: read_image(out / row["output"]).voxels for row in made}
    np.testing.assert_array_equal(voxels["a_dense_linear.mha"][..., ::2], HU)
    np.testing.assert_array_equal(voxels["a_2_dense_linear.mha"][..., ::2], HU + 1)
    np.testing.assert_array_equal(voxels["patient2_CT_dense_linear.mha"][..., ::2], (HU[..., :3] + 2))
    (failed,) = rows(out / "failures.csv")
    assert failed["input"].endswith("cut.nii.gz")
    assert "copy it again" in failed["reason"]
    assert "scans:" in capsys.readouterr().err


def test_a_file_that_changed_is_seen_whatever_its_size_and_time_and_one_that_was_touched_is_not(mixed, tmp_path):
    scan, out = mixed / "a.nii", tmp_path / "out"
    write_image(scan, HU, AFFINE)
    run(out, image=str(scan))
    (made,) = out.glob("*.nii.gz")
    first, times = made.stat().st_mtime_ns, os.stat(scan)
    os.utime(scan, ns=(0, 0))
    run(out, image=str(scan))
    assert made.stat().st_mtime_ns == first
    write_image(scan, HU + 1, AFFINE)
    os.utime(scan, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert os.stat(scan).st_size == times.st_size
    run(out, image=str(scan))
    np.testing.assert_array_equal(read_image(made).voxels[..., 0], HU[..., 0] + 1)


def test_an_archive_is_the_same_scans_when_it_is_unpacked_again(mixed, tmp_path, caplog):
    archive, out = shutil.make_archive(str(tmp_path / "all"), "zip", mixed / "both"), tmp_path / "out"
    run(out, image=archive)
    first = {path: path.stat().st_mtime_ns for path in out.glob("*.nii.gz")}
    with caplog.at_level("INFO"):
        run(out, image=archive)
    assert {path: path.stat().st_mtime_ns for path in out.glob("*.nii.gz")} == first
    assert caplog.text.count("is there already") == len(first) == 2
    assert rows(out / "results.csv")[0]["input"].startswith(archive)


def test_a_change_of_a_file_that_an_option_names_is_seen(mixed, tmp_path):
    calibration, out = tmp_path / "ours.json", tmp_path / "out"
    shutil.copy(ROOT / "configs" / "uncertainty.json", calibration)
    run(out, image=str(mixed / "a.nii.gz"), calibration=str(calibration))
    (made,) = out.glob("*.nii.gz")
    first = made.stat().st_mtime_ns
    run(out, image=str(mixed / "a.nii.gz"), calibration=str(calibration))
    assert made.stat().st_mtime_ns == first
    calibration.write_text(calibration.read_text() + "\n")
    run(out, image=str(mixed / "a.nii.gz"), calibration=str(calibration))
    assert made.stat().st_mtime_ns > first


def test_a_second_run_computes_only_what_is_not_there_or_damaged(mixed, tmp_path, caplog):
    out = tmp_path / "out"
    run(out, image=str(mixed / "both"))
    first = {path: path.stat().st_mtime_ns for path in out.glob("*.nii.gz")}
    (gone, kept) = sorted(first)
    gone.unlink()
    run(out, image=str(mixed / "both"))
    assert kept.stat().st_mtime_ns == first[kept]
    whole = gone.read_bytes()
    gone.write_bytes(whole[: len(whole) // 2])
    run(out, image=str(mixed / "both"))
    assert len(gone.read_bytes()) == len(whole)
    assert "was damaged, changed or moved: it is made anew" in caplog.text
    assert kept.stat().st_mtime_ns == first[kept]
    caplog.clear()
    with caplog.at_level("INFO"):
        run(out, image=str(mixed / "both"), slice_spacing=2.0)
    assert len(list(out.glob("*.nii.gz"))) == 2
    assert read_image(kept).voxels.shape[2] == 5
    assert caplog.text.count("made with other options or of another file: it is overwritten") == 2


def test_two_regions_and_two_files_of_one_name_do_not_overwrite_each_other(tmp_path):
    write_image(tmp_path / "1" / "a.nii.gz", HU, AFFINE)
    write_image(tmp_path / "2" / "a.nii.gz", HU + 5, AFFINE)
    out = tmp_path / "out"
    run(out, image=str(tmp_path / "1" / "a.nii.gz"), center=[4, 4, 1], center_unit="voxel", size_mm=5)
    run(out, image=str(tmp_path / "1" / "a.nii.gz"), center=[14, 14, 3], center_unit="voxel", size_mm=5)
    run(out, image=str(tmp_path / "2" / "a.nii.gz"), center=[14, 14, 3], center_unit="voxel", size_mm=5)
    made = [read_image(path).voxels for path in sorted(out.glob("*.nii.gz"))]
    assert len(made) == 3
    assert len({voxels.tobytes() for voxels in made}) == 3


@pytest.mark.parametrize("below", ["", "below"])
def test_an_output_folder_that_is_a_file_is_one_sentence(tmp_path, below):
    path = save(tmp_path / "a.nii.gz", np.zeros((6, 6, 4), np.int16) - 500)
    (tmp_path / "file").write_text("mine")
    said = mistake_in(run_config, tmp_path / "file" / below, image=path, method="linear", slice_spacing=0.5)
    assert "can't be written" in said
    assert (tmp_path / "file").read_text() == "mine"


def test_output_in_the_input_folder_is_no_input(tmp_path):
    write_image(tmp_path / "a.nii.gz", HU, AFFINE)
    for method in ("linear", "cubic", "linear"):
        run(tmp_path, image=None, dataset_dir=str(tmp_path), method=method)
    assert sorted(path.name for path in tmp_path.glob("*.nii.gz")) == [
        "a.nii.gz", "a_dense_cubic.nii.gz", "a_dense_linear.nii.gz",
    ]  # fmt: skip
    run(tmp_path / "out", image=str(tmp_path / "a.nii.gz"), dicom_output=str(tmp_path / "series"))
    assert len(list((tmp_path / "series").iterdir())) > 6
    assert names(tmp_path) == ["a"]
    assert names(tmp_path / "series") == ["series"]  # unless it is what was named


def test_the_only_scan_that_fails_ends_the_run_and_leaves_nothing(tmp_path):
    write_image(tmp_path / "a.nii.gz", HU * 0, AFFINE)
    assert "all alike" in mistake_in(run, tmp_path / "out", image=str(tmp_path / "a.nii.gz"))
    assert not list((tmp_path / "out").glob("*"))


@pytest.mark.slow
def test_after_kill_9_each_result_is_whole_or_not_there_and_the_rest_follows(tmp_path):
    for k in range(12):
        noise = np.random.default_rng(k).integers(-900, 100, (160, 160, 8)).astype(np.int16)
        write_image(tmp_path / "in" / f"s{k:02}.nii.gz", noise, AFFINE)
    write_image(tmp_path / "in" / "s00b.nii.gz", HU * 0, AFFINE)  # no CT
    command = [sys.executable, "-m", "monai.bundle", "run", "--config_file", "configs/inference.json"]
    command += ["--image", str(tmp_path / "in"), "--output_dir", str(tmp_path / "out"), "--method", "linear"]
    command += ["--device", "cpu"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 200
    while len(list((tmp_path / "out").glob("s*.nii.gz"))) < 3 and time.monotonic() < deadline:
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    there = {path: path.read_bytes() for path in (tmp_path / "out").glob("s*.nii.gz")}
    assert 3 <= len(there) < 12
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=300)
    made = rows(tmp_path / "out" / "results.csv")
    assert [row["output"] for row in made] == [f"s{k:02}_dense_linear.nii.gz" for k in range(12)]
    failed = rows(tmp_path / "out" / "failures.csv")
    assert [Path(row["input"]).name for row in failed] == ["s00b.nii.gz"]
    assert not [path.name for path in (tmp_path / "out").rglob(".*") if path.name != ".lock"]
    fresh = tmp_path / "fresh"
    run(fresh, image=str(tmp_path / "in"))
    for row in made:
        path = tmp_path / "out" / row["output"]
        np.testing.assert_array_equal(read_image(path).voxels, read_image(fresh / row["output"]).voxels)
    for path, content in list(there.items())[:2]:
        assert path.read_bytes() == content
