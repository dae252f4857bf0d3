"""The evaluator against independent numpy, scipy and scikit-image computations, and its bad inputs."""

from __future__ import annotations

import math

import numpy as np
import pytest
from monai.bundle import ConfigParser
from scipy.ndimage import distance_transform_edt, gaussian_filter
from skimage.metrics import structural_similarity

from bundle.errors import InputError
from bundle.metrics import NoduleEvaluator, Truth, explain_undefined
from bundle.transforms import to_unit
from bundle.transforms.hu import exact_hu

CONFIG = {
    "evaluator": {
        "_target_": "bundle.metrics.NoduleEvaluator",
        "radiometric": {
            "mae": {"_target_": "bundle.metrics.RegionMAE"},
            "rmse": {"_target_": "bundle.metrics.RegionRMSE"},
            "psnr": {"_target_": "bundle.metrics.RegionPSNR"},
            "ssim": {"_target_": "bundle.metrics.RegionSSIM"},
        },
        "geometric": {
            "dsc": {"_target_": "bundle.metrics.DiceScore"},
            "hd_mm": {"_target_": "bundle.metrics.HausdorffMM"},
            "arve": {"_target_": "bundle.metrics.VolumeError"},
        },
        "thresholds": [-500, -450, -400, -350, -300],
    }
}
SPACING = (0.7, 0.7, 1.25)


@pytest.fixture(scope="module")
def evaluator() -> NoduleEvaluator:
    return ConfigParser(CONFIG).get_parsed_content("evaluator")


def _nodule(shape=(24, 22, 14), seed=0):
    """A soft ball of tissue in lung, its true mask, and a noisy reconstruction of it."""
    rng = np.random.default_rng(seed)
    grid = np.indices(shape) * np.array(SPACING).reshape(3, 1, 1, 1)
    middle = (np.array(shape) / 2 * np.array(SPACING)).reshape(3, 1, 1, 1)
    depth = 5.0 - np.linalg.norm(grid - middle, axis=0)
    hu = -850 + 900 / (1 + np.exp(-2 * depth)) + 40 * gaussian_filter(rng.standard_normal(shape), 1)
    image = np.clip((hu + 1000) / 1400 + 0.05 * rng.standard_normal(shape), 0, 1)
    return hu, depth > 0, image.astype(np.float32)


def _value(rows, slices, region, threshold, metric):
    found = [
        row["value"]
        for row in rows
        if (row["slices"], row["region"], row["threshold_hu"], row["metric"]) == (slices, region, threshold, metric)
    ]
    assert len(found) == 1
    return found[0]


def test_every_row_equals_an_independent_computation(evaluator):
    hu, mask, image = _nodule()
    observed = [0, 5, 10]
    rows = evaluator.rows(Truth(hu, mask, SPACING, observed), image)
    truth = (np.clip(hu, -1000, 400) + 1000) / 1400
    maps = np.stack(
        [
            structural_similarity(
                truth[..., z],
                image[..., z].astype(float),
                gaussian_weights=True,
                sigma=1.5,
                use_sample_covariance=False,
                data_range=1.0,
                full=True,
            )[1]
            for z in range(14)
        ],
        axis=-1,
    )
    sets = {"unobserved": [z for z in range(14) if z % 5], "all": list(range(14))}
    sets["interpolated"] = [z for z in sets["unobserved"] if z < 10]
    count = 0
    for slices in ("unobserved", "interpolated"):
        for region in ("global", "tumour"):
            inside = np.zeros(hu.shape, bool)
            inside[..., sets[slices]] = True
            if region == "tumour":
                inside &= mask
            error = image.astype(float)[inside] - truth[inside]
            expected = {
                "mae": np.abs(error).mean(),
                "rmse": math.sqrt((error**2).mean()),
                "psnr": -10 * math.log10((error**2).mean()),
                "ssim": maps[inside].mean(),
            }
            for metric, value in expected.items():
                assert _value(rows, slices, region, None, metric) == pytest.approx(value, abs=1e-9)
                count += 1
    roi = distance_transform_edt(~mask, sampling=SPACING) <= 3
    for threshold in (-500, -450, -400, -350, -300):
        predicted = (image.astype(float) * 1400 - 1000 > threshold) & roi
        for slices in ("unobserved", "interpolated", "all"):
            p, t = predicted[..., sets[slices]], mask[..., sets[slices]]
            dsc = 2 * (p & t).sum() / (p.sum() + t.sum())
            assert _value(rows, slices, "roi", threshold, "dsc") == pytest.approx(dsc, abs=1e-6)
            arve = abs(int(p.sum()) - int(t.sum())) / t.sum()
            assert _value(rows, slices, "roi", threshold, "arve") == pytest.approx(arve)
            count += 2
        shells = [m & (distance_transform_edt(np.pad(m, 1))[1:-1, 1:-1, 1:-1] <= 1) for m in (predicted, mask)]
        points = [np.argwhere(shell) * np.array(SPACING) for shell in shells]
        hd = max(_directed(*points), _directed(*points[::-1]))
        assert _value(rows, "all", "roi", threshold, "hd_mm") == pytest.approx(hd, abs=1e-5)
        count += 1
    assert count == len(rows)


def _directed(a, b):
    return max(np.linalg.norm(b - point, axis=1).min() for point in a)


def test_expected_rows_name_the_same_places(evaluator):
    hu, mask, image = _nodule()

    def places(rows):
        return [tuple(row[key] for key in ("slices", "region", "threshold_hu", "metric")) for row in rows]

    density = evaluator.rows(Truth(hu, mask, SPACING, [0, 5, 10]), image)
    shape = evaluator.rows(Truth(hu, mask, SPACING, [0, 5, 10]), mask=mask)
    assert places(density) == places(evaluator.expected_rows("image"))
    assert places(shape) == places(evaluator.expected_rows("mask"))
    assert len(density) == 2 * 2 * 4 + 5 * (2 * 3 + 1)
    assert len(shape) == 2 * 3 + 1
    assert all(math.isnan(row["value"]) for row in evaluator.expected_rows("image"))
    both = evaluator.rows(Truth(hu, mask, SPACING, [0, 5, 10]), image, mask)
    assert places(both) == places(density) + places(shape)
    with pytest.raises(InputError, match="image"):
        evaluator.expected_rows("densty")


def test_the_truth_measures_perfectly(evaluator):
    hu, mask, _ = _nodule()
    rows = evaluator.rows(Truth(hu, mask, SPACING, [0, 5, 10]), to_unit(hu), mask)
    for row in rows:
        if row["threshold_hu"] is None:
            best = {"mae": 0, "rmse": 0, "psnr": math.inf, "ssim": 1, "dsc": 1, "hd_mm": 0, "arve": 0}
            assert row["value"] == pytest.approx(best[row["metric"]])


def test_rows_do_not_change_from_call_to_call(evaluator):
    hu, mask, image = _nodule()
    first = evaluator.rows(Truth(hu, mask, SPACING, [0, 5, 10]), image, mask)
    assert evaluator.rows(Truth(hu, mask, SPACING, [0, 5, 10]), image, mask) == first


def test_a_voxel_at_the_threshold_is_outside_whatever_its_float_noise(evaluator):
    for threshold in evaluator.thresholds:
        at = np.float32((threshold + 1000) / 1400)
        noisy = np.array([np.nextafter(at, np.float32(0)), at, np.nextafter(at, np.float32(1))])
        assert (exact_hu(noisy) == threshold).all()


def test_other_axes_are_measured_the_same_way(evaluator):
    hu, mask, _ = _nodule()
    straight = evaluator.rows(Truth(hu, mask, SPACING, [0, 5, 10]), mask=mask[::-1])
    turned_hu, turned_mask, turned_shape = (np.moveaxis(v, 2, 0) for v in (hu, mask, mask[::-1]))
    truth = Truth(turned_hu, turned_mask, (SPACING[2], *SPACING[:2]), [0, 5, 10], axis=0)
    turned = evaluator.rows(truth, mask=turned_shape)
    assert [row["value"] for row in turned] == pytest.approx([row["value"] for row in straight])


def test_undefined_rows_are_nan_and_explained(evaluator):
    hu, mask, image = _nodule()
    everything = evaluator.rows(Truth(hu, mask, SPACING, list(range(14))), image, mask)
    for row in everything:
        assert math.isnan(row["value"]) == (row["slices"] != "all")
    reasons = explain_undefined(everything)
    assert len(reasons) == sum(row["slices"] != "all" for row in everything)
    assert "dsc of roi at -300 HU on the interpolated slices is undefined: both masks are empty there" in reasons
    nothing_observed = evaluator.rows(Truth(hu, mask, SPACING, []), image)
    assert math.isnan(_value(nothing_observed, "interpolated", "global", None, "mae"))
    assert math.isfinite(_value(nothing_observed, "unobserved", "global", None, "mae"))
    dark = evaluator.rows(Truth(hu, mask, SPACING, [0, 5, 10]), np.zeros_like(image))
    assert _value(dark, "all", "roi", -300, "dsc") == 0
    assert _value(dark, "all", "roi", -300, "arve") == 1
    assert math.isnan(_value(dark, "all", "roi", -300, "hd_mm"))
    no_truth = evaluator.rows(Truth(hu, np.zeros_like(mask), SPACING, [0, 5, 10]), image, mask)
    assert _value(no_truth, "all", "roi", None, "dsc") == 0
    assert math.isnan(_value(no_truth, "all", "roi", None, "arve"))
    assert math.isnan(_value(no_truth, "unobserved", "tumour", None, "mae"))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "neither"),
        ({"image": np.zeros((24, 22, 13))}, r"image has shape \(24, 22, 13\)"),
        ({"mask": np.zeros((3, 22, 14))}, r"mask has shape \(3, 22, 14\)"),
        ({"image": np.full((24, 22, 14), np.nan)}, "7392 voxels that are nan"),
    ],
)
def test_bad_input_is_told_in_one_sentence(evaluator, given, message):
    hu, mask, _ = _nodule()
    with pytest.raises(InputError, match=message):
        evaluator.rows(Truth(hu, mask, SPACING, [0, 5, 10]), **given)


def test_without_a_choice_the_metrics_are_those_of_the_table(evaluator):
    hu, mask, image = _nodule()
    truth = Truth(hu, mask, SPACING, [0, 5, 10])
    assert NoduleEvaluator().rows(truth, image, mask) == evaluator.rows(truth, image, mask)
    assert NoduleEvaluator({}, None).radiometric == {}
