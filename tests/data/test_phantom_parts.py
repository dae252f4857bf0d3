"""The phantom's parts against independent computations: fields, tubes, depth, scanner."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from bundle.data.phantom.grid import FineGrid, correlated_field, paint_tubes, resample
from bundle.data.phantom.nodule import nodule_hu, smooth_depth, solid_share, spicules
from bundle.data.phantom.scanner import Scanner, scan
from bundle.data.phantom.tissue import grow_tree, parenchyma, vessels_and_airways
from bundle.data.phantom.wall import wall_depth, wall_hu

GRID = FineGrid.around((24, 24, 16), (0.8, 0.8, 1.0))


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_resample_is_map_coordinates() -> None:
    volume = rng().normal(size=(5, 6, 7)).astype(np.float32)
    positions = (np.linspace(-1, 5, 9), np.linspace(0, 5, 8), np.array([0.25, 6.0, 7.5]))
    wanted = ndimage.map_coordinates(volume, np.meshgrid(*positions, indexing="ij"), order=1, mode="nearest")
    np.testing.assert_allclose(resample(volume, positions), wanted, atol=1e-5)


@pytest.mark.parametrize("length", [1.5, 4.0])
def test_field_has_its_length_and_variance(length: float) -> None:
    grid = FineGrid.around((48, 48, 48), (0.8, 0.8, 0.8))
    field = correlated_field(grid, length, rng())
    assert field.shape == grid.shape
    assert abs(field.mean()) < 0.25
    assert field.std() == pytest.approx(1, abs=0.15)
    for axis in range(3):
        lag = round(length / grid.spacing[axis])
        a = np.take(field, range(field.shape[axis] - lag), axis=axis)
        b = np.take(field, range(lag, field.shape[axis]), axis=axis)
        assert np.corrcoef(a.ravel(), b.ravel())[0, 1] == pytest.approx(np.exp(-1), abs=0.15)


def test_tube_fills_the_voxels_near_its_axis() -> None:
    tube = np.array([4.0, 5.0, 6.0, 14.0, 11.0, 9.0, 1.5, 1.5])
    occupancy = paint_tubes(GRID, tube[None])
    centres = np.stack(np.meshgrid(*(np.ravel(GRID.axis(i)) for i in range(3)), indexing="ij"), -1)
    along = np.linspace(tube[:3], tube[3:6], 120)
    distance = np.full(GRID.shape, np.inf)
    for point in along:
        distance = np.minimum(distance, np.linalg.norm(centres - point, axis=-1))
    soft = np.mean(GRID.spacing)
    assert (occupancy[distance < 1.5 - soft] == 1).all()
    assert (occupancy[distance > 1.5 + soft] == 0).all()
    assert paint_tubes(GRID, tube[None] + 500 * np.array([1, 1, 1, 1, 1, 1, 0, 0])).max() == 0


def test_branches_obey_murray() -> None:
    tubes = grow_tree(np.zeros(3), np.ones(3), 2.0, np.full(3, 60.0), rng(3))
    assert (tubes[:, 7] <= tubes[:, 6]).all()
    starts = {tuple(np.round(t[:3], 9)) for t in tubes}
    assert len(starts) < len(tubes)  # it forks
    for point in starts:
        children = tubes[(np.abs(tubes[:, :3] - point) < 1e-8).all(1)]
        parents = tubes[(np.abs(tubes[:, 3:6] - point) < 1e-8).all(1)]
        if len(children) == 2 and len(parents) == 1:
            assert (children[:, 6] ** 3).sum() == pytest.approx(parents[0, 7] ** 3, rel=1e-6)


def test_vessels_end_where_they_are_blocked() -> None:
    middle = GRID.size_mm / 2
    vessels, airways = vessels_and_airways(
        GRID, np.array([1.0, 0, 0]), rng(1), lambda p: bool(np.linalg.norm(p - middle) < 6), 2.0
    )
    assert len(vessels) > 50
    assert (np.linalg.norm(vessels[:, :3] - middle, axis=1) >= 6).all()
    assert len(airways) == 0 or (np.linalg.norm(airways[:, :3] - middle, axis=1) >= 6).all()


def test_parenchyma_is_denser_at_the_back() -> None:
    grid = FineGrid.around((16, 60, 10), (0.8, 0.8, 1.0))
    lung = np.mean([parenchyma(grid, -870.0, rng(k)) for k in range(4)], axis=0)
    third = lung.shape[1] // 3
    assert lung[:, -third:].mean() > lung[:, :third].mean() + 10
    assert lung.min() >= -990


def test_depth_keeps_the_volume_and_smooths_the_staircase() -> None:
    mask = np.zeros((24, 24, 16), bool)
    for k, wide in zip(range(4, 12), (2, 5, 6, 3, 7, 6, 6, 2), strict=True):  # outlines that jump
        mask[12 - wide : 12 + wide, 12 - wide : 12 + wide, k] = True
    depth = smooth_depth(mask, (0.8, 0.8, 1.0), GRID)
    factors = np.array(GRID.factors)
    assert (depth > 0).sum() / factors.prod() == pytest.approx(mask.sum(), rel=0.1)
    padded = np.pad(mask, [(g, g) for g in GRID.guard])
    for axis, factor in enumerate(factors):
        padded = np.repeat(padded, factor, axis=axis)
    both = (padded & (depth > 0)).sum()
    assert 2 * both / (padded.sum() + (depth > 0).sum()) > 0.85
    # a signed distance changes by no more than the step
    assert np.abs(np.diff(depth, axis=2)).max() < 1.2 * GRID.spacing[2]


def test_solid_core_has_the_rated_share() -> None:
    depth = 8 - np.sqrt(sum((GRID.axis(i) - GRID.size_mm[i] / 2) ** 2 for i in range(3)))
    for texture in (1.0, 2.5, 3.5, 5.0):
        _, solid = nodule_hu(depth, {"texture": texture}, 0.0, GRID, rng())
        assert solid[depth > 0].mean() == pytest.approx(solid_share(texture), abs=0.12)


def test_spicules_start_at_the_surface_and_leave() -> None:
    middle = GRID.size_mm / 2
    depth = 5 - np.sqrt(sum((GRID.axis(i) - middle[i]) ** 2 for i in range(3)))
    few, many = (spicules(depth, s, GRID, rng()) for s in (2.0, 5.0))
    assert 0 < len(few) < len(many)
    ends = np.linalg.norm(many[:, 3:6] - middle, axis=1)
    assert ends.max() > 8
    assert (np.linalg.norm(many[:, :3] - middle, axis=1) > 3).all()


def test_wall_keeps_its_distance_and_has_bone_and_fat() -> None:
    nodule = np.zeros(GRID.shape, bool)
    nodule[20:30, 20:30, 20:30] = True
    for k in range(5):
        angle = 2 * np.pi * k / 5
        outward = np.array([np.cos(angle), np.sin(angle), 0.0])
        depth = wall_depth(GRID, outward, nodule, 0.5, rng(k))
        assert depth[nodule].max() == pytest.approx(-0.5, abs=1e-4)
        assert (depth > 0).any()
    deep = np.broadcast_to(GRID.axis(0), GRID.shape)
    hu = wall_hu(GRID, np.array([1.0, 0, 0]), deep, rng())
    assert hu.max() > 600
    assert np.percentile(hu, 5) < -50
    with pytest.raises(ValueError, match="empty"):
        wall_depth(GRID, outward, np.zeros(GRID.shape, bool), 0.5, rng())


@pytest.mark.parametrize(("fwhm", "enhancement"), [(0.8, 0.0), (1.2, 0.0), (1.0, 0.4)])
def test_blur_is_the_transfer_function(fwhm: float, enhancement: float) -> None:
    grid = FineGrid.around((40, 40, 4), (0.5, 0.5, 1.0))
    frequency = 0.25
    wave = 500 * np.cos(2 * np.pi * frequency * grid.axis(0))
    scanner = Scanner(fwhm, enhancement, 0.0)
    image = scan(np.broadcast_to(wave, grid.shape), grid, 1.0, scanner, rng())
    pixel = np.cos(np.pi * frequency * 0.25)  # a pixel averages two fine voxels, 0.25 mm apart
    # 40 pixels hold 5 periods: the Fourier coefficient is the amplitude, whatever the phase
    measured = 2 * np.abs(np.fft.fft(image[:, 20, 2])[5]) / 40 / 500
    assert measured == pytest.approx(float(scanner.transfer(np.array(frequency))) * pixel, abs=0.01)


def test_a_thick_slice_blurs_an_edge_along_z_by_its_profile() -> None:
    grid = FineGrid.around((6, 6, 40), (0.8, 0.8, 0.5), guard_mm=5.0)
    step = np.broadcast_to(1000.0 * (grid.axis(2) > grid.size_mm[2] / 2), grid.shape)
    widths = []
    for thickness in (0.5, 1.0, 2.0, 3.0):
        edge = scan(step, grid, thickness, Scanner(0.9, 0.0, 0.0), rng())[3, 3]
        assert (np.diff(edge) >= 0).all()
        line = np.diff(edge) / 1000
        at = np.arange(len(line)) * 0.5
        widths.append(np.sqrt((line * at**2).sum() - (line * at).sum() ** 2))
    # a triangle of FWHM t has the sd t / sqrt(6)
    np.testing.assert_allclose(widths[1:], np.array([1.0, 2.0, 3.0]) / np.sqrt(6), rtol=0.15)
    assert widths == sorted(widths)


def test_noise_has_its_sd_its_band_and_its_overlap() -> None:
    def water(spacing_z: float) -> np.ndarray:
        grid = FineGrid.around((48, 48, 24), (0.7, 0.7, spacing_z))
        return scan(np.zeros(grid.shape, np.float32), grid, 1.0, Scanner(1.1, 0.1, 25.0), rng(5))

    apart, overlapping = water(1.0), water(0.5)
    for image in (apart, overlapping):
        assert image.std() == pytest.approx(25, rel=0.08)
        assert image.mean() == pytest.approx(0, abs=0.5)  # the ramp has no constant part
        power = (np.abs(np.fft.fft2(image, axes=(0, 1))) ** 2).mean(axis=2)
        radius = np.hypot(np.fft.fftfreq(48, 0.7)[:, None], np.fft.fftfreq(48, 0.7)[None])
        middle = power[(radius > 0.2) & (radius < 0.35)].mean()
        assert middle > 2 * power[(radius > 0) & (radius < 0.05)].mean()
        assert middle > 3 * power[radius > 0.65].mean()

    def lag(image: np.ndarray, k: int) -> float:
        return float(np.corrcoef(image[:, :, k:].ravel(), image[:, :, :-k].ravel())[0, 1])

    # the autocorrelation of a triangle of FWHM t is 1/4 at t and 23/32 at t/2
    assert lag(apart, 1) == pytest.approx(0.25, abs=0.06)
    assert lag(overlapping, 1) == pytest.approx(23 / 32, abs=0.06)
    assert abs(lag(apart, 3)) < 0.05
