"""Expected errors through a study, on disk and back, through a dense volume; calibrated on some nodules for others."""

import csv
import json
import math

import nibabel as nib
import numpy as np
import pytest
import torch
from helpers.configs import AFFINE, make_evaluation, make_study, mistake_in, run_config, save
from helpers.configs import save as save_volume
from helpers.nodules import ROOT, small_nodule, write_nodule
from helpers.unsure import HalfUnsureInferer, UnsureInferer
from monai.bundle import ConfigParser
from monai.data import MetaTensor

from bundle.errors import InputError
from bundle.inferers import (
    METHODS,
    Calibration,
    DenseInferer,
    ImplicitInferer,
    LinearInferer,
    ObservedSlices,
    StoredInferer,
    stored_methods,
)
from bundle.report.tidy import COLUMNS, read_rows
from bundle.study.case import prepare, reconstruct
from bundle.transforms import CropWithMargind, Decimate, to_unit

ENTRY = {"scale": 1.5, "multipliers": {"0.5": 0.7, "0.9": 2.2}}


def calibration_file(path, **methods):
    path.write_text(json.dumps({"methods": methods}))
    return str(path)


def unsure_study(folder, out, method="helpers.unsure.UnsureInferer", also=("linear",), **options):
    """A study with the test's method, calibrated, beside others."""
    calibration = calibration_file(out.parent / f"{out.name}.json", unsure=ENTRY)
    added = {"inferers#unsure": {"_target_": method, "_mode_": "callable"}, "calibration": calibration}
    return make_study(folder, out, ["unsure", *also], **added | options)


@pytest.mark.parametrize("axis", [2, 1])
def test_a_study_saves_measures_and_reads_back_expected_errors(nodule_folder, tmp_path, capsys, axis):
    folder, out = nodule_folder(2), tmp_path / "out"
    unsure_study(folder, out, also=("linear", "morphological"), axis=axis).run()
    assert "unsure: intervals for 50, 90 % of the voxels hold" in capsys.readouterr().out
    stored, made = (nib.load(out / "nodules/n0/unsure" / f"{name}.nii.gz") for name in ("uncertainty", "image"))
    assert stored.get_data_dtype() == np.float32
    np.testing.assert_array_equal(stored.affine, made.affine)
    hu = np.moveaxis(np.asarray(stored.dataobj), axis, 2)
    # by hand: the truth's slices around, half of their difference at the middle of a gap
    truth = np.moveaxis(np.asarray(nib.load(out / "nodules/n0/truth/image.nii.gz").dataobj, dtype=float), axis, 2)
    assert (hu[..., ::5] == 0).all()
    wanted = 1.5 * (14 + 0.4 * np.abs(truth[..., 5] - truth[..., 0]))
    np.testing.assert_allclose(hu[..., 2], wanted, rtol=1e-3)
    assert not list(out.glob("nodules/*/linear/uncertainty*"))
    rows = read_rows(out / "uncertainty.csv")
    with (out / "uncertainty.csv").open() as file:
        assert file.readline().strip() == ",".join(COLUMNS)
    assert {row["method"] for row in rows} == {"unsure"}
    metrics = {"coverage_50", "coverage_90", "width_hu_50", "width_hu_90", "error_ratio", "rank_correlation"}
    assert {row["metric"] for row in rows} == metrics
    assert len(rows) == 2 * 2 * 2 * len(metrics)
    place = ("n0", "unobserved", "global", "coverage_90")
    (held,) = [r["value"] for r in rows if (r["nodule_id"], r["slices"], r["region"], r["metric"]) == place]
    image = np.moveaxis(np.asarray(made.dataobj, dtype=float), axis, 2)
    unseen = np.arange(hu.shape[2]) % 5 > 0
    assert held == pytest.approx(np.mean(np.abs(image - truth)[..., unseen] <= 2.2 * hu[..., unseen]), abs=2e-3)
    assert {row["method"] for row in read_rows(out / "metrics.csv")} == {"unsure", "linear", "morphological"}

    # read back by an evaluation, whose own file of calibrations gives the intervals, and the scale no second time
    again = tmp_path / "again"
    calibration = calibration_file(tmp_path / "again.json", unsure=ENTRY)
    make_evaluation(folder, out, again, axis=axis, calibration=calibration, methods=["unsure", "linear"]).run()
    for one, other in zip(rows, read_rows(again / "uncertainty.csv"), strict=True):
        assert [one[c] for c in COLUMNS[:-1]] == [other[c] for c in COLUMNS[:-1]]
        # images on disk are whole HU
        assert other["value"] == pytest.approx(one["value"], rel=2e-2, abs=2e-2)
    copied = nib.load(again / "nodules/n0/unsure/uncertainty.nii.gz")
    np.testing.assert_allclose(np.asarray(copied.dataobj), np.asarray(stored.dataobj), rtol=1e-5)
    np.testing.assert_array_equal(copied.affine, stored.affine)


def test_no_map_no_file_no_rows(nodule_folder, tmp_path):
    folder, out = nodule_folder(1), tmp_path / "out"
    unsure_study(folder, out).run()
    assert (out / "uncertainty.csv").exists()
    make_study(folder, out, ["linear"]).run()
    assert not (out / "uncertainty.csv").exists()
    assert json.loads((out / "nodules/n0/linear/result.json").read_text())["uncertainty"] == []


def test_a_failed_nodule_counts_and_a_changed_calibration_is_noticed(nodule_folder, tmp_path, capsys):
    folder, out = nodule_folder(1), tmp_path / "out"
    hu, mask = small_nodule()
    write_nodule(folder, "thin", hu[..., 5:9], mask[..., 5:9])
    unsure_study(folder, out).run()
    rows = read_rows(out / "uncertainty.csv")
    assert {r["nodule_id"] for r in rows if math.isnan(r["value"])} == {"thin"}
    assert sum(r["nodule_id"] == "thin" for r in rows) == len(rows) / 2
    capsys.readouterr()
    study = unsure_study(folder, out)
    study.run()
    assert "(2 of them earlier)" in capsys.readouterr().out
    calibration_file(tmp_path / "out.json", unsure=ENTRY | {"scale": 3.0})
    study.run()
    # linear has no calibration and is not computed anew
    assert "1 results in" in (printed := capsys.readouterr().out)
    assert "(1 of them earlier)" in printed


def test_a_method_without_a_calibration_says_so(nodule_folder, tmp_path):
    out = tmp_path / "out"
    unsure_study(nodule_folder(1), out, calibration=None).run()
    rows = read_rows(out / "uncertainty.csv")
    assert {r["metric"] for r in rows} == {"error_ratio", "rank_correlation"}
    (note,) = json.loads((out / "nodules/n0/unsure/result.json").read_text())["notes"]
    assert note.startswith("unsure expects errors, but has no calibration")
    raw = np.asarray(nib.load(out / "nodules/n0/unsure/uncertainty.nii.gz").dataobj)
    assert raw[..., 1].min() == pytest.approx(14, abs=3)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"calibration": "/no/such.json"}, "/no/such.json does not exist: make it by"),
        ({"method": "helpers.unsure.WrongInferer", "also": ()}, "nothing could be reconstructed"),
    ],
)
def test_a_mistake_ends_with_one_sentence(nodule_folder, tmp_path, options, sentence):
    assert sentence in mistake_in(lambda: unsure_study(nodule_folder(1), tmp_path / "out", **options).run())
    if "method" in options:
        with (tmp_path / "out" / "failures.csv").open() as file:
            (failure,) = csv.DictReader(file)
        assert failure["reason"] == "the expected error is negative or not finite in 5040 voxels: expected 0 or more"


def test_stored_maps_of_other_software(tmp_path):
    hu, mask = small_nodule()
    affine = np.diag([-0.7, -0.7, 1.0, 1.0])
    error = np.random.default_rng(0).uniform(0, 90, hu.shape).astype(np.float32)
    save(tmp_path / "ours" / "a_image.nii.gz", hu, affine)
    save(tmp_path / "ours" / "a_uncertainty.nii.gz", error, affine)
    save(tmp_path / "ours" / "b.nii.gz", hu, affine)
    save(tmp_path / "shape" / "a_mask.nii.gz", mask, affine)
    save(tmp_path / "shape" / "a_uncertainty.nii.gz", error, affine)
    methods = {name: make() for name, make in stored_methods(tmp_path).items()}
    assert {name: m.kind for name, m in methods.items()} == {"ours": "image", "shape": "mask"}
    ours = methods["ours"]
    ours.calibration = Calibration(7.0, (0.9,), (2.0,))  # gives intervals; what is on disk is scaled
    np.testing.assert_allclose(ours.read("a", hu.shape, affine).error, error / 1400, rtol=1e-6)
    assert ours.read("b", hu.shape, affine).error is None
    before = ours.identity("a")
    save(tmp_path / "ours" / "a_uncertainty.nii.gz", -error, affine)
    assert ours.identity("a") != before
    with pytest.raises(InputError, match=r"a_uncertainty\.nii\.gz: the expected error is negative"):
        ours.read("a", hu.shape, affine)
    save(tmp_path / "ours" / "a_uncertainty.nii.gz", error[1:], affine)
    with pytest.raises(InputError, match=r"a_uncertainty\.nii\.gz has shape"):
        StoredInferer(str(tmp_path), "ours").read("a", hu.shape, affine)


@pytest.mark.parametrize("axis", [2, 1])
def test_expected_errors_do_not_depend_on_unobserved_slices(axis):
    hu, mask = small_nodule()
    other = np.random.default_rng(0).integers(-1000, 400, hu.shape)
    keep = (np.arange(hu.shape[axis]) % 5 == 0).reshape([-1 if i == axis else 1 for i in range(3)])
    errors = []
    for image in (hu, np.where(keep, hu, other)):
        tensors = [
            MetaTensor(torch.as_tensor(a)[None], affine=torch.eye(4).double()) for a in (image.astype("f4"), mask)
        ]
        item = {"image": tensors[0], "label": tensors[1], "nodule_id": "n", "spacing": (1.0, 1.0, 1.0)}
        case = prepare(item, CropWithMargind(["image", "label"], "label", margin_mm=None), Decimate(5, 0, axis))
        errors.append(reconstruct(case, UnsureInferer(), seed=3)[0].error)
    np.testing.assert_array_equal(*errors)
    assert errors[0].shape == hu.shape
    assert (np.moveaxis(errors[0], axis, 2)[..., ::5] == 0).all()


def test_the_fit_of_many_together_has_its_axes_in_order(nodule_folder, tmp_path):
    folder = nodule_folder(2)
    for name, together in (("one", False), ("many", True)):
        make_study(folder, tmp_path / name, ["siren"], epochs=2, axis=1, **{"study#stack": together}).run()
    one, many = (read_rows(tmp_path / name / "metrics.csv") for name in ("one", "many"))
    assert all(math.isfinite(r["value"]) for r in many if r["metric"] == "mae")
    for a, b in zip(one, many, strict=True):
        assert b["value"] == pytest.approx(a["value"], rel=1e-3, abs=1e-3, nan_ok=True)


def test_a_dense_volume_has_its_expected_error_beside_it(tmp_path):
    hu, _ = small_nodule((20, 18, 6))
    methods = {"unsure": {"_target_": "helpers.unsure.UnsureInferer", "_mode_": "callable"}}
    calibration = calibration_file(tmp_path / "u.json", unsure=ENTRY)
    run_config(
        tmp_path / "out", image=save_volume(tmp_path / "thick.nii.gz", hu), inferers=methods, method="unsure",
        slice_spacing=0.5, calibration=calibration, tile=11,
    )  # fmt: skip
    assert {p.name for p in (tmp_path / "out").glob("*.nii.gz")} == {
        "thick_dense_unsure.nii.gz",
        "thick_dense_unsure_uncertainty.nii.gz",
    }
    dense, error = (nib.load(tmp_path / "out" / f"thick_dense_unsure{end}.nii.gz") for end in ("", "_uncertainty"))
    assert error.get_data_dtype() == np.float32
    np.testing.assert_array_equal(error.affine, dense.affine)
    np.testing.assert_allclose(dense.affine[:3, 3], AFFINE[:3, 3])
    voxels = np.asarray(error.dataobj)
    assert (voxels[..., ::4] == 0).all()
    clipped = hu.clip(-1000, 400).astype(float)
    wanted = 1.5 * (14 + 0.5 * np.abs(np.diff(clipped, axis=2)))  # in the middle of a gap, whatever the tile
    np.testing.assert_allclose(voxels[..., 2::4], wanted, rtol=1e-4)
    run_config(tmp_path / "plain", image=str(tmp_path / "thick.nii.gz"), method="linear")
    assert [p.name for p in (tmp_path / "plain").glob("*.nii.gz")] == ["thick_dense_linear.nii.gz"]


def test_a_map_with_holes_is_none():
    volume = np.full((1, 1, 8, 6, 3), -900.0, np.float32)
    volume[:, :, :4] = 300
    for method, has in ((UnsureInferer(), True), (HalfUnsureInferer(), False), (LinearInferer(), False)):
        dense = DenseInferer({"m": method}, "m", tile=4, progress=False)
        made = dense(MetaTensor(torch.from_numpy(volume), affine=torch.diag(torch.tensor([1.0, 1, 5, 1]))[None]))
        assert ("expected_error" in made.meta) == has
        assert np.isfinite(made.numpy()).all()


def test_observed_slices_know_where_they_are():
    observed = ObservedSlices(
        np.zeros((1, 1, 2)), None, np.array([0.0, 2.0]), np.array([-1.0, 0.0, 1.0, 2.0, 2.0, 3.0])
    )
    assert observed.seen.tolist() == [False, True, False, True, True, False]


@pytest.mark.parametrize("method", [name for name in METHODS if METHODS[name].make is not ImplicitInferer])
def test_a_method_that_gives_errors_applies_its_calibration_once(method):
    parser = ConfigParser()
    parser.read_config(ROOT / "configs" / "study.json")
    parser.update({"device": "cpu", "bundle_root": str(ROOT)})
    inferer = parser.get_parsed_content("inferers")[method]()
    hu, mask = small_nodule((14, 12, 11))
    z = np.arange(11.0)
    observed = ObservedSlices(to_unit(hu[..., ::5].astype(float)), mask[..., ::5] > 0, z[::5], z, (0.7, 0.7))
    raw = inferer.reconstruct(observed).error
    if raw is None:
        return
    inferer.calibration = Calibration(2.0, (0.9,), (2.0,))
    scaled = inferer.reconstruct(observed).error
    np.testing.assert_allclose(scaled, 2 * raw, rtol=1e-5, atol=1e-7)
    assert raw.shape == hu.shape
    assert (raw[..., ::5] == 0).all()
    assert (raw[..., observed.seen == 0] >= 0).all()
    assert raw[..., 2].mean() > 0
