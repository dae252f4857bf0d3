"""Radiometric metrics against scikit-image, MONAI's own metrics and a brute-force SSIM."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.metrics import MAEMetric, PSNRMetric, RMSEMetric
from monai.metrics.regression import compute_ssim_and_cs
from skimage.metrics import mean_squared_error, peak_signal_noise_ratio, structural_similarity

from bundle.errors import InputError
from bundle.metrics import (
    RegionMAE,
    RegionPSNR,
    RegionRMSE,
    RegionSSIM,
    mae,
    psnr,
    rmse,
    slice_region,
    slice_sets,
    ssim_map,
)


def _pair(shape, seed=0, noise=0.1):
    rng = np.random.default_rng(seed)
    truth = rng.random(shape)
    return np.clip(truth + noise * rng.standard_normal(shape), 0, 1), truth


def test_pooled_errors_equal_scikit_image():
    prediction, truth = _pair((9, 8, 7))
    region = np.random.default_rng(1).random(truth.shape) > 0.7
    assert mae(prediction, truth, region) == pytest.approx(np.abs(prediction[region] - truth[region]).mean())
    squared = mean_squared_error(truth[region], prediction[region])
    assert rmse(prediction, truth, region) == pytest.approx(math.sqrt(squared), rel=1e-12)
    expected = peak_signal_noise_ratio(truth[region], prediction[region], data_range=1)
    assert psnr(prediction, truth, region) == pytest.approx(expected, rel=1e-12)


def test_no_region_equals_monai():
    prediction, truth = _pair((2, 1, 9, 8, 7))
    pair = torch.from_numpy(prediction), torch.from_numpy(truth)
    for ours, theirs in (
        (RegionMAE(), MAEMetric()),
        (RegionRMSE(), RMSEMetric()),
        (RegionPSNR(), PSNRMetric(max_val=1)),
    ):
        assert torch.allclose(ours(*pair), theirs(*pair))
        assert ours.aggregate().item() == pytest.approx(theirs.aggregate().item(), rel=1e-6)


@pytest.mark.parametrize("shape", [(11, 11, 2), (24, 31, 5), (57, 56, 3)])
@pytest.mark.parametrize("flat", [False, True])
def test_ssim_map_equals_scikit_image(shape, flat):
    prediction, truth = _pair(shape)
    if flat:  # where float32 loses the variance
        prediction, truth = 0.9 + 1e-3 * prediction, 0.9 + 1e-3 * truth
    ours = ssim_map(prediction, truth)
    for z in range(shape[2]):
        _, theirs = structural_similarity(
            truth[..., z],
            prediction[..., z],
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
            data_range=1,
            full=True,
        )
        np.testing.assert_allclose(ours[..., z], theirs, atol=1e-10)


def test_ssim_map_equals_monai_where_monai_has_values():
    prediction, truth = _pair((24, 31, 1))
    theirs, _ = compute_ssim_and_cs(
        torch.from_numpy(prediction[None, None, ..., 0]),
        torch.from_numpy(truth[None, None, ..., 0]),
        spatial_dims=2,
        kernel_size=(11, 11),
        kernel_sigma=(1.5, 1.5),
    )
    np.testing.assert_allclose(ssim_map(prediction, truth)[5:-5, 5:-5, 0], theirs[0, 0], atol=2e-5)


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 7, 2), (4, 3, 1), (2, 12, 2)])
def test_ssim_map_of_small_slices_equals_brute_force(shape):
    prediction, truth = _pair(shape)
    pad = [(5, 5), (5, 5), (0, 0)]
    padded = [np.pad(volume, pad, mode="symmetric") for volume in (prediction, truth)]
    steps = np.arange(-5, 6)
    weights = np.exp(-(steps[:, None] ** 2 + steps**2) / (2 * 1.5**2))
    weights /= weights.sum()
    expected = np.empty(shape)
    for x, y, z in np.ndindex(*shape):
        p, t = (volume[x : x + 11, y : y + 11, z] for volume in padded)
        mp, mt = (weights * p).sum(), (weights * t).sum()
        vp, vt = (weights * (p - mp) ** 2).sum(), (weights * (t - mt) ** 2).sum()
        cov = (weights * (p - mp) * (t - mt)).sum()
        expected[x, y, z] = ((2 * mp * mt + 1e-4) * (2 * cov + 9e-4)) / ((mp**2 + mt**2 + 1e-4) * (vp + vt + 9e-4))
    np.testing.assert_allclose(ssim_map(prediction, truth), expected, atol=1e-10)


def test_ssim_axis_and_region():
    prediction, truth = _pair((12, 13, 14))
    moved = ssim_map(np.moveaxis(prediction, 2, 0), np.moveaxis(truth, 2, 0), axis=0)
    np.testing.assert_allclose(np.moveaxis(moved, 0, 2), ssim_map(prediction, truth))
    np.testing.assert_allclose(ssim_map(prediction[..., 3], truth[..., 3]), ssim_map(prediction, truth)[..., 3])
    region = np.random.default_rng(3).random(truth.shape) > 0.9
    value = RegionSSIM()(*(torch.from_numpy(v)[None, None] for v in (prediction, truth, region)))
    assert value.item() == pytest.approx(ssim_map(prediction, truth)[region].mean(), rel=1e-12)


def test_ssim_refuses_an_even_window_and_other_shapes():
    with pytest.raises(InputError, match="10 voxels"):
        ssim_map(np.zeros((3, 3)), np.zeros((3, 3)), window=10)
    with pytest.raises(InputError, match=r"\(3, 4\)"):
        ssim_map(np.zeros((3, 4)), np.zeros((3, 3)))


volumes = st.tuples(st.integers(1, 6), st.integers(1, 6), st.integers(1, 3), st.integers(0, 999))


@settings(max_examples=40, deadline=None)
@given(volumes)
def test_identity_symmetry_and_bounds(drawn):
    *shape, seed = drawn
    prediction, truth = _pair(shape, seed)
    assert mae(truth, truth) == rmse(truth, truth) == 0
    assert psnr(truth, truth) == math.inf
    np.testing.assert_allclose(ssim_map(truth, truth), 1)
    for metric in (mae, rmse, psnr):
        assert metric(prediction, truth) == pytest.approx(metric(truth, prediction))
    assert mae(prediction, truth) <= rmse(prediction, truth) + 1e-12
    similarity = ssim_map(prediction, truth)
    np.testing.assert_allclose(similarity, ssim_map(truth, prediction))
    assert np.all(np.abs(similarity) <= 1 + 1e-9)


@pytest.mark.parametrize("metric", [RegionMAE(), RegionRMSE(), RegionPSNR(), RegionSSIM()])
def test_empty_region_is_nan_and_stays_nan(metric):
    volume = torch.rand(1, 1, 5, 5, 5)
    metric.reset()
    assert math.isnan(metric(volume, volume + 0.1, torch.zeros_like(volume)).item())
    assert math.isnan(metric.aggregate().item())
    metric(volume, volume + 0.1, torch.ones_like(volume))
    metric.get_not_nans = True
    value, count = metric.aggregate()
    assert math.isfinite(value.item())
    assert count.item() == 1
    assert metric.aggregate("none")[0].isnan().tolist() == [[True], [False]]


def test_float32_input_is_measured_in_float64():
    prediction, truth = _pair((1, 1, 9, 9, 9))
    low = torch.from_numpy(prediction).float(), torch.from_numpy(truth).float()
    value = RegionMAE()(*low)
    assert value.dtype == torch.float64
    assert value.item() == pytest.approx(mae(low[0].double().numpy(), low[1].double().numpy()), rel=1e-14)


def test_batch_and_channels_each_have_their_value_and_region():
    prediction, truth = _pair((2, 3, 4, 4, 4))
    region = np.random.default_rng(5).random((2, 1, 4, 4, 4)) > 0.5
    values = RegionMAE()(torch.from_numpy(prediction), torch.from_numpy(truth), torch.from_numpy(region))
    assert values.shape == (2, 3)
    assert values[1, 2].item() == pytest.approx(mae(prediction[1, 2], truth[1, 2], region[1, 0]))


def test_shapes_that_differ_are_refused():
    with pytest.raises(ValueError, match="expected the same"):
        RegionMAE()(torch.zeros(1, 1, 4, 4, 4), torch.zeros(1, 1, 4, 4, 5))
    with pytest.raises(ValueError, match="nothing to aggregate"):
        RegionMAE().aggregate()


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 30), st.integers(1, 7), st.integers(0, 6))
def test_slice_sets_equal_their_definition(count, stride, offset):
    observed = list(range(offset, count, stride))
    sets = slice_sets(count, observed)
    for z in range(count):
        assert sets["unobserved"][z] == (z not in observed)
        between = bool(observed) and observed[0] < z < observed[-1]
        assert sets["interpolated"][z] == (z not in observed and between)
    assert sets["all"].all()


def test_slice_sets_refuse_what_is_no_slice():
    with pytest.raises(InputError, match="from 0 to 4"):
        slice_sets(5, [0, 5])
    with pytest.raises(InputError, match="from 0 to 4"):
        slice_sets(5, [-1])


@pytest.mark.parametrize("axis", [0, 1, 2, -1])
def test_slice_region_lies_along_its_axis(axis):
    shape = (3, 4, 5)
    chosen = np.arange(shape[axis]) % 2 == 1
    region = slice_region(shape, chosen, axis)
    for k in range(shape[axis]):
        assert (region.take(k, axis) == chosen[k]).all()
