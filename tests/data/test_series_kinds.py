"""What a DICOM series may be: one pass, in HU, straight; each kind that is not so is named, and what is odd is told."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest
from helpers.synthetic_dicom import write_series
from pydicom.dataset import Dataset

from bundle.data import find_scans, load_volume
from bundle.data.dicom.geometry import read_geometry
from bundle.data.notes import notes_of
from bundle.errors import InputError

Z = np.arange(8) * 2.5 - 100.0
HU = np.random.default_rng(0).integers(-1000, 1000, (9, 7, 8)).astype(np.float32)


def series(folder: Path, at: object = slice(None), **tags) -> Path:
    """A series whose slices ``at`` have other tags; None deletes one."""
    changed = np.zeros(len(Z), bool)
    changed[at] = True

    def edit(k, ds):
        for name, value in tags.items() if changed[k] else ():
            if value is None:
                delattr(ds, name)
            else:
                setattr(ds, name, value)

    def with_tags(k, ds):
        ds.ConvolutionKernel, ds.KVP, ds.AcquisitionNumber = "B30f", 120, 1
        ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
        ds.FrameOfReferenceUID, ds.StudyInstanceUID = "1.2.3", "1.2.8"
        edit(k, ds)

    write_series(folder, HU, Z, edit=with_tags)
    return folder


def refused(folder: Path, *words: str) -> None:
    with pytest.raises(InputError) as caught:
        load_volume(folder)
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message, message


@pytest.mark.parametrize(
    ("tag", "value"),
    [
        ("AcquisitionNumber", 2),
        ("ConvolutionKernel", "B70f"),
        ("KVP", 80),
        ("StudyInstanceUID", "1.2.9"),
        ("NominalPercentageOfCardiacPhase", 70),
        ("TemporalPositionIdentifier", 2),
        ("FrameOfReferenceUID", "1.2.4"),
        ("PatientID", "another"),
        ("ImageType", ["DERIVED", "SECONDARY", "MPR"]),
    ],
)
@pytest.mark.parametrize("at", [slice(1, None, 2), slice(4, None)])
def test_two_passes_are_refused_by_tag_and_values_or_split(tmp_path: Path, tag: str, value, at):
    both = {"NominalPercentageOfCardiacPhase": 40, "TemporalPositionIdentifier": 1}
    folder = series(tmp_path / "s", at, **{tag: value})
    if tag in both:
        for path in folder.iterdir():
            header = pydicom.dcmread(path)
            if tag not in header:
                setattr(header, tag, both[tag])
                header.save_as(path)
    told = "\\".join(value) if isinstance(value, list) else str(value)
    refused(folder, f"2 values of {tag}", told, "--split_passes")
    parts = find_scans(folder, ".", split=True)
    assert len(parts) == 2
    assert len({part["name"] for part in parts}) == 2
    counts = [load_volume(part["image"]).shape[3] for part in parts]
    assert sum(counts) == len(Z)


def test_acquisitions_that_follow_each_other_are_one_scan(tmp_path: Path):
    write_series(tmp_path, HU, Z, edit=lambda k, ds: setattr(ds, "AcquisitionNumber", k + 1))
    volume = load_volume(tmp_path)
    np.testing.assert_array_equal(volume[0].numpy(), HU)
    assert notes_of(volume) == ["8 acquisitions that follow each other are taken as one scan"]


@pytest.mark.parametrize(
    ("at", "tags", "words"),
    [
        (slice(None), {"RescaleIntercept": None}, ["no RescaleIntercept (8 of 8 slices)"]),
        (2, {"RescaleIntercept": None}, ["no RescaleIntercept (1 of 8 slices)"]),
        (2, {"RescaleSlope": None}, ["no RescaleSlope (1 of 8 slices)"]),
        (slice(None), {"RescaleSlope": 0}, ["RescaleSlope 0"]),
        (3, {"RescaleType": "US"}, ["RescaleType US"]),
        (slice(None), {"RescaleType": "Z_EFF"}, ["RescaleType Z_EFF"]),
        (3, {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, ["no slice of the body", "LOCALIZER"]),
        (slice(None), {"ImageType": ["DERIVED", "SECONDARY", "MINIP"]}, ["a projection", "MINIP"]),
        (slice(None), {"ImageType": ["DERIVED", "PRIMARY", "AXIAL", "IODINE"]}, ["no map of HU", "IODINE"]),
        (3, {"ImagePositionPatient": [-49, -40, -92.5]}, ["1.00 mm aside", "1 such of 8"]),
        (3, {"ImagePositionPatient": ["nan", "nan", "nan"]}, ["ImagePositionPatient is"]),
        (3, {"ImagePositionPatient": [-50, -40, -94.98]}, ["0.02 mm apart", "two acquisitions"]),
        (3, {"PixelSpacing": [0, 0]}, ["PixelSpacing is"]),
        (3, {"SamplesPerPixel": 3}, ["0"]),
    ],
)
def test_what_is_no_straight_series_in_hu_is_refused(tmp_path: Path, at, tags, words):
    refused(series(tmp_path, at, **tags), *words)


def test_two_interleaved_acquisitions_without_tags_are_refused(tmp_path: Path):
    z = np.sort(np.concatenate([np.arange(4) * 2.5, np.arange(4) * 2.5 + 0.3]))
    write_series(tmp_path, HU, z)
    refused(tmp_path, "gaps of about 0.3 mm among such of 2.2 mm", "interleaved")


@pytest.mark.parametrize(
    ("tags", "note"),
    [
        ({"GantryDetectorTilt": 12}, "GantryDetectorTilt is 12 degrees, but the slices are stacked straight"),
        ({"ImageType": ["DERIVED", "PRIMARY", "AXIAL", "VMI"]}, "ImageType has VMI"),
        ({"LossyImageCompression": "01"}, "3 of 8 slices were compressed with loss"),
    ],
)
def test_what_is_odd_and_harmless_is_told(tmp_path: Path, tags, note):
    volume = load_volume(series(tmp_path, slice(3) if "LossyImageCompression" in tags else slice(None), **tags))
    np.testing.assert_array_equal(volume[0].numpy(), HU)
    assert notes_of(volume)[0].startswith(note)


def test_slices_of_several_thicknesses_are_told_and_most_of_them_count(tmp_path: Path):
    geometry = read_geometry(series(tmp_path, at=slice(0, 3), SliceThickness=1.25))
    assert geometry.slice_thickness == 1
    assert geometry.notes == ("SliceThickness differs from slice to slice (1, 1.25 mm): that of most slices is taken",)


def test_a_lost_slice_is_told_where_uneven_slices_are_taken(tmp_path: Path):
    write_series(tmp_path / "lost", HU[..., :7], np.delete(Z, 3))
    (note,) = notes_of(load_volume(tmp_path / "lost"))
    assert note.startswith("1 of 6 gaps are wider than the usual 2.5 mm, such as from -95.00 to -90.00 mm")
    write_series(tmp_path / "uneven", HU[..., :7], np.array([0, 1, 3, 6, 8, 9, 13]))
    assert notes_of(load_volume(tmp_path / "uneven")) == []


def test_a_slice_whose_header_is_cut_is_no_scan_of_its_own(tmp_path: Path):
    files = write_series(tmp_path, HU, Z)
    whole = files[3].read_bytes()
    uid = pydicom.dcmread(files[3]).SeriesInstanceUID.encode()
    for length in (whole.rindex(uid) + len(uid) - 2, whole.rindex(uid) + len(uid) + 20):
        files[3].write_bytes(whole[:length])
        (scan,) = find_scans(tmp_path, ".")
        with pytest.raises(InputError, match="is cut short or lacks"):
            load_volume(scan["image"])


def test_a_modality_lut_gives_the_hu(tmp_path: Path):
    table = np.arange(-1024, 1024)

    def edit(k, ds):
        stored = np.frombuffer(ds.PixelData, "<i2") + 1024  # of intercept -1024: from 0
        item = Dataset()
        item.LUTDescriptor, item.ModalityLUTType = [len(table), 0, 16], "HU"
        item.LUTData = table.astype("<u2").tobytes()
        item["LUTDescriptor"].VR, item["LUTData"].VR = "US", "OW"
        ds.ModalityLUTSequence, ds.PixelRepresentation = [item], 0
        ds.PixelData = (stored - 1024).astype("<u2").tobytes()
        del ds.RescaleSlope, ds.RescaleIntercept

    write_series(tmp_path, HU, Z, edit=edit)
    with pytest.raises(InputError, match="values from"):  # an unsigned table has no negative HU
        load_volume(tmp_path)
    for path in tmp_path.iterdir():
        header = pydicom.dcmread(path)
        header.ModalityLUTSequence[0].ModalityLUTType = "US"
        header.save_as(path)
    refused(tmp_path, "modality LUT of type US")


@pytest.mark.parametrize(
    ("value", "vr", "stored", "signed", "kept"),
    [
        (-2000, "SS", -2000, 1, -3024),
        (63536, "US", -2000, 1, -3024),  # written unsigned beside signed pixels
        (63536, "US", 63536, 0, -2048),  # would be 62,512 HU
        (0, "US", 0, 0, None),  # -1024 HU: air
    ],
)
def test_padding_is_known_by_its_tag(tmp_path: Path, value, vr, stored, signed, kept):
    hu = HU.clip(-1000, 900)

    def edit(k, ds):
        pixels = (hu[..., k].T + 1024).astype("<i4")
        pixels[:2] = stored
        ds.PixelData = pixels.astype("<i2" if signed else "<u2").tobytes()
        ds.PixelRepresentation = signed
        ds.add_new("PixelPaddingValue", vr, value)

    write_series(tmp_path, hu, Z, edit=edit)
    volume = load_volume(tmp_path)
    np.testing.assert_array_equal(volume[0, :, 2:].numpy(), hu[:, 2:])
    assert np.unique(volume[0, :, :2]) == (-1024 if kept is None else kept)
    assert volume.meta.get("padding_hu") == kept
    assert bool(notes_of(volume)) == (kept == -2048)


def test_files_without_preamble_are_read_and_empty_ones_refused(tmp_path: Path):
    paths = write_series(tmp_path, HU, Z)
    for k, path in enumerate(paths):
        raw = path.read_bytes()
        path.write_bytes(raw[128 + 4 :] if k % 2 else raw[raw.index(b"\x08\0\x16\0UI") :])
    np.testing.assert_array_equal(load_volume(tmp_path)[0].numpy(), HU)
    paths[3].write_bytes(b"")
    refused(tmp_path, paths[3].name, "is empty", "hole")
    (tmp_path / "empty.txt").touch()
    paths[3].unlink()
    assert load_volume(tmp_path).shape[3] == 7


def test_other_objects_beside_a_series_are_left_out_and_told(tmp_path: Path):
    paths = write_series(tmp_path, HU, Z)
    other = pydicom.dcmread(paths[0])
    other.Modality, other.SeriesInstanceUID, other.SOPInstanceUID = "SEG", "1.2.9", "1.2.9.1"
    other.save_as(tmp_path / "seg.dcm")
    assert notes_of(load_volume(tmp_path)) == ["files that are no CT were left out: 1 of SEG"]


@pytest.mark.realdata
@pytest.mark.parametrize(
    ("place", "words"),
    [
        ("dicom2nifti/tests/data/failing/gantrytilting/001", "gantry tilt of"),
        ("dicom2nifti/tests/data/failing/notavolume/001", "same position"),
        ("dcmqi/data/segmentations/23x38x3/image", "RescaleType US"),
        ("pydicom-data/data_store/data/eCT_Supplemental.dcm", "PERFUSION"),
    ],
)
def test_real_files_of_each_kind_are_refused(real_data: Path, place: str, words: str):
    refused(real_data / "dicom_kinds" / place, words)


@pytest.mark.realdata
def test_a_real_series_has_its_padding_and_full_range(real_data: Path):
    folder = next(p for p in (real_data / "dicom").rglob("*") if any(p.glob("*.dcm")))
    volume = load_volume(folder)
    assert volume.meta["padding_hu"] == -2048  # not what its tag says: 63536, which is -3024 HU
    assert volume.max() > 3000
    assert read_geometry(folder).notes == ()
