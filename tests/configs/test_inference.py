"""configs/inference.json: a dense volume from anyone's CT, by the command that users run."""

import csv
import json
import subprocess
import sys

import nibabel as nib
import numpy as np
import pytest
from helpers.configs import AFFINE, mistake_in, run_config, save
from helpers.nodules import ROOT, small_nodule
from helpers.synthetic_dicom import as_a_viewer, write_series
from monai.bundle import ConfigParser

from bundle.data import load_mask, load_volume, save_volume
from bundle.study.case import case_of, nodule_seed
from bundle.transforms import Decimate, to_unit

AFFINE[:3, 3] = 5, 6, -70


def infer(folder, **options):
    """Run the config in this process; the path of the volume it saved."""
    run_config(folder, **options)
    (made,) = (path for path in folder.glob("*.nii.gz") if "uncertainty" not in path.name)
    return made


def by_place(rows):
    """Rows of metrics by where and what they measure, threshold as text."""
    return {
        (r["slices"], r["region"], f"{float(r['threshold_hu'] or 0):g}", r["metric"]): float(r["value"]) for r in rows
    }


def test_the_command(tmp_path):
    hu, _ = small_nodule((20, 18, 6))
    hu[3, 3] = 1500  # metal, outside of the window
    command = [sys.executable, "-m", "monai.bundle", "run", "--config_file", "configs/inference.json"]
    command += ["--image", save(tmp_path / "thick.nii.gz", hu), "--output_dir", str(tmp_path / "out")]
    command += ["--dicom_output", str(tmp_path / "dicom"), "--method", "siren", "--epochs", "2", "--device", "cpu"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "siren: 100%" in done.stderr
    dense = nib.load(tmp_path / "out" / "thick_dense_siren.nii.gz")
    voxels = np.asarray(dense.dataobj)
    assert voxels.shape == (20, 18, 21)
    assert voxels.dtype == np.int16
    np.testing.assert_allclose(dense.affine @ [3, 4, 8, 1], AFFINE @ [3, 4, 2, 1], atol=1e-4)
    np.testing.assert_array_equal(voxels[..., ::4], hu)
    found, affine, _ = as_a_viewer(tmp_path / "dicom")
    np.testing.assert_array_equal(found, voxels)
    np.testing.assert_allclose(affine, dense.affine, atol=1e-4)


def test_uneven_dicom_to_nifti_and_dicom(tmp_path):
    z = [0, 2, 3, 7, 8]
    hu, _ = small_nodule((16, 14, 5))
    write_series(tmp_path / "scan", hu, z, spacing=(0.7, 0.7))
    made = infer(
        tmp_path / "out", image=str(tmp_path / "scan"), method="linear", slice_spacing=0.5, thickness_mm=0,
        dicom_output=str(tmp_path / "dicom"),
    )  # fmt: skip
    voxels = np.asarray(nib.load(made).dataobj)
    assert voxels.shape[2] == 17
    np.testing.assert_array_equal(voxels[..., [0, 4, 6, 14, 16]], hu)
    # half-way between 3 and 7 mm
    np.testing.assert_allclose(voxels[..., 10], hu[..., 2:4].mean(axis=-1), atol=0.51)
    found, affine, headers = as_a_viewer(tmp_path / "dicom")
    np.testing.assert_array_equal(found, voxels)
    np.testing.assert_allclose(affine, nib.load(made).affine, atol=1e-4)
    assert headers[0].PatientID == "LIDC-IDRI-9999"
    assert "5 slices 1 to 4 mm apart" in headers[0].DerivationDescription


@pytest.mark.parametrize("unit", ["mm", "voxel"])
def test_region_around_a_center(tmp_path, unit):
    hu, _ = small_nodule((40, 36, 12))
    voxel = [12, 20, 5]
    center = voxel if unit == "voxel" else (AFFINE @ [*voxel, 1])[:3].tolist()
    made = nib.load(
        infer(
            tmp_path / "out", image=save(tmp_path / "scan.nii.gz", hu), center=center, center_unit=unit,
            size_mm=[8, 8, 6], method="nearest", slice_spacing=1.0,
        )
    )  # fmt: skip
    assert made.shape == (17, 17, 9)  # 4 to 20, 12 to 28; slices 3 to 7, which is 8 mm
    np.testing.assert_array_equal(np.asarray(made.dataobj)[..., ::2], hu[4:21, 12:29, 3:8])
    np.testing.assert_allclose(made.affine @ [8, 8, 4, 1], AFFINE @ [*voxel, 1], atol=1e-4)


def test_a_mask_gives_the_region_and_is_carried_by_mask_methods(tmp_path):
    hu, mask = small_nodule((40, 36, 12))
    files = {"image": save(tmp_path / "scan.nii.gz", hu), "mask": save(tmp_path / "mask.nii.gz", mask)}
    image = nib.load(infer(tmp_path / "a", **files, margin_mm=2.0, slice_spacing=1.0))
    made = nib.load(infer(tmp_path / "b", **files, margin_mm=2.0, slice_spacing=1.0, method="signed_distance"))
    assert image.shape == made.shape
    assert image.shape[0] < 40
    assert made.get_data_dtype() == np.uint8
    start = np.rint(np.linalg.inv(AFFINE) @ made.affine @ [0, 0, 0, 1])[:3].astype(int)
    carried = np.asarray(made.dataobj)[..., ::2]
    where = tuple(slice(s, s + n) for s, n in zip(start, carried.shape, strict=True))
    np.testing.assert_array_equal(carried, mask[where])
    assert carried.sum() == mask.sum()


def test_the_profile_is_an_option(tmp_path):
    hu, _ = small_nodule((12, 10, 5))
    made = infer(
        tmp_path / "out", image=save(tmp_path / "scan.nii.gz", hu), method="siren", epochs=1, profile_mm=2.0
    )  # fmt: skip
    voxels = np.asarray(nib.load(made).dataobj)
    assert voxels.shape == (12, 10, 17)
    assert not np.array_equal(voxels[..., 0], hu[..., 0])  # a thick slice is no thin one


def test_values_beyond_the_scanner_are_told_and_left(tmp_path, caplog):
    hu, _ = small_nodule((16, 14, 6))
    caplog.set_level("INFO")
    hu[4:6, 4:6, 2] = 3071  # metal in one slice alone, which is an average of thin ones
    options = {"image": save(tmp_path / "thick.nii.gz", hu), "thickness_mm": 4.0, "method": "linear"}
    voxels = np.asarray(nib.load(infer(tmp_path / "out", **options)).dataobj)
    told = f"values of up to {voxels.max()} HU: more than the scan and a scanner of 12 bits have"
    assert voxels.max() > 3071
    assert told in caplog.text
    (record,) = (tmp_path / "out").glob("*_dense_linear.json")
    assert any(note.startswith(told) for note in json.loads(record.read_text())["notes"])
    assert told in next((tmp_path / "out").glob("*preview.html")).read_text()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"image": "absent.nii.gz"}, "absent.nii.gz does not exist: name a scan with --image"),
        ({"dataset_dir": "docs"}, "docs"),
        ({"image": "FLAT"}, "has 2 axes"),
        ({"image": "ONE"}, "holds 1 observed slice"),
        ({"image": "THICK", "method": "cubc"}, "did you mean 'cubic'?"),
        ({"image": "THICK", "method": "siren", "epochs": 0}, "epochs is 0, expected a whole number"),
        ({"image": "THICK", "method": "siren", "profile_mm": -2}, "profile_mm is -2"),
        ({"image": "THICK", "slice_spacing": -1.0}, "slice_spacing is -1"),
        ({"image": "THICK", "center": [500, 0, 0]}, "outside of the image"),
        ({"image": "THICK", "center": [0, 0], "center_unit": "voxel"}, "expected three numbers"),
        ({"image": "THICK", "mask": "OTHER"}, "give a mask that was drawn on this image"),
        ({"image": "THICK", "mask": "LINE", "margin_mm": 0}, "holds 1 observed slice"),
        ({"image": "THICK", "mask": "absent.nii.gz"}, "absent.nii.gz is missing: expected the mask in it"),
        ({"image": "THICK", "method": "morphological"}, "there is none: give one by --mask"),
        ({"image": "THICK", "dicom_output": "FULL"}, "holds files already"),
        ({"image": "THICK", "positions": [1, 2]}, "must be 6 ascending numbers"),
        ({"image": "THICK", "inferer#tile": "nix"}, "--tile is 'nix', expected a whole number, 1 or more"),
        ({"image": "THICK", "inferer#overlap": -1}, "--overlap is -1, expected a whole number, 0 or more"),
    ],
)
def test_a_mistake_ends_with_one_sentence(tmp_path, caplog, options, sentence):
    hu, _ = small_nodule((20, 18, 6))
    line = np.zeros(hu.shape, np.uint8)
    line[5:9, 5, 3] = 1
    files = {"THICK": (hu, AFFINE), "FLAT": (hu[..., 0], AFFINE), "ONE": (hu[..., :1], AFFINE)}
    files |= {"LINE": (line, AFFINE), "OTHER": (line, np.eye(4))}
    for name, (voxels, affine) in files.items():
        save(tmp_path / f"{name}.nii.gz", voxels, affine)
    write_series(tmp_path / "TWO", hu[..., :3], [0, 1, 2])
    for path in write_series(tmp_path / "b", hu[..., :3], [5, 6, 7], series_uid="1.2.3"):
        path.rename(tmp_path / "TWO" / f"b{path.name}")
    paths = {name: str(tmp_path / f"{name}.nii.gz") for name in files} | {
        "TWO": str(tmp_path / "TWO"),
        "FULL": str(tmp_path / "TWO"),
    }
    options = {k: paths.get(v, v) if isinstance(v, str) else v for k, v in options.items()}
    assert sentence in mistake_in(infer, tmp_path / "out", **options)
    assert "terminating due to exception" not in caplog.text
    assert not list((tmp_path / "out").glob("*"))


@pytest.mark.realdata
def test_it_equals_the_study_on_a_real_crop(tmp_path, real_data):
    """4 of 5 slices removed: within the study's window of HU every figure is the study's own.

    The crop is taken whole, which leaves 4 slices beyond the last observed one, and up to slice 41, which is observed.
    A fit's coordinates span all of the crop: it is the same only in the second, where the dense volume is all of it.
    """
    name, methods = "RIDER_PE_0117_blob_4", ["nearest", "linear", "cubic", "pchip", "siren"]
    mask = nib.load(real_data / "full_context" / f"{name}_automask.nii.gz")
    x, y, _ = np.nonzero(np.asarray(mask.dataobj))
    part = np.s_[max(x.min() - 6, 0) : x.max() + 7, max(y.min() - 6, 0) : y.max() + 7]  # all slices, but quicker
    for kind, image in (("image", nib.load(real_data / "full_context" / f"{name}.nii.gz")), ("mask", mask)):
        for slices in (41, 45):
            voxels = np.asarray(image.dataobj)[part][..., :slices]
            save_volume(tmp_path / f"n{slices}_{kind}.nii.gz", voxels, image.affine)
    study = ConfigParser()
    study.read_config(ROOT / "configs" / "study.json")
    study.update({"bundle_root": str(ROOT), "datalist": str(tmp_path), "output_dir": str(tmp_path / "study")})
    study.update({"methods": methods, "epochs": 2, "margin_mm": None, "workers": 1, "device": "cpu"})
    study.get_parsed_content("run")
    with (tmp_path / "study" / "metrics.csv").open() as file:
        table = list(csv.DictReader(file))
    for item in study.get_parsed_content("source"):
        case = case_of(item, Decimate())
        folder = tmp_path / "study" / "nodules" / case.nodule_id
        for method in methods[: 4 if case.nodule_id == "n45" else 5]:
            wanted = by_place(r for r in table if (r["nodule_id"], r["method"]) == (case.nodule_id, method))
            found, made = dense_figures(tmp_path / case.nodule_id / method, case, folder, method, study)
            assert found.keys() == wanted.keys()
            places = [
                k for k in found if k[0] in ({"interpolated"} if case.nodule_id == "n45" else {"unobserved", "all"})
            ]
            assert len(places) >= 18
            for place in places:
                assert found[place] == pytest.approx(wanted[place], rel=1e-5, abs=1e-6, nan_ok=True), (method, place)
            theirs = nib.load(folder / method / "image.nii.gz")
            np.testing.assert_allclose(made.affine, theirs.affine, atol=1e-4)
            voxels, theirs = np.asarray(made.dataobj).clip(-1000, 400), np.asarray(theirs.dataobj)[..., :41]
            # whole HU; single precision may round a half the other way
            between = np.arange(41) % 5 > 0
            assert np.abs(voxels.astype(int) - theirs)[..., between].max() <= 1
            assert (voxels != theirs)[..., between].mean() < 1e-3
            np.testing.assert_array_equal(voxels[..., ::5], case.truth_hu[..., :41:5].clip(-1000, 400))


def dense_figures(output, case, folder, method, study):
    """Figures of the dense volume of a case's observed slices, by the study's evaluator, and the volume saved."""
    sparse = nib.load(folder / "truth" / "observed.nii.gz")
    options = {"method": method, "epochs": 2, "slice_spacing": case.spacing[2]}
    options["seed"] = nodule_seed(0, case.nodule_id, method)
    options["inferer#rounded"] = False  # the study measures fractions of a HU
    output.mkdir(parents=True)
    image = save(output.parent / "thick.nii.gz", np.asarray(sparse.dataobj).clip(-1000, 400), sparse.affine)
    parser = run_config(output, image=image, **options)
    dense = parser.get_parsed_content("evaluator").state.output[0]["pred"][0].numpy()
    # slices beyond the last observed one have no part in the figures
    full = np.pad(dense, [(0, 0), (0, 0), (0, case.mask.shape[2] - dense.shape[2])]).astype(float)
    rows = study.get_parsed_content("metrics").rows(case.truth, to_unit(full))
    return by_place(rows), nib.load(output / f"thick_dense_{method}.nii.gz")


def test_a_mask_as_dicom_lies_on_a_series_of_its_own(tmp_path):
    pytest.importorskip("highdicom", reason="needs the extra outlines", exc_type=ImportError)
    hu, mask = small_nodule((30, 26, 8))
    labels = mask * np.where(np.arange(30) < 15, 1, 4)[:, None, None]
    write_series(tmp_path / "scan", hu, np.arange(8) * 2.0)
    affine = np.diag([-0.7, -0.8, 2.0, 1.0])
    affine[:2, 3] = 50, 40
    options = {"image": str(tmp_path / "scan"), "mask": save(tmp_path / "mask.nii.gz", labels.astype(np.uint8), affine)}
    options |= {"slice_spacing": 1.0, "margin_mm": 4.0}
    made = infer(tmp_path / "out", **options, method="signed_distance", dicom_output=str(tmp_path / "dicom"))
    volume = load_volume(tmp_path / "dicom")
    found = load_mask(tmp_path / "dicom" / "segmentation.dcm", volume, "all")
    saved = np.asarray(nib.load(made).dataobj)
    np.testing.assert_array_equal(np.array([0, 1, 4])[found[0].numpy().astype(int)], saved)
    image = infer(tmp_path / "image", **options, method="pchip")
    np.testing.assert_array_equal(np.asarray(nib.load(image).dataobj), volume[0].numpy())
    record = json.loads(made.with_suffix("").with_suffix(".json").read_text(encoding="utf-8"))
    assert [(row["label"], row["part"]) for row in record["nodules"]] == [(1, 1), (4, 1)]
    again = infer(tmp_path / "again", image=str(tmp_path / "dicom"), mask=str(tmp_path / "dicom" / "segmentation.dcm"),
                  segment="Nodule 4", method="linear", margin_mm=0.0)  # fmt: skip
    assert nib.load(again).shape[0] < saved.shape[0]


@pytest.mark.parametrize(("spacing", "chosen"), [(2.0, "prior"), (20.0, "pchip")])
def test_auto_takes_prior_within_what_it_was_trained_on_and_says_so(tmp_path, spacing, chosen):
    hu, _ = small_nodule((20, 18, 6))
    path = save(tmp_path / "a.nii.gz", hu, np.diag([-0.7, -0.7, spacing, 1.0]))
    made = infer(tmp_path / "out", image=path, slice_spacing=spacing / 2)
    record = json.loads((tmp_path / "out" / "a_dense_auto.json").read_text(encoding="utf-8"))
    assert record["method"] == chosen
    assert any(note.startswith(f"auto chose {chosen}: ") for note in record["notes"])
    same = infer(tmp_path / "named", image=path, slice_spacing=spacing / 2, method=chosen)
    np.testing.assert_array_equal(np.asarray(nib.load(made).dataobj), np.asarray(nib.load(same).dataobj))


def test_the_thickness_of_dicom_reaches_the_method(tmp_path):
    hu, _ = small_nodule((12, 10, 5))
    write_series(tmp_path / "scan", hu, np.arange(5) * 2.0, thickness=2.0)
    options = {"image": str(tmp_path / "scan"), "method": "kriging", "slice_spacing": 1.0}
    volumes = {
        thickness: np.asarray(nib.load(infer(tmp_path / str(thickness), **options, thickness_mm=thickness)).dataobj)
        for thickness in (None, 2.0, 0)
    }
    np.testing.assert_array_equal(volumes[None], volumes[2.0])
    assert not np.array_equal(volumes[None], volumes[0])
