"""The HU window against MONAI's own transform."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.transforms import ScaleIntensityRange

from bundle.transforms import HU_MAX, HU_MIN, to_hu, to_unit


def test_equals_monai():
    hu = np.random.default_rng(0).uniform(-2000, 2000, (1, 6, 6, 6)).astype(np.float32)
    monai = ScaleIntensityRange(a_min=HU_MIN, a_max=HU_MAX, b_min=0, b_max=1, clip=True)(hu)
    assert np.allclose(to_unit(hu), monai.numpy(), atol=1e-6)
    assert np.allclose(to_unit(torch.as_tensor(hu)).numpy(), monai.numpy(), atol=1e-6)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_round_trip_keeps_dtype(dtype):
    hu = np.linspace(HU_MIN, HU_MAX, 57, dtype=dtype)
    back = to_hu(to_unit(hu))
    assert back.dtype == to_unit(hu).dtype == dtype
    assert np.allclose(back, hu, atol=1e-3 if dtype == np.float32 else 1e-9)


@pytest.mark.parametrize("dtype", [np.int16, np.uint8, np.uint16])
def test_integers_do_not_wrap(dtype):
    hu = np.array([0, 100, 255], dtype=dtype)
    assert to_unit(hu).dtype == np.float32
    assert np.allclose(to_unit(hu), (np.array([0, 100, 255]) + 1000) / 1400)
    assert np.allclose(to_unit(torch.as_tensor([-3000, 0])).numpy(), [0, 1000 / 1400])


def test_nan_stays_nan():
    assert np.isnan(to_unit(np.array([np.nan]))).all()
