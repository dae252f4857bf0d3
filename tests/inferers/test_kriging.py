"""Kriging against a system that is written out and solved point by point, and against what defines it."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from bundle.errors import InputError
from bundle.inferers import KrigingInferer, LinearInferer, ObservedSlices
from bundle.inferers.interpolation.kriging import (
    FLAT,
    Variogram,
    empirical_variogram,
    fit_variogram,
    krige,
    kriging_weights,
)

MODEL = Variogram(0.02, 0.5, 3.5, 1.3)


def solved_by_hand(image, positions, target, voxel, spacing, variogram, half, z_scale) -> float:
    """One voxel by the covariance form of ordinary kriging, in loops; beyond the border its voxel is repeated."""
    below = max(k for k in range(len(positions)) if positions[k] < target)
    slices = [k for k in range(below - 1, below + 3) if 0 <= k < len(positions)]
    points, values = [], []
    for dx, dy, k in itertools.product(range(-half, half + 1), range(-half, half + 1), slices):
        points.append((dx * spacing[0], dy * spacing[1], (positions[k] - target) * z_scale))
        x = min(max(voxel[0] + dx, 0), image.shape[0] - 1)
        y = min(max(voxel[1] + dy, 0), image.shape[1] - 1)
        values.append(image[x, y, k])
    variance = variogram.nugget + variogram.sill

    def covariance(a, b):
        h = sum((p - q) ** 2 for p, q in zip(a, b, strict=True)) ** 0.5
        if h == 0:
            return variance
        return variogram.sill * np.exp(-((h / variogram.range_mm) ** variogram.power))

    c = np.array([[covariance(a, b) for b in points] for a in points])
    to_voxel = np.array([covariance(a, (0.0, 0.0, 0.0)) for a in points])
    one = np.ones(len(points))
    inverse_c, inverse_one = np.linalg.lstsq(c, to_voxel, rcond=None)[0], np.linalg.lstsq(c, one, rcond=None)[0]
    weights = inverse_c + inverse_one * (1 - one @ inverse_c) / (one @ inverse_one)
    return float(weights @ values)


@pytest.mark.parametrize(("half", "z_scale", "count"), [(2, 0.7, 5), (1, 1.0, 3), (0, 0.5, 4), (2, 0.7, 2)])
def test_equal_to_a_system_solved_by_hand(half, z_scale, count):
    rng = np.random.default_rng(half)
    positions = np.cumsum(rng.uniform(2, 6, count))
    image, spacing = rng.random((7, 6, count)), (0.6, 0.9)
    targets = np.sort(rng.uniform(positions[0], positions[-1], 4))
    made = krige(image, positions, targets, spacing, MODEL, half, z_scale)
    for x, y, z in [(3, 3, 0), (0, 0, 1), (6, 2, 2), (5, 5, 3)]:
        expected = solved_by_hand(image, positions, targets[z], (x, y), spacing, MODEL, half, z_scale)
        assert made[x, y, z] == pytest.approx(expected, abs=1e-8)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 1000), spacing=st.tuples(st.floats(0.5, 2), st.floats(0.5, 2)))
def test_variogram_equals_all_pairs(seed, spacing):
    image = np.random.default_rng(seed).random((5, 4, 2))
    distance, value = empirical_variogram(image, spacing, max_mm=5.0)
    sums: dict[tuple[int, int], list[float]] = {}
    for (x, y), (u, v) in itertools.product(np.ndindex(5, 4), repeat=2):
        sums.setdefault((u - x, v - y), []).extend(0.5 * (image[u, v] - image[x, y]) ** 2)
    expected = {}
    for (dx, dy), squares in sums.items():
        h = float(np.hypot(dx * spacing[0], dy * spacing[1]))
        if (dx > 0 or (dx == 0 and dy > 0)) and (dx == 0 or dy == 0 or dx == abs(dy)) and h <= 5.0:
            expected[dx, dy] = (h, float(np.mean(squares)))
    assert len(distance) == len(expected)
    np.testing.assert_allclose(
        sorted(zip(distance, value, strict=True)), sorted(expected.values()), rtol=1e-9, atol=1e-12
    )


@pytest.mark.parametrize("model", [MODEL, Variogram(0.0, 1e-4, 6.0, 1.0), Variogram(3e-3, 2e-2, 2.0, 0.8)])
def test_fit_finds_the_model_again(model):
    distance = np.arange(0.6, 10, 0.6)
    found = fit_variogram(distance, model(distance))
    np.testing.assert_allclose(found(distance), model(distance), rtol=2e-3)


def test_nothing_to_fit():
    assert fit_variogram(*empirical_variogram(np.ones((1, 1, 3)), (1.0, 1.0))) is None
    assert fit_variogram(*empirical_variogram(np.full((5, 5, 3), 0.3), (1.0, 1.0))) is None


@settings(max_examples=25, deadline=None)
@given(
    nugget=st.floats(0, 1),
    range_mm=st.floats(0.3, 100),
    power=st.floats(0.3, 1.95),
    gap=st.floats(1, 40),
    part=st.floats(0.01, 0.99),
)
def test_weights_sum_to_one_and_have_the_symmetry_of_the_grid(nugget, range_mm, power, gap, part):
    offsets = np.array([-1 - part, -part, 1 - part, 2 - part]) * gap
    weights = kriging_weights(Variogram(nugget, 1.0, range_mm, power), (0.7, 0.7), offsets)
    assert np.isfinite(weights).all()
    assert weights.sum() == pytest.approx(1, abs=1e-6)
    scale = np.abs(weights).max() * 1e-4
    np.testing.assert_allclose(weights, weights[::-1], atol=scale)
    np.testing.assert_allclose(weights, np.swapaxes(weights, 0, 1), atol=scale)
    np.testing.assert_allclose(
        kriging_weights(Variogram(nugget, 1.0, range_mm, power), (0.7, 0.7), -offsets[::-1]),
        weights[..., ::-1],
        atol=scale,
    )


def test_no_other_weights_of_sum_one_err_less():
    """The expected squared error, 2 w.g - w.G.w, grows with any change of the weights that keeps their sum."""
    offsets, spacing = np.array([-4.0, -1.0, 4.0]), (0.8, 0.8)
    weights = kriging_weights(MODEL, spacing, offsets, half=1, z_scale=1.0)
    grid = np.meshgrid([-0.8, 0, 0.8], [-0.8, 0, 0.8], offsets, indexing="ij")
    points = np.stack([axis.ravel() for axis in grid], axis=1)
    between = MODEL(np.linalg.norm(points[:, None] - points, axis=-1))
    to_voxel = MODEL(np.linalg.norm(points, axis=-1))

    def error(w):
        return 2 * w @ to_voxel - w @ between @ w

    rng = np.random.default_rng(0)
    for change in rng.normal(0, 0.02, (50, weights.size)):
        assert error(weights.ravel() + change - change.mean()) > error(weights.ravel())


def test_planes_are_reproduced():
    """A ramp in plane anywhere, a ramp along z in the middle of a gap: by symmetry; away from the border."""
    x, y, z = np.meshgrid(np.arange(12.0), np.arange(11.0), np.arange(4.0), indexing="ij")
    positions = np.arange(4) * 5.0
    level = 0.03 * x + 0.02 * y
    made = krige(level, positions, np.arange(16.0), (0.7, 0.9), MODEL)
    np.testing.assert_allclose(made[2:-2, 2:-2], np.repeat(level[2:-2, 2:-2, :1], 16, axis=2), atol=1e-9)
    made = krige(level + 0.1 * z, positions, np.array([7.5]), (0.7, 0.9), MODEL)
    np.testing.assert_allclose(made[2:-2, 2:-2, 0], level[2:-2, 2:-2, 0] + 0.15, atol=1e-9)


def test_a_random_field_is_guessed_better_than_by_a_line():
    field = gaussian_filter(np.random.default_rng(3).normal(size=(40, 40, 31)), 2.0)
    field = (field - field.min()) / np.ptp(field)
    seen = ObservedSlices(field[..., ::5], None, np.arange(7) * 5.0, np.arange(31.0))
    errors = [
        np.mean((method.reconstruct(seen).image - field) ** 2)
        for method in (KrigingInferer(z_scale=1.0), LinearInferer())
    ]
    assert errors[0] < 0.92 * errors[1]


def test_noise_is_averaged_over_neighbours():
    """With pure noise about one level, the best guess is the mean of all 100 neighbours."""
    weights = kriging_weights(Variogram(1.0, 1e-6, 3.0, 1.0), (1.0, 1.0), np.array([-7.0, -2.0, 3.0, 8.0]))
    np.testing.assert_allclose(weights, 0.01, atol=1e-6)


def test_notes_name_what_was_assumed():
    image = np.broadcast_to([0.2, 0.6], (4, 4, 2))
    result = KrigingInferer().reconstruct(ObservedSlices(image, None, np.array([0.0, 4.0]), np.array([2.0])))
    np.testing.assert_allclose(result.image, 0.4)
    assert result.notes == [
        "2 observed slices: kriging had so many around each target, not 4",
        "the observed slices do not vary in plane: kriging assumed an exponential variogram of 5 mm",
    ]
    four = np.random.default_rng(0).random((6, 6, 4))
    assert KrigingInferer().reconstruct(ObservedSlices(four, None, np.arange(4.0), np.array([0.5]))).notes == []


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (2, 1)])
def test_slices_of_few_voxels(shape):
    image = np.random.default_rng(0).random((*shape, 4))
    result = KrigingInferer().reconstruct(ObservedSlices(image, None, np.arange(4) * 3.0, np.arange(10.0)))
    assert np.isfinite(result.image).all()
    np.testing.assert_array_equal(result.image[..., ::3], image)


@pytest.mark.parametrize("options", [{"half": -1}, {"z_scale": 0.0}, {"z_scale": float("nan")}])
def test_options_that_make_no_sense(options):
    with pytest.raises(InputError, match="expected half of 0 or more and z_scale above 0"):
        KrigingInferer(**options)


def test_flat_is_a_variogram():
    assert FLAT(np.array([0.0, 1e9])).tolist() == [0.0, 1.0]
