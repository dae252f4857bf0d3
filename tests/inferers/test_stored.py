"""Reconstructions on disk as methods: layouts, grids, mistakes, and the evaluation from end to end."""

import csv
import math

import numpy as np
import pytest
from helpers.configs import make_evaluation, make_study, save
from helpers.nodules import small_nodule, write_nodule

from bundle.errors import InputError
from bundle.inferers import ObservedSlices, StoredInferer, stored_methods
from bundle.report.tidy import read_rows
from bundle.transforms import to_unit

AFFINE = np.diag([-0.7, -0.7, 1.0, 1.0])
AFFINE[:3, 3] = 10, 20, -30


def test_evaluation_of_a_study_gives_the_study_s_figures(nodule_folder, tmp_path):
    folder = nodule_folder(2)
    make_study(folder, tmp_path / "study", ["linear", "cubic", "morphological"]).run()
    make_evaluation(folder, tmp_path / "study", tmp_path / "again").run()
    wanted = {tuple(r.values())[:-1]: r["value"] for r in read_rows(tmp_path / "study" / "metrics.csv")}
    found = {tuple(r.values())[:-1]: r["value"] for r in read_rows(tmp_path / "again" / "metrics.csv")}
    assert wanted.keys() == found.keys()
    for key, value in wanted.items():
        # HU on disk are whole numbers: a voxel within half a HU of a threshold may change sides, and over the few
        # hundred voxels of a small tumour rounding moves the PSNR by some thousandths of a dB
        tolerance = 2e-2 if key[4] is not None else {"psnr": 1e-2, "ssim": 1e-3}.get(key[5], 1e-4)
        if key[5] != "hd_mm":
            assert found[key] == pytest.approx(value, abs=tolerance, nan_ok=True), key


def test_layouts_and_grids(tmp_path):
    hu, mask = small_nodule()
    for name in ("a", "b_image"):
        save(tmp_path / "ours" / f"{name}.nii.gz", hu, AFFINE)
    save(tmp_path / "shape" / "a_mask.nii.gz", mask, AFFINE)
    methods = {name: make() for name, make in stored_methods(tmp_path).items()}
    assert {name: m.kind for name, m in methods.items()} == {"ours": "image", "shape": "mask"}
    np.testing.assert_allclose(methods["ours"].read("a", hu.shape, AFFINE).image, to_unit(hu.astype(float)))
    np.testing.assert_array_equal(methods["shape"].read("a", hu.shape, AFFINE).mask, mask > 0)
    # a crop of the stored grid
    crop = AFFINE.copy()
    crop[:3, 3] = (AFFINE @ [2, 3, 4, 1])[:3]
    part = methods["ours"].read("b", (5, 6, 7), crop).image
    np.testing.assert_allclose(part, to_unit(hu.astype(float))[2:7, 3:9, 4:11])
    # axes stored the other way round
    save(tmp_path / "ours" / "c.nii.gz", hu[::-1], AFFINE @ np.array([[-1, 0, 0, 19], *np.eye(4)[1:]]))
    np.testing.assert_allclose(methods["ours"].read("c", hu.shape, AFFINE).image, to_unit(hu.astype(float)))


@pytest.mark.parametrize(
    ("affine", "shape", "sentence"),
    [
        (np.diag([-0.7, -0.7, 2.0, 1.0]), (20, 18, 14), "another grid"),
        (AFFINE + np.array([[0, 0, 0, 0.3], [0] * 4, [0] * 4, [0] * 4]), (20, 18, 14), "another grid"),
        (AFFINE, (20, 18, 13), "only part"),
    ],
)
def test_another_grid_is_refused(tmp_path, affine, shape, sentence):
    save(tmp_path / "ours" / "a.nii.gz", np.zeros(shape, np.int16), affine)
    with pytest.raises(InputError, match=sentence):
        StoredInferer(str(tmp_path), "ours").read("a", (20, 18, 14), AFFINE)


def test_mistakes(tmp_path):
    with pytest.raises(InputError, match="is no folder"):
        stored_methods(tmp_path / "absent")
    with pytest.raises(InputError, match="holds no folder of a method"):
        stored_methods(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no NIfTI file"):
        stored_methods(tmp_path)["empty"]()
    save(tmp_path / "ours" / "a.nii.gz", np.zeros((4, 4, 4), np.int16), AFFINE)
    inferer = StoredInferer(str(tmp_path), "ours")
    with pytest.raises(InputError, match="no reconstruction of b"):
        inferer.read("b", (4, 4, 4), AFFINE)
    with pytest.raises(InputError, match="they can't fill another gap"):
        inferer.reconstruct(ObservedSlices(np.zeros((4, 4, 2)), None, np.array([0.0, 5.0]), np.arange(6.0)))


def test_bad_reconstructions_fail_alone_and_a_changed_file_is_measured_anew(tmp_path):
    hu, mask = small_nodule()
    for name in ("good", "missing", "moved"):
        write_nodule(tmp_path / "nodules", name, hu, mask)
    made = tmp_path / "made" / "theirs"
    save(made / "good.nii.gz", np.full_like(hu, -500), AFFINE)
    save(made / "moved.nii.gz", hu, np.eye(4))
    out = tmp_path / "out"
    make_evaluation(tmp_path / "nodules", tmp_path / "made", out).run()
    with (out / "failures.csv").open() as file:
        assert {r["nodule_id"] for r in csv.DictReader(file)} == {"missing", "moved"}
    rows = read_rows(out / "metrics.csv")
    assert all(math.isnan(r["value"]) for r in rows if r["nodule_id"] != "good")
    save(made / "good.nii.gz", hu, AFFINE)
    make_evaluation(tmp_path / "nodules", tmp_path / "made", out).run()
    errors = [r["value"] for r in read_rows(out / "metrics.csv") if (r["nodule_id"], r["metric"]) == ("good", "mae")]
    assert errors == [0.0] * 4
