"""Geometric metrics against brute force and scikit-image, and every case of empty masks."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist

from bundle.errors import InputError
from bundle.metrics import (
    DiceScore,
    HausdorffMM,
    VolumeError,
    dice_score,
    hausdorff_mm,
    roi_mask,
    threshold_mask,
    volume_error,
)

spacings = st.tuples(*[st.floats(0.3, 3.0)] * 3)
masks = st.tuples(st.integers(1, 5), st.integers(1, 5), st.integers(1, 5), st.integers(0, 9999)).map(
    lambda drawn: np.random.default_rng(drawn[3]).random((2, *drawn[:3])) > 0.6
)


def _surface(mask):
    """Voxels with a face neighbour outside, by looking at all six neighbours."""
    padded = np.pad(mask, 1)
    inside = np.ones_like(mask)
    for axis in range(3):
        for step in (-1, 1):
            inside &= np.roll(padded, step, axis)[1:-1, 1:-1, 1:-1]
    return np.argwhere(mask & ~inside)


def _brute_force_hausdorff(a, b, spacing):
    distances = cdist(_surface(a) * np.array(spacing), _surface(b) * np.array(spacing))
    return max(distances.min(axis=0).max(), distances.min(axis=1).max())


@settings(max_examples=80, deadline=None)
@given(masks, spacings)
def test_metrics_equal_brute_force(pair, spacing):
    a, b = pair
    common, total = (a & b).sum(), a.sum() + b.sum()
    if total:
        assert dice_score(a, b) == pytest.approx(2 * common / total, abs=1e-6)
        assert dice_score(a, b) == dice_score(b, a)
        assert 0 <= dice_score(a, b) <= 1
    if a.any() and b.any():
        assert hausdorff_mm(a, b, spacing) == pytest.approx(_brute_force_hausdorff(a, b, spacing), abs=1e-5)
        assert hausdorff_mm(a, b, spacing) == hausdorff_mm(b, a, spacing)
        assert hausdorff_mm(a, a, spacing) == 0
        assert dice_score(a, a) == 1
    if b.any():
        assert volume_error(a, b) == pytest.approx(abs(int(a.sum()) - int(b.sum())) / b.sum())


def test_hausdorff_of_anisotropic_boxes_is_the_distance_of_their_sides():
    a, b = np.zeros((20, 20, 20), bool), np.zeros((20, 20, 20), bool)
    a[2:8, 2:8, 2:8] = True
    b[2:8, 2:8, 2:11] = True
    assert hausdorff_mm(a, b, (0.7, 0.7, 2.5)) == pytest.approx(7.5)
    assert hausdorff_mm(a, b, (0.7, 2.5, 0.7)) == pytest.approx(2.1)


EMPTY, FULL = np.zeros((4, 4, 4), bool), np.ones((4, 4, 4), bool)


@pytest.mark.parametrize(
    ("prediction", "truth", "dsc", "hd", "arve"),
    [
        (EMPTY, EMPTY, math.nan, math.nan, math.nan),
        (FULL, EMPTY, 0, math.nan, math.nan),
        (EMPTY, FULL, 0, math.nan, 1),
        (FULL, FULL, 1, 0, 0),
    ],
)
def test_empty_masks(prediction, truth, dsc, hd, arve):
    batch = [torch.from_numpy(m)[None, None].float() for m in (prediction, truth)]
    for metric, expected in ((DiceScore(), dsc), (HausdorffMM(), hd), (VolumeError(), arve)):
        value = metric(*batch, (1.0, 1.0, 2.0)).item()
        np.testing.assert_equal(value, float(expected))
        # MONAI's aggregate() would make 0.0 of a buffer of nan
        np.testing.assert_equal(metric.aggregate().item(), float(expected))


def test_aggregate_leaves_undefined_nodules_out():
    metric = DiceScore(get_not_nans=True)
    for prediction, truth in ((EMPTY, EMPTY), (FULL, FULL), (EMPTY, FULL)):
        metric(torch.from_numpy(prediction)[None, None], torch.from_numpy(truth)[None, None])
    value, count = metric.aggregate()
    assert (value.item(), count.item()) == (0.5, 2)
    metric.reset()
    assert len(metric) == 0


def test_no_warning_reaches_the_user():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        hausdorff_mm(FULL, FULL, (1, 1, 1))


def test_zero_size_masks_are_undefined():
    none = np.zeros((4, 4, 0), bool)
    assert math.isnan(dice_score(none, none))
    assert math.isnan(hausdorff_mm(none, none, (1, 1, 1)))
    assert math.isnan(volume_error(none, none))


@pytest.mark.parametrize("measure", [dice_score, volume_error, lambda a, b: hausdorff_mm(a, b, (1.0, 1.0, 1.0))])
def test_shapes_that_differ_are_refused(measure):
    with pytest.raises(InputError, match=r"\(4, 4, 3\)"):
        measure(FULL[..., :3], FULL)


@settings(max_examples=30, deadline=None)
@given(masks, spacings)
def test_roi_holds_the_voxels_within_3_mm(pair, spacing):
    mask = pair[0]
    roi = roi_mask(mask, spacing)
    places = np.argwhere(np.ones_like(mask)) * np.array(spacing)
    if not mask.any():
        assert not roi.any()
        return
    nearest = cdist(places, np.argwhere(mask) * np.array(spacing)).min(axis=1).reshape(mask.shape)
    clear = np.abs(nearest - 3) > 1e-3
    assert ((nearest <= 3) == roi)[clear].all()


def test_threshold_is_exclusive_and_stays_in_the_roi():
    hu = np.array([-500.0, -499.999, 300.0, 300.0])
    roi = np.array([True, True, True, False])
    assert threshold_mask(hu, -500, roi).tolist() == [False, True, True, False]


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (0.7, 0.6, 2.5)])
def test_a_missed_nodule_may_count_as_the_worst_case(spacing):
    """The diagonal is the largest distance of two voxels, by brute force over the corners."""
    one, none = np.zeros((4, 5, 6), bool), np.zeros((4, 5, 6), bool)
    one[1, 2, 3] = True
    corners = np.argwhere(np.ones((2, 2, 2))) * (3, 4, 5) * np.array(spacing)
    worst = cdist(corners, corners).max()
    for pair in ((one, none), (none, one)):
        assert math.isnan(hausdorff_mm(*pair, spacing))
        assert hausdorff_mm(*pair, spacing, missed="diagonal") == pytest.approx(worst)
    assert math.isnan(hausdorff_mm(none, none, spacing, missed="diagonal"))
    assert hausdorff_mm(one, one, spacing, missed="diagonal") == 0
    batch = torch.from_numpy(np.stack([one, none])[:, None]), torch.from_numpy(np.stack([one, one])[:, None])
    assert HausdorffMM(missed="diagonal")(*batch, spacing)[:, 0].tolist() == pytest.approx([0, worst])
    with pytest.raises(InputError, match='missed="never" is unknown'):
        HausdorffMM(missed="never")
