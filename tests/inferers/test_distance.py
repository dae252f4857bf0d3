"""Interpolated masks: Eq. 3 and signed distances against brute force, empty and full slices, the ends."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers.observed import clear_of_ties
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from bundle.errors import InputError
from bundle.inferers import MorphologicalInferer, ObservedSlices, SignedDistanceInferer, morphological, signed_distance

BOTH = [MorphologicalInferer, SignedDistanceInferer]


def random_masks(seed: int, count: int, shape=(9, 8)) -> np.ndarray:
    """Discs of random place and radius; some slices are empty, some are full."""
    rng = np.random.default_rng(seed)
    x, y = np.meshgrid(*map(np.arange, shape), indexing="ij")
    discs = [np.hypot(x - rng.uniform(1, 8), y - rng.uniform(1, 7)) < rng.uniform(-1, 6) for _ in range(count)]
    return np.stack(discs, axis=-1)


def eq3(below: bool, above: bool, a: float) -> bool:
    return (1 - a) * float(below) + a * float(above) > 0.5


def brute_signed_distance(mask: np.ndarray, spacing: tuple[float, float]) -> np.ndarray:
    """Nearest voxel of the other kind, over all pairs."""
    voxels = np.stack(np.meshgrid(*map(np.arange, mask.shape), indexing="ij"), axis=-1) * np.asarray(spacing)
    apart = np.linalg.norm(voxels[:, :, None, None] - voxels, axis=-1)
    other = np.where(mask[:, :, None, None] != mask, apart, np.inf).min(axis=(2, 3))
    return np.where(mask, other, -other)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), count=st.integers(2, 6))
def test_eq3_by_brute_force(seed, count):
    rng = np.random.default_rng(seed)
    masks = random_masks(seed, count)
    gaps = rng.integers(1, 7, count - 1)  # whole slices, so that the middle of a gap is met
    positions = np.concatenate([[0], np.cumsum(gaps)]).astype(float)
    targets = np.arange(positions[-1] + 1)
    out = morphological(masks, positions * 0.7, targets * 0.7)
    for z, target in enumerate(targets):
        k = min(int(np.searchsorted(positions, target, side="right")) - 1, count - 2)
        a = (target - positions[k]) / (positions[k + 1] - positions[k])
        for index in np.ndindex(masks.shape[:2]):
            assert out[(*index, z)] == eq3(masks[(*index, k)], masks[(*index, k + 1)], a)


def test_eq3_needs_both_slices_in_the_middle():
    masks = np.array([[[True, False]], [[True, True]], [[False, True]]])
    out = morphological(masks, np.array([0.0, 1.4]), np.array([0.7]))  # 0.7 / 1.4 in floating point
    assert out[:, 0, 0].tolist() == [False, True, False]
    uneven = morphological(masks, np.array([0.1, 0.3]), np.array([0.2]))  # (0.2 - 0.1) / (0.3 - 0.1) is not 0.5
    assert uneven[:, 0, 0].tolist() == [False, True, False]


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), spacing=st.tuples(*[st.sampled_from([0.5, 0.7, 1.1])] * 2), a=st.floats(0.05, 0.95))
def test_signed_distance_by_brute_force(seed, spacing, a):
    masks = random_masks(seed, 2)
    sums = masks.sum(axis=(0, 1))
    if sums.min() == 0 or sums.max() == masks[..., 0].size:
        return  # slices without a distance have tests of their own
    below, above = (brute_signed_distance(masks[..., k], spacing) for k in (0, 1))
    field = (1 - a) * below + a * above
    out = signed_distance(masks, np.array([3.0, 8.0]), np.array([3.0 + 5 * a]), spacing)[..., 0]
    clear = np.abs(field) > 1e-9  # where rounding cannot decide
    assert np.array_equal(out[clear], (field > 0)[clear])


def test_disc_between_two_discs_has_the_radius_between():
    x, y = np.meshgrid(np.arange(-40, 41) * 0.5, np.arange(-20, 21) * 1.0, indexing="ij")
    masks = np.stack([np.hypot(x, y) < 4, np.hypot(x, y) < 12], axis=-1)
    targets = np.linspace(0, 5, 6)
    out = signed_distance(masks, np.array([0.0, 5.0]), targets, (0.5, 1.0))
    radius = np.sqrt(out.sum(axis=(0, 1)) * 0.5 / np.pi)
    assert np.allclose(radius, 4 + 8 * targets / 5, atol=0.5)
    copied = np.sqrt(morphological(masks, np.array([0.0, 5.0]), targets).sum(axis=(0, 1)) * 0.5 / np.pi)
    assert np.allclose(copied, [4, 4, 4, 12, 12, 12], atol=0.2)  # Eq. 3 copies the nearer slice


def test_ends_half_way_to_an_empty_slice():
    masks = np.zeros((41, 41, 5), bool)
    x, y = np.meshgrid(np.arange(-20, 21), np.arange(-20, 21), indexing="ij")
    masks[..., 2] = np.hypot(x, y) < 10
    positions, targets = np.array([0.0, 5, 15, 36, 40]), np.arange(41.0)
    out = signed_distance(masks, positions, targets)
    held = np.abs(targets - 15) < np.where(targets < 15, 5, 10.5)  # between two empty slices there is nothing
    assert np.array_equal(out, masks[..., 2:3] & held)
    assert np.array_equal(out, morphological(masks, positions, targets))  # an end is all that Eq. 3 does well


def test_a_slice_full_of_mask():
    masks = np.zeros((7, 7, 2), bool)
    masks[..., 0] = True
    masks[3, 3, 1] = True
    out = signed_distance(masks, np.array([0.0, 4.0]), np.arange(5.0))
    area = out.sum(axis=(0, 1))
    assert area[0] == 49
    assert area[4] == 1
    assert np.all(np.diff(area) <= 0)
    assert np.all(signed_distance(np.ones((4, 4, 2), bool), np.array([0.0, 4.0]), np.arange(5.0)))


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), count=st.integers(2, 6))
@pytest.mark.parametrize("method", BOTH)
def test_what_holds_for_any_masks(method, seed, count):
    rng = np.random.default_rng(seed)
    masks = random_masks(seed, count)
    positions = np.cumsum(rng.uniform(0.4, 5, count))
    targets = np.sort(np.concatenate([positions, rng.uniform(positions[0] - 3, positions[-1] + 3, 15)]))
    # another unit of length has not the same tolerance in mm
    assume(clear_of_ties(positions, targets))
    out = method().reconstruct(ObservedSlices(None, masks, positions, targets)).mask
    assert out.dtype == bool
    assert out.shape == (9, 8, len(targets))
    for k, position in enumerate(positions):  # observed slices come back
        assert np.array_equal(out[..., np.flatnonzero(targets == position)[0]], masks[..., k])
    # what both slices have is never lost, what neither has is never gained
    low = np.clip(np.searchsorted(positions, targets, side="right") - 1, 0, count - 2)
    both, either = masks[..., low] & masks[..., low + 1], masks[..., low] | masks[..., low + 1]
    within = (targets >= positions[0]) & (targets <= positions[-1])
    assert np.all((out | ~both)[..., within])
    assert not np.any(out[~either])
    # any unit of length, and mirrored along x
    shifted = ObservedSlices(None, masks[::-1], positions * 4 + 9, targets * 4 + 9)
    assert np.array_equal(method().reconstruct(shifted).mask, out[::-1])


@pytest.mark.parametrize("method", BOTH)
def test_beyond_the_ends(method):
    masks = random_masks(2, 3)
    masks[4, 4] = True
    positions, targets = np.array([0.0, 4, 10]), np.array([-9.0, -2, -1.9, 0, 10, 12.9, 13, 14])
    half = np.array([False, False, True, True, True, True, False, False])  # of 4 mm, and of 6 mm
    seen = np.isin(targets, positions)
    every = masks[..., [0, 0, 0, 0, 2, 2, 2, 2]]
    for beyond, kept in (("hold", half | ~half), ("half", half), ("empty", seen)):
        made = method(beyond=beyond).reconstruct(ObservedSlices(None, masks, positions, targets)).mask
        assert np.array_equal(made, every & kept), beyond
    assert MorphologicalInferer().beyond == "hold"  # as the author's code has it
    assert SignedDistanceInferer().beyond == "half"


def test_half_a_gap_is_not_less_than_half_a_gap():
    masks = np.ones((3, 3, 2), bool)
    positions = np.array([0.1, 0.3])  # 0.4 - 0.3 is more than half of 0.3 - 0.1, in floating point
    out = signed_distance(masks, positions, np.array([0.0, 0.01, 0.39, 0.4]))
    assert out.any(axis=(0, 1)).tolist() == [False, True, True, False]


@pytest.mark.parametrize("method", BOTH)
def test_nothing_observed_is_noted(method):
    result = method().reconstruct(ObservedSlices(None, np.zeros((4, 4, 3), bool), np.arange(3.0), np.arange(3.0)))
    assert not result.mask.any()
    assert "no observed slice meets the nodule" in result.notes[0]
    full = method().reconstruct(ObservedSlices(None, np.ones((4, 4, 3), bool), np.arange(3.0), np.arange(3.0)))
    assert not full.notes


@pytest.mark.parametrize("method", BOTH)
def test_depends_on_nothing_but_the_observed_masks(method):
    whole = random_masks(7, 23)
    kept = np.arange(0, 23, 5)
    other = ~whole
    other[..., kept] = whole[..., kept]
    one, two = (
        method().reconstruct(ObservedSlices(None, v[..., kept], kept * 0.7, np.arange(23) * 0.7)).mask
        for v in (whole, other)
    )
    assert np.array_equal(one, two)


@pytest.mark.parametrize("method", BOTH)
def test_call_as_monai_does(method):
    masks, where = random_masks(4, 3), {"positions": [0, 5, 9], "targets": range(11)}
    expected = method().reconstruct(ObservedSlices(None, masks, np.array([0.0, 5, 9]), np.arange(11.0))).mask
    array = method()(masks.astype(np.uint8), **where)
    assert isinstance(array, np.ndarray)
    assert np.array_equal(array > 0, expected)
    tensor = method()(torch.as_tensor(masks)[None, None].float(), None, **where)
    assert isinstance(tensor, torch.Tensor)
    assert tensor.shape == (1, 1, 9, 8, 11)
    assert np.array_equal(tensor[0, 0].numpy() > 0, expected)


@pytest.mark.parametrize("method", BOTH)
def test_bad_input(method):
    with pytest.raises(InputError, match="needs the observed masks"):
        method().reconstruct(ObservedSlices(np.zeros((3, 3, 2)), None, np.arange(2.0), np.arange(2.0)))
    with pytest.raises(InputError, match='give "hold", "half" or "empty"'):
        method(beyond="extrapolate")
    with pytest.raises(InputError, match="at least 2"):
        method()(np.ones((3, 3, 1)))
