"""DICOM SEG and RTSTRUCT as masks, against highdicom and by hand; masks as DICOM SEG."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pydicom
import pytest
from helpers.synthetic_dicom import write_series
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid
from skimage.draw import polygon2mask

from bundle.data import load_mask, load_volume
from bundle.data.dicom.export import SEGMENTATION
from bundle.data.dicom.segmentation import write_segmentation
from bundle.data.notes import notes_of
from bundle.errors import InputError

hd = pytest.importorskip("highdicom", reason="needs the extra outlines", exc_type=ImportError)

HU = np.random.default_rng(0).integers(-1000, 400, (24, 20, 6)).astype(np.float32)
Z = np.array([0, 2, 4, 7, 9, 11.0]) - 50  # uneven


def complete(k, ds):
    """What highdicom asks of a source."""
    ds.StudyInstanceUID, ds.FrameOfReferenceUID = "1.2.3", "1.2.4"
    ds.PatientName = ds.PatientBirthDate = ds.PatientSex = ds.AccessionNumber = ds.StudyID = ds.StudyDate = ""
    ds.StudyTime, ds.SeriesNumber, ds.Manufacturer = "", 2, "M"


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    write_series(tmp_path / "scan", HU, Z, edit=complete)
    return tmp_path / "scan"


def in_order(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.dcm"), key=lambda path: pydicom.dcmread(path).ImagePositionPatient[2])


def labels_on(shape=HU.shape) -> np.ndarray:
    labels = np.zeros(shape, np.uint16)
    labels[3:9, 4:12, 1:4] = 2
    labels[14:20, 5:11, 2:6] = 7
    return labels


def test_a_written_segmentation_is_read_by_highdicom_and_by_us_with_the_same_voxels(scan: Path, tmp_path: Path):
    labels = labels_on()
    write_segmentation(tmp_path / "seg.dcm", labels, in_order(scan), "test")
    theirs = hd.seg.segread(tmp_path / "seg.dcm")
    assert [item.SegmentLabel for item in theirs.SegmentSequence] == ["Nodule 2", "Nodule 7"]
    uids = [pydicom.dcmread(path).SOPInstanceUID for path in in_order(scan)]
    frames = theirs.get_pixels_by_source_instance(uids, combine_segments=True)
    np.testing.assert_array_equal(np.array([0, 2, 7])[frames.T], labels)
    volume = load_volume(scan)
    found = load_mask(tmp_path / "seg.dcm", volume, "all")[0].numpy()
    np.testing.assert_array_equal(np.array([0, 2, 7])[found.astype(int)], labels)
    one = load_mask(tmp_path / "seg.dcm", volume, "Nodule 7")[0].numpy()
    np.testing.assert_array_equal(one > 0, labels == 7)
    np.testing.assert_array_equal(load_mask(tmp_path / "seg.dcm", volume, 1)[0].numpy() > 0, labels == 2)
    with pytest.raises(InputError, match=r"has 2 segments \(1 'Nodule 2', 2 'Nodule 7'\): choose one by --segment"):
        load_mask(tmp_path / "seg.dcm", volume)
    with pytest.raises(InputError, match=r"no segment 'Nodul 7': did you mean 'Nodule 7'"):
        load_mask(tmp_path / "seg.dcm", volume, "Nodul 7")


def test_fractional_overlapping_and_foreign_segmentations(scan: Path, tmp_path: Path):
    write_segmentation(tmp_path / "seg.dcm", labels_on(), in_order(scan), "test")
    other = pydicom.dcmread(tmp_path / "seg.dcm")
    other.PatientID = "someone"
    other.save_as(tmp_path / "patient.dcm")
    volume = load_volume(scan)
    with pytest.raises(InputError, match="is of patient someone"):
        load_mask(tmp_path / "patient.dcm", volume, 1)
    moved = pydicom.dcmread(tmp_path / "seg.dcm")
    for group in moved.PerFrameFunctionalGroupsSequence:
        position = group.PlanePositionSequence[0]
        position.ImagePositionPatient = [
            float(position.ImagePositionPatient[0]) + 0.3,
            *position.ImagePositionPatient[1:],
        ]
    moved.FrameOfReferenceUID = "1.2.99"
    moved.save_as(tmp_path / "moved.dcm")
    with pytest.raises(InputError, match="on another grid"):
        load_mask(tmp_path / "moved.dcm", volume, 1)
    other = pydicom.dcmread(tmp_path / "seg.dcm")
    other.FrameOfReferenceUID = "1.2.99"
    other.save_as(tmp_path / "frame.dcm")
    assert "another frame of reference" in notes_of(load_mask(tmp_path / "frame.dcm", volume, 1))[0]


def rtstruct(path: Path, rois: dict[str, list[np.ndarray]], kind: str = "CLOSED_PLANAR") -> Path:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.481.3"
    dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    dataset.SOPClassUID, dataset.Modality = dataset.file_meta.MediaStorageSOPClassUID, "RTSTRUCT"
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID
    dataset.StructureSetROISequence, dataset.ROIContourSequence = [], []
    for number, (name, contours) in enumerate(rois.items(), 1):
        roi, drawn = Dataset(), Dataset()
        roi.ROINumber, roi.ROIName = number, name
        drawn.ReferencedROINumber, drawn.ContourSequence = number, []
        for points in contours:
            contour = Dataset()
            contour.ContourGeometricType, contour.NumberOfContourPoints = kind, len(points)
            contour.ContourData = [f"{value:.4f}" for value in points.ravel()]
            drawn.ContourSequence.append(contour)
        dataset.StructureSetROISequence.append(roi)
        dataset.ROIContourSequence.append(drawn)
    dataset.is_little_endian, dataset.is_implicit_VR = True, False
    pydicom.dcmwrite(path, dataset, **({"enforce_file_format": True} if pydicom.__version__ >= "3" else {}))
    return path


def ring(centre, radius, z):
    angle = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    return np.c_[centre[0] + radius * np.cos(angle), centre[1] + radius * np.sin(angle), np.full(40, z)]


def test_contours_are_filled_and_inner_ones_cut_out(scan: Path, tmp_path: Path):
    centre = (-50 + 12 * 0.7, -40 + 10 * 0.8)
    contours = [ring(centre, 5, z) for z in Z[1:4]] + [ring(centre, 2, Z[2])]
    path = rtstruct(tmp_path / "rt.dcm", {"GTV": contours, "other": [ring(centre, 1, Z[5])]})
    found = load_mask(path, load_volume(scan), "GTV")[0].numpy()
    x, y = np.meshgrid((np.arange(24) - 12) * 0.7, (np.arange(20) - 10) * 0.8, indexing="ij")
    away = np.hypot(x, y)
    for k in range(6):
        expected = (away < 5) & (k in (1, 2, 3)) & ~((away < 2) & (k == 2))
        edge = (np.abs(away - 5) < 0.1) | (np.abs(away - 2) < 0.1)  # a polygon of 40 corners is no circle
        np.testing.assert_array_equal((found[..., k] > 0)[~edge], expected[~edge])
    points = (contours[0][:, :2] - [-50, -40]) / [0.7, 0.8]
    np.testing.assert_array_equal(found[..., 1] > 0, polygon2mask((24, 20), points))


@pytest.mark.parametrize(
    ("rois", "wanted", "words"),
    [
        ({"A": [ring((-42, -32), 3, -49)]}, None, "lies in none of its slices"),
        ({"A": [ring((-42, -32), 3, -90)]}, None, "reaches beyond the image"),
        ({"A": [ring((-42, -32), 3, -50)], "B": []}, None, "has 2 segments (1 'A', 2 'B')"),
        ({"A": []}, None, "is empty"),
    ],
)
def test_outlines_that_do_not_fit_are_refused(scan: Path, tmp_path: Path, rois, wanted, words):
    path = rtstruct(tmp_path / "rt.dcm", rois)
    with pytest.raises(InputError) as caught:
        load_mask(path, load_volume(scan), wanted)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"hello", b"\0" * 128 + b"DICM" + b"x" * 50])
def test_what_is_no_mask_is_one_sentence(scan: Path, tmp_path: Path, content: bytes):
    (tmp_path / "mask.dcm").write_bytes(content)
    with pytest.raises(InputError, match=r"mask\.dcm"):
        load_mask(tmp_path / "mask.dcm", load_volume(scan))


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="dciodvfy (Debian's dicom3tools) is not installed")
def test_the_segmentation_passes_dciodvfy(scan: Path, tmp_path: Path):
    write_segmentation(tmp_path / SEGMENTATION, labels_on(), in_order(scan), "test")
    told = subprocess.run(
        ["dciodvfy", str(tmp_path / SEGMENTATION)], capture_output=True, text=True, check=False
    ).stderr
    assert "Segmentation" in told
    assert [line for line in told.splitlines() if line.startswith("Error")] == []


@pytest.mark.realdata
@pytest.mark.parametrize(
    ("scan", "mask", "wanted", "voxels"),
    [
        ("dcmqi/data/segmentations/ct-3slice", "dcmqi/data/segmentations/liver.dcm", None, 107098),
        ("dcmqi/data/segmentations/ct-3slice", "dcmqi/data/segmentations/partial_overlaps.dcm", "ORANGE", 8871 + 3134),
        ("dcmqi/data/segmentations/ct-3slice", "pydicom-data/data_store/data/liver_j2k.dcm", "Liver", 107098),
        ("rt-utils/tests/mock_data", "rt-utils/tests/mock_data/rt.dcm", None, None),
    ],
)
def test_real_outlines(real_data: Path, scan: str, mask: str, wanted, voxels):
    kinds = real_data / "dicom_kinds"
    found = load_mask(kinds / mask, load_volume(kinds / scan), wanted)
    if voxels is None:
        assert found.any()
        return
    theirs = hd.seg.segread(kinds / mask)
    number = theirs.get_segment_numbers(segment_label=wanted)[0] if wanted else 1
    frames = theirs.get_volume(segment_numbers=[number], combine_segments=False).array
    assert int((found > 0).sum()) == int(frames.sum())
