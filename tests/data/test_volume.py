"""A CT of one's own: NIfTI or DICOM, evenly spaced or not, and a mask drawn on it."""

import json

import nibabel as nib
import numpy as np
import pytest
import torch
from helpers.synthetic_dicom import write_series
from monai.data import MetaTensor

from bundle.data import LoadMaskd, LoadVolumed, SaveVolumed, load_mask, load_volume
from bundle.errors import InputError

SHAPE = (7, 6, 5)
HU = np.random.default_rng(0).integers(-1024, 1200, SHAPE).astype(np.int16)
AFFINE = np.diag([-0.7, -0.7, 2.5, 1.0])
AFFINE[:3, 3] = 10, 20, -30


def save(path, voxels=HU, affine=AFFINE):
    nib.save(nib.Nifti1Image(voxels, affine), path)
    return path


def test_nifti_is_evenly_spaced_by_its_affine(tmp_path):
    volume = load_volume(save(tmp_path / "scan.nii.gz"))
    assert volume.shape == (1, *SHAPE)
    np.testing.assert_array_equal(volume[0].numpy(), HU)
    np.testing.assert_allclose(volume.meta["slice_positions"], np.arange(5) * 2.5)
    assert "slice_thickness" not in volume.meta


def test_uneven_dicom_keeps_its_positions(tmp_path):
    z = [-30, -28.5, -27.5, -22, -20]
    write_series(tmp_path, HU, z, thickness=1.5)
    volume = load_volume(tmp_path)
    np.testing.assert_array_equal(volume[0].numpy(), HU)
    np.testing.assert_allclose(volume.meta["slice_positions"], np.array(z) + 30)
    assert volume.meta["slice_thickness"] == 1.5
    # the affine has the first slice's place and the mean spacing
    np.testing.assert_allclose(volume.affine[2], [0, 0, 2.5, -30])


def test_rounding_in_the_headers_is_no_unevenness(tmp_path):
    write_series(tmp_path, HU, [0, 0.62, 1.25, 1.88, 2.5])
    np.testing.assert_allclose(load_volume(tmp_path).meta["slice_positions"], np.arange(5) * 0.625)


@pytest.mark.parametrize("flip", [False, True])
def test_positions_beside_a_nifti(tmp_path, flip):
    places = [3, 4, 8, 10, 15.0]
    affine = AFFINE @ np.diag([1, 1, -1 if flip else 1, 1.0])
    (tmp_path / "places.json").write_text(json.dumps(places))
    for given in (places, tmp_path / "places.json"):
        volume = load_volume(save(tmp_path / "scan.nii.gz", affine=affine), given)
        z = volume.affine[2, 3].item() + volume.meta["slice_positions"]
        # slice k of the file lies (places[k] - places[0]) mm up, or down, from its first
        up = -30 + (-1 if flip else 1) * (np.array(places) - 3)
        np.testing.assert_allclose(z, np.sort(up))
        np.testing.assert_array_equal(volume[0].numpy(), HU[..., ::-1] if flip else HU)


@pytest.mark.parametrize(
    "places", [[0, 1, 2], [0, 1, 1, 2, 3], "absent.json", ["a", "b", "c", "d", "e"], [0, 1, 2, 3, float("nan")]]
)
def test_positions_that_do_not_fit(tmp_path, places):
    with pytest.raises(InputError, match=r"(positions|absent\.json)"):
        load_volume(save(tmp_path / "scan.nii.gz"), places)


def test_positions_for_dicom_are_refused(tmp_path):
    write_series(tmp_path, HU, np.arange(5))
    with pytest.raises(InputError, match="leave the positions out"):
        load_volume(tmp_path, [0, 1, 2, 3, 4])


def test_bad_scans(tmp_path):
    broken = HU.astype(np.float32)
    broken[0, 0, 0] = np.nan
    with pytest.raises(InputError, match="has 1 voxels that are nan"):
        load_volume(save(tmp_path / "nan.nii.gz", broken))
    with pytest.raises(InputError, match="has 2 axes"):
        load_volume(save(tmp_path / "flat.nii.gz", HU[..., 0]))
    with pytest.raises(InputError, match="does not exist"):
        load_volume(tmp_path / "absent.nii.gz")
    write_series(tmp_path / "two", HU[..., :2], [0, 1])
    for path in write_series(tmp_path / "other", HU[..., :2], [5, 6], series_uid="1.2.3"):
        path.rename(tmp_path / "two" / f"b{path.name}")
    with pytest.raises(InputError, match="holds 2 series mixed"):
        load_volume(tmp_path / "two")


def test_a_mask_follows_its_image_whatever_the_files_orientation(tmp_path):
    mask = (HU > 500).astype(np.uint8)
    turned = nib.Nifti1Image(mask, AFFINE).as_reoriented([[1, -1], [0, 1], [2, -1]])
    nib.save(turned, tmp_path / "mask.nii.gz")
    item = LoadVolumed("image")({"image": save(tmp_path / "scan.nii.gz"), "mask": tmp_path / "mask.nii.gz"})
    item = LoadMaskd("mask")(item)
    np.testing.assert_array_equal(item["mask"][0].numpy(), mask)
    assert torch.equal(item["mask"].affine, item["image"].affine)


def test_a_mask_of_another_image_is_refused(tmp_path):
    image = load_volume(save(tmp_path / "scan.nii.gz"))
    moved = AFFINE.copy()
    moved[0, 3] += 3
    with pytest.raises(InputError, match=r"lies up to 3 mm away from scan.nii.gz .*drawn on this image"):
        load_mask(save(tmp_path / "moved.nii.gz", (HU > 0).astype(np.uint8), moved), image)
    with pytest.raises(InputError, match=r"has \(7, 6, 4\) voxels and scan.nii.gz \(7, 6, 5\)"):
        load_mask(save(tmp_path / "short.nii.gz", (HU > 0).astype(np.uint8)[..., :4]), image)
    with pytest.raises(InputError, match="is empty"):
        load_mask(save(tmp_path / "empty.nii.gz", np.zeros(SHAPE, np.uint8)), image)


@pytest.mark.parametrize("method", ["prior", "x" * 100])
def test_a_saved_volume_says_in_its_header_what_made_it_and_nothing_of_the_patient(tmp_path, method):
    meta = {"filename_or_obj": "DOE^JOHN.nii.gz", "method": method, "expected_error": np.ones((3, 3, 2))}
    volume = MetaTensor(torch.zeros(1, 3, 3, 2), affine=torch.from_numpy(AFFINE), meta=meta)
    SaveVolumed("pred", tmp_path, "dense")({"pred": volume})
    for end, words in (("", "dense volume"), ("_uncertainty", "expected error of a dense volume")):
        header = bytes(nib.load(tmp_path / f"DOE^JOHN_dense{end}.nii.gz").header["descrip"])
        assert header.rstrip(b"\0").decode() == f"{words}, slices made by {method}"[:79]
        assert header[79:] == b"\0"


def test_saving_rounds_hu_and_keeps_the_affine(tmp_path):
    volume = MetaTensor(torch.full((1, 3, 3, 2), -850.6), affine=torch.from_numpy(AFFINE))
    volume.meta["filename_or_obj"] = "somewhere/1.2.840.113"
    SaveVolumed("pred", tmp_path / "new", "dense")({"pred": volume})
    saved = nib.load(tmp_path / "new" / "1.2.840.113_dense.nii.gz")
    assert saved.get_data_dtype() == np.int16
    assert np.all(np.asarray(saved.dataobj) == -851)
    np.testing.assert_allclose(saved.affine, AFFINE, atol=1e-6)
    volume.meta["content"] = "mask"
    SaveVolumed("pred", tmp_path / "new", "mask")({"pred": volume > -900})
    assert nib.load(tmp_path / "new" / "1.2.840.113_mask.nii.gz").get_data_dtype() == np.uint8
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="can't be written"):
        SaveVolumed("pred", tmp_path / "file", "dense")({"pred": volume})
