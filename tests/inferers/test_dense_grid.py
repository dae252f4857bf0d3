"""Where the slices of a dense volume lie, which thickness they may have, and the tiles that it is worked through in."""

import math

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bundle.errors import InputError
from bundle.inferers.dense.grid import checked_thickness, dense_targets
from bundle.inferers.dense.tiles import Blend, tiles
from bundle.slices import observed_index


@given(
    gaps=st.lists(st.floats(0.3, 6), min_size=1, max_size=12),
    step=st.floats(0.2, 4),
)
@example(gaps=[1.2734375, 1.2734375, 1.322265625, 4.2734375, 5.69921875], step=3.4609375)
def test_targets_start_at_the_first_slice_and_end_before_the_last(gaps, step):
    positions = np.concatenate([[0.0], np.cumsum(gaps)])
    targets = dense_targets(positions, step)
    assert targets[0] == 0
    assert targets[-1] <= positions[-1]
    assert positions[-1] - targets[-1] < step + 1e-9
    np.testing.assert_allclose(np.diff(targets), step, atol=2e-3)
    index = observed_index(positions, targets)
    assert index[0] == 0
    assert (targets == positions[index])[index >= 0].all()


@given(shape=st.tuples(st.integers(1, 90), st.integers(1, 90)), tile=st.integers(4, 50), overlap=st.integers(0, 2))
@settings(deadline=None)
def test_tiles_cover_the_plane_and_their_weights_sum_to_one(shape, tile, overlap):
    parts, covered = tiles(shape, tile, overlap), np.zeros(shape, int)
    blend = Blend((*shape, 1), parts, overlap)
    for part in parts:
        covered[part] += 1
        assert all(0 < p.stop - p.start <= tile for p in part)
        blend.add(part, np.ones((part[0].stop - part[0].start, part[1].stop - part[1].start, 1), np.float32))
    assert covered.min() >= 1
    np.testing.assert_allclose(blend.volume, 1, atol=1e-6)


@pytest.mark.parametrize("thickness", [-1, math.nan, math.inf, 1e9, "5", True])
def test_a_thickness_that_no_slice_has_is_refused(thickness):
    with pytest.raises(InputError, match=r"mm thick, expected 0 to 100 mm: give --thickness_mm"):
        checked_thickness(thickness)
