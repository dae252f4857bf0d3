"""Dilation by mm against brute force over all pairs of voxels, and its MONAI glue."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.data import MetaTensor
from monai.transforms import Compose, CopyItemsd
from skimage.morphology import ball, dilation

from bundle.errors import InputError
from bundle.transforms import DilateMask, DilateMaskd, dilate_mask_mm


def brute_force(mask: np.ndarray, spacing: tuple[float, ...], radius_mm: float) -> np.ndarray:
    """Distance of every voxel to every voxel of the mask."""
    world = np.stack(np.meshgrid(*map(np.arange, mask.shape), indexing="ij"), axis=-1) * np.asarray(spacing)
    apart = np.linalg.norm(world[..., None, :] - world[mask], axis=-1)
    return (apart <= radius_mm + 1e-6).any(axis=-1)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    spacing=st.tuples(*[st.sampled_from([0.5, 0.6, 0.703125, 1.0, 2.5])] * 3),
    radius=st.sampled_from([0.0, 0.7, 1.2, 3.0]),
)
def test_equals_brute_force(seed, spacing, radius):
    mask = np.random.default_rng(seed).random((9, 8, 7)) > 0.99
    assert np.array_equal(dilate_mask_mm(mask, spacing, radius), brute_force(mask, spacing, radius))


def test_isotropic_equals_skimage_ball():
    mask = np.random.default_rng(0).random((20, 20, 20)) > 0.999
    assert mask.any()
    assert np.array_equal(dilate_mask_mm(mask, (1.0, 1.0, 1.0), 3.0), dilation(mask, ball(3)))


def test_radius_that_rounding_would_miss():
    mask = np.zeros(7, bool)
    mask[0] = True
    assert dilate_mask_mm(mask, (0.7,), 2.1).sum() == 4  # 3 * 0.7 is 2.0999999999999996
    assert dilate_mask_mm(mask, (float(np.float32(0.6)),), 3.0).sum() == 6  # float32(0.6) is 0.60000002


def test_empty_stays_empty_full_stays_full():
    empty = np.zeros((3, 4, 5), bool)
    assert not dilate_mask_mm(empty, (1, 1, 1), 3.0).any()
    assert dilate_mask_mm(~empty, (1, 1, 1), 3.0).all()


@pytest.mark.parametrize(
    ("spacing", "radius", "said"),
    [((1, 1), 3.0, "spacing"), ((1, 1, 0), 3.0, "spacing"), ((1, 1, 1), -1.0, "radius"), ((1, 1, 1), np.nan, "radius")],
)
def test_bad_input(spacing, radius, said):
    with pytest.raises(InputError, match=said):
        dilate_mask_mm(np.ones((2, 2, 2), bool), spacing, radius)


def test_transform_takes_spacing_from_the_affine():
    affine = torch.tensor([[0.0, -0.7, 0, 4], [0.6, 0, 0, 5], [0, 0, 2.5, 6], [0, 0, 0, 1]], dtype=torch.float64)
    mask = MetaTensor(torch.zeros(2, 12, 12, 9, dtype=torch.uint8), affine=affine)
    mask[0, 6, 6, 4] = 1
    out = DilateMask(3.0)(mask)
    expected = dilate_mask_mm(mask[0].numpy() > 0, (0.6, 0.7, 2.5), 3.0)
    assert isinstance(out, MetaTensor)
    assert out.dtype == torch.uint8
    assert torch.equal(out.affine, mask.affine)
    assert np.array_equal(out[0].numpy() > 0, expected)
    assert not out[1].any()
    assert mask.sum() == 1  # the input is left as it was


def test_plain_tensor_needs_spacing():
    mask = torch.zeros(1, 5, 5, 5)
    mask[0, 2, 2, 2] = 1
    with pytest.raises(InputError, match="affine"):
        DilateMask(1.0)(mask)
    assert DilateMask(1.0, spacing=(1, 1, 1))(mask).sum() == 7


def test_dictionary_in_a_chain():
    label = MetaTensor(torch.zeros(1, 5, 5, 5), affine=torch.eye(4))
    label[0, 2, 2, 2] = 1
    chain = Compose([CopyItemsd("label", names="roi"), DilateMaskd("roi", radius_mm=1.0)])
    out = chain({"label": label, "nodule_id": "a"})
    assert (int(out["label"].sum()), int(out["roi"].sum()), out["nodule_id"]) == (1, 7, "a")
    assert DilateMaskd(["label", "none"], 1.0, allow_missing_keys=True)({"label": label})["label"].sum() == 7
    with pytest.raises(KeyError):
        DilateMaskd(["none"], 1.0)({"label": label})
