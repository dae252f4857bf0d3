"""Texture against scipy.stats, brute force and known distributions, and every region too small or too even."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.bundle import ConfigParser
from scipy import stats

from bundle.errors import InputError
from bundle.metrics import RegionSD, RegionSDRatio, TextureEvaluator, Truth, kurtosis, mean_hu, sd_hu, sd_ratio
from bundle.transforms import to_unit

CONFIG = {
    "texture": {
        "_target_": "bundle.metrics.TextureEvaluator",
        "metrics": {
            "mean_hu": {"_target_": "bundle.metrics.RegionMean"},
            "sd_hu": {"_target_": "bundle.metrics.RegionSD"},
            "sd_ratio": {"_target_": "bundle.metrics.RegionSDRatio"},
            "kurtosis": {"_target_": "bundle.metrics.RegionKurtosis"},
        },
    }
}

SPACING = (0.7, 0.7, 1.25)


@pytest.fixture(scope="module")
def evaluator() -> TextureEvaluator:
    return ConfigParser(CONFIG).get_parsed_content("texture")


def _nodule(seed=0, shape=(9, 8, 12)):
    rng = np.random.default_rng(seed)
    hu = np.clip(rng.normal(-300, 200, shape), -1000, 400)
    mask = rng.random(shape) > 0.6
    image = to_unit(hu + rng.normal(0, 50, shape))
    return image, hu, mask


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(-1000, 400), min_size=1, max_size=40))
def test_moments_equal_scipy(values):
    hu = np.array(values, dtype=np.float32)
    assert mean_hu(hu) == pytest.approx(np.mean(values))
    assert sd_hu(hu) == pytest.approx(np.std(values))
    if len(set(values)) == 1:
        assert math.isnan(kurtosis(hu))
    else:
        assert kurtosis(hu) == pytest.approx(stats.kurtosis(values, fisher=False), rel=1e-9)


def test_a_normal_distribution_has_kurtosis_3():
    assert kurtosis(np.random.default_rng(0).normal(-50, 30, 200_000)) == pytest.approx(3, abs=0.05)


def test_equal_values_have_no_spread_whatever_the_rounding():
    alike = np.full(1000, 0.1)
    assert sd_hu(alike) == 0
    assert math.isnan(kurtosis(alike))
    assert math.isnan(sd_ratio(np.arange(1000), alike))
    assert sd_ratio(alike, np.arange(1000)) == 0


def test_no_voxels_are_undefined():
    none = np.zeros(0)
    for value in (mean_hu(none), sd_hu(none), kurtosis(none), sd_ratio(none, none)):
        assert math.isnan(value)


def test_rows_equal_an_independent_computation(evaluator):
    image, hu, mask = _nodule()
    rows = evaluator.rows(Truth(hu, mask, SPACING, [0, 5, 10]), image)
    sets = {"unobserved": [z for z in range(12) if z % 5], "interpolated": [1, 2, 3, 4, 6, 7, 8, 9]}
    for entry in rows:
        inside = np.zeros(hu.shape, bool)
        inside[..., sets[entry["slices"]]] = True
        if entry["region"] == "tumour":
            inside &= mask
        values, true = image[inside] * 1400 - 1000, hu[inside]
        expected = {
            "mean_hu": values.mean(),
            "sd_hu": values.std(),
            "sd_ratio": values.std() / true.std(),
            "kurtosis": stats.kurtosis(values, fisher=False),
        }
        assert entry["value"] == pytest.approx(expected[entry["metric"]], rel=1e-6)
        assert entry["threshold_hu"] is None
    assert len(rows) == 2 * 2 * 4
    keys = ("slices", "region", "threshold_hu", "metric")
    assert [[entry[key] for key in keys] for entry in rows] == [
        [entry[key] for key in keys] for entry in evaluator.expected_rows()
    ]


def test_the_truth_has_a_ratio_of_1(evaluator):
    _, hu, mask = _nodule()
    rows = evaluator.truth_rows(Truth(hu, mask, SPACING, [0, 5, 10]))
    assert {entry["value"] for entry in rows if entry["metric"] == "sd_ratio"} == {1.0}
    as_reconstruction = evaluator.rows(Truth(hu, mask, SPACING, [0, 5, 10]), to_unit(hu))
    assert [entry["value"] for entry in rows] == pytest.approx([e["value"] for e in as_reconstruction], abs=1e-3)


def test_the_truth_is_clipped_as_the_reconstruction_is_unless_told_otherwise():
    hu = np.random.default_rng(0).normal(0, 100, (6, 6, 6))
    hu[0] = 3000.0  # a calcification
    mask = np.ones(hu.shape, bool)
    arguments = Truth(hu, mask, SPACING, [0]), to_unit(hu)
    ratio = TextureEvaluator({"sd_ratio": RegionSDRatio()}, slices=["all"]).rows(*arguments)
    assert ratio[0]["value"] == pytest.approx(1, abs=1e-5)
    published = TextureEvaluator({"sd_ratio": RegionSDRatio()}, slices=["all"], clip_truth=False).rows(*arguments)
    assert published[0]["value"] == pytest.approx(np.clip(hu, -1000, 400).std() / hu.std(), abs=1e-5)


def test_undefined_regions_are_nan(evaluator):
    image, hu, mask = _nodule()
    for entry in evaluator.rows(Truth(hu, np.zeros_like(mask), SPACING, [0, 5, 10]), image):
        assert math.isnan(entry["value"]) == (entry["region"] == "tumour")
    for entry in evaluator.rows(Truth(hu, mask, SPACING, range(12)), image):
        assert math.isnan(entry["value"])


def test_as_monai_metric():
    volume = torch.rand(2, 1, 4, 4, 4, dtype=torch.float64)
    metric = RegionSD()
    values = metric(volume, volume)
    assert values[:, 0].tolist() == pytest.approx(volume.flatten(1).std(dim=1, unbiased=False).tolist())
    assert metric.aggregate().item() == pytest.approx(values.mean().item(), rel=1e-6)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((9, 8, 11)), r"image has shape \(9, 8, 11\)"),
        (np.full((9, 8, 12), np.nan), "864 voxels"),
    ],
)
def test_bad_input_is_told_in_one_sentence(evaluator, image, message):
    _, hu, mask = _nodule()
    with pytest.raises(InputError, match=message):
        evaluator.rows(Truth(hu, mask, SPACING, [0, 5, 10]), image)


def test_without_a_choice_the_metrics_are_those_of_the_table(evaluator):
    image, hu, mask = _nodule()
    truth = Truth(hu, mask, SPACING, [0, 5, 10])
    assert TextureEvaluator().rows(truth, image) == evaluator.rows(truth, image)


def test_an_unknown_set_of_slices_is_refused():
    with pytest.raises(InputError, match="unobserved, interpolated, all"):
        TextureEvaluator({}, slices=["others"])
