"""Rows of clinical.csv: the sizes of the functions, in the right reference, and a reason where there is none."""

import math

import numpy as np
import pytest
from helpers.nodules import small_nodule

from bundle.errors import InputError
from bundle.metrics import SizeEvaluator, Truth
from bundle.metrics.size_evaluator import MISSED, NO_BRIGHTNESS, QUANTITIES, sizes
from bundle.slices import ObservedSlices
from bundle.transforms import to_unit

SPACING = (0.7, 0.8, 1.0)
NAMES = [quantity.name for quantity in QUANTITIES]


@pytest.fixture
def truth():
    hu, mask = small_nodule()
    return Truth(hu.astype(float), mask, SPACING, np.arange(0, 14, 5))


def values(rows, reference):
    return {row["quantity"]: row["value"] for row in rows if row["reference"] == reference}


def test_the_truth_is_measured_by_outline_and_by_the_rule(truth):
    rows = SizeEvaluator().truth_rows(truth)
    outline, seg = values(rows, "outline"), values(rows, "seg")
    assert list(outline) == list(seg) == NAMES
    assert outline["volume_mm3"] == pytest.approx(truth.mask.sum() * np.prod(SPACING))
    assert outline["mean_hu"] == pytest.approx(truth.hu[truth.mask].mean())
    assert outline["mass_mg"] == pytest.approx(((truth.hu[truth.mask] + 1000) / 1000).sum() * np.prod(SPACING))
    assert seg["volume_mm3"] == pytest.approx(outline["volume_mm3"], rel=0.25)
    assert {row["unit"] for row in rows} == {"mm3", "mm", "mg", "HU"}
    assert all(row["reason"] is None for row in rows)


def test_a_perfect_reconstruction_has_the_size_of_the_truth(truth):
    evaluator = SizeEvaluator()
    true = evaluator.truth_rows(truth)
    image = evaluator.rows(truth, image=to_unit(truth.hu))
    assert values(image, "seg") == pytest.approx(values(true, "seg"))
    assert not values(image, "outline")
    mask = evaluator.rows(truth, mask=truth.mask)
    assert values(mask, "outline")["largest_diameter_mm"] == values(true, "outline")["largest_diameter_mm"]
    assert [row["reason"] for row in mask] == [None] * 5 + [NO_BRIGHTNESS] * 2


@pytest.mark.parametrize("axis", [0, 2])
def test_the_sum_of_areas_is_that_of_the_observed_slices_times_the_gap(truth, axis):
    kept = np.arange(2, truth.hu.shape[axis], 5)
    truth = Truth(truth.hu, truth.mask, SPACING, kept, axis)
    moved = [np.moveaxis(v, axis, 2)[..., kept] for v in (to_unit(truth.hu), truth.mask)]
    observed = ObservedSlices(*moved, positions=kept * SPACING[axis], targets=np.arange(3.0))
    found = values(SizeEvaluator().areas_rows(truth, observed), "outline")
    assert found["volume_mm3"] == pytest.approx(moved[1].sum() * np.prod(SPACING) * 5)
    assert found["mean_hu"] == pytest.approx(np.take(truth.hu, kept, axis)[np.take(truth.mask, kept, axis)].mean())


def test_what_is_not_found_is_nan_with_its_reason(truth):
    evaluator = SizeEvaluator()
    for rows in (
        evaluator.rows(truth, mask=np.zeros_like(truth.mask)),
        evaluator.rows(truth, image=np.zeros(truth.hu.shape)),
    ):
        assert len(rows) == len(NAMES)
        assert all(math.isnan(row["value"]) and row["reason"] == MISSED for row in rows)
    for kind, reference in (("image", "seg"), ("mask", "outline")):
        rows = evaluator.expected_rows(kind, "too few slices")
        assert {(row["reference"], row["reason"]) for row in rows} == {(reference, "too few slices")}
        assert [row["quantity"] for row in rows] == NAMES
    with pytest.raises(InputError, match='kind "tree" is unknown'):
        evaluator.expected_rows("tree", "")


def test_brightness_beyond_the_window_counts_as_the_window(truth):
    calcified = Truth(np.where(truth.mask, 1500.0, truth.hu), truth.mask, SPACING, truth.observed)
    assert values(SizeEvaluator().truth_rows(calcified), "outline")["mean_hu"] == 400.0


def test_all_sizes_of_nothing_are_nan():
    assert all(math.isnan(value) for value in sizes(np.zeros((3, 3, 3)), SPACING, np.zeros((3, 3, 3))).values())
