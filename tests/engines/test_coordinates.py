import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bundle.engines import CoordinateBatches, coordinate_grid, unit_axis


@given(st.lists(st.floats(-500, 500), min_size=2, max_size=30, unique=True))
def test_unit_axis_is_the_affine_map_of_the_range(places):
    places = np.sort(places)
    if places[-1] - places[0] < 1e-3:
        return
    unit = unit_axis(places, places[0], places[-1])
    np.testing.assert_allclose(unit, np.interp(places, [places[0], places[-1]], [-1, 1]), atol=1e-9)


def test_a_single_place_is_the_centre():
    assert unit_axis(np.array([7.0]), 7.0, 7.0).tolist() == [0.0]


def test_grid_is_in_the_order_of_a_flattened_volume():
    volume = np.arange(4 * 3 * 2).reshape(4, 3, 2)
    grid = coordinate_grid((4, 3), np.array([-0.5, 0.25])).numpy()
    index = np.stack(np.unravel_index(volume.reshape(-1), volume.shape), axis=-1)
    np.testing.assert_allclose(grid[:, 0], index[:, 0] / 3 * 2 - 1, atol=1e-7)
    np.testing.assert_allclose(grid[:, 1], index[:, 1] - 1, atol=1e-7)
    np.testing.assert_allclose(grid[:, 2], np.array([-0.5, 0.25])[index[:, 2]], atol=1e-7)


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 300), st.integers(1, 64))
def test_each_pass_visits_every_voxel_once(count, size):
    places = torch.arange(count, dtype=torch.float32)[:, None].repeat(1, 3)
    batches = CoordinateBatches(places, torch.arange(count), batch_size=size, jitter=0)
    for _ in range(2):
        parts = list(batches)
        assert len(parts) == len(batches) == -(-count // size)
        assert {p["image"].shape[1] for p in parts[:-1]} <= {size}
        labels = torch.cat([p["label"][0, :, 0] for p in parts])
        assert sorted(labels.tolist()) == list(range(count))
        # a place keeps its value
        assert torch.equal(torch.cat([p["image"][0, :, 0] for p in parts]), labels)


def test_order_changes_between_passes():
    batches = CoordinateBatches(torch.zeros(1000, 3), torch.arange(1000), batch_size=1000)
    first, second = (next(iter(batches))["label"] for _ in range(2))
    assert not torch.equal(first, second)


def test_jitter_has_the_stated_spread():
    torch.manual_seed(0)
    batches = CoordinateBatches(torch.zeros(20000, 3), torch.zeros(20000), batch_size=20000, jitter=1e-2)
    noise = next(iter(batches))["image"][0]
    assert noise.mean(0).abs().max() < 3e-4
    assert noise.std(0).numpy() == pytest.approx([1e-2] * 3, rel=0.02)
    again = next(iter(batches))["image"][0]
    assert not torch.equal(noise, again)
