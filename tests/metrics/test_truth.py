"""The truth: its regions against plain indexing, and what it refuses."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bundle.errors import InputError
from bundle.metrics import Truth

SHAPE = (5, 6, 7)


@given(st.integers(0, 2), st.data())
def test_regions_are_the_voxels_of_their_slices(axis, data):
    observed = data.draw(st.lists(st.integers(0, SHAPE[axis] - 1), unique=True))
    rng = np.random.default_rng(0)
    mask = rng.random(SHAPE) < 0.4
    truth = Truth(rng.normal(size=SHAPE), mask, (1.0, 1.0, 2.0), observed, axis)
    for i in range(SHAPE[axis]):
        seen = i in observed
        between = not seen and bool(observed) and min(observed) < i < max(observed)
        for slices, chosen in (("unobserved", not seen), ("interpolated", between), ("all", True)):
            for region, inside in (("global", np.ones(SHAPE, bool)), ("tumour", mask)):
                found = truth.region(slices, region).take(i, axis)
                np.testing.assert_array_equal(found, inside.take(i, axis) & chosen)


def test_a_mask_may_be_of_any_numbers():
    labels = np.zeros(SHAPE, np.uint8)
    labels[2:4, 2, 1] = 7
    truth = Truth(np.zeros(SHAPE), labels, (1, 1, 1), [0])
    assert truth.mask.dtype == bool
    assert truth.region("all", "tumour").sum() == 2


def test_it_cannot_be_changed():
    truth = Truth(np.zeros(SHAPE), np.ones(SHAPE), (1.0, 1.0, 1.0), [0, 5])
    with pytest.raises(dataclasses.FrozenInstanceError):
        truth.axis = 1  # type: ignore[misc]
    other = dataclasses.replace(truth, axis=1, observed=[0])
    assert other.slice_sets["unobserved"].sum() == SHAPE[1] - 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mask": np.zeros((5, 6, 1))}, r"true mask has shape \(5, 6, 1\), expected \(5, 6, 7\)"),
        ({"hu": np.zeros((5, 6))}, r"true image has shape \(5, 6\), expected \(X, Y, Z\)"),
        ({"hu": np.full(SHAPE, np.inf)}, "210 voxels that are nan"),
        ({"mask": np.full(SHAPE, np.nan)}, "210 voxels that are nan"),
        ({"observed": [0, 7]}, "from 0 to 6"),
        ({"observed": [-1]}, "from 0 to 6"),
        ({"spacing": (0.7, 0.7)}, r"spacing \(0.7, 0.7\)"),
        ({"spacing": (0.7, 0.7, 0.0)}, "three numbers above 0"),
        ({"spacing": (0.7, float("nan"), 1.0)}, "three numbers above 0"),
    ],
)
def test_bad_input_is_told_in_one_sentence(change, message):
    arguments = {"hu": np.zeros(SHAPE), "mask": np.zeros(SHAPE), "spacing": (0.7, 0.7, 1.0), "observed": [0, 5]}
    with pytest.raises(InputError, match=message):
        Truth(**(arguments | change))
