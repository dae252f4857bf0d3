"""Samples beside a dense volume: whole files, the same when a run is taken up again, and what is said of them."""

import csv
import json
import math

import nibabel as nib
import numpy as np
import pytest
from helpers.configs import make_evaluation, make_study, mistake_in, run_config, save
from helpers.nodules import small_nodule, write_nodule
from pydicom import dcmread

from bundle.inferers.learned.sample import NOTE
from bundle.study.samples import _intervals

AFFINE = np.diag([-0.7, -0.7, 4.0, 1.0])


@pytest.fixture
def scan(tmp_path):
    hu, mask = small_nodule((24, 22, 7))
    return save(tmp_path / "scan.nii.gz", hu, AFFINE), save(tmp_path / "mask.nii.gz", mask, AFFINE), hu


def voxels(path):
    return np.asarray(nib.load(path).dataobj).astype(float)


def test_samples_lie_beside_the_result_and_a_stopped_run_goes_on_with_the_same(scan, tmp_path):
    image, mask, _ = scan
    out, wanted = tmp_path / "out", {"image": image, "mask": mask, "method": "prior", "sample": 3, "slice_spacing": 1.0}
    run_config(out, **wanted)
    found = [voxels(out / f"scan_dense_prior_sample{k}.nii.gz") for k in (1, 2, 3)]
    dense, error = (voxels(out / f"scan_dense_prior{end}.nii.gz") for end in ("", "_uncertainty"))
    spread = np.abs(np.array(found) - dense).max(axis=0)
    assert not spread[error == 0].any()  # as observed
    assert (error[..., ::4] == 0).all()
    assert spread[error > 20].min() > 0
    told = json.loads((out / "scan_dense_prior_samples.json").read_text())
    assert told["note"] == NOTE
    (volume,) = told["volumes"].values()
    assert len(set(volume["mm3"])) > 1
    header = nib.load(out / "scan_dense_prior_sample2.nii.gz").header
    assert bytes(header["descrip"]).rstrip(b"\0") == f"sample 2 of 3: {told['note']}".encode()
    assert len(f"sample 100 of 100: {NOTE}") < 80  # what a header holds
    assert volume["interval_90"] is None  # of three
    assert told["measured"].startswith("above -400 HU in the mask and 3 mm around it")
    assert f"Beside it 3 samples, each {NOTE}." in (out / "scan_dense_prior_preview.html").read_text()
    # killed while the third was written
    (out / "scan_dense_prior_samples.json").unlink()
    (out / "scan_dense_prior_sample3.nii.gz").write_bytes(b"half")
    before = (out / "scan_dense_prior.nii.gz").stat().st_mtime_ns
    run_config(out, **wanted)
    for k, one in enumerate(found, start=1):
        np.testing.assert_array_equal(voxels(out / f"scan_dense_prior_sample{k}.nii.gz"), one)
    assert (out / "scan_dense_prior.nii.gz").stat().st_mtime_ns == before


def test_averages_of_thick_slices_hold_in_samples_too(scan, tmp_path):
    image, _, hu = scan
    run_config(tmp_path / "out", image=image, method="prior", sample=1, slice_spacing=1.0, thickness_mm=4.0,
               slice_profile="box", center=[0, 0, 0], size_mm=200.0, preview=False)  # fmt: skip
    made, dense = (voxels(tmp_path / "out" / f"scan_dense_prior{end}.nii.gz") for end in ("_sample1", ""))
    assert np.abs(made - dense).max() > 10
    weights = np.array([0.5, 1, 1, 1, 0.5]) / 4
    for k in range(1, 6):
        average = made[..., 4 * k - 2 : 4 * k + 3] @ weights
        assert np.abs(average - hu[..., k]).max() < 2  # HU are whole numbers


def test_fewer_samples_leave_no_more_behind(scan, tmp_path):
    image, _, _ = scan
    for count in (2, 1, 0):
        run_config(tmp_path / "out", image=image, method="prior", sample=count, slice_spacing=2.0, preview=False)
        assert len(list((tmp_path / "out").glob("*_sample[0-9]*"))) == count


def test_an_interval_is_of_ten_samples_or_more():
    values = np.random.default_rng(0).normal(500, 20, 40).tolist()
    many, few = _intervals({"1.1": values, "1.2": [*values[:9], math.nan]}).values()
    np.testing.assert_allclose(many["interval_90"], np.quantile(values, (0.05, 0.95)), atol=1e-3)
    assert few["interval_90"] is None
    assert len(few["mm3"]) == 9


def test_where_the_method_was_chosen_and_expects_no_error_the_result_stays_and_the_log_tells(tmp_path, caplog):
    hu, _ = small_nodule((24, 22, 4))
    image = save(tmp_path / "far.nii.gz", hu, np.diag([-0.7, -0.7, 15.0, 1.0]))
    run_config(tmp_path / "out", image=image, sample=2, slice_spacing=5.0)
    assert (tmp_path / "out" / "far_dense_auto.nii.gz").exists()
    assert not list((tmp_path / "out").glob("*_sample*"))
    assert "Beside it" not in (tmp_path / "out" / "far_dense_auto_preview.html").read_text()
    assert "far_dense_auto has no samples: pchip, which was chosen for it, expects no error" in caplog.text


def test_features_of_a_nodule_in_each_sample(scan, tmp_path):
    pytest.importorskip("fastrad")
    image, mask, _ = scan
    out, wanted = tmp_path / "out", {"image": image, "mask": mask, "slice_spacing": 1.0, "preview": False}
    run_config(out, **wanted, method="prior", sample=10, radiomics=True)
    with (out / "scan_dense_prior_samples_radiomics.csv").open() as file:
        rows = {(r["resampling"], r["class"], r["feature"]): r for r in csv.DictReader(file)}
    assert len(rows) == 2 * 93
    run_config(out, **wanted, method="sphere_distance")
    inside = voxels(out / "scan_dense_sphere_distance.nii.gz") > 0
    means = [voxels(out / f"scan_dense_prior_sample{k}.nii.gz").clip(-1000, 400)[inside].mean() for k in range(1, 11)]
    row = rows["native", "firstorder", "mean"]
    assert float(row["dense"]) == pytest.approx(voxels(out / "scan_dense_prior.nii.gz").clip(-1000, 400)[inside].mean())
    ends = float(row["low_90"]), float(row["median"]), float(row["high_90"])
    assert ends == pytest.approx(np.quantile(means, (0.05, 0.5, 0.95)))
    assert row["n"] == "10"
    told = json.loads((out / "scan_dense_prior_samples.json").read_text())
    assert told["radiomics"]["bin_origin"] == -1000
    assert list(told["features"]) == ["scan_dense_prior_samples_radiomics.csv"]


def test_features_want_a_nodule_and_samples(scan, tmp_path):
    pytest.importorskip("fastrad")
    wanted = {"image": scan[0], "method": "prior", "radiomics": True, "preview": False}
    assert "none are drawn: give --sample" in mistake_in(run_config, tmp_path / "a", **wanted)
    assert "none is drawn: give --mask" in mistake_in(run_config, tmp_path / "b", **wanted, sample=1)
    assert not (tmp_path / "b").exists()  # no work was done


def test_a_method_that_expects_no_error_is_told_before_it_works(scan, tmp_path):
    wanted = {"image": scan[0], "method": "linear", "sample": 2, "preview": False}
    words = mistake_in(run_config, tmp_path / "out", **wanted)
    assert "--sample 2 draws by the error that a method expects, and linear gives none: give --method prior" in words
    assert not (tmp_path / "out").exists()
    # of one that is not the bundle's it shows when it has worked
    other = {"inferers#linear": {"_target_": "bundle.inferers.CubicInferer", "_mode_": "callable"}}
    assert "and linear gives none" in mistake_in(run_config, tmp_path / "out", **wanted, **other)
    assert list((tmp_path / "out").glob("scan_dense_linear*.nii.gz"))


def test_a_study_measures_texture_and_sizes_of_a_sample_and_compares_it_with_nothing(tmp_path):
    write_nodule(tmp_path / "in", "n0", *small_nodule((40, 36, 15)))
    texts = []
    for folder, seed in (("out", 0), ("again", 0), ("other", 1)):
        make_study(tmp_path / "in", tmp_path / folder, ["linear", "prior_sample"], seed=seed, margin_mm=None).run()
        tables = [tmp_path / folder / f"{name}.csv" for name in ("metrics", "texture", "clinical")]
        texts.append([table.read_text() for table in tables])
    (metrics, *measured), again, (_, *other) = texts
    assert [metrics, *measured] == again
    assert "prior_sample" not in metrics
    assert all("prior_sample" in text for text in measured)
    assert measured[0] != other[0]  # another sample
    folder = tmp_path / "out" / "nodules" / "n0" / "prior_sample"
    assert NOTE in (folder / "result.json").read_text()
    assert NOTE.encode() in bytes(nib.load(folder / "image.nii.gz").header["descrip"])
    # nor where it is measured once more, as every method that is stored
    make_evaluation(tmp_path / "in", tmp_path / "out", tmp_path / "evaluated", margin_mm=None).run()
    assert "prior_sample" not in (tmp_path / "evaluated" / "metrics.csv").read_text()
    assert "prior_sample" in (tmp_path / "evaluated" / "texture.csv").read_text()


def test_a_dense_sample_is_marked_in_its_record_preview_and_dicom(scan, tmp_path):
    run_config(
        tmp_path / "out", image=scan[0], method="prior_sample", slice_spacing=2.0, dicom_output=str(tmp_path / "d")
    )
    record = json.loads((tmp_path / "out" / "scan_dense_prior_sample.json").read_text())
    assert NOTE in record["notes"]
    assert NOTE in (tmp_path / "out" / "scan_dense_prior_sample_preview.html").read_text()
    assert not list((tmp_path / "out").glob("*uncertainty*"))
    assert NOTE.encode() in bytes(nib.load(tmp_path / "out" / "scan_dense_prior_sample.nii.gz").header["descrip"])
    header = dcmread(next((tmp_path / "d").glob("*.dcm")))
    assert f"It is {NOTE}." in header.DerivationDescription
