"""Agreement with thick slices: the constraint holds, and nothing nearer to the method's volume fulfils it."""

import dataclasses

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from bundle.inferers import CubicInferer, KrigingInferer, LinearInferer
from bundle.inferers.consistency import agree_with_observed, averaging_weights, back_projection
from bundle.profile import block_average
from bundle.slices import ObservedSlices


def thick(average=4, stride=4, profile="box", count=17, spacing=1.25, seed=0):
    """Thick slices of a random volume; the volume."""
    truth = np.random.default_rng(seed).random((3, 4, count))
    centres = np.arange(0, count - average + 1, stride) + (average - 1) / 2
    seen = block_average(truth, np.arange(count), centres, average, profile)
    return ObservedSlices(
        seen, None, centres * spacing, np.arange(count) * spacing, thickness_mm=average * spacing, profile=profile
    ), truth


@settings(max_examples=40, deadline=None)
@given(
    average=st.integers(2, 6),
    stride=st.integers(1, 7),
    profile=st.sampled_from(["box", "trapezoid", "bell"]),
    seed=st.integers(0, 9),
)
def test_averages_of_the_result_are_the_slices(average, stride, profile, seed):
    assume(3 * stride >= average)  # a third of the thickness apart: nearer bells say next to nothing new
    observed, truth = thick(average, stride, profile, seed=seed)
    made = agree_with_observed(np.random.default_rng(seed + 1).random(truth.shape), observed, None)
    which, weights = averaging_weights(observed)
    assert len(which)
    # by hand: each thin slice by its share of the profile
    for row, k in zip(weights, which, strict=True):
        mean = sum(w * made[..., z] for z, w in enumerate(row))
        np.testing.assert_allclose(mean, observed.image[..., k], atol=1e-5)


def test_it_is_the_smallest_change_by_the_covariance():
    observed, truth = thick(3, 2)
    start = np.zeros(truth.shape)
    made = agree_with_observed(start, observed, None)
    _, weights = averaging_weights(observed)
    z = observed.targets
    deviation = np.where((z < observed.positions[0]) | (z > observed.positions[-1]), 4.0, 1.0)
    covariance = (np.exp(-np.abs(z[:, None] - z) / 6.0) + 0.02 * np.eye(len(z))) * np.outer(deviation, deviation)
    # stationarity (KKT): C^-1 (x' - x) is a combination of the rows of A
    inverse = np.linalg.solve(covariance, (made - start).reshape(-1, len(z)).T)
    rest = inverse - weights.T @ np.linalg.lstsq(weights.T, inverse, rcond=None)[0]
    assert np.abs(rest).max() < 1e-6 * np.abs(inverse).max()


def test_what_agrees_already_is_not_changed():
    observed, truth = thick(5, 5)
    np.testing.assert_allclose(agree_with_observed(truth, observed), truth, atol=1e-5)


def test_what_is_wrong_beyond_the_ends_is_mended_there():
    observed, truth = thick(5, 5, count=20)
    start = truth.copy()
    start[..., :2] += 0.2  # below the middle of the first slice
    made = agree_with_observed(start, observed, None)
    mended, spoilt = (np.abs(made - truth)[..., part].mean() for part in (slice(0, 2), slice(2, None)))
    assert mended < 0.05
    assert spoilt < 0.02


def test_limits_are_kept_and_nearly_all_agrees():
    observed, truth = thick(4, 4, seed=3)
    made = agree_with_observed(np.full(truth.shape, 0.9), observed)
    assert made.min() >= 0
    assert made.max() <= 1
    _, weights = averaging_weights(observed)
    assert np.abs(made @ weights.T - observed.image).max() < 1e-3


def test_a_slice_that_is_mostly_outside_says_nothing():
    observed, _ = thick(4, 4)
    between = dataclasses.replace(observed, targets=np.arange(observed.positions[0], observed.positions[-1] + 0.1, 1.0))
    assert 0 not in averaging_weights(between)[0]
    assert len(averaging_weights(between)[0]) == len(observed.positions) - 2


def test_more_slices_than_targets_share_what_they_have():
    seen = ObservedSlices(np.ones((1, 1, 3)), None, np.array([1.0, 1.5, 2.0]), np.array([0.0, 3.0]), thickness_mm=8.0)
    back = back_projection(averaging_weights(seen)[1], seen.targets)
    assert np.isfinite(back).all()


@pytest.mark.parametrize("method", [LinearInferer(), CubicInferer(), KrigingInferer()])
def test_a_method_given_a_thickness_agrees_and_one_without_is_as_before(method):
    observed, truth = thick(4, 4)
    _, weights = averaging_weights(observed)
    made = method.complete(observed).image
    assert np.abs(made @ weights.T - observed.image).max() < 2e-3
    thin = dataclasses.replace(observed, thickness_mm=0.0)
    np.testing.assert_array_equal(method.complete(thin).image, method.reconstruct(thin).image)
    assert not observed.seen.any()
    assert made.shape == truth.shape


def test_kriging_of_blocks_beats_kriging_of_planes_on_smooth_columns():
    z = np.arange(60)
    truth = (0.5 + 0.4 * np.sin(z / 4.0))[None, None] * np.ones((2, 2, 1))
    centres = np.arange(0, 56, 5) + 2.0
    seen = block_average(truth, z, centres, 5)
    observed = ObservedSlices(seen, None, centres, z.astype(float), thickness_mm=5.0)
    inside = slice(3, 56)

    def rmse(image):
        return float(np.sqrt(np.mean((image - truth)[..., inside] ** 2)))

    blocks = rmse(KrigingInferer().reconstruct(observed).image)
    assert blocks < 0.7 * rmse(LinearInferer().reconstruct(observed).image)
