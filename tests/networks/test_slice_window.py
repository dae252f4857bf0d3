"""Windows and their base: PCHIP as scipy computes it, from any subset of the four slices."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.interpolate import PchipInterpolator

from bundle.networks import describe_window, slice_window, window_base, window_geometry

distances = st.floats(0.3, 8.0)


@settings(deadline=None, max_examples=60)
@given(
    st.tuples(distances, distances, distances, distances),
    st.booleans(),
    st.booleans(),
    st.lists(st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.7, 1.0]), min_size=4, max_size=4),
)
def test_base_is_scipys_pchip(steps, lowest, highest, values):
    offsets = np.array([-steps[1] - steps[0], -steps[1], steps[2], steps[2] + steps[3]])
    keep = np.array([lowest, True, True, highest])
    column = torch.tensor(values, dtype=torch.float64).view(1, 4, 1, 1)
    made = window_base(column, torch.tensor(offsets)[None], torch.tensor(keep)[None].double())
    at, seen = offsets[keep], np.array(values)[keep]
    expected = PchipInterpolator(at, seen)(0.0) if keep.sum() > 2 else np.interp(0.0, at, seen)
    assert made.item() == pytest.approx(float(expected), abs=1e-9)


@pytest.mark.parametrize(("valid", "held"), [((1, 1, 0, 0), 1), ((0, 1, 0, 0), 1), ((0, 0, 1, 1), 2)])
def test_beyond_the_last_slice_it_is_held(valid, held):
    slices = torch.rand(1, 4, 5, 6)
    offsets = torch.tensor([[-6.0, -2.0, -2.0, -2.0]]) if held == 1 else torch.tensor([[2.0, 2.0, 2.0, 6.0]])
    made = window_base(slices, offsets, torch.tensor([valid]).float())
    torch.testing.assert_close(made[0], slices[0, held])


def test_geometry_comes_back_from_a_window():
    slices, offsets = torch.rand(3, 4, 6, 5), torch.sort(torch.randn(3, 4), dim=1).values
    valid, spacing = torch.ones(3, 4), torch.rand(3, 2)
    window = slice_window(slices, offsets, valid, spacing)
    torch.testing.assert_close(window[:, :4], slices)
    for sent, read in zip((offsets, valid, spacing), window_geometry(window), strict=True):
        torch.testing.assert_close(sent, read)


def test_turning_a_window_over_turns_its_description():
    offsets, valid = torch.tensor([[-7.0, -1.0, 4.0, 9.0]]), torch.tensor([[0.0, 1.0, 1.0, 1.0]])
    spacing = torch.tensor([[0.6, 0.8]])
    one = describe_window(offsets, valid, spacing)[0]
    other = describe_window(-offsets.flip(1), valid.flip(1), spacing)[0]
    torch.testing.assert_close(other[[1, 0, 3, 2, 7, 6, 5, 4]], one[:8])
    torch.testing.assert_close(other[8], -one[8])
    assert one[2] == 0  # a distance to a slice that is not there


def test_a_window_of_noise_gives_finite_numbers():
    window = torch.randn(2, 14, 8, 8)
    offsets, valid, spacing = window_geometry(window)
    assert torch.isfinite(window_base(window[:, :4], offsets, valid)).all()
    assert torch.isfinite(describe_window(offsets, valid, spacing)).all()
