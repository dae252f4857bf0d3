from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from helpers.nodules import small_nodule, write_nodule

from bundle.data.datalist import LoadNiftiNodule, datalist_entries
from bundle.data.nodule import make_item
from bundle.errors import InputError
from bundle.transforms.grid import corner_distance

load = LoadNiftiNodule()


def _refused(call: Callable[[], object], *words: str) -> None:
    with pytest.raises(InputError) as caught:
        call()
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message, message


def test_folder_of_pairs_gives_the_voxels_and_mm(nodule_folder: Callable[..., Path]):
    entries = datalist_entries(nodule_folder(2))
    assert [entry["nodule_id"] for entry in entries] == ["n0", "n1"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        item = load(entries[1])
    hu, mask = small_nodule(seed=1)
    np.testing.assert_array_equal(item["image"][0].numpy(), hu)
    np.testing.assert_array_equal(item["label"][0].numpy(), mask)
    assert (str(item["image"].dtype), str(item["label"].dtype)) == ("torch.float32", "torch.uint8")
    np.testing.assert_allclose(item["image"].affine, nib.load(entries[1]["image"]).affine)
    np.testing.assert_array_equal(item["image"].affine, item["label"].affine)
    assert item["spacing"] == pytest.approx((0.7, 0.7, 1.0))
    assert (item["source"], item["ratings"], item["slice_thickness"]) == ("datalist", {}, None)


def test_any_orientation_is_turned_to_lps(tmp_path: Path):
    hu, mask = small_nodule()
    write_nodule(tmp_path, "lps", hu, mask)
    straight = load(datalist_entries(tmp_path)[0])
    original = nib.load(tmp_path / "lps_image.nii.gz")
    for codes in ("RAS", "SPL", "ILA", "PSR"):
        folder = tmp_path / codes
        folder.mkdir()
        turn = nib.orientations.ornt_transform(
            nib.io_orientation(original.affine), nib.orientations.axcodes2ornt(codes)
        )
        for kind in ("image", "mask"):
            file = nib.load(tmp_path / f"lps_{kind}.nii.gz").as_reoriented(turn)
            nib.save(file, folder / f"{codes}_{kind}.nii")
        item = load(datalist_entries(folder)[0])
        np.testing.assert_array_equal(item["image"], straight["image"])
        np.testing.assert_array_equal(item["label"], straight["label"])
        np.testing.assert_allclose(item["image"].affine, straight["image"].affine, atol=1e-5)


def test_scaled_integers_are_read_in_hu(tmp_path: Path):
    hu, mask = small_nodule()
    write_nodule(tmp_path, "n", hu, mask)
    file = nib.Nifti1Image((hu + 1024).astype(np.int16), nib.load(tmp_path / "n_image.nii.gz").affine)
    file.header.set_slope_inter(1, -1024)
    file.to_filename(tmp_path / "n_image.nii.gz")
    raw = nib.load(tmp_path / "n_image.nii.gz")
    np.testing.assert_allclose(load(datalist_entries(tmp_path)[0])["image"][0], np.asarray(raw.dataobj))


def test_index_beside_the_files_adds_what_it_knows(nodule_folder: Callable[..., Path]):
    folder = nodule_folder(2)
    row = {"nodule_id": "n1", "slice_thickness_mm": 0.6, "mean_diameter_mm": 11.5, "mean_malignancy": 3.5}
    (folder / "index.json").write_text(json.dumps([row, {"other": 1}]))
    item = load(datalist_entries(folder)[1])
    assert (item["slice_thickness"], item["diameter_mm"]) == (0.6, 11.5)
    assert item["ratings"] == {"malignancy": 3.5}
    (folder / "index.json").write_text("{}")
    assert load(datalist_entries(folder)[1])["diameter_mm"] is None


def test_datalists_of_every_form(nodule_folder: Callable[..., Path]):
    folder = nodule_folder(3)
    pair = [{"image": f"nodules/n{k}_image.nii.gz", "label": f"nodules/n{k}_mask.nii.gz"} for k in range(3)]
    pair[0] |= {"nodule_id": "zero", "slice_thickness": 0.5, "ratings": {"texture": 5}, "diameter_mm": 9}
    path = folder.parent / "list.json"
    for content, expected in (
        (pair, ["n1", "n2", "zero"]),
        ({"testing": pair[:2]}, ["n1", "zero"]),
        ({"name": "mine", "training": pair[1:], "test": ["nodules/n0_image.nii.gz"]}, ["n1", "n2"]),
        ({"training": pair[:1], "validation": pair[1:]}, ["n1", "n2", "zero"]),
    ):
        path.write_text(json.dumps(content))
        assert [entry["nodule_id"] for entry in datalist_entries(path)] == expected
    item = load(datalist_entries(path)[-1])
    assert (item["nodule_id"], item["slice_thickness"], item["ratings"]) == ("zero", 0.5, {"texture": 5})
    absolute = [{"image": str(folder / "n0_image.nii.gz"), "label": str(folder / "n0_mask.nii.gz")}]
    path.write_text(json.dumps(absolute))
    assert load(datalist_entries(path)[0])["nodule_id"] == "n0"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", ["not valid JSON"]),
        ("3", ["holds a int"]),
        ("[]", ["lists no nodule"]),
        ("{}", ["lists no nodule"]),
        ('["a.nii"]', ["entry 0", '"image"']),
        ('[{"image": "a.nii"}]', ["entry 0", '"label"']),
        ('{"testing": [{"label": "a.nii"}]}', ["testing 0", '"image"']),
        ('[{"image": ["a.nii"], "label": "b.nii"}]', ["entry 0", '"image"']),
        ('[{"image": "a.nii", "label": "b"}, {"image": "x/a.nii", "label": "b"}]', ["id a", "more than once"]),
    ],
)
def test_bad_datalists_are_refused(tmp_path: Path, content: str, words: list[str]):
    path = tmp_path / "list.json"
    path.write_text(content)
    _refused(lambda: datalist_entries(path), *words, "list.json")


def test_bad_folders_are_refused(tmp_path: Path):
    _refused(lambda: datalist_entries(tmp_path / "nowhere"), "nowhere", "does not exist")
    _refused(lambda: datalist_entries(tmp_path), "no pair")
    write_nodule(tmp_path, "n", *small_nodule())
    nib.save(nib.load(tmp_path / "n_image.nii.gz"), tmp_path / "n_image.nii")
    nib.save(nib.load(tmp_path / "n_mask.nii.gz"), tmp_path / "n_mask.nii")
    _refused(lambda: datalist_entries(tmp_path), "more than one image of n")


def test_image_without_mask_fails_alone(nodule_folder: Callable[..., Path]):
    folder = nodule_folder(2)
    (folder / "n0_mask.nii.gz").unlink()
    first, second = datalist_entries(folder)
    _refused(lambda: load(first), "n0_mask.nii.gz is missing")
    assert load(second)["nodule_id"] == "n1"


def _bad_pair(folder: Path, change: Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]) -> dict:
    hu, mask = small_nodule()
    write_nodule(folder, "bad", *change(hu.astype(np.float32), mask))
    return datalist_entries(folder)[0]


def _with_nan(hu: np.ndarray) -> np.ndarray:
    hu = hu.copy()
    hu[3, 4, 5:7] = np.nan
    return hu


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda hu, mask: (hu, mask * 0), ["bad_mask.nii.gz is empty"]),
        (lambda hu, mask: (hu, mask[:-1]), ["bad_mask.nii.gz has shape (19, 18, 14)", "(20, 18, 14)"]),
        (lambda hu, mask: (_with_nan(hu), mask), ["image of bad has 2 voxels that are nan"]),
        (lambda hu, mask: (hu, _with_nan(mask.astype(np.float32))), ["bad_mask.nii.gz has 2 voxels that are nan"]),
        (lambda hu, mask: ((hu + 1000) / 1400, mask), ["bad_image.nii.gz has values", "normalised to 0 to 1"]),
        (lambda hu, mask: (hu + 1024, mask), ["bad_image.nii.gz has values", "intercept, often -1024"]),
        (lambda hu, mask: (hu, hu), ["bad_mask.nii.gz has", "is it an image?"]),
        (lambda hu, mask: (hu[:, :, 0], mask[:, :, 0]), ["bad_image.nii.gz has 2 axes", "expected 3"]),
        (lambda hu, mask: (np.stack([hu, hu], -1), mask), ["bad_image.nii.gz has 4 axes", "expected 3"]),
        (lambda hu, mask: (hu, np.stack([mask, mask], -1)), ["bad_mask.nii.gz has 4 axes"]),
    ],
)
def test_bad_voxels_are_refused_by_name(tmp_path: Path, change: Callable, words: list[str]):
    entry = _bad_pair(tmp_path, change)
    _refused(lambda: load(entry), *words)


@pytest.mark.parametrize(("shift", "fine"), [(5e-4, True), (0.01, True), (0.1, False), (10.0, False)])
def test_mask_elsewhere_than_its_image_is_refused(tmp_path: Path, shift: float, fine: bool):
    write_nodule(tmp_path, "n", *small_nodule())
    mask = nib.load(tmp_path / "n_mask.nii.gz")
    affine = mask.affine.copy()
    affine[1, 3] += shift
    nib.save(nib.Nifti1Image(np.asarray(mask.dataobj), affine), tmp_path / "n_mask.nii.gz")
    entry = datalist_entries(tmp_path)[0]
    if fine:
        assert load(entry)["nodule_id"] == "n"
    else:
        _refused(lambda: load(entry), "n_mask.nii.gz", "affines differ")


@pytest.mark.parametrize("keep", [0, 10, 300, 0.5, 0.98])
@pytest.mark.parametrize(("kind", "suffix"), [("image", ".nii.gz"), ("mask", ".nii.gz"), ("image", ".nii")])
def test_truncated_file_is_refused_by_name(tmp_path: Path, kind: str, suffix: str, keep: float):
    write_nodule(tmp_path, "n", *small_nodule())
    path = tmp_path / f"n_{kind}.nii.gz"
    if suffix == ".nii":
        whole = nib.load(path)
        nib.save(whole, tmp_path / f"n_{kind}.nii")
        path.unlink()
        path = tmp_path / f"n_{kind}.nii"
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * keep) if isinstance(keep, float) else min(keep, len(content) - 9)])
    entry = datalist_entries(tmp_path)[0]
    _refused(lambda: load(entry), path.name)


def test_damaged_byte_is_refused_by_name(tmp_path: Path):
    write_nodule(tmp_path, "n", *small_nodule())
    path = tmp_path / "n_image.nii.gz"
    content = bytearray(path.read_bytes())
    content[-6] ^= 1  # in the checksum: every voxel still comes out
    path.write_bytes(content)
    _refused(lambda: load(datalist_entries(tmp_path)[0]), "n_image.nii.gz is cut short or damaged")


def test_affine_without_length_is_refused():
    hu, mask = small_nodule()
    for affine in (np.zeros((4, 4)), np.full((4, 4), np.nan), np.ones((4, 4))):
        _refused(lambda a=affine: make_item(hu, mask, a, nodule_id="n", source="datalist"), "affine of n")
    _refused(lambda: make_item(hu, mask[1:], np.eye(4), nodule_id="n", source="datalist"), "mask of n has shape")
    _refused(lambda: make_item(hu[0], mask[0], np.eye(4), nodule_id="n", source="datalist"), "2 axes")


def test_corner_distance_equals_brute_force_over_all_voxels():
    rng = np.random.default_rng(0)
    first, second = (np.vstack([rng.normal(size=(3, 4)), [0, 0, 0, 1]]) for _ in range(2))
    shape = (4, 5, 6)
    voxels = np.c_[np.indices(shape).reshape(3, -1).T, np.ones(np.prod(shape))]
    expected = np.linalg.norm((voxels @ first.T - voxels @ second.T)[:, :3], axis=1).max()
    assert corner_distance(first, second, shape) == pytest.approx(expected)


@pytest.mark.realdata
def test_real_cohort_loads(real_data: Path):
    entries = datalist_entries(real_data / "lidc_cohort")
    assert len(entries) == 28
    for entry in entries:
        item = load(entry)
        np.testing.assert_array_equal(item["image"][0], np.asarray(nib.load(entry["image"]).dataobj))
        assert item["ratings"]["malignancy"] > 3
        assert item["slice_thickness"] <= 1
