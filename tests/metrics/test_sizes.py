"""Sizes of a mask: against brute force, scikit-image and the formulas of spheres and ellipsoids."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage
from scipy.spatial.transform import Rotation
from skimage.measure import find_contours, marching_cubes, regionprops

from bundle.errors import InputError
from bundle.metrics.sizes import axial_diameters, largest_diameter, mass_mg, segment, volume_mm3

SPACING = (0.7, 0.8, 1.5)
masks = arrays(bool, st.tuples(*[st.integers(1, 7)] * 3))


def ellipsoid(radii, spacing, rotation=None, centre=(0.13, -0.21, 0.08)):
    """(X, Y, Z) bool of an ellipsoid with these half axes in mm, turned by the rotation, with room around it."""
    half = [int(np.ceil(max(radii) / s)) + 2 for s in spacing]
    grid = np.meshgrid(*[np.arange(-n, n + 1) * s for n, s in zip(half, spacing, strict=True)], indexing="ij")
    points = np.stack([axis - c for axis, c in zip(grid, centre, strict=True)], -1)
    if rotation is not None:
        points = points @ rotation.as_matrix()
    return ((points / np.asarray(radii)) ** 2).sum(-1) <= 1


def brute_force(mask, spacing):
    """Both axial diameters by every pair of contour points of marching squares, and chords at a right angle."""
    best = (0.0, 0.0)
    for k in np.flatnonzero(mask.any(axis=(0, 1))):
        padded = np.pad(mask[..., k].astype(float), 1)
        points = np.concatenate(find_contours(padded, 0.5)) * spacing[:2]
        for a, b in itertools.combinations(points, 2):
            length = np.hypot(*(b - a))
            if length > best[0] + 1e-9:
                normal = np.array([a[1] - b[1], b[0] - a[0]]) / length
                best = (length, 0.0)
                axis = ((b - a) / length, normal)
                held = points
    u, v = held @ axis[0], held @ axis[1]
    widths = []
    for at in u:  # the hull at u: the highest and lowest of all segments between two points
        ends = [
            v[i] + (v[j] - v[i]) * (at - u[i]) / (u[j] - u[i])
            for i, j in itertools.permutations(range(len(u)), 2)
            if u[i] <= at <= u[j] and u[j] > u[i]
        ]
        widths.append(max(ends) - min(ends))
    return best[0], max(widths)


@pytest.mark.parametrize("seed", range(4))
def test_diameters_of_a_ragged_mask_are_those_of_all_pairs_of_contour_points(seed):
    rng = np.random.default_rng(seed)
    noise = ndimage.gaussian_filter(rng.normal(size=(9, 8, 1)), (1.2, 1.2, 0))
    mask = noise > 0.05
    found = axial_diameters(mask, SPACING)
    longest, perpendicular = brute_force(mask, SPACING)
    assert found.longest == pytest.approx(longest)
    assert found.perpendicular == pytest.approx(perpendicular)


@given(masks)
def test_the_largest_diameter_is_that_of_all_vertices_of_marching_cubes(mask):
    found = largest_diameter(mask, SPACING)
    if not mask.any():
        assert np.isnan(found)
        return
    vertices = marching_cubes(np.pad(mask.astype(float), 1), 0.5, spacing=SPACING)[0]
    away = np.linalg.norm(vertices[:, None] - vertices[None], axis=2)
    assert found == pytest.approx(away.max(), rel=1e-5)


@given(masks, st.permutations([0, 1]), st.booleans())
def test_a_turned_or_moved_mask_is_as_large(mask, order, flip):
    turned = np.pad(mask[::-1] if flip else mask, [(1, 0), (0, 3), (2, 1)]).transpose(*order, 2)
    spacing = (*(SPACING[k] for k in order), SPACING[2])
    assert volume_mm3(turned, spacing) == pytest.approx(volume_mm3(mask, SPACING), nan_ok=True)
    assert largest_diameter(turned, spacing) == pytest.approx(largest_diameter(mask, SPACING), nan_ok=True)
    assert axial_diameters(turned, spacing).longest == pytest.approx(
        axial_diameters(mask, SPACING).longest, nan_ok=True
    )
    assert not largest_diameter(mask, SPACING) < axial_diameters(mask, SPACING).longest - 1e-9


@pytest.mark.parametrize("degrees", [0, 20, 45, 77])
def test_a_turned_ellipsoid_has_the_sizes_of_the_formula(degrees):
    radii, spacing = (9.0, 5.0, 6.0), (0.5, 0.5, 0.5)
    mask = ellipsoid(radii, spacing, Rotation.from_euler("z", degrees, degrees=True))
    assert volume_mm3(mask, spacing) == pytest.approx(4 / 3 * np.pi * np.prod(radii), rel=0.005)
    assert axial_diameters(mask, spacing) == pytest.approx((18.0, 10.0), abs=0.4)
    assert axial_diameters(mask, spacing).mean == pytest.approx(14.0, abs=0.4)
    assert largest_diameter(mask, spacing) == pytest.approx(18.0, abs=0.4)


def test_a_tilted_ellipsoid_is_longer_in_3d_than_in_its_slices():
    mask = ellipsoid((9.0, 4.0, 4.0), (0.5,) * 3, Rotation.from_euler("y", 50, degrees=True))
    # half axis of the central section of an ellipse that is turned by the angle
    section = 2 / np.hypot(np.cos(np.radians(50)) / 9, np.sin(np.radians(50)) / 4)
    assert axial_diameters(mask, (0.5,) * 3) == pytest.approx((section, 8.0), abs=0.4)
    assert largest_diameter(mask, (0.5,) * 3) == pytest.approx(18.0, abs=0.4)


@pytest.mark.parametrize("radius", [2.0, 4.0, 8.0])
def test_the_mean_diameter_of_spheres_is_off_by_less_than_half_a_pixel(radius):
    rng = np.random.default_rng(0)
    found = [
        axial_diameters(ellipsoid((radius,) * 3, (0.7, 0.7, 1.0), centre=rng.uniform(-0.5, 0.5, 3)), (0.7, 0.7, 1.0))
        for _ in range(20)
    ]
    assert np.mean([d.mean for d in found]) == pytest.approx(2 * radius, abs=0.4)


def test_the_longest_diameter_is_near_that_of_regionprops():
    mask = ellipsoid((9.0, 5.0, 6.0), (0.5,) * 3, Rotation.from_euler("z", 33, degrees=True))
    (props,) = regionprops(mask[..., mask.sum(axis=(0, 1)).argmax()].astype(int))
    # theirs draws the convex hull as pixels first
    assert axial_diameters(mask, (0.5,) * 3).longest == pytest.approx(0.5 * props.feret_diameter_max, abs=0.25)


def test_one_voxel_and_none():
    one = np.zeros((5, 4, 3))
    one[4, 2, 0] = 1  # at a corner: beyond the border is outside
    assert volume_mm3(one, SPACING) == pytest.approx(0.7 * 0.8 * 1.5)
    assert axial_diameters(one, SPACING) == pytest.approx((0.8, 0.7))
    assert largest_diameter(one, SPACING) == pytest.approx(1.5)
    none = np.zeros((5, 4, 3), bool)
    assert np.isnan([volume_mm3(none, SPACING), *axial_diameters(none, SPACING), largest_diameter(none, SPACING)]).all()


def test_slices_that_lie_unevenly_stand_for_what_is_nearest_to_them():
    mask = np.ones((2, 3, 4), bool)
    z = np.array([1.0, 2.0, 5.0, 6.5])
    fine = np.arange(-1, 9, 0.001)
    nearest = np.abs(fine[:, None] - z).argmin(1)
    for k in range(4):
        alone = mask & (np.arange(4) == k)
        reach = (nearest == k) & (fine > z[0] - 0.5) & (fine < z[-1] + 0.75)
        assert volume_mm3(alone, (0.7, 0.8, z)) == pytest.approx(6 * 0.56 * reach.sum() * 0.001, rel=0.01)
    assert volume_mm3(mask, (0.7, 0.8, z)) == pytest.approx(6 * 0.56 * (5.5 + 0.5 + 0.75))
    assert volume_mm3(mask, (0.7, 0.8, 3 * np.arange(4.0))) == volume_mm3(mask, (0.7, 0.8, 3.0))


@given(masks)
def test_the_sum_of_areas_times_the_gap_is_the_volume_of_the_slices(mask):
    areas = mask.sum(axis=(0, 1)) * SPACING[0] * SPACING[1]
    if mask.any():
        assert volume_mm3(mask, SPACING) == pytest.approx(areas.sum() * SPACING[2])


def test_mass_is_volume_times_density():
    assert mass_mg(1000.0, 0.0) == 1000.0  # water
    assert mass_mg(1000.0, -1000.0) == 0.0  # air
    assert np.isnan(mass_mg(float("nan"), 0.0))


def test_the_segmentation_is_scipys_connected_part_that_meets_the_mask():
    rng = np.random.default_rng(1)
    hu = ndimage.gaussian_filter(rng.normal(size=(16, 15, 9)), 1.0) * 900 - 420
    mask = np.pad(ellipsoid((3.0,) * 3, (1.0, 1.0, 2.0)), [(3, 2), (2, 2), (0, 0)])
    hu = hu[tuple(slice(n) for n in mask.shape)]
    away = ndimage.distance_transform_edt(~mask, sampling=(1, 1, 2))
    bright = (hu > -400) & (away <= 3.0)
    parts, count = ndimage.label(bright)
    expected = np.zeros_like(mask)
    for part in range(1, count + 1):
        if (mask & (parts == part)).any():
            expected |= parts == part
    found = segment(hu, mask, (1.0, 1.0, 2.0), -400.0, 3.0)
    np.testing.assert_array_equal(found, expected)
    assert 0 < found.sum() < bright.sum()
    assert not segment(np.full(mask.shape, -900.0), mask, (1.0, 1.0, 2.0), -400.0, 3.0).any()


@pytest.mark.parametrize(
    ("mask", "spacing", "words"),
    [
        (np.ones((3, 3)), (1, 1, 1), "expected \\(X, Y, Z\\)"),
        (np.ones((3, 3, 3)), (1, 1), "expected \\(X, Y, Z\\)"),
        (np.ones((3, 3, 3)), (1, 1, 0), "give mm above 0"),
        (np.ones((3, 3, 3)), (1, 1, [0, 2, 1]), "ascending place"),
        (np.ones((3, 3, 1)), (1, 1, [0]), "at least two slices"),
        (np.full((3, 3, 3), 0.5), (1, 1, 1), "the mask"),
    ],
)
def test_what_has_no_size_is_refused(mask, spacing, words):
    for size in (volume_mm3, axial_diameters, largest_diameter):
        with pytest.raises(InputError, match=words):
            size(mask, spacing)
