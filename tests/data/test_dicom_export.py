"""A dense volume as a DICOM series: read back by pydicom, by a viewer's rules and by our own reader."""

import shutil
import subprocess

import nibabel as nib
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk  # noqa: N813
import torch
from helpers.synthetic_dicom import as_a_viewer
from helpers.synthetic_dicom import write_series as write_source
from monai.data import MetaTensor

from bundle.data import SaveDicomSeriesd, load_volume, read_series, write_series
from bundle.errors import InputError

RNG = np.random.default_rng(0)
HU = RNG.integers(-1100, 3000, (9, 7, 6)).astype(np.int16)


def tilted_affine():
    """An axial volume turned by 8 degrees about the long axis, with three different steps."""
    a = np.radians(8)
    affine = np.eye(4)
    affine[:3, 0] = np.array([-np.cos(a), -np.sin(a), 0]) * 0.71
    affine[:3, 1] = np.array([np.sin(a), -np.cos(a), 0]) * 0.83
    affine[:3, 2] = [0, 0, 0.654321]
    affine[:3, 3] = 101.123456, -55.5, -1234.567891
    return affine


@pytest.mark.parametrize("affine", [np.diag([-0.7, -0.8, 0.625, 1]), tilted_affine()])
def test_read_back(tmp_path, affine):
    paths = write_series(tmp_path / "new", HU, affine)
    assert len(paths) == 6
    volume, found, _ = as_a_viewer(tmp_path / "new")
    np.testing.assert_array_equal(volume, HU)
    np.testing.assert_allclose(found, affine, atol=1e-5)
    ours = read_series(tmp_path / "new")  # refuses uneven or turned slices
    np.testing.assert_array_equal(ours.volume, HU)
    np.testing.assert_allclose(ours.affine, affine, atol=1e-5)
    assert ours.slice_thickness == pytest.approx(affine[2, 2], abs=1e-5)


def source_with_patient(folder, z):
    def edit(_, ds):
        ds.PatientName, ds.PatientBirthDate, ds.StudyInstanceUID = "Doe^Jane", "19500101", "1.2.3.4"
        ds.FrameOfReferenceUID, ds.AccessionNumber, ds.StudyID, ds.SeriesNumber = "1.2.3.5", "A1", "S1", 7
        ds.PatientComments, ds.InstitutionName, ds.PatientPosition = "private words", "Clinic", "FFS"
        ds.add_new((0x0013, 0x0010), "LO", "CTP")

    return write_source(folder, HU, z, edit=edit)


def test_it_is_filed_with_its_source_and_names_the_slices_it_was_made_of(tmp_path):
    z = [0, 2, 4, 7, 9, 12]
    source_with_patient(tmp_path / "source", z)
    volume = load_volume(tmp_path / "source")
    affine = volume.affine.numpy().copy()
    affine[:3, 2], affine[2, 3] = [0, 0, 1], 2  # from the second slice, 1 mm apart: 2, 3, ... 7
    write_series(tmp_path / "new", HU, affine, source=tmp_path / "source", description="x" * 99, derivation="by test")
    _, _, new = as_a_viewer(tmp_path / "new")
    _, _, old = as_a_viewer(tmp_path / "source")
    for name in ("PatientName", "PatientID", "PatientBirthDate", "StudyInstanceUID", "AccessionNumber"):
        assert {h[name].value for h in new} == {old[0][name].value}
    assert {h.FrameOfReferenceUID for h in new} == {"1.2.3.5"}
    assert {h.PatientPosition for h in new} == {"FFS"}
    for name in ("PatientComments", "InstitutionName"):
        assert all(name not in h for h in new)
    assert not any(element.tag.is_private for h in new for element in h)
    uids = {h.SOPInstanceUID for h in new}
    assert len(uids) == 6
    assert not uids & {h.SOPInstanceUID for h in old}
    assert len({h.SeriesInstanceUID for h in new} - {old[0].SeriesInstanceUID}) == 1
    assert all(list(h.ImageType) == ["DERIVED", "SECONDARY", "AXIAL"] for h in new)
    assert all("ImplementationClassUID" in h.file_meta for h in new)
    assert all(h.file_meta.MediaStorageSOPInstanceUID == h.SOPInstanceUID for h in new)
    assert all(h.DerivationDescription == "by test" and len(h.SeriesDescription) == 64 for h in new)
    old_uids = [h.SOPInstanceUID for h in old]
    around = [[old_uids.index(i.ReferencedSOPInstanceUID) for i in h.SourceImageSequence] for h in new]
    assert around == [[1], [1, 2], [2], [2, 3], [2, 3], [3]]  # 2 mm, 3, 4, 5, 6, 7
    used = new[0].ReferencedSeriesSequence[0]
    assert used.SeriesInstanceUID == old[0].SeriesInstanceUID
    assert [old_uids.index(i.ReferencedSOPInstanceUID) for i in used.ReferencedInstanceSequence] == [1, 2, 3]


def test_without_a_dicom_source_nobody_is_named(tmp_path):
    write_series(tmp_path / "new", HU, np.diag([-1, -1, 1, 1.0]))
    _, _, headers = as_a_viewer(tmp_path / "new")
    first = headers[0]
    assert first.PatientID == "anonymous"
    assert first.PatientIdentityRemoved == "YES"
    for name in ("PatientBirthDate", "PatientSex", "ReferringPhysicianName", "AccessionNumber"):
        assert first[name].value in ("", None)
    assert "SourceImageSequence" not in first
    assert len({h.StudyInstanceUID for h in headers}) == len({h.FrameOfReferenceUID for h in headers}) == 1


def test_hu_are_rounded_and_kept_in_16_bit(tmp_path):
    write_series(tmp_path / "new", np.array([[[-850.6, 40000.0], [0.4, -40000.0]]]), np.diag([-1, -1, 1, 1.0]))
    volume, _, _ = as_a_viewer(tmp_path / "new")
    assert volume.ravel().tolist() == [-851, 32767, 0, -32768]


def test_bad_places(tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "other.dcm").touch()
    sheared = np.diag([-1, -1, 1, 1.0])
    sheared[1, 2] = 0.3
    for folder, affine, sentence in (
        (tmp_path / "full", np.diag([-1, -1, 1, 1.0]), "holds files already"),
        (tmp_path / "full" / "other.dcm", np.diag([-1, -1, 1, 1.0]), "is a file, expected a folder"),
        (tmp_path / "new", sheared, "aren't at right angles"),
        (tmp_path / "full" / "other.dcm" / "new", np.diag([-1, -1, 1, 1.0]), "can't be written"),
    ):
        with pytest.raises(InputError, match=sentence):
            write_series(folder, HU, affine)


def test_the_transform_writes_a_volume_and_refuses_a_mask(tmp_path):
    volume = MetaTensor(
        torch.from_numpy(HU.astype(np.float32))[None], affine=torch.diag(torch.tensor([-1.0, -1, 2, 1]))
    )
    volume.meta |= {"observed_positions": np.arange(0, 11, 5.0), "filename_or_obj": "scan.nii.gz"}
    SaveDicomSeriesd("pred", tmp_path / "new", method="cubic")({"pred": volume})
    found, affine, headers = as_a_viewer(tmp_path / "new")
    np.testing.assert_array_equal(found, HU)
    np.testing.assert_allclose(affine, np.diag([-1, -1, 2, 1]))
    assert "by cubic from 3 slices 5 mm apart, which are unchanged" in headers[0].DerivationDescription
    volume.meta["content"] = "mask"
    with pytest.raises(InputError, match="gives a mask, and there is no image to lay it on"):
        SaveDicomSeriesd("pred", tmp_path / "mask", method="morphological")({"pred": volume})


def test_it_overlays_on_nifti_of_the_same_volume(tmp_path):
    affine = tilted_affine()
    write_series(tmp_path / "new", HU, affine)
    nib.save(nib.Nifti1Image(HU, affine), tmp_path / "new.nii.gz")
    dicom, nifti = load_volume(tmp_path / "new"), load_volume(tmp_path / "new.nii.gz")
    assert torch.equal(dicom.as_tensor(), nifti.as_tensor())
    np.testing.assert_allclose(dicom.affine, nifti.affine, atol=1e-4)


def without(*names):
    def edit(k, ds):
        ds.StudyInstanceUID, ds.FrameOfReferenceUID, ds.SeriesNumber, ds.KVP = "1.2.3", "1.2.4", 3, 120
        ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
        for name in names:
            if name in ds:
                delattr(ds, name)

    return edit


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="dciodvfy (Debian's dicom3tools) is not installed")
@pytest.mark.parametrize(
    "lacking",
    [
        None,
        (),
        ("PatientID",),
        ("StudyInstanceUID", "FrameOfReferenceUID"),
        ("SeriesNumber", "KVP"),
        ("SOPInstanceUID",),
    ],
)
def test_the_series_passes_dciodvfy_and_opens_as_one_volume(tmp_path, lacking):
    source = None
    affine = np.diag([-0.7, -0.8, 2.5, 1.0])
    if lacking is not None:
        source = tmp_path / "source"
        write_source(source, HU, np.arange(HU.shape[2]) * 2.5, origin=(0, 0), edit=without(*lacking))
    paths = write_series(tmp_path / "new", HU, affine, source=source, description="test", derivation="by test")
    told = subprocess.run(["dciodvfy", str(paths[0])], capture_output=True, text=True, check=False).stderr
    assert "CTImage" in told
    assert [line for line in told.splitlines() if line.startswith("Error")] == []
    header = pydicom.dcmread(paths[0])
    assert "PatientID" in header
    assert header.StudyInstanceUID
    assert header.FrameOfReferenceUID
    (series,) = sitk.ImageSeriesReader.GetGDCMSeriesIDs(str(tmp_path / "new"))
    names = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(tmp_path / "new"), series)
    image = sitk.ReadImage(names)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image).T, HU)
    np.testing.assert_allclose(image.GetSpacing(), (0.7, 0.8, 2.5), rtol=1e-6)
    hd = pytest.importorskip("highdicom", reason="needs the extra outlines", exc_type=ImportError)
    volume = hd.image.get_volume_from_series([pydicom.dcmread(path) for path in paths])
    np.testing.assert_array_equal(volume.array[::-1].transpose(2, 1, 0), HU)  # highdicom's first slice is the highest
