"""Metrics of expected errors against scipy, counting, known coverage; the rows of the evaluator."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from bundle.errors import InputError
from bundle.metrics import (
    ErrorRankCorrelation,
    ErrorRatio,
    IntervalCoverage,
    IntervalWidth,
    Truth,
    UncertaintyEvaluator,
    coverage,
    error_rank_correlation,
    error_ratio,
    interval_width,
)

SHAPE = (12, 10, 11)
EMPTY = np.zeros(SHAPE, bool)


def volumes(seed=0):
    rng = np.random.default_rng(seed)
    prediction, truth = rng.normal(size=SHAPE), rng.normal(size=SHAPE)
    return prediction, truth, rng.exponential(size=SHAPE), rng.random(SHAPE) < 0.4


@given(st.integers(0, 50))
def test_functions_against_counting_and_scipy(seed):
    prediction, truth, error, region = volumes(seed)
    pairs = list(zip(prediction[region], truth[region], error[region], strict=True))
    held = sum(p - e <= t <= p + e for p, t, e in pairs)
    assert coverage(prediction, truth, error, region) == pytest.approx(held / len(pairs), abs=1e-12)
    width = sum(min(p + e, 1) - max(p - e, -1) for p, _, e in pairs if p + e > -1 and p - e < 1) / len(pairs)
    assert interval_width(prediction, error, region, -1, 1) == pytest.approx(width)
    off = np.abs(prediction - truth)[region]
    assert error_ratio(prediction, truth, error, region) == pytest.approx(error[region].mean() / off.mean())
    wanted = stats.spearmanr(off, error[region]).statistic
    assert error_rank_correlation(prediction, truth, error, region) == pytest.approx(wanted, abs=1e-12)
    tied = np.round(error)
    wanted = stats.spearmanr(off, tied[region]).statistic
    assert error_rank_correlation(prediction, truth, tied, region) == pytest.approx(wanted, abs=1e-12)


@pytest.mark.parametrize("law", [stats.norm, stats.laplace])
@pytest.mark.parametrize("level", [0.5, 0.8, 0.9, 0.95])
def test_intervals_of_a_known_distribution_cover_their_level(law, level):
    rng = np.random.default_rng(3)
    spread = rng.uniform(0.5, 4, (60, 50, 40))
    truth = spread * law.rvs(size=spread.shape, random_state=rng)
    assert coverage(np.zeros(spread.shape), truth, spread * law.ppf((1 + level) / 2)) == pytest.approx(level, abs=5e-3)


def test_undefined_values_are_nan_and_no_warning(recwarn):
    prediction, truth, error, _ = volumes()
    assert np.isnan(coverage(prediction, truth, error, EMPTY))
    assert np.isnan(interval_width(prediction, error, EMPTY))
    assert np.isnan(error_ratio(prediction, truth, error, EMPTY))
    assert np.isnan(error_ratio(truth, truth, error))
    assert np.isnan(error_rank_correlation(prediction, truth, error, EMPTY))
    assert np.isnan(error_rank_correlation(prediction, truth, np.ones(SHAPE)))
    assert coverage(truth, truth, np.zeros(SHAPE)) == 1
    assert not recwarn.list


@pytest.mark.parametrize(
    ("metric", "function"),
    [
        (IntervalCoverage(), coverage),
        (IntervalWidth(), lambda p, _, e, r: interval_width(p, e, r, -1000, 400)),
        (ErrorRatio(), error_ratio),
        (ErrorRankCorrelation(), error_rank_correlation),
    ],
)
def test_monai_metrics_measure_each_volume_and_keep_nan(metric, function):
    sets = [volumes(seed) for seed in (1, 2)]
    tensors = [torch.as_tensor(np.stack([s[i] for s in sets])[:, None]) for i in range(4)]
    got = metric(*tensors)
    wanted = [function(*s) for s in sets]
    assert got.shape == (2, 1)
    np.testing.assert_allclose(got[:, 0], wanted)
    assert float(metric.aggregate()) == pytest.approx(np.mean(wanted), rel=1e-5)
    metric.reset()
    metric(*tensors[:3], torch.zeros_like(tensors[0]))
    assert torch.isnan(metric.aggregate())
    metric.reset()
    np.testing.assert_allclose(metric(*tensors[:3])[0, 0], function(*sets[0][:3], np.ones(SHAPE, bool)))


def evaluator(**options):
    intervals = {"coverage": IntervalCoverage(), "width_hu": IntervalWidth()}
    return UncertaintyEvaluator(intervals, {"error_ratio": ErrorRatio()}, **options)


@pytest.mark.parametrize("axis", [2, 0])
def test_rows_are_of_the_voxels_they_say(axis):
    rng = np.random.default_rng(5)
    truth = rng.uniform(-1500, 900, SHAPE)  # beyond the window on both sides
    mask = rng.random(SHAPE) < 0.3
    image = rng.random(SHAPE)
    error = rng.uniform(0, 0.3, SHAPE).astype(np.float32)
    observed = [1, 5, 9] if axis == 2 else [1, 5]
    rows = evaluator().rows(Truth(truth, mask, (1, 1, 1), observed, axis), image, error, {0.8: 1.5, 0.95: 2.5})
    found = {(r["slices"], r["region"], r["metric"]): r["value"] for r in rows}
    assert len(found) == len(rows) == 2 * 2 * 5
    assert {r["threshold_hu"] for r in rows} == {None}
    slices = {
        "unobserved": [k for k in range(SHAPE[axis]) if k not in observed],
        "interpolated": [k for k in range(observed[0], observed[-1]) if k not in observed],
    }
    for name, chosen in slices.items():
        picked = [np.take(v, chosen, axis) for v in (image * 1400 - 1000, truth.clip(-1000, 400), error * 1400.0, mask)]
        for region, inside in (("global", np.ones(picked[3].shape, bool)), ("tumour", picked[3])):
            hu, true, expected = (v[inside] for v in picked[:3])
            off = np.abs(hu - true)
            assert found[name, region, "error_ratio"] == pytest.approx(expected.mean() / off.mean(), rel=1e-6)
            for percent, q in (("80", 1.5), ("95", 2.5)):
                assert found[name, region, f"coverage_{percent}"] == pytest.approx(
                    np.mean(off <= q * expected), abs=1e-9
                )
                width = np.minimum(hu + q * expected, 400) - np.maximum(hu - q * expected, -1000)
                assert found[name, region, f"width_hu_{percent}"] == pytest.approx(width.mean(), rel=1e-6)


def test_without_intervals_only_what_needs_none_is_measured():
    ones = np.ones(SHAPE)
    truth = Truth(ones * 0, ones, (1, 1, 1), [0, 5])
    rows = evaluator(slices=["unobserved"]).rows(truth, ones * 0.5, ones * 0.1)
    assert {r["metric"] for r in rows} == {"error_ratio"}


def test_bad_input_is_told_in_one_sentence():
    ones = np.ones(SHAPE)
    truth = Truth(ones, ones, (1, 1, 1), [0, 5])
    with pytest.raises(InputError, match="the expected error is negative in 1320 voxels"):
        evaluator().rows(truth, ones, -ones)
    with pytest.raises(InputError, match=r"the expected error has shape \(12, 10, 10\)"):
        evaluator().rows(truth, ones, ones[..., 1:])
    with pytest.raises(InputError, match="are unknown: give some of unobserved"):
        evaluator(slices=["some"])
