"""Scans made dense by workers of Dask that see neither the scans nor the output folder."""

import json
import shutil

import numpy as np
import pytest
from helpers.configs import run_config
from helpers.dask_machines import dask_machines
from helpers.nodules import ROOT, small_nodule
from helpers.synthetic_dicom import write_series

pytest.importorskip("distributed")

from bundle.data.formats import image_files, read_image, write_image
from bundle.data.volume import load_volume
from bundle.inferers.dense.sent import SentScans

AFFINE = np.diag([-0.7, -0.7, 4.0, 1.0])
HU, INSIDE = small_nodule((20, 18, 6))


@pytest.fixture(scope="module")
def machines(tmp_path_factory):
    with dask_machines(tmp_path_factory.mktemp("dask"), workers=3) as made:
        yield made


@pytest.fixture
def scans(tmp_path, monkeypatch):
    """Scans of several formats, by names that mean something in this process's folder alone."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "in"
    write_image(folder / "a.nii.gz", HU, AFFINE)
    write_image(folder / "b.mhd", HU + 1, AFFINE)
    write_series(folder / "patient" / "CT", HU + 2, np.arange(6) * 4.0)
    (folder / "bad.nii.gz").write_bytes(b"nothing")
    shutil.copy(ROOT / "models" / "model.pt", tmp_path / "weights.pt")
    shutil.copy(ROOT / "configs" / "uncertainty.json", tmp_path / "errors.json")
    return tmp_path


def made_in(folder):
    """All files of a folder's results but their pictures, and the records without the time they took."""
    files, records = {}, {}
    for path in folder.iterdir():
        if path.suffix == ".json" and path.stem.endswith("_dense_" + path.stem.rsplit("_", 1)[-1]):
            records[path.name] = json.loads(path.read_text(encoding="utf-8"))
            del records[path.name]["seconds"]
        elif path.name == "failures.csv" or path.name.endswith((".nii.gz", "_measurements.json")):
            files[path.name] = path.read_bytes()
    return files, records


def test_results_are_those_of_this_process_also_when_a_worker_is_killed(machines, scans, caplog, capsys):
    ours = {"_target_": "helpers.deadly.DiesOnce", "_mode_": "callable", "mark": str(scans / "mark")}
    ours |= {"network": "@network_def", "weights": "@weights"}
    options = {"image": "in", "weights": "weights.pt", "calibration": "errors.json", "method": "ours"}
    options |= {"inferers#ours": ours, "center": [10, 9, 2], "center_unit": "voxel", "size_mm": 9.0}
    options["dicom_output"] = "dicom"
    sent = {"cluster": machines.address, "shared_folder": False}
    run_config("there", **options, **sent)
    assert "is gone; what it had in hand is given to another one" in capsys.readouterr().err
    assert caplog.text.count("in/bad.nii.gz") == 1, "a scan that is left out is named once"
    (scans / "dicom").rename("dicom_there")
    run_config("here", **options)
    assert made_in(scans / "there") == made_in(scans / "here")
    files, records = made_in(scans / "there")
    assert len(records) == 3
    assert sum(name.endswith("_uncertainty.nii.gz") for name in files) == 3
    for name in records:
        one, other = (load_volume(scans / folder / name[: -len(".json")]) for folder in ("dicom", "dicom_there"))
        assert np.array_equal(one, other)
        page = (scans / "there" / f"{name[:-5]}_preview.html").read_text(encoding="utf-8")
        assert "/scans-" not in page, "no place of a worker is named"
    assert list(machines.folder.rglob("scans-*/options/weights/weights.pt")), "a worker keeps to its own folder"
    assert not [path for path in scans.rglob(".*") if path.name != ".lock"]
    stamps = {path: path.stat().st_mtime_ns for path in (scans / "there").glob("*.nii.gz")}
    run_config("there", **options, **sent)
    assert {path: path.stat().st_mtime_ns for path in stamps} == stamps, "what is there is not made again"


def test_a_mask_is_sent_too(machines, scans):
    shutil.rmtree(scans / "in" / "patient")
    write_image(scans / "mask.nrrd", INSIDE.astype(np.uint8), AFFINE)
    options = {"image": "in", "mask": "mask.nrrd", "method": "linear", "margin_mm": 2.0, "preview": False}
    run_config("there", **options, cluster=machines.address, shared_folder=False)
    run_config("here", **options)
    assert made_in(scans / "there") == made_in(scans / "here")
    assert {f"{name}_dense_linear_measurements.json" for name in "ab"} < made_in(scans / "there")[0].keys()


def test_which_files_an_image_consists_of(tmp_path):
    for name in ("a.nii", "b.mha", "c.nrrd"):
        write_image(tmp_path / name, HU, AFFINE)
        assert image_files(tmp_path / name) == [tmp_path / name]
    for name in ("d.mhd", "e.nhdr"):
        write_image(tmp_path / name, HU, AFFINE)
        files = image_files(tmp_path / name)
        assert len(files) == 2
        for file in files:
            (tmp_path / "copy").mkdir(exist_ok=True)
            shutil.copy(file, tmp_path / "copy")
        assert np.array_equal(read_image(tmp_path / "copy" / name).voxels, HU)
        files[1].unlink()
        assert image_files(tmp_path / name) == [], "then this process tells what is wrong"
    work = SentScans({}, [{"image": str(tmp_path / "d.mhd"), "name": "d"}])
    work.made.append(type("Run", (), {"plan": staticmethod(lambda scan: type("P", (), {"record": None, "name": "d"}))}))
    assert work.sent(0) is None
