"""Seams at observed planes: measured as written, evened out without touching what does not stand out."""

import numpy as np
import pytest

from bundle.inferers.dense.seams import bends, seam_ratio, without_seams


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
