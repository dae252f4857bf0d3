"""Units: what is refused, what it is said to look like, over units, dtypes and containers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bundle.errors import InputError
from bundle.inferers import CubicInferer, FlowInferer, GateInferer, KrigingInferer, LinearInferer, NearestInferer
from bundle.metrics import (
    DiceScore,
    NoduleEvaluator,
    RegionMAE,
    RegionPSNR,
    RegionRMSE,
    RegionSSIM,
    TextureEvaluator,
    Truth,
    UncertaintyEvaluator,
    dice_score,
    folded_ssim,
    hausdorff_mm,
    mae,
    psnr,
    rmse,
    ssim_map,
    volume_error,
)
from bundle.transforms import to_unit
from bundle.units import check_binary, check_unit, refuse_normalised, whole_hu

HU = np.random.default_rng(0).uniform(-1000, 400, (12, 11, 6))
UNIT = (HU + 1000) / 1400
OTHER_UNITS = {
    "HU": HU,
    "offset": HU + 1024,
    "8 bit": UNIT * 255,
    "per cent": UNIT * 100,
    "-1 to 1": 2 * UNIT - 1,
    "standardised": (HU - HU.mean()) / HU.std() * 1.4,
}
FUNCTIONS = [mae, rmse, psnr, ssim_map, folded_ssim]
METRICS = [RegionMAE, RegionRMSE, RegionPSNR, RegionSSIM]
INFERERS = [NearestInferer, LinearInferer, CubicInferer, FlowInferer, KrigingInferer, GateInferer]


@pytest.mark.parametrize(("unit", "volume"), OTHER_UNITS.items())
def test_another_unit_is_named_by_all_that_take_intensity(unit, volume):
    for function in FUNCTIONS:
        for pair in ((volume, UNIT), (UNIT, volume), (volume, volume)):
            with pytest.raises(InputError, match=unit):
                function(*pair)
    batch, good = torch.from_numpy(volume)[None, None], torch.from_numpy(UNIT)[None, None]
    for metric in METRICS:
        with pytest.raises(InputError, match=unit):
            metric()(good, batch)
    for inferer in INFERERS:
        with pytest.raises(InputError, match=unit):
            inferer()(volume)
        with pytest.raises(InputError, match=unit):
            inferer()(torch.from_numpy(volume))
    truth = Truth(HU, UNIT > 0.5, (1.0, 1.0, 1.0), [0, 5])
    for rows in (
        lambda: NoduleEvaluator().rows(truth, volume),
        lambda: TextureEvaluator().rows(truth, volume),
        lambda: UncertaintyEvaluator().rows(truth, volume, UNIT),
    ):
        with pytest.raises(InputError, match=unit):
            rows()


def test_another_unit_is_measured_where_it_is_asked_for():
    assert mae(HU + 14, HU, normalised=False) == pytest.approx(14)
    assert psnr(HU + 14, HU, max_value=1400, normalised=False) == pytest.approx(psnr(UNIT + 0.01, UNIT))
    similar = ssim_map(HU + 14, HU, max_value=1400, normalised=False)
    assert similar.shape == HU.shape
    tensors = [torch.from_numpy(v)[None, None] for v in (HU + 14, HU)]
    assert RegionRMSE(normalised=False)(*tensors).item() == pytest.approx(14)


@given(st.floats(-0.5, 1.5), st.floats(-0.5, 1.5), st.sampled_from(["f2", "f4", "f8"]))
def test_intensity_a_little_outside_of_the_window_is_taken(low, high, kind):
    volume = np.array([low, high]).astype(kind).clip(-0.5, 1.5)
    check_unit("it", volume)
    assert mae(volume, volume) == 0


@given(st.floats(-1e6, 1e6).filter(lambda v: not -0.51 < v < 1.51), st.booleans())
def test_one_value_far_outside_is_enough_and_nan_hides_none(value, as_tensor):
    volume = np.full(9, 0.5)
    volume[3], volume[5] = value, np.nan
    with pytest.raises(InputError, match="expected normalised intensity"):
        check_unit("it", torch.from_numpy(volume) if as_tensor else volume)


@pytest.mark.parametrize("volume", [np.zeros(0), np.full(3, np.nan), np.ones(3, bool), np.zeros(3, np.int16)])
def test_what_has_no_unit_is_taken(volume):
    check_unit("it", volume)
    refuse_normalised("it", volume)


def test_a_normalised_truth_is_refused_where_hu_are_expected():
    with pytest.raises(InputError, match=r"the true image has values .* expected HU: it looks like normalised"):
        Truth(UNIT, UNIT > 0.5, (1.0, 1.0, 1.0), [0, 5])


@pytest.mark.parametrize("measure", [dice_score, volume_error, lambda a, b: hausdorff_mm(a, b, (1.0, 1.0, 1.0))])
def test_a_soft_mask_is_refused(measure):
    hard = UNIT > 0.5
    for pair in ((UNIT, hard), (hard, UNIT)):
        with pytest.raises(InputError, match="looks like a soft mask"):
            measure(*pair)
    with pytest.raises(InputError, match="soft mask"):
        DiceScore()(torch.from_numpy(UNIT)[None, None], torch.from_numpy(hard)[None, None])
    for labels in (hard * 255.0, hard.astype(np.uint8) * 3, hard.astype("f2")):
        assert measure(labels, hard) == measure(hard, hard)


def test_nan_is_no_voxel_of_a_mask():
    with pytest.raises(InputError, match="such as nan"):
        check_binary("it", np.array([0.0, np.nan]))


@given(st.lists(st.floats(-40000, 40000), min_size=1, max_size=20))
def test_whole_hu_are_the_nearest_that_int16_holds(values):
    found = whole_hu("it", np.array(values))
    assert found.dtype == np.int16
    assert found.tolist() == [min(max(round(v), -32768), 32767) for v in values]
    with pytest.raises(InputError, match="1 voxels that are nan"):
        whole_hu("it", np.array([*values, np.nan]))


def test_units_agree_with_the_window():
    check_unit("it", to_unit(HU * 10))
