"""Sizes of a scan without truth: against a ball that is known, and sets of slices that are taken by hand."""

import json

import numpy as np
import pytest
from helpers.configs import run_config, save
from hypothesis import given
from hypothesis import strategies as st

from bundle.inferers.masks.sphere import SphereDistanceInferer
from bundle.metrics.sizes import volume_mm3
from bundle.slices import ObservedSlices
from bundle.study.measure import Measurements, measure, scanned, table_lines

PIXEL = (0.7, 0.7)


def ball(radius, positions, centre=0.0, thickness=0.0):
    """(X, Y, K) bool: sections of a ball, of slices that are filled for at least half of their thickness."""
    axis = np.arange(-20, 21) * 0.7
    x, y = np.meshgrid(axis, axis + 0.1, indexing="ij")
    fine = np.linspace(-thickness / 2, thickness / 2, 41) if thickness else np.zeros(1)
    z = np.asarray(positions)[:, None] - centre + fine
    return ((x[..., None, None] ** 2 + y[..., None, None] ** 2 + z**2 <= radius**2).mean(-1)) >= 0.5


def seen(radius, gap, first, thickness=0.0):
    positions = first + gap * np.arange(-8, 9)
    mask = ball(radius, positions, thickness=thickness)
    return ObservedSlices(None, mask, positions, np.zeros(1), PIXEL, thickness_mm=thickness)


@pytest.mark.parametrize("radius", [4.0, 8.0])
@pytest.mark.parametrize("gap", [2.5, 5.0])
def test_the_spread_is_that_of_scans_of_the_ball_itself(radius, gap):
    """Expected from one scan alone, against balls that are really cut with the first slice elsewhere."""
    shifts = np.arange(10) / 10 * gap
    volumes = [volume_mm3(seen(radius, gap, s).mask, (*PIXEL, gap)) for s in shifts]
    true = np.std(volumes) / np.mean(volumes)
    expected = [measure(seen(radius, gap, s), SphereDistanceInferer()).spread("volume_mm3") for s in shifts[::3]]
    # of so few voxels a dense mask has steps of its own
    assert 0.5 * true < np.mean(expected) < 1.5 * true + 0.05


def test_the_interval_holds_the_ball():
    found = measure(seen(6.0, 5.0, 1.0), SphereDistanceInferer())
    low, high = found.interval("volume_mm3")
    assert low < 4 / 3 * np.pi * 6**3 < high
    assert found.observed["volume_mm3"] == pytest.approx(seen(6.0, 5.0, 1.0).mask.sum() * 0.49 * 5)
    assert found.dense["volume_mm3"] == pytest.approx(4 / 3 * np.pi * 6**3, rel=0.1)
    assert found.missed == 0


def test_finer_slices_tell_smaller_growth():
    untold = [measure(seen(6.0, gap, 0.3), SphereDistanceInferer()).untold for gap in (1.0, 3.0, 6.0)]
    assert untold == sorted(untold)


def test_a_nodule_between_slices_may_be_missed():
    found = measure(seen(1.5, 6.0, 0.0), SphereDistanceInferer())
    assert 0 < found.missed < 1
    low, _ = found.interval("volume_mm3")
    assert low >= 0


@given(st.integers(1, 6), st.lists(st.integers(-3, 22), min_size=2, max_size=6, unique=True), st.integers(0, 2**20 - 1))
def test_a_thick_slice_is_what_fills_half_of_it(thick, at, bits):
    line = np.array([bits >> i & 1 for i in range(20)], bool)
    found = scanned(line[None, None], np.arange(20.0) + 7, np.sort(at) + 7.0, float(thick))[0, 0]
    if thick % 2 == 0:
        return  # lies between two: either may be taken
    padded = np.pad(line, 10)
    for place, inside in zip(np.sort(at), found, strict=True):
        share = padded[place + 10 - thick // 2 : place + 11 + thick // 2].mean()
        assert inside == (share >= 0.5 and 0 <= place < 20)


@pytest.fixture
def scan(tmp_path):
    positions = 4.0 * np.arange(12)
    labels = np.concatenate([ball(5.0, positions, 22.0), 2 * ball(3.0, positions, 21.0)]).astype(np.uint8)
    hu = np.where(labels, 0, -800).astype(np.int16)
    affine = np.diag([-0.7, -0.7, 4.0, 1.0])
    return save(tmp_path / "scan.nii.gz", hu, affine), save(tmp_path / "mask.nii.gz", labels, affine)


@pytest.mark.parametrize("method", ["linear", "signed_distance"])
def test_a_scan_with_a_mask_has_its_sizes_beside_its_result(scan, tmp_path, method, caplog):
    image, mask = scan
    with caplog.at_level("INFO"):
        run_config(tmp_path / "out", image=image, mask=mask, method=method, preview=False)
    path = tmp_path / "out" / f"scan_dense_{method}_measurements.json"
    content = json.loads(path.read_text())
    assert content["method"] == ("sphere_distance" if method == "linear" else method)
    first, second = content["nodules"]
    assert (first["label"], second["label"]) == (1, 2)
    positions = 4.0 * np.arange(12)
    assert first["observed"]["volume_mm3"] == pytest.approx(ball(5.0, positions, 22.0).sum() * 0.49 * 4, abs=0.01)
    assert first["observed"]["mean_hu"] == 0
    assert first["observed"]["mass_mg"] == first["observed"]["volume_mm3"]
    assert second["observed"]["volume_mm3"] < first["observed"]["volume_mm3"]
    rads = first["categories"]["lung_rads_volume"]
    assert rads["category"] == "4A"
    assert rads["crosses"] == (rads["lowest"] != rads["highest"])
    assert "explain ±" in caplog.text
    assert first["sentence"] in caplog.text
    # made again where it is gone, and by itself
    path.unlink()
    volume = (tmp_path / "out" / f"scan_dense_{method}.nii.gz").stat().st_mtime_ns
    run_config(tmp_path / "out", image=image, mask=mask, method=method, preview=False)
    assert json.loads(path.read_text()) == content
    assert (tmp_path / "out" / f"scan_dense_{method}.nii.gz").stat().st_mtime_ns == volume


def test_a_scan_without_a_mask_has_none(scan, tmp_path):
    run_config(tmp_path / "out", image=scan[0], method="linear", preview=False, center=[0, 0, 0], size_mm=20.0)
    assert not list((tmp_path / "out").glob("*measurements*"))


def test_an_empty_table_says_so():
    assert table_lines([]) == ["the mask is empty"]
    assert Measurements({"sphere_distance": SphereDistanceInferer}, "linear").named == "sphere_distance"
