"""The interpolations against scipy, and what must hold for any data."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.interpolate import CubicSpline, PchipInterpolator, interp1d

from bundle.errors import InputError
from bundle.inferers import CubicInferer, LinearInferer, NearestInferer, ObservedSlices, PchipInferer
from bundle.slices import bracket

ALL = [NearestInferer, LinearInferer, CubicInferer, PchipInferer]
CUBIC_NOTES = {2: ["line"], 3: ["parabola"], 4: []}


def random_slices(seed: int, count: int, shape=(4, 3), margin: float = 0.0) -> ObservedSlices:
    """Uneven positions; targets at all of them, between them, and ``margin`` mm beyond the ends.

    Targets between lie 0.01 mm or more from any slice and from half-way: nearer ones are taken to be just there.
    """
    rng = np.random.default_rng(seed)
    positions = 0.04 * np.round((np.cumsum(rng.uniform(0.4, 5.0, count)) - 7) / 0.04)
    between = 0.02 * np.round(rng.uniform(positions[0] - margin, positions[-1] + margin, 20) / 0.02) + 0.01
    targets = np.sort(np.concatenate([positions, between]))
    return ObservedSlices(rng.random((*shape, count)), None, positions, targets)


def image(inferer, observed: ObservedSlices) -> np.ndarray:
    out = inferer.reconstruct(observed).image
    assert out is not None
    assert out.dtype == np.float64
    return out


def clip01(array: np.ndarray) -> np.ndarray:
    return np.clip(array, 0, 1)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), count=st.integers(2, 9))
def test_equal_scipy_and_numpy(seed, count):
    seen = random_slices(seed, count, margin=3.0)
    at, values, targets = seen.positions, seen.image, seen.targets
    nearest = interp1d(at, values, "nearest", fill_value="extrapolate")(np.clip(targets, at[0], at[-1]))
    assert np.array_equal(image(NearestInferer(), seen), nearest)
    held = np.array([[np.interp(targets, at, column) for column in row] for row in values])
    assert np.allclose(image(LinearInferer(), seen), held, atol=1e-12)
    line = interp1d(at, values, "linear", fill_value="extrapolate")(targets)
    assert np.allclose(image(LinearInferer("extrapolate", clip=False), seen), line, atol=1e-9)
    spline = CubicSpline(at, values, axis=-1)
    assert np.allclose(image(CubicInferer(), seen), clip01(spline(targets)), atol=1e-8)
    assert np.allclose(image(CubicInferer("hold"), seen), clip01(spline(np.clip(targets, at[0], at[-1]))), atol=1e-8)
    monotone = PchipInterpolator(at, values, axis=-1)
    assert np.allclose(image(PchipInferer(), seen), monotone(np.clip(targets, at[0], at[-1])), atol=1e-12)
    assert np.allclose(image(PchipInferer("extrapolate", clip=False), seen), monotone(targets), atol=1e-12)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), count=st.integers(2, 8))
@pytest.mark.parametrize("method", ALL)
def test_observed_slices_come_back_exactly(method, seed, count):
    seen = random_slices(seed, count, margin=3.0)
    out = image(method(), seen)
    for k, position in enumerate(seen.positions):
        assert np.array_equal(out[..., np.flatnonzero(seen.targets == position)[0]], seen.image[..., k])


@pytest.mark.parametrize("method", ALL)
def test_observed_slices_despite_rounding(method):
    """Positions that were summed and targets that were multiplied still meet."""
    values = np.random.default_rng(1).random((3, 3, 8))
    positions = np.cumsum([0.1 * 5] * 8) * 1.1
    targets = 0.11 * np.arange(5, 41)
    assert not np.array_equal(positions, targets[::5])
    out = image(method(), ObservedSlices(values, None, positions, targets))
    assert np.array_equal(out[..., ::5], values)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), count=st.integers(2, 8), level=st.floats(0, 1))
@pytest.mark.parametrize("method", ALL)
def test_constant_stays_constant(method, seed, count, level):
    seen = random_slices(seed, count, margin=5.0)
    flat = ObservedSlices(np.full_like(seen.image, level), None, seen.positions, seen.targets)
    assert np.allclose(image(method(), flat), level, atol=1e-9)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), count=st.integers(2, 8))
@pytest.mark.parametrize("method", [LinearInferer, CubicInferer, PchipInferer])
def test_linear_field_is_exact(method, seed, count):
    seen = random_slices(seed, count, margin=4.0)
    slope, start = np.random.default_rng(seed).normal(size=(2, 4, 3, 1))
    ramp = ObservedSlices(slope * seen.positions + start, None, seen.positions, seen.targets)
    out = image(method("extrapolate", clip=False), ramp)
    assert np.allclose(out, slope * seen.targets + start, atol=1e-7)


def test_cubic_field_is_exact_beyond_the_last_slice_too():
    positions, targets = np.array([0.0, 1, 2.5, 4, 7]), np.linspace(-1, 9, 41)

    def field(z):
        return (z**3 - 6 * z**2 + 2 * z + 90)[None, None] / 1000

    out = image(CubicInferer(clip=False), ObservedSlices(field(positions), None, positions, targets))
    assert np.allclose(out, field(targets), atol=1e-12)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), count=st.integers(2, 8), scale=st.floats(0.1, 30), shift=st.floats(-500, 500))
@pytest.mark.parametrize("method", ALL)
def test_unit_and_origin_of_positions_do_not_matter(method, seed, count, scale, shift):
    # targets in the middle quarter of each gap's halves: no tie that rounding could break
    rng = np.random.default_rng(seed)
    positions = np.cumsum(rng.uniform(0.4, 5.0, count))
    values = rng.random((2, 2, count))
    targets = np.sort(np.concatenate([positions[:-1] + f * np.diff(positions) for f in (0.2, 0.8)]))
    here = image(method(), ObservedSlices(values, None, positions, targets))
    there = image(method(), ObservedSlices(values, None, positions * scale + shift, targets * scale + shift))
    assert np.allclose(here, there, atol=1e-8)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), count=st.integers(2, 8))
def test_pchip_and_linear_stay_between_their_neighbours(seed, count):
    seen = random_slices(seed, count)
    lower, upper, _ = bracket(seen.positions, seen.targets)
    ends = np.stack([seen.image[..., lower], seen.image[..., upper]])
    for method in (LinearInferer, PchipInferer):
        out = image(method(), seen)
        assert np.all(out >= ends.min(axis=0) - 1e-12)
        assert np.all(out <= ends.max(axis=0) + 1e-12)


@pytest.mark.parametrize("method", ALL)
def test_depends_on_nothing_but_the_observed_slices(method):
    """A whole volume in which the unobserved slices are noise, nan or gone gives the same to the last bit."""
    rng = np.random.default_rng(0)
    whole = rng.random((5, 4, 23))
    kept = np.arange(0, 23, 5)
    results = []
    for filling in (whole, np.full_like(whole, np.nan), rng.random(whole.shape)):
        volume = filling.copy()
        volume[..., kept] = whole[..., kept]
        results.append(image(method(), ObservedSlices(volume[..., kept], None, kept * 0.7, np.arange(23) * 0.7)))
    assert np.array_equal(results[0], results[1])
    assert np.array_equal(results[0], results[2])


@pytest.mark.parametrize("method", ALL)
def test_voxel_columns_do_not_mix(method):
    seen = random_slices(3, 6)
    full = image(method(), seen)
    one = image(method(), ObservedSlices(seen.image[2:3, 1:2], None, seen.positions, seen.targets))
    assert np.allclose(full[2:3, 1:2], one, atol=1e-14)


def test_nearest_tie_goes_to_the_lower_slice():
    seen = ObservedSlices(np.array([[[0.1, 0.2, 0.3]]]), None, np.array([0.0, 1.4, 2.8]), np.array([0.7, 2.1]))
    assert image(NearestInferer(), seen)[0, 0].tolist() == [0.1, 0.2]


def test_cubic_is_clipped_where_it_overshoots():
    seen = ObservedSlices(np.array([[[0.0, 0, 1, 1, 0]]]), None, np.arange(5.0), np.linspace(0, 6, 61))
    free, clipped = image(CubicInferer(clip=False), seen), image(CubicInferer(), seen)
    assert free.min() < 0
    assert free.max() > 1
    assert np.array_equal(clipped, clip01(free))


@pytest.mark.parametrize("count", [2, 3, 4])
def test_lower_orders_are_noted(count):
    seen = random_slices(0, count, margin=2.0)
    notes = CubicInferer().reconstruct(seen).notes
    assert len(notes) == len(CUBIC_NOTES[count])
    assert all(word in note for word, note in zip(CUBIC_NOTES[count], notes, strict=True))
    polynomial = np.polynomial.Polynomial.fit(seen.positions, seen.image[0, 0], count - 1)
    assert np.allclose(image(CubicInferer(clip=False), seen)[0, 0], polynomial(seen.targets), atol=1e-9)
    assert len(PchipInferer().reconstruct(seen).notes) == (count == 2)
    assert not NearestInferer().reconstruct(seen).notes
    assert not LinearInferer().reconstruct(seen).notes


@pytest.mark.parametrize("method", ALL)
def test_call_as_monai_does(method):
    seen = random_slices(5, 4, shape=(6, 5))
    expected = image(method(), seen)
    where = {"positions": seen.positions, "targets": seen.targets}
    array = method()(seen.image, **where)
    assert isinstance(array, np.ndarray)
    assert np.allclose(array, expected, atol=1e-6)
    batch = torch.as_tensor(np.stack([seen.image, seen.image[::-1]]))[:, None].float()
    tensor = method()(batch, None, **where)
    assert isinstance(tensor, torch.Tensor)
    assert tensor.shape == (2, 1, 6, 5, len(seen.targets))
    assert tensor.dtype == torch.float32
    assert np.allclose(tensor[0, 0].numpy(), expected, atol=1e-6)
    assert np.allclose(tensor[1, 0].numpy(), expected[::-1], atol=1e-6)
    assert method()(batch).shape == (2, 1, 6, 5, 16)  # four slices into each of three gaps


@pytest.mark.parametrize("method", ALL)
def test_bad_input(method):
    values, at = np.full((3, 3, 4), 0.5), np.arange(4.0)
    spoilt = values.copy()
    spoilt[1, 1, 2] = np.nan
    with pytest.raises(InputError, match=r"1 observed voxel\(s\) are nan"):
        method().reconstruct(ObservedSlices(spoilt, None, at, at))
    with pytest.raises(InputError, match="got none"):
        method().reconstruct(ObservedSlices(None, None, at, at))
    with pytest.raises(InputError, match="at least 2"):
        method()(values[..., :1])
    with pytest.raises(InputError, match="ascend"):
        method()(values, positions=[0, 2, 2, 3])
    with pytest.raises(InputError, match="one slice for each position"):
        method()(values, positions=[0, 2, 3])
    with pytest.raises(InputError, match="not finite"):
        method()(values, targets=[0.0, np.nan])
    with pytest.raises(InputError, match="expected"):
        method()(values[0])
    if method is not NearestInferer:
        with pytest.raises(InputError, match='give "extrapolate" or "hold"'):
            method(beyond="mirror")
