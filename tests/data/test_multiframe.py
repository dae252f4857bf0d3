"""Enhanced multi-frame CT, and compressed series: the voxels and places of one file a slice."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest
from helpers.synthetic_dicom import write_series
from pydicom.dataset import Dataset
from pydicom.uid import JPEG2000Lossless, JPEGLSLossless, RLELossless

from bundle.data import find_scans, load_volume
from bundle.errors import InputError

HU = np.random.default_rng(0).integers(-1000, 1000, (16, 14, 5)).astype(np.float32)
Z = np.array([0.0, 2.5, 5.0, 7.5, 11.0]) - 40


def sequence(**values) -> list[Dataset]:
    item = Dataset()
    for name, value in values.items():
        setattr(item, name, value)
    return [item]


def enhanced(folder: Path, target: Path, rescale: bool = True) -> Path:
    """The series of a folder as one file, its frames in another order than its slices."""
    slices = [pydicom.dcmread(path) for path in sorted(folder.iterdir())]
    whole = slices[0].copy()
    whole.SOPClassUID = whole.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.2.1"
    whole.NumberOfFrames = len(slices)
    whole.PixelData = b"".join(one.PixelData for one in slices)
    shared = Dataset()
    shared.PixelMeasuresSequence = sequence(PixelSpacing=whole.PixelSpacing, SliceThickness=1.0)
    shared.PlaneOrientationSequence = sequence(ImageOrientationPatient=whole.ImageOrientationPatient)
    if rescale:
        shared.PixelValueTransformationSequence = sequence(RescaleSlope=1, RescaleIntercept=-1024, RescaleType="HU")
    whole.SharedFunctionalGroupsSequence = [shared]
    whole.PerFrameFunctionalGroupsSequence = []
    for one in slices:
        group = Dataset()
        group.PlanePositionSequence = sequence(ImagePositionPatient=one.ImagePositionPatient)
        whole.PerFrameFunctionalGroupsSequence.append(group)
    for name in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "RescaleSlope", "RescaleIntercept"):
        delattr(whole, name)
    target.parent.mkdir(parents=True, exist_ok=True)
    whole.save_as(target)
    return target


def same(path: Path, folder: Path) -> None:
    found, expected = load_volume(path), load_volume(folder)
    np.testing.assert_array_equal(found.numpy(), expected.numpy())
    np.testing.assert_allclose(found.affine, expected.affine)
    np.testing.assert_allclose(found.meta["slice_positions"], expected.meta["slice_positions"])
    assert found.meta["slice_thickness"] == expected.meta["slice_thickness"]


def test_frames_are_slices(tmp_path: Path):
    write_series(tmp_path / "scan", HU, Z)
    path = enhanced(tmp_path / "scan", tmp_path / "one" / "whole.dcm")
    same(path, tmp_path / "scan")
    same(path.parent, tmp_path / "scan")
    (scan,) = find_scans(path.parent, ".")
    np.testing.assert_array_equal(load_volume(scan["image"]).numpy(), load_volume(path).numpy())


def test_frames_without_a_rescale_are_refused(tmp_path: Path):
    write_series(tmp_path / "scan", HU, Z)
    with pytest.raises(InputError, match=r"frame \d in .* has no RescaleSlope \(5 of 5 slices\)"):
        load_volume(enhanced(tmp_path / "scan", tmp_path / "one" / "whole.dcm", rescale=False))


@pytest.mark.parametrize("syntax", [RLELossless, JPEG2000Lossless, JPEGLSLossless])
def test_compressed_series_are_read(tmp_path: Path, syntax: str):
    if syntax != RLELossless:
        pytest.importorskip("openjpeg" if syntax == JPEG2000Lossless else "jpeg_ls", reason="needs a compressor")
    write_series(tmp_path / "scan", np.kron(HU, np.ones((6, 6, 1))), Z)  # JPEG 2000 wants some pixels
    for path in (tmp_path / "scan").iterdir():
        one = pydicom.dcmread(path)
        one.compress(syntax)
        (tmp_path / "packed").mkdir(exist_ok=True)
        one.save_as(tmp_path / "packed" / path.name)
    same(tmp_path / "packed", tmp_path / "scan")
