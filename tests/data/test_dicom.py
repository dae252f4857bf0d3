from __future__ import annotations

import shutil
import warnings
from pathlib import Path

import numpy as np
import pydicom
import pytest
from helpers.synthetic_dicom import UID, write_series
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.uid import JPEGLSLossless

from bundle.data.dicom.geometry import _check_gaps, read_geometry
from bundle.data.dicom.header import SliceHeader
from bundle.data.dicom.read import read_series, read_voxels
from bundle.data.dicom.search import find_series
from bundle.errors import InputError

Z = np.arange(8) * 2.5 - 100.0


@pytest.fixture
def volume() -> np.ndarray:
    return np.random.default_rng(0).integers(-1000, 1000, (9, 7, 8)).astype(np.float32)


def test_reads_voxels_in_hu_ordered_by_position(tmp_path: Path, volume: np.ndarray):
    write_series(tmp_path, volume, Z)
    ct = read_series(tmp_path)
    assert ct.volume.dtype == np.float32
    np.testing.assert_array_equal(ct.volume, volume)
    np.testing.assert_allclose(ct.positions, Z)
    assert ct.slice_thickness == 1.0


def test_affine_gives_ras_mm_of_every_voxel(tmp_path: Path, volume: np.ndarray):
    paths = write_series(tmp_path, volume, Z)
    affine = read_series(tmp_path).affine
    header = pydicom.dcmread(paths[3])
    # DICOM PS3.3 C.7.6.2.1.1, by hand: column 5, row 2 of slice 3, in LPS
    along_row, along_column = np.reshape([float(v) for v in header.ImageOrientationPatient], (2, 3))
    lps = np.array(header.ImagePositionPatient, float) + along_row * 0.7 * 5 + along_column * 0.8 * 2
    np.testing.assert_allclose((affine @ [5, 2, 3, 1])[:3], lps * [-1, -1, 1])


@pytest.mark.parametrize("orientation", [(-1, 0, 0, 0, -1, 0), (1, 0, 0, 0, -1, 0), (0, 1, 0, -1, 0, 0)])
def test_slice_0_is_the_lowest_in_any_in_plane_orientation(tmp_path: Path, volume: np.ndarray, orientation):
    write_series(tmp_path, volume[:, :, ::-1], Z[::-1], orientation=orientation)
    ct = read_series(tmp_path)
    np.testing.assert_array_equal(ct.volume, volume)
    assert ct.affine[2, 2] == pytest.approx(2.5)
    assert (ct.affine @ [0, 0, 7, 1])[2] == pytest.approx(Z[-1])
    np.testing.assert_allclose((ct.affine @ [1, 0, 0, 0])[:3], 0.7 * np.array(orientation[:3]) * [-1, -1, 1])


def test_slope_and_intercept_may_differ_between_slices(tmp_path: Path, volume: np.ndarray):
    def edit(k, ds):
        ds.RescaleSlope, ds.RescaleIntercept = (2, -1000) if k == 4 else (1, -1024)

    write_series(tmp_path, volume, Z, edit=edit)
    ct = read_series(tmp_path)
    np.testing.assert_array_equal(ct.volume[..., 3], volume[..., 3])
    np.testing.assert_array_equal(ct.volume[..., 4], (volume[..., 4] + 1024) * 2 - 1000)


def test_sub_range_equals_the_same_slices_of_the_whole(tmp_path: Path, volume: np.ndarray):
    geometry = read_geometry(write_series(tmp_path, volume, Z))
    whole, part = read_voxels(geometry), read_voxels(geometry, 2, 6)
    np.testing.assert_array_equal(part.volume, whole.volume[..., 2:6])
    np.testing.assert_allclose(part.affine @ [1, 2, 0, 1], whole.affine @ [1, 2, 2, 1])
    np.testing.assert_allclose(part.positions, Z[2:6])
    np.testing.assert_array_equal(read_series(tmp_path, slices=slice(2, 6)).volume, part.volume)


def test_thickness_may_be_unknown_and_other_files_are_passed_over(tmp_path: Path, volume: np.ndarray):
    write_series(tmp_path, volume, Z, thickness=None)
    (tmp_path / "LICENSE").write_text("free")
    (tmp_path / "069.xml").write_text("<xml/>")
    (tmp_path / "._0001.dcm").write_bytes(b"\0\5\26\7")
    assert read_series(tmp_path).slice_thickness is None


def test_jitter_within_the_tolerance_is_accepted(tmp_path: Path, volume: np.ndarray):
    jitter = np.random.default_rng(1).uniform(-0.02, 0.02, len(Z))
    write_series(tmp_path, volume, Z + jitter)
    np.testing.assert_allclose(read_series(tmp_path).positions, Z + jitter)


def _refused(folder: Path, *words: str) -> None:
    with pytest.raises(InputError) as caught:
        read_series(folder)
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message, message


def test_missing_slice_is_refused_with_its_position(tmp_path: Path, volume: np.ndarray):
    paths = write_series(tmp_path, volume, Z)
    paths[3].unlink()
    _refused(tmp_path, "misses 1 slice between -95.00 and -90.00 mm", "2.50 mm apart")


def test_several_missing_slices_are_counted(tmp_path: Path, volume: np.ndarray):
    paths = write_series(tmp_path, volume, Z)
    for path in paths[3:5]:
        path.unlink()
    _refused(tmp_path, "misses 2 slices")


def test_uneven_spacing_is_refused(tmp_path: Path, volume: np.ndarray):
    write_series(tmp_path, volume, np.r_[Z[:4], Z[4:] + 0.5])
    _refused(tmp_path, "3.00 mm apart", "expected 2.50 mm")


def test_duplicate_position_is_refused_with_both_files(tmp_path: Path, volume: np.ndarray):
    paths = write_series(tmp_path, volume, Z)
    shutil.copy(paths[3], tmp_path / "copy.dcm")
    _refused(tmp_path, "same position", "-92.50 mm", "copy.dcm", paths[3].name)


def test_other_modality_is_refused_with_file_and_modality(tmp_path: Path, volume: np.ndarray):
    paths = write_series(tmp_path, volume, Z, edit=lambda k, ds: k == 5 and setattr(ds, "Modality", "MR"))
    _refused(tmp_path, paths[5].name, "modality MR")


def test_gantry_tilt_in_the_header_alone_is_told(tmp_path: Path, volume: np.ndarray):
    write_series(tmp_path, volume, Z, edit=lambda k, ds: setattr(ds, "GantryDetectorTilt", 12.5))
    ct = read_series(tmp_path)
    np.testing.assert_array_equal(ct.volume, volume)
    assert ct.notes == ("GantryDetectorTilt is 12.5 degrees, but the slices are stacked straight: used as they lie",)


@pytest.mark.parametrize("degrees", [1.0, 15.0])
def test_gantry_tilt_in_the_geometry_is_refused(tmp_path: Path, volume: np.ndarray, degrees: float):
    tilt = np.radians(degrees)
    write_series(tmp_path, volume, Z, orientation=(1, 0, 0, 0, round(np.cos(tilt), 6), round(np.sin(tilt), 6)))
    _refused(tmp_path, "gantry tilt", f"{degrees:.1f} degrees")


def test_oblique_series_stacked_along_its_normal_is_read(tmp_path: Path, volume: np.ndarray):
    tilt = np.radians(10)

    def edit(k, ds):
        y, z = np.array([-np.sin(tilt), np.cos(tilt)]) * 2.5 * k
        ds.ImagePositionPatient = [-50, round(-40 + y, 6), round(-100 + z, 6)]

    orientation = (1, 0, 0, 0, round(np.cos(tilt), 6), round(np.sin(tilt), 6))
    write_series(tmp_path, volume, Z, orientation=orientation, edit=edit)
    ct = read_series(tmp_path)
    np.testing.assert_array_equal(ct.volume, volume)
    np.testing.assert_allclose(np.linalg.norm(ct.affine[:3, :3], axis=0), [0.7, 0.8, 2.5], rtol=1e-5)


def test_slices_shifted_sideways_are_refused(tmp_path: Path, volume: np.ndarray):
    def edit(k, ds):
        ds.ImagePositionPatient = [-50 + 3 * (k > 3), -40, float(Z[k])]

    write_series(tmp_path, volume, Z, edit=edit)
    _refused(tmp_path, "right angles")


def test_series_that_is_not_axial_is_refused(tmp_path: Path, volume: np.ndarray):
    def edit(k, ds):
        ds.ImagePositionPatient = [-50, float(Z[k]), 0]

    write_series(tmp_path, volume, Z, orientation=(1, 0, 0, 0, 0, -1), edit=edit)
    _refused(tmp_path, "isn't axial")


def test_orientation_not_at_right_angles_is_refused(tmp_path: Path, volume: np.ndarray):
    write_series(tmp_path, volume, Z, orientation=(1, 0, 0, 0.5, 0.866, 0))
    _refused(tmp_path, "right angles")


def test_two_series_in_one_folder_are_refused_unless_one_is_named(tmp_path: Path, volume: np.ndarray):
    write_series(tmp_path, volume, Z)
    other = write_series(tmp_path / "tmp", volume + 1, Z, series_uid=UID + ".2")
    for path in other:
        path.rename(tmp_path / f"other{path.name}")
    _refused(tmp_path, "2 series mixed")
    np.testing.assert_array_equal(read_series(tmp_path, UID).volume, volume)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("PixelSpacing", [0.9, 0.7], "pixel spacing"),
        ("ImageOrientationPatient", [0.998, 0.0632, 0, -0.0632, 0.998, 0], "orientation"),
        ("Rows", 6, "columns and rows"),
    ],
)
def test_slices_that_differ_are_refused(tmp_path: Path, volume: np.ndarray, name: str, value, words: str):
    write_series(tmp_path, volume, Z, edit=lambda k, ds: k == 2 and setattr(ds, name, value))
    _refused(tmp_path, words)


@pytest.mark.filterwarnings("ignore:Invalid value for VR")
def test_file_cut_short_anywhere_is_refused_with_its_name(tmp_path: Path, volume: np.ndarray):
    path = write_series(tmp_path, volume[..., :2], Z[:2])[1]
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        _refused(tmp_path, path.name)


def test_file_without_pixel_data_is_refused(tmp_path: Path, volume: np.ndarray):
    paths = write_series(tmp_path, volume, Z, edit=lambda k, ds: k == 2 and delattr(ds, "PixelData"))
    _refused(tmp_path, paths[2].name, "no pixel data")


@pytest.mark.parametrize("name", ["ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "Rows"])
def test_file_without_geometry_is_refused(tmp_path: Path, volume: np.ndarray, name: str):
    paths = write_series(tmp_path, volume, Z, edit=lambda k, ds: k == 2 and delattr(ds, name))
    _refused(tmp_path, paths[2].name, name)


def test_compressed_pixels_that_no_plugin_decodes_are_explained(tmp_path: Path, volume: np.ndarray):
    def edit(k, ds):
        ds.file_meta.TransferSyntaxUID = JPEGLSLossless
        ds.PixelData = pydicom.encaps.encapsulate([b"\xff\xd8\xff\xf7" + b"\0" * 100])
        ds["PixelData"].is_undefined_length = True

    write_series(tmp_path, volume, Z, edit=edit)
    _refused(tmp_path, "JPEG-LS", "extra compressed")


def test_folders_without_a_series_are_refused(tmp_path: Path, volume: np.ndarray):
    _refused(tmp_path, "holds no CT slice")
    _refused(tmp_path / "nowhere", "is not a folder")
    write_series(tmp_path, volume[..., :1], Z[:1])
    _refused(tmp_path, "holds 1 CT slice")
    with pytest.raises(InputError, match=r"holds no CT slice of series 1\.2\.3"):
        read_series(tmp_path, "1.2.3")


def test_frames_without_attributes_of_their_own_are_refused(tmp_path: Path, volume: np.ndarray):
    write_series(tmp_path, volume, Z, edit=lambda k, ds: setattr(ds, "NumberOfFrames", 4))
    _refused(tmp_path, "4 frames, but 0 frames' own attributes")


@settings(max_examples=60, deadline=None)
@given(st.integers(5, 30), st.floats(0.4, 5), st.data())
def test_any_one_missing_slice_is_named(n: int, step: float, data):
    z = np.arange(n) * step
    lost = data.draw(st.integers(1, n - 2))
    kept = np.delete(z, lost)
    slices = [SliceHeader(Path(f"{k}"), None, "u", z, z, (1, 1), (1, 1)) for k in range(n - 1)]
    _check_gaps(slices, z[:-1], "here", 0.1)
    with pytest.raises(InputError, match=f"misses 1 slice between {z[lost - 1]:.2f} and {z[lost + 1]:.2f} mm"):
        _check_gaps(slices, kept, "here", 0.1)


def test_finds_series_in_any_arrangement(tmp_path: Path, volume: np.ndarray):
    wanted = [f"{UID}.{k}" for k in range(3)]
    write_series(tmp_path / "a" / wanted[0], volume, Z, series_uid=wanted[0])
    write_series(tmp_path / "LIDC-IDRI-0007" / "01-01-2000" / "3000566.0", volume, Z, series_uid=wanted[1])
    flat = write_series(tmp_path / "tmp", volume, Z, series_uid=wanted[2])
    write_series(tmp_path / "unwanted", volume, Z, series_uid=UID + ".9")
    for k, path in enumerate(flat):  # one series strewn over two folders, without suffix
        path.rename(tmp_path / ("LIDC-IDRI-0007" if k % 2 else "unwanted") / f"I{k}")
    (tmp_path / "README.txt").write_text("not DICOM")
    found = find_series(tmp_path, wanted)
    assert set(found) == set(wanted)
    for uid in wanted:
        np.testing.assert_array_equal(read_series(found[uid], uid).volume, volume)
    near = find_series(tmp_path, wanted[:2], ["LIDC-IDRI-0007"])
    assert {uid: len(files) for uid, files in near.items()} == dict.fromkeys(wanted[:2], len(Z))


def test_finds_series_behind_links_and_ends_in_circles(tmp_path: Path, volume: np.ndarray):
    write_series(tmp_path / "real", volume, Z)
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "link").symlink_to(tmp_path / "real", target_is_directory=True)
    (tmp_path / "root" / "circle").symlink_to(tmp_path / "root", target_is_directory=True)
    assert len(find_series(tmp_path / "root", [UID])[UID]) == len(Z)


def test_search_refuses_what_is_no_folder(tmp_path: Path):
    with pytest.raises(InputError, match="is not a folder"):
        find_series(tmp_path / "nowhere", [UID])
    assert find_series(tmp_path, [UID]) == {}


@pytest.mark.realdata
def test_real_series_equals_pydicom_by_hand(real_data: Path):
    folder = next(p for p in (real_data / "dicom").rglob("*") if any(p.glob("*.dcm")))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ct = read_series(folder)
    headers = sorted((pydicom.dcmread(p) for p in folder.glob("*.dcm")), key=lambda d: d.ImagePositionPatient[2])
    assert ct.volume.shape == (512, 512, 133)
    for k in (0, 60, 132):
        np.testing.assert_array_equal(ct.volume[..., k], headers[k].pixel_array.T.astype(float) - 1024)
        np.testing.assert_allclose((ct.affine @ [0, 0, k, 1])[:3] * [-1, -1, 1], headers[k].ImagePositionPatient)
