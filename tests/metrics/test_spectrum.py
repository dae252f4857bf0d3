"""Densities against scipy and their integral, spectra against waves of known frequency and Parseval's theorem."""

from __future__ import annotations

import re

import numpy as np
import pytest
from scipy.integrate import trapezoid
from scipy.stats import gaussian_kde

from bundle.errors import InputError
from bundle.metrics import Spectrum, hu_density, mean_spectrum, power_spectrum


def test_density_equals_scipy_and_integrates_to_1():
    values = np.random.default_rng(0).normal(-200, 80, 500)
    grid = np.arange(-1000.0, 401.0, 5.0)
    found = hu_density(values)
    np.testing.assert_allclose(found.density, gaussian_kde(values)(grid), rtol=1e-9)
    assert trapezoid(found.density, found.hu) == pytest.approx(1, abs=1e-3)
    assert (found.n_voxels, found.reason) == (500, "")


def test_density_of_many_voxels_is_thinned_without_harm():
    values = np.concatenate([np.random.default_rng(k).normal(-600 + 500 * k, 60, 30_000) for k in range(2)])
    thinned = hu_density(values, max_voxels=2000).density
    full = hu_density(values, max_voxels=10**6).density
    assert np.abs(thinned - full).max() < 0.01 * full.max()


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (np.zeros(0), "only 0 voxels"),
        (np.arange(7.0), "only 7 voxels"),
        (np.full(50, -100.0), "all 50 voxels .* have -100 HU"),
    ],
)
def test_no_density_has_a_reason(values, reason):
    found = hu_density(values)
    assert found.density.size == 0
    assert re.search(reason, found.reason)


@pytest.mark.parametrize("cycles", [1, 3, 7])
@pytest.mark.parametrize("axis", [0, 1])
def test_a_wave_peaks_at_its_frequency_in_cycles_per_mm(cycles, axis):
    step, size = 0.6, 20
    wave = np.cos(2 * np.pi * cycles * np.arange(size) / size)
    volume = np.broadcast_to(np.expand_dims(wave, tuple(k for k in range(3) if k != axis)), (size, size, 3))
    found = power_spectrum(volume, np.ones_like(volume, dtype=bool), (step, step, 1.0))
    assert found.index[found.power.argmax()] == cycles
    assert found.frequency[found.power.argmax()] == pytest.approx(cycles / (size * step))
    assert len(found.index) == size // 2
    assert found.n_slices == 3


def test_rings_equal_brute_force():
    rng = np.random.default_rng(0)
    volume, mask = rng.normal(size=(10, 10, 4)), rng.random((10, 10, 4)) > 0.3
    found = power_spectrum(volume, mask, (0.7, 0.7, 1.0))
    shifted = np.abs(np.fft.fftshift(np.fft.fft2(volume * mask, axes=(0, 1)), axes=(0, 1))) ** 2
    x, y = np.indices((10, 10)) - 5
    ring = np.sqrt(x**2 + y**2).astype(int)
    for k in range(5):
        assert found.power[k] == pytest.approx(shifted[ring == k].mean())


def test_a_slice_that_is_not_square_is_padded_to_one():
    rng = np.random.default_rng(0)
    volume = rng.normal(size=(6, 10, 1))
    padded = np.zeros((10, 10, 1))
    padded[2:8] = volume  # where in the square makes no difference
    ones = np.ones_like
    a = power_spectrum(volume, ones(volume, dtype=bool), (1, 1, 1))
    b = power_spectrum(padded, ones(padded, dtype=bool), (1, 1, 1))
    np.testing.assert_allclose(a.power, b.power)
    c = power_spectrum(volume, ones(volume, dtype=bool), (1, 1, 1), size=10)
    np.testing.assert_allclose(a.power, c.power)


def test_only_chosen_slices_that_meet_the_mask_count():
    rng = np.random.default_rng(0)
    volume, mask = rng.normal(size=(8, 8, 5)), np.zeros((8, 8, 5), bool)
    mask[2:6, 2:6, 1:4] = True
    chosen = np.array([True, True, False, True, True])
    found = power_spectrum(volume, mask, (1, 1, 1), slices=chosen)
    expected = power_spectrum(volume[..., [1, 3]], mask[..., [1, 3]], (1, 1, 1))
    np.testing.assert_allclose(found.power, expected.power)
    assert found.n_slices == 2


def test_unequal_spacings_have_rings_in_cycles_per_mm():
    size, steps = 16, (0.5, 1.0)
    wave = np.cos(2 * np.pi * np.arange(size) * steps[1] * 0.25)  # 0.25 cycles per mm along y
    volume = np.broadcast_to(wave[None, :, None], (size, size, 1))
    found = power_spectrum(volume, np.ones((size, size, 1), bool), (*steps, 1.0))
    assert found.frequency[np.nanargmax(found.power)] == pytest.approx(0.25)
    assert found.frequency[-1] < 0.5  # the Nyquist frequency of the wider spacing


@pytest.mark.parametrize(
    ("shape", "inside", "reason"), [((8, 8, 3), False, "meets the mask"), ((1, 1, 3), True, "too small")]
)
def test_no_spectrum_has_a_reason(shape, inside, reason):
    found = power_spectrum(np.zeros(shape), np.full(shape, inside), (1, 1, 1))
    assert reason in found.reason
    assert found.power.size == 0


def test_bad_input_is_told_in_one_sentence():
    with pytest.raises(InputError, match="mask has shape"):
        power_spectrum(np.zeros((4, 4, 4)), np.ones((4, 4, 3)), (1, 1, 1))
    with pytest.raises(InputError, match="size 3 is smaller"):
        power_spectrum(np.zeros((4, 4, 4)), np.ones((4, 4, 4)), (1, 1, 1), size=3)


def test_mean_spectrum_counts_who_reaches_a_frequency():
    short = Spectrum(np.arange(2), np.array([0.0, 0.5]), np.array([2.0, 4.0]), 1)
    long = Spectrum(np.arange(3), np.array([0.0, 0.5, 1.0]), np.array([4.0, 8.0, 1.0]), 1)
    power, count = mean_spectrum([short, long], np.array([0.0, 0.25, 1.0, 1.5]))
    np.testing.assert_allclose(power, [3.0, 4.5, 1.0, np.nan])
    assert count.tolist() == [2, 2, 1, 0]
    power, count = mean_spectrum([], np.array([0.0]))
    assert np.isnan(power[0])
    assert count[0] == 0
