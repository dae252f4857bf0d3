"""Images of other formats against SimpleITK, written and read; voxels that are no HU."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from bundle.data import load_volume
from bundle.data.formats import SUFFIXES, read_image, write_image
from bundle.data.intensity import check_hu, padding_of
from bundle.errors import InputError

HU = (np.arange(4 * 5 * 6).reshape(4, 5, 6) * 7 - 900).astype(np.int16)
TURN = np.array([[0, 1, 0], [-1, 0, 0], [0, 0, 1]])
AFFINE = np.eye(4)
AFFINE[:3, :3], AFFINE[:3, 3] = TURN * [0.7, 0.8, 2.5], (10, -20, 30)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("dtype", [np.int16, np.float32, np.uint8])
def test_written_images_are_read_by_itk_and_by_us(tmp_path: Path, suffix: str, dtype):
    path = tmp_path / f"image{suffix}"
    write_image(path, HU.astype(dtype), AFFINE, "what it is")
    voxels, affine, notes = read_image(path)
    np.testing.assert_array_equal(voxels, HU.astype(dtype))
    np.testing.assert_allclose(affine, AFFINE, atol=1e-5)
    assert notes == []
    image = sitk.ReadImage(str(path))
    assert image.GetMetaData("descrip" if ".nii" in suffix else "description") == "what it is"
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image).T, HU.astype(dtype))
    for voxel in ((0, 0, 0), (3, 4, 5)):
        lps = image.TransformIndexToPhysicalPoint(voxel)
        np.testing.assert_allclose(np.array([-lps[0], -lps[1], lps[2]]), (AFFINE @ [*voxel, 1])[:3], atol=1e-4)
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_file_cut_short_is_refused_by_name(tmp_path: Path, suffix: str):
    path = tmp_path / f"image{suffix}"
    write_image(path, np.random.default_rng(0).integers(-900, 900, (9, 9, 9)).astype(np.int16), AFFINE)
    data = next((p for p in tmp_path.iterdir() if p.suffix in (".raw", ".zraw", ".gz") and p != path), path)
    data.write_bytes(data.read_bytes()[:-60])
    with pytest.raises(InputError, match=path.name) as caught:
        read_image(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("header", "words"),
    [
        (
            "ObjectType = Image\nNDims = 3\nDimSize = 2 2 2\nElementType = MET_SHORT\nElementDataFile = LOCAL\n",
            "how large",
        ),
        (
            "ObjectType = Image\nNDims = 3\nDimSize = 9999 9999 9999\nElementSpacing = 1 1 1\nElementType = MET_SHORT\n"
            "ElementDataFile = LOCAL\n",
            "1.999e+12 bytes of voxels",
        ),
        (
            "ObjectType = Image\nNDims = 2\nDimSize = 2 2\nElementSpacing = 1 1\nElementType = MET_SHORT\n"
            "ElementDataFile = LOCAL\n",
            "2 axes",
        ),
        (
            "ObjectType = Image\nNDims = 3\nDimSize = 2 2 2\nElementSpacing = 1 1 1\nElementType = MET_SHORT\n"
            "ElementDataFile = gone.raw\n",
            "gone.raw as the file of its voxels, which is missing",
        ),
    ],
)
def test_meta_images_that_say_too_little_or_too_much(tmp_path: Path, header: str, words: str):
    path = tmp_path / "a.mhd"
    path.write_bytes(header.encode() + b"\0" * 16)
    with pytest.raises(InputError) as caught:
        read_image(path)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("suffix", "line", "changed"),
    [
        (".mha", b"TransformMatrix", None),
        (".nrrd", b"space: left-posterior-superior", b"space: scanner-xyz"),
        (".nrrd", b"space: left-posterior-superior", b"space: 3D-right-handed"),
        (".nrrd", b"space: left-posterior-superior", b"space dimension: 3"),
    ],
)
def test_a_file_that_does_not_say_how_it_lies_is_noted_and_placed_as_itk_does(tmp_path: Path, suffix, line, changed):
    path = tmp_path / f"a{suffix}"
    write_image(path, HU, AFFINE)
    assert read_image(path).notes == []
    raw = path.read_bytes()
    end = raw.index(b"\n", raw.index(line))
    path.write_bytes(raw[: raw.index(line)] + (changed or b"Comment = x") + raw[end:])
    _, affine, notes = read_image(path)
    assert len(notes) == 1
    assert "does not say how it lies" in notes[0]
    place = np.array(sitk.ReadImage(str(path)).TransformIndexToPhysicalPoint((3, 4, 5)))
    np.testing.assert_allclose((affine @ [3, 4, 5, 1])[:3], place * [-1, -1, 1], atol=1e-4)


def test_an_unknown_format_is_refused(tmp_path: Path):
    (tmp_path / "a.tif").write_bytes(b"x")
    with pytest.raises(InputError, match=r"of no known format: .*\.nrrd"):
        read_image(tmp_path / "a.tif")


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ([0.0, 1.0], "normalised to 0 to 1"),
        ([-1.0, 0.9], "normalised to -1 to 1"),
        ([0.0, 255.0], "8-bit"),
        ([3.0, 4095.0], "intercept, often -1024"),
        ([-900.0, 62512.0], "16 bits don't hold (1 voxels)"),
        ([0.0, 0.0], "all alike"),
    ],
)
def test_what_is_no_hu_is_named(tmp_path: Path, values: list[float], words: str):
    image = np.resize(values, (4, 4, 4)).astype(np.float32)
    if words.startswith("16"):
        image[:] = values[0]
        image[0, 0, 0] = values[1]
    write_image(tmp_path / "a.nii", image, AFFINE)
    with pytest.raises(InputError) as caught:
        load_volume(tmp_path / "a.nii")
    assert words in str(caught.value)


def test_padding_is_left_out_of_the_check():
    padded = np.concatenate([np.full(50, -2000.0), np.linspace(0, 4095, 50)])
    assert padding_of(padded) == -2000
    with pytest.raises(InputError, match="intercept"):
        check_hu(padded, "a", padding_of(padded))
