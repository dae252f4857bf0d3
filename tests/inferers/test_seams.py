"""Seams at observed planes: measured as written, evened out without touching what does not stand out."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import null_space

from bundle.inferers import PchipInferer
from bundle.inferers.consistency import averaging_weights
from bundle.inferers.dense.seams import bends, even_bends, seam_ratio, without_seams
from bundle.profile import block_average
from bundle.slices import ObservedSlices


def banded(noise=0.1, every=5, seed=0):
    """Smooth along z but for noise at every so many planes."""
    rng = np.random.default_rng(seed)
    z = np.arange(41)
    volume = np.sin(z / 9 + rng.uniform(0, 6, (20, 20, 1))) + 0.02 * rng.standard_normal((20, 20, 41))
    observed = z % every == 0
    volume[..., observed] += noise * rng.standard_normal((20, 20, observed.sum()))
    return volume, observed


def test_bends_are_second_differences():
    volume, _ = banded()
    np.testing.assert_allclose(bends(volume)[1:-1], np.abs(np.diff(volume, 2, axis=2)).mean((0, 1)))


def test_observed_planes_stand_out_no_more():
    volume, observed = banded()
    before = volume.copy()
    assert seam_ratio(volume, observed) > 1.5
    without_seams(volume, observed)
    assert 0.9 < seam_ratio(volume, observed) <= 1.1
    np.testing.assert_array_equal(volume[..., ~observed], before[..., ~observed])
    np.testing.assert_array_equal(volume[..., [0, 40]], before[..., [0, 40]])
    # nearer to what is without noise, not farther
    clean, _ = banded(noise=0.0)
    assert np.std((volume - clean)[..., observed]) < np.std((before - clean)[..., observed])


def test_neighbouring_observed_planes_are_taken_as_they_were():
    volume, observed = banded(every=2)
    observed[11] = True
    before = volume.copy()
    ratio = seam_ratio(volume, observed)
    without_seams(volume, observed, rounds=1)
    expected = before[..., 11] / ratio + (1 - 1 / ratio) / 2 * (before[..., 10] + before[..., 12])
    np.testing.assert_allclose(volume[..., 11], expected)


@pytest.mark.parametrize("observed", [np.zeros(41, bool), np.ones(41, bool)])
def test_planes_of_one_kind_have_no_seams(observed):
    volume, _ = banded()
    before = volume.copy()
    assert np.isnan(seam_ratio(volume, observed))
    without_seams(volume, observed)
    np.testing.assert_array_equal(volume, before)


def test_even_volumes_and_flat_ones_are_left_alone():
    volume, observed = banded(noise=0.0)
    volume[..., observed] = (
        volume[..., np.flatnonzero(observed) - 1] + volume[..., (np.flatnonzero(observed) + 1) % 41]
    ) / 2
    before = volume.copy()
    without_seams(volume, observed)
    np.testing.assert_array_equal(volume, before)
    flat = np.ones((2, 2, 41))
    without_seams(flat, observed)
    assert (flat == 1).all()


def thick(average=3, stride=3, profile="box", step=1.0, count=40, seed=0):
    """A walk along z with large steps now and then: PCHIP of its averages, in agreement; where these lie; the walk."""
    rng = np.random.default_rng(seed)
    jumps = rng.standard_normal((12, 10, count)) * (1 + 9 * (rng.random((12, 10, count)) < 0.1))
    truth = np.cumsum(jumps, axis=2) / 20
    centres = np.arange((average - 1) / 2, count - average / 2, stride)
    seen = block_average(truth, np.arange(count), centres, average, profile)
    targets = np.arange(centres[0], centres[-1] + 1e-6, step)
    places = ObservedSlices(seen, None, centres, targets, thickness_mm=float(average), profile=profile)
    at = np.abs(targets[:, None] - centres).min(axis=1) < 1e-6
    return PchipInferer(clip=False).complete(places).image, places, at, truth


@pytest.mark.parametrize(
    ("average", "stride", "step", "before"),
    [(3, 3, 1.0, (1.3, 2)), (5, 5, 1.0, (1.3, 2)), (4, 2, 0.5, (0.5, 0.85))],
)
def test_planes_bend_alike_at_no_loss(average, stride, step, before):
    volume, places, at, truth = thick(average, stride, step=step)
    made = volume.copy()
    evened = even_bends(made, places)
    assert before[0] < seam_ratio(volume, at) < before[1]
    assert 0.88 < seam_ratio(made, at) < 1.12
    moved = np.sqrt(np.mean((made - volume) ** 2))
    np.testing.assert_allclose(evened, (seam_ratio(volume, at), seam_ratio(made, at), moved))

    def rmse(image):
        there = np.isclose(places.targets % 1, 0)
        return np.sqrt(np.mean((image[..., there] - truth[..., places.targets[there].astype(int)]) ** 2))

    assert rmse(made) < 1.002 * rmse(volume)


@settings(max_examples=25, deadline=None)
@given(
    average=st.integers(3, 6),
    stride=st.integers(2, 6),
    profile=st.sampled_from(["box", "trapezoid", "bell"]),
    step=st.sampled_from([0.5, 0.7, 1.0]),
    seed=st.integers(0, 9),
)
def test_no_average_changes(average, stride, profile, step, seed):
    volume, places, _, _ = thick(average, stride, profile, step, seed=seed)
    made = volume.copy()
    even_bends(made, places, least=0.999, most=1.001)
    weights = averaging_weights(places)[1]
    np.testing.assert_allclose(made @ weights.T, volume @ weights.T, atol=1e-9)


@pytest.mark.parametrize(("average", "stride", "step"), [(3, 3, 1.0), (4, 2, 0.5)])
def test_it_goes_down_the_gradient_within_what_the_averages_leave(average, stride, step):
    volume, places, at, _ = thick(average, stride, step=step)
    made = volume.copy()
    even_bends(made, places)
    # by hand: the matrix of second differences, and a basis of all that no average sees
    size = volume.shape[2]
    second = sum(c * np.eye(size - 2, size, k) for k, c in enumerate((1, -2, 1)))
    rough = second[at[1:-1] if seam_ratio(volume, at) > 1 else ~at[1:-1]]
    basis = null_space(averaging_weights(places)[1])
    for power in np.arange(-8, 1.5, 0.5):
        strength = np.abs(volume @ rough.T).mean() * 2**power
        expected = volume
        for _ in range(3):
            slope = (expected @ rough.T / (16 * strength)).clip(-1, 1) @ rough
            expected = expected - strength * slope @ basis @ basis.T
        if 0.9 <= seam_ratio(expected, at) <= 1.1:
            break
    np.testing.assert_allclose(made, expected, atol=1e-9)


def test_planes_that_bend_alike_are_left_alone_and_so_is_what_no_average_holds():
    volume, places, at, _ = thick()
    ratio, made = seam_ratio(volume, at), volume.copy()
    assert even_bends(made, places, most=ratio * 1.001) is None
    even_bends(made, dataclasses.replace(places, thickness_mm=200.0))
    np.testing.assert_array_equal(made, volume)
    flat = np.ones_like(volume)
    even_bends(flat, places)
    assert (flat == 1).all()


def test_a_volume_in_single_precision_is_moved_by_as_much():
    volume, places, _, _ = thick()
    single = volume.astype(np.float32)
    even_bends(volume, places)
    even_bends(single, places)
    assert single.dtype == np.float32
    np.testing.assert_allclose(single, volume, atol=1e-4)
