"""Odd NIfTI headers: each is refused in one sentence, or read as ITK reads it, with a note."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from bundle.data.formats import read_image
from bundle.errors import InputError

HU = (np.arange(4 * 5 * 6).reshape(4, 5, 6) * 7 - 900).astype(np.int16)
AFFINE = np.array([[-0.7, 0, 0, 12], [0, -0.8, 0, -5], [0, 0, 2.5, 40], [0, 0, 0, 1.0]])


def save(path: Path, hu=HU, affine: np.ndarray | None = AFFINE, units: str = "mm", s: int = 1, q: int = 1) -> Path:
    image = nib.Nifti1Image(hu, affine)
    if affine is not None:
        image.set_sform(affine, s)
        image.set_qform(affine, q)
    image.header.set_xyzt_units(units)
    nib.save(image, path)
    return path


def patched(path: Path, *edits) -> Path:
    raw = bytearray(path.read_bytes())
    for offset, form, *values in edits:
        struct.pack_into("<" + form, raw, offset, *values)
    path.write_bytes(bytes(raw))
    return path


def as_itk(path: Path) -> np.ndarray:
    """Voxel -> RAS mm, by SimpleITK."""
    image = sitk.ReadImage(str(path))
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    return np.diag([-1, -1, 1, 1]) @ affine


def refused(path: Path, *words: str) -> None:
    with pytest.raises(InputError) as caught:
        read_image(path)
    message = str(caught.value)
    assert "\n" not in message
    for word in (path.name, *words):
        assert word in message, message


@pytest.mark.parametrize(("units", "mm"), [("mm", 1), ("micron", 1e-3), ("meter", 1e3), ("unknown", 1)])
def test_units_are_converted_as_itk_does(tmp_path: Path, units: str, mm: float):
    path = save(tmp_path / "a.nii", affine=AFFINE / np.array([[mm]] * 3 + [[1]]), units=units)
    voxels, affine, notes = read_image(path)
    np.testing.assert_array_equal(voxels, HU)
    np.testing.assert_allclose(affine, AFFINE, atol=1e-4)
    if units != "unknown":
        np.testing.assert_allclose(affine, as_itk(path), atol=1e-3)
    assert bool(notes) == (units != "mm")


def test_without_sform_and_qform_it_lies_as_itk_shows_it(tmp_path: Path):
    path = save(tmp_path / "a.nii", affine=None)
    patched(path, (80, "fff", 0.7, 0.8, 2.5), (252, "hh", 0, 0))
    _, affine, notes = read_image(path)
    np.testing.assert_allclose(affine, as_itk(path), atol=1e-5)
    assert "neither sform nor qform" in notes[0]


def test_a_qform_alone_with_the_old_qfac_of_0_is_read(tmp_path: Path):
    path = patched(save(tmp_path / "a.nii", s=0), (76, "f", 0.0))
    np.testing.assert_allclose(read_image(path).affine, as_itk(path), atol=1e-4)


def test_sform_and_qform_of_two_places_are_told(tmp_path: Path):
    path = patched(save(tmp_path / "a.nii"), (292, "f", 20.0))
    assert "8 mm apart: placed by the sform" in read_image(path).notes[0]


@pytest.mark.parametrize(
    ("edits", "words"),
    [
        ([(80, "fff", 0.7, 0.8, 3.0)], ["0.7 x 0.8 x 2.5 by its sform and 0.7 x 0.8 x 3 by its pixdim"]),
        ([(284, "f", 0.3)], ["axes", "from right angles"]),
        ([(280, "12f", *[0.0] * 12), (80, "fff", 0, 0, 0)], ["gives an axis no length"]),
        ([(254, "h", 0), (80, "fff", 0, 0, 0), (252, "h", 0)], ["pixdim", "sizes in mm above 0"]),
        ([(112, "ff", 1.0, float("nan"))], ["invalid intercept"]),
        ([(112, "f", float("inf"))], ["finite numbers"]),
        ([(108, "f", 0.0)], ["vox_offset 0"]),
        ([(108, "f", 360.5)], ["vox_offset 360.5"]),
        ([(70, "h", 2304)], ["colours"]),
        ([(70, "h", 32)], ["complex"]),
        ([(70, "h", 0)], ["not a readable"]),
        ([(42, "hhh", 4, 0, 6)], ["at least one voxel"]),
        ([(42, "hhh", 32767, 32767, 32767)], ["bytes of voxels, and it holds 240"]),
        ([(123, "b", 7)], ["unit 7"]),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_headers_that_contradict_themselves_or_the_file_are_refused(tmp_path: Path, edits, words, packed: bool):
    path = patched(save(tmp_path / "a.nii"), *edits)
    if packed:
        whole = path.read_bytes()
        path = tmp_path / "a.nii.gz"
        path.write_bytes(gzip.compress(whole))
    refused(path, *words)


def test_every_cut_and_most_single_bytes_are_one_sentence_or_the_same_voxels(tmp_path: Path):
    whole = save(tmp_path / "whole.nii").read_bytes()
    path = tmp_path / "a.nii"
    for length in range(0, len(whole), 7):
        path.write_bytes(whole[:length])
        refused(path)


def test_a_trailing_axis_of_one_is_no_axis(tmp_path: Path):
    np.testing.assert_array_equal(read_image(save(tmp_path / "a.nii", HU[..., None])).voxels, HU)
