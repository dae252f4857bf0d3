"""Flow against known shifts, the cubic along it against scipy, and slices that no flow can be found in."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.observed import clear_of_ties
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.interpolate import CubicHermiteSpline

from bundle.inferers import FlowInferer, LinearInferer, ObservedSlices, PchipInferer
from bundle.inferers.interpolation.flow import along_trajectories, flow_between, too_small_for_flow


def blob(shape: tuple[int, int], center_mm: tuple[float, float], spacing=(1.0, 1.0), radius_mm=4.0) -> np.ndarray:
    x, y = np.meshgrid(*[np.arange(n) * s for n, s in zip(shape, spacing, strict=True)], indexing="ij")
    square = (x - center_mm[0]) ** 2 + (y - center_mm[1]) ** 2
    return 0.1 + 0.7 / (1 + np.exp((np.sqrt(square) - radius_mm) * 1.5))


def oblique(positions: np.ndarray, slope=(0.6, -0.3), shape=(40, 36)) -> np.ndarray:
    """(X, Y, len(positions)) a tube that runs obliquely through the slices."""
    slices = [blob(shape, (14 + slope[0] * z, 20 + slope[1] * z)) for z in positions]
    return np.stack(slices, axis=-1)


def rms(difference: np.ndarray) -> float:
    return float(np.sqrt(np.mean(difference**2)))


@pytest.mark.parametrize("slope", [(0.6, -0.3), (-0.5, 0.0), (0.0, 0.6)])
@pytest.mark.parametrize("count", [2, 3, 5])
def test_an_oblique_tube_is_followed(slope, count):
    """Its edge is where it should be: half the error, at most, of what fades it out and in."""
    positions = np.arange(count) * 5.0
    targets = np.arange(5 * (count - 1) + 1.0)
    seen = ObservedSlices(oblique(positions, slope), None, positions, targets)
    errors = {
        type(method): rms(method.reconstruct(seen).image - oblique(targets, slope))
        for method in (FlowInferer(), LinearInferer(), PchipInferer())
    }
    assert errors[FlowInferer] < 0.34 * errors[LinearInferer]
    assert errors[FlowInferer] < 0.5 * errors[PchipInferer]


def test_shifts_are_found_in_mm_whatever_the_pixels():
    """TV-L1 leaves a part of a shift to its smoothness, the same part at any pixel size."""
    shift_mm = np.array([2.4, -1.8])
    found = []
    for spacing in ((0.5, 0.5), (0.7, 0.7), (0.9, 0.9), (0.6, 1.2)):
        shape = (round(40 / spacing[0]) + 1, round(40 / spacing[1]) + 1)
        slices = [blob(shape, (20 + p * shift_mm[0], 20 + p * shift_mm[1]), spacing) for p in (-0.5, 0.5)]
        edge = np.abs(blob(shape, (20.0, 20.0), spacing) - 0.45) < 0.25
        found.append(flow_between(slices[0], slices[1], spacing)[:, edge].mean(axis=1) * spacing)
    for mean in found:
        assert (np.abs(mean) > 0.7 * np.abs(shift_mm)).all()
        assert (np.abs(mean) < 1.05 * np.abs(shift_mm)).all()
        assert (np.sign(mean) == np.sign(shift_mm)).all()
        np.testing.assert_allclose(mean, found[0], atol=0.25)


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 1000))
def test_downwards_is_the_opposite_of_upwards(seed):
    lower, upper = np.random.default_rng(seed).random((2, 14, 11))
    np.testing.assert_array_equal(flow_between(lower, upper, (0.8, 0.8)), -flow_between(upper, lower, (0.8, 0.8)))


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 1000), count=st.integers(2, 5))
def test_a_volume_upside_down_gives_the_result_upside_down(seed, count):
    rng = np.random.default_rng(seed)
    positions = np.cumsum(rng.uniform(0.7, 6, count))
    targets = np.sort(rng.uniform(positions[0] - 2, positions[-1] + 2, 7))
    image = rng.random((12, 9, count))
    up = FlowInferer().reconstruct(ObservedSlices(image, None, positions, targets)).image
    down = FlowInferer().reconstruct(ObservedSlices(image[..., ::-1], None, -positions[::-1], -targets[::-1])).image
    np.testing.assert_allclose(up, down[..., ::-1], atol=1e-9)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), count=st.integers(3, 8))
def test_without_flow_it_is_the_hermite_spline_with_slopes_of_parabolas(seed, count):
    rng = np.random.default_rng(seed)
    positions = np.cumsum(rng.uniform(0.5, 7, count))
    targets = np.concatenate([positions, rng.uniform(positions[0], positions[-1], 12)])
    assume(clear_of_ties(positions, targets))
    values = rng.random((4, 3, count))
    slopes = np.gradient(values, positions, axis=-1, edge_order=2)
    expected = CubicHermiteSpline(positions, values, slopes, axis=-1)(targets)
    flows = np.zeros((count - 1, 2, 4, 3))
    made = along_trajectories(values, positions, targets, flows, end_curvature=1.0)
    np.testing.assert_allclose(made, expected, atol=1e-9)


def test_ends_keep_half_of_the_curvature():
    values = np.array([0.0, 1.0, 4.0]).reshape(1, 1, 3)
    flows = np.zeros((2, 2, 1, 1))
    made = {c: along_trajectories(values, np.arange(3.0), np.array([0.5]), flows, c).item() for c in (0.0, 0.5, 1.0)}
    assert made[1.0] == pytest.approx(0.25)  # on the parabola
    assert made[0.0] == pytest.approx(0.375)  # slope 1 at the end, that of the line, and 2 at the other
    assert made[0.5] == pytest.approx((made[0.0] + made[1.0]) / 2)


def test_a_known_flow_carries_a_ramp():
    """A plane x + y that moves by (2, -1) voxels a gap, with uneven positions: exact wherever the border is far."""
    positions, targets = np.array([0.0, 2.0, 7.0, 9.0]), np.linspace(0, 9, 10)
    x, y = np.meshgrid(np.arange(24.0), np.arange(24.0), indexing="ij")
    steps = np.interp(targets, positions, np.arange(4.0))
    moved = [0.01 * (x - 2 * n) + 0.02 * (y + n) for n in range(4)]
    flows = np.broadcast_to(np.array([2.0, -1.0])[None, :, None, None], (3, 2, 24, 24))
    made = along_trajectories(np.stack(moved, -1), positions, targets, flows)
    expected = np.stack([0.01 * (x - 2 * n) + 0.02 * (y + n) for n in steps], -1)
    np.testing.assert_allclose(made[7:-7, 7:-7], expected[7:-7, 7:-7], atol=1e-12)


@pytest.mark.parametrize("shape", [(1, 1), (1, 30), (3, 30), (2, 2)])
def test_slices_too_small_for_flow_give_a_cubic_along_z(shape):
    rng = np.random.default_rng(0)
    image, positions, targets = rng.random((*shape, 4)), np.array([0.0, 3.0, 8.0, 12.0]), np.arange(13.0)
    assert too_small_for_flow(shape, (0.7, 0.7))
    result = FlowInferer().reconstruct(ObservedSlices(image, None, positions, targets, (0.7, 0.7)))
    plain = along_trajectories(image, positions, targets, np.zeros((3, 2, *shape)))
    np.testing.assert_array_equal(result.image, plain.clip(0, 1))
    assert result.notes == ["the slices are too small for optical flow: a cubic along z was used"]


@pytest.mark.parametrize("shape", [(4, 4), (4, 40), (5, 6), (17, 4)])
def test_the_smallest_slices_that_have_a_flow(shape):
    assert not too_small_for_flow(shape, (1.0, 1.0))
    image = np.random.default_rng(1).random((*shape, 3))
    result = FlowInferer().reconstruct(ObservedSlices(image, None, np.arange(3) * 4.0, np.arange(9.0)))
    assert np.isfinite(result.image).all()
    assert result.notes == []


def test_slices_without_contrast_do_not_move():
    assert not flow_between(np.zeros((12, 12)), np.full((12, 12), 0.5), (1.0, 1.0)).any()
    image = np.broadcast_to([0.2, 0.4, 0.6], (12, 12, 3))
    made = FlowInferer().reconstruct(ObservedSlices(image, None, np.arange(3) * 2.0, np.arange(5.0))).image
    np.testing.assert_allclose(made, np.broadcast_to([0.2, 0.3, 0.4, 0.5, 0.6], (12, 12, 5)), atol=1e-12)


def test_two_slices_give_a_line_along_trajectories_and_a_note():
    image = oblique(np.array([0.0, 5.0]))
    result = FlowInferer().reconstruct(ObservedSlices(image, None, np.array([0.0, 5.0]), np.arange(6.0)))
    assert result.notes == ["2 observed slices are too few for a cubic along trajectories: a line was used"]
    assert rms(result.image - oblique(np.arange(6.0))) < 0.02
