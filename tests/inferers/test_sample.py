"""Samples of the learned method: exact where observed, seeded, as wide as the expected error, correlated as said."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from helpers.observed import observed
from helpers.unsure import UnsureInferer
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.data import MetaTensor
from scipy import ndimage

from bundle.errors import InputError
from bundle.inferers import DenseInferer, LinearInferer, SampleInferer, SignedDistanceInferer
from bundle.inferers.calibration.intervals import Calibration
from bundle.inferers.consistency import averaging_weights
from bundle.inferers.learned.sample import (
    AMPLITUDE,
    AMPLITUDE_THICK,
    NOTE,
    RANGE_MM,
    RANGE_Z_MM,
    correlated_plane,
    matern,
    mixing_along_z,
    sampled,
)
from bundle.slices import ObservedSlices


def draws(seen: ObservedSlices, count: int) -> np.ndarray:
    """(N, X, Y, Z) of noise alone, of an expected error of 1."""
    zero, one = (np.full((*seen.image.shape[:2], len(seen.targets)), v) for v in (0.0, 1.0))
    return np.array([sampled(zero, one, seen, seed) for seed in range(count)])


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), step=st.integers(2, 5))
def test_observed_slices_are_met_exactly_and_a_seed_says_which(seed, step):
    seen = observed(seed % 5, step=step)
    one, again, other = (SampleInferer(UnsureInferer).complete(replace(seen, seed=s)) for s in (seed, seed, seed + 1))
    np.testing.assert_array_equal(one.image[..., ::step], seen.image)
    np.testing.assert_array_equal(one.image, again.image)
    between = np.arange(14) % step > 0
    assert (np.abs(one.image - other.image)[..., between].max((0, 1)) > 0).all()
    assert one.error is None
    assert one.notes[-1] == NOTE
    assert (one.image.min(), one.image.max()) >= (0, 0)
    assert one.image.max() <= 1


@pytest.mark.parametrize(("thickness", "every"), [(5.0, 5), (4.0, 2)])
def test_averages_of_thick_slices_agree(thickness, every):
    centres = np.arange(2.0, 24, every)
    truth = ndimage.gaussian_filter(np.random.default_rng(0).random((12, 10, 26)), 1)
    seen = ObservedSlices(None, None, centres, np.arange(26.0), thickness_mm=thickness)
    _, weights = averaging_weights(seen)
    seen = replace(seen, image=truth @ weights.T, positions=centres[: len(weights)])
    made = SampleInferer(UnsureInferer(floor=0.02)).complete(seen).image
    np.testing.assert_allclose(made @ averaging_weights(seen)[1].T, seen.image, atol=1e-4)
    assert made.std() > 0.5 * truth.std()


def test_the_spread_is_a_part_of_the_expected_error_and_the_mean_is_the_methods_image():
    seen = observed(shape=(16, 14, 11))
    seen = replace(seen, image=0.3 + 0.4 * seen.image)  # so that the window cuts nothing
    mean = UnsureInferer().reconstruct(seen)
    many = np.array([SampleInferer(UnsureInferer).reconstruct(replace(seen, seed=s)).image for s in range(300)])
    made = ~seen.seen
    ratio = many.std(axis=0)[..., made] / (AMPLITUDE * mean.error[..., made])
    assert ratio.mean() == pytest.approx(1, abs=0.02)
    assert ratio.std() < 0.08
    np.testing.assert_allclose(many.mean(axis=0), mean.image, atol=5 * mean.error.max() / np.sqrt(300))


def test_noise_is_correlated_as_materns_with_nothing_in_observed_slices():
    seen = ObservedSlices(np.zeros((24, 24, 3)), None, np.arange(3) * 1.5, np.arange(7) * 0.5, (0.4, 0.6))
    many = draws(seen, 120) / AMPLITUDE
    assert not many[..., ::3].any()
    free = many[..., [1, 2, 4, 5]]
    assert free.var() == pytest.approx(1, abs=0.02)
    for axis, step in ((1, 0.4), (2, 0.6)):
        found = np.mean(np.roll(free, 1, axis) * free)
        assert found == pytest.approx(float(matern(np.array(step), RANGE_MM)), abs=0.02)
    # along z: the conditional covariance by block inversion, of the precision of all seven places
    covariance = matern(seen.targets[:, None] - seen.targets, RANGE_Z_MM)
    inverse = np.linalg.inv(np.linalg.inv(covariance)[np.ix_([1, 2, 4, 5], [1, 2, 4, 5])])
    deviation = np.sqrt(np.diag(inverse))
    flat = free.reshape(-1, 4)
    np.testing.assert_allclose(flat.T @ flat / len(flat), inverse / deviation / deviation[:, None], atol=0.02)


def test_no_noise_in_the_averages_of_thick_slices_before_it_is_scaled():
    seen = ObservedSlices(np.zeros((4, 4, 3)), None, np.array([2.0, 7, 12]), np.arange(15.0), thickness_mm=5.0)
    covariance = mixing_along_z(seen) @ mixing_along_z(seen).T
    np.testing.assert_allclose(covariance.diagonal(), 1, atol=1e-6)
    assert draws(seen, 40).std() == pytest.approx(AMPLITUDE_THICK, rel=0.1)


def test_opposite_borders_are_neighbours_and_pixels_may_be_uneven():
    plane = np.array([correlated_plane((9, 7), (0.3, 0.5), np.random.default_rng(s)) for s in range(3000)])
    found = np.mean(plane[:, 0] * plane[:, -1])
    assert found == pytest.approx(float(matern(np.array(0.3), RANGE_MM)), abs=0.03)


def test_a_large_scan_is_drawn_whole_without_seams():
    volume = np.random.default_rng(0).integers(-900, 200, (1, 1, 40, 36, 4)).astype("f4")
    thick = MetaTensor(volume, affine=np.diag([1.0, 1, 5, 1])[None])
    make = lambda tile: DenseInferer(  # noqa: E731
        {"prior_sample": SampleInferer(UnsureInferer)}, "prior_sample", 1.0, seed=3, tile=tile, progress=False
    )
    whole, tiled = (make(tile)(thick) for tile in (128, 16))
    np.testing.assert_allclose(whole, tiled, atol=1e-2)
    np.testing.assert_array_equal(whole[..., ::5], volume)
    assert NOTE in whole.meta["notes"][0]
    assert "expected_error" not in whole.meta


def test_it_has_the_calibration_of_the_prior():
    method = SampleInferer(UnsureInferer)
    method.calibrate("prior_sample", {"prior": Calibration(0.5, (0.9,), (2.0,)), "prior_sample": None})
    assert method.prior.calibration.scale == 0.5


def test_bone_is_not_cut():
    seen = observed()
    seen = replace(seen, image=seen.image * 3)
    assert SampleInferer(UnsureInferer).unclipped().complete(seen).image.max() > 1.5
    assert SampleInferer(UnsureInferer).outside(seen) == []


def test_a_method_without_errors_or_images_is_told():
    with pytest.raises(InputError, match="LinearInferer gives no expected error"):
        SampleInferer(LinearInferer).reconstruct(observed())
    with pytest.raises(InputError, match="gives no image"):
        SampleInferer(SignedDistanceInferer)
