"""Windows and their base: PCHIP as scipy computes it, from any subset of the slices; turned over alike."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.interpolate import PchipInterpolator

from bundle.networks import flipped_geometry, slice_window, window_base
from bundle.networks.slice_window import describe_gap, describe_target

distances = st.floats(0.3, 8.0)


def geometry(offsets, valid, weights=None, thickness=0.0, spacing=(0.6, 0.8)):
    rows = [offsets, valid, [0.0] * 6 if weights is None else weights, [thickness, *spacing]]
    return torch.cat([torch.as_tensor(row, dtype=torch.float64) for row in rows])[None]


@settings(deadline=None, max_examples=60)
@given(
    st.tuples(distances, distances, distances, distances),
    st.booleans(),
    st.booleans(),
    st.lists(st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.7, 1.0]), min_size=6, max_size=6),
)
def test_base_is_scipys_pchip(steps, lowest, highest, values):
    inner = np.array([-steps[1] - steps[0], -steps[1], steps[2], steps[2] + steps[3]])
    offsets = np.array([inner[0] - 1, *inner, inner[3] + 1])
    keep = np.array([False, lowest, True, True, highest, False])
    column = torch.tensor(values, dtype=torch.float64).view(1, 6, 1, 1)
    made = window_base(column, geometry(offsets, keep))
    at, seen = offsets[keep], np.array(values)[keep]
    expected = PchipInterpolator(at, seen)(0.0) if keep.sum() > 2 else np.interp(0.0, at, seen)
    assert made.item() == pytest.approx(float(expected), abs=1e-9)


@pytest.mark.parametrize(("valid", "held"), [((0, 1, 1, 0, 0, 0), 2), ((0, 0, 1, 0, 0, 0), 2), ((0, 0, 0, 1, 1, 1), 3)])
def test_beyond_the_last_slice_it_is_held(valid, held):
    slices = torch.rand(1, 6, 5, 6, dtype=torch.float64)
    offsets = [-6.0, -6.0, -2.0, -2.0, -2.0, -2.0] if held == 2 else [2.0, 2.0, 2.0, 2.0, 6.0, 9.0]
    torch.testing.assert_close(window_base(slices, geometry(offsets, valid))[0, 0], slices[0, held])


def test_geometry_is_constant_over_the_plane_of_a_window():
    slices, at = torch.rand(1, 6, 6, 5), geometry([-9.0, -4, -1, 2, 5, 8], [1.0] * 6)
    window = slice_window(slices, at)
    torch.testing.assert_close(window[:, :6], slices)
    torch.testing.assert_close(window[:, 6:], at.float()[:, :, None, None].expand(-1, -1, 6, 5))


def test_turning_a_window_over_turns_its_description():
    at = geometry([-9.0, -7, -1, 4, 9, 11], [0.0, 1, 1, 1, 1, 1], [0.0, 0.1, 0.3, 0.4, 0.1, 0.1], thickness=3.0)
    one, other = describe_target(at)[0], describe_target(flipped_geometry(at))[0]
    torch.testing.assert_close(other[[4, 3, 2, 1, 0]], one[:5])  # steps
    torch.testing.assert_close(other[[10, 9, 8, 7, 6, 5]], one[5:11])  # valid
    torch.testing.assert_close(other[11:15], one[11:15])  # thickness and pixels
    torch.testing.assert_close(other[[17, 16]], one[16:18])  # distances to the inner slices
    torch.testing.assert_close(other[18], -one[18])
    torch.testing.assert_close(other[[24, 23, 22, 21, 20, 19]], one[19:])
    assert one[0] == 0  # a distance to a slice that is not there
    torch.testing.assert_close(flipped_geometry(flipped_geometry(at)), at)


def test_a_gap_is_described_alike_from_each_of_its_targets():
    places = np.array([-9.0, -4.0, 0.0, 5.0, 8.0, 12.0])
    one, other = (describe_gap(geometry(places - z, [1.0] * 6, thickness=4.0)) for z in (0.5, 4.0))
    torch.testing.assert_close(one, other)


@pytest.mark.parametrize("side", [1, -1])
def test_beyond_the_last_slice_its_side_and_share_are_told(side):
    at = geometry([-12.0, -7.0, -2.0, -2.0, -2.0, -2.0], [1.0, 1, 1, 0, 0, 0], thickness=2.5)
    described = describe_gap(at if side == 1 else flipped_geometry(at))[0]
    assert described[15] == side
    assert described[12] == 0.5  # of the last gap of 5 mm
    assert torch.isfinite(described).all()
