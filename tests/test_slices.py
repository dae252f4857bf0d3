"""Where targets lie among the observed slices, against a search target by target."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bundle.errors import InputError
from bundle.slices import SAME_PLANE_MM, ObservedSlices, bracket, held, observed_index, with_observed


def slices(seed: int, count: int, jitter: float) -> ObservedSlices:
    """Uneven positions, and targets at, nearly at, between and beyond them."""
    rng = np.random.default_rng(seed)
    positions = np.cumsum(rng.uniform(0.3, 6.0, count)) - 4
    between = rng.uniform(positions[0] - 8, positions[-1] + 8, 20)
    near = positions + rng.uniform(-jitter, jitter, count)
    return ObservedSlices(rng.random((2, 3, count)), None, positions, np.sort(np.concatenate([near, between])))


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000), count=st.integers(2, 8), jitter=st.sampled_from([0.0, 0.9 * SAME_PLANE_MM]))
def test_each_target_is_where_a_search_finds_it(seed, count, jitter):
    seen = slices(seed, count, jitter)
    at, targets = seen.positions, seen.targets
    lower, upper, fraction = bracket(at, targets)
    index = observed_index(at, targets)
    assert np.array_equal(seen.seen, index >= 0)
    assert (index >= 0).sum() >= count
    for z, target in enumerate(targets):
        same = [k for k in range(count) if abs(at[k] - target) <= SAME_PLANE_MM]
        assert ([index[z]] if index[z] >= 0 else []) == same
        below = [k for k in range(count - 1) if at[k] <= target] or [0]
        assert lower[z] == below[-1]
        assert upper[z] == lower[z] + 1
        gap = at[upper[z]] - at[lower[z]]
        assert seen.gaps[z] == gap
        assert abs(at[lower[z]] + fraction[z] * gap - target) <= SAME_PLANE_MM * (1 + 1e-9)
        if same:
            assert fraction[z] in (0, 1)
        assert seen.beyond[z] == (not same and not at[0] <= target <= at[-1])
        assert held(at, targets)[z] == min(max(target, at[0]), at[-1])


def test_nothing_is_moved_where_a_continuous_place_is_wanted():
    at, targets = np.array([0.0, 4.0, 5.0]), np.array([-0.0005, 0.0005, 1.9995, 4.0005])
    assert bracket(at, targets)[2].tolist() == [0, 0, 0.5, 0]
    np.testing.assert_allclose(bracket(at, targets, within_mm=0)[2], [-0.000125, 0.000125, 0.499875, 0.0005], rtol=1e-9)


def test_observed_slices_are_put_where_they_belong_and_nowhere_else():
    seen = slices(3, 5, jitter=0.5 * SAME_PLANE_MM)
    image = np.full((2, 3, len(seen.targets)), -1.0)
    out = with_observed(image, seen)
    assert (image == -1).all()
    for z, target in enumerate(seen.targets):
        near = np.abs(seen.positions - target).argmin()
        expected = seen.image[..., near] if abs(seen.positions[near] - target) <= SAME_PLANE_MM else image[..., z]
        assert np.array_equal(out[..., z], expected)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"positions": np.array([0.0])}, "at least 2"),
        ({"positions": np.array([0.0, 0.0005])}, "ascend"),
        ({"positions": np.array([5.0, 0.0])}, "ascend"),
        ({"positions": np.array([0.0, np.nan])}, "ascend"),
        ({"targets": np.array([])}, "empty"),
        ({"targets": np.array([np.inf])}, "not finite"),
        ({"image": np.zeros((2, 2, 3))}, r"expected \(X, Y, 2\)"),
        ({"mask": np.zeros((2, 2), bool)}, r"expected \(X, Y, 2\)"),
        ({"thickness_mm": -1.0}, "thickness"),
        ({"thickness_mm": np.nan}, "thickness"),
        ({"profile": "round"}, "profile"),
    ],
)
def test_a_mistake_is_told_in_a_sentence(change, words):
    right = {"image": np.zeros((2, 2, 2)), "mask": None, "positions": np.array([0.0, 4.0]), "targets": np.arange(5.0)}
    assert ObservedSlices(**right).gap_mm == 4
    with pytest.raises(InputError, match=words):
        ObservedSlices(**{**right, **change})
