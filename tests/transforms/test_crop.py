"""Cropping with a margin in mm: the box against brute force, the affine, the inverse, bad input."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.data import DataLoader, Dataset, MetaTensor, decollate_batch
from monai.transforms import Compose, CropForegroundd, Flipd, Invertd

from bundle.errors import InputError
from bundle.study.case import prepare
from bundle.transforms import (
    CropRegiond,
    CropWithMargin,
    CropWithMargind,
    Decimate,
    margin_in_voxels,
    published_margin,
)

SPACING = (0.7, 0.6, 1.25)


def scan(shape=(40, 36, 30), lo=(15, 3, 20), hi=(20, 9, 24), spacing=SPACING, seed=0) -> dict:
    """Noise with a block of mask, on a grid that is shifted and mirrored."""
    affine = torch.diag(torch.tensor([-spacing[0], -spacing[1], spacing[2], 1.0], dtype=torch.float64))
    affine[:3, 3] = torch.tensor([30.0, 20.0, -100.0])
    image = torch.as_tensor(np.random.default_rng(seed).normal(-500, 300, (1, *shape)).astype(np.float32))
    label = torch.zeros(1, *shape, dtype=torch.uint8)
    label[(slice(None), *map(slice, lo, hi))] = 1
    return {"image": MetaTensor(image, affine=affine), "label": MetaTensor(label, affine=affine), "nodule_id": "n1"}


def world(affine, index) -> np.ndarray:
    return (np.asarray(affine, dtype=float) @ np.append(index, 1.0))[:3]


def test_box_is_mask_and_margin_clipped_at_the_border():
    data = scan()
    out = CropWithMargind(["image", "label"], margin_mm=10)(data)
    margin = np.ceil(10 / np.array(SPACING)).astype(int)  # 15, 17, 8
    start, end = np.maximum(np.subtract((15, 3, 20), margin), 0), np.minimum(np.add((20, 9, 24), margin), (40, 36, 30))
    box = (slice(None), *map(slice, start, end))
    assert start.tolist() == [0, 0, 12]
    assert torch.equal(out["image"].as_tensor(), data["image"].as_tensor()[box])
    assert torch.equal(out["label"].as_tensor(), data["label"].as_tensor()[box])
    for key in ("image", "label"):
        assert np.allclose(world(out[key].affine, (1, 2, 3)), world(data[key].affine, np.add(start, (1, 2, 3))))
    assert out["nodule_id"] == "n1"
    assert data["image"].shape == (1, 40, 36, 30)
    assert not data["image"].applied_operations


def test_same_box_as_monai_with_voxel_margins():
    data = scan()
    ours = CropWithMargind(["image"], margin_voxels=(2, 5, 9), margin_mm=None)(data)["image"]
    monai = CropForegroundd(["image"], source_key="label", margin=(2, 5, 9), allow_smaller=True)(data)["image"]
    assert torch.equal(ours.as_tensor(), monai.as_tensor())
    assert torch.allclose(ours.affine, monai.affine)


@settings(max_examples=40, deadline=None)
@given(
    lo=st.tuples(*[st.integers(0, 9)] * 3),
    size=st.tuples(*[st.integers(1, 5)] * 3),
    margin_mm=st.floats(0, 12),
    pad=st.booleans(),
)
def test_holds_the_margin_and_inverts(lo, size, margin_mm, pad):
    hi = tuple(np.add(lo, size).tolist())
    data = scan((14, 14, 14), lo, hi)
    crop = CropWithMargind(["image", "label"], margin_mm=margin_mm, pad=pad, fill=7.0)
    out = crop(data)
    margin = margin_in_voxels(SPACING, margin_mm)
    assert np.all(margin * SPACING >= margin_mm - 1e-3)
    assert np.all((margin - 1) * SPACING < margin_mm)
    assert out["label"].sum() == data["label"].sum()
    if pad:
        assert out["image"].shape[1:] == tuple(np.array(size) + 2 * margin)
        assert (out["image"] == -1000).sum() == out["image"].numel() - np.prod(
            np.minimum(np.add(hi, margin), 14) - np.maximum(np.subtract(lo, margin), 0)
        )
    back = crop.inverse(out)
    for key, fill in (("image", 7.0), ("label", 0.0)):
        assert back[key].shape == data[key].shape
        assert torch.allclose(back[key].affine, data[key].affine)
        assert not back[key].applied_operations
        kept = back[key].as_tensor() == data[key].as_tensor()
        assert torch.all(kept | (back[key].as_tensor() == fill))
    assert torch.equal(back["label"].as_tensor(), data["label"].as_tensor())


def test_a_whole_number_of_voxels_is_not_rounded_up():
    assert margin_in_voxels((0.1, 0.3, 0.625), 3.0).tolist() == [30, 10, 5]
    assert margin_in_voxels([float(np.float32(0.7))] * 3, 2.1).tolist() == [3, 3, 3]


def test_published_margin_is_counted_as_the_code_does():
    data = scan() | {"slice_thickness": 2.0}
    # the code's axes are (row, column, slice) = (y, x, z): ceil(10 / [2.0, 0.7, 0.6])
    assert published_margin(SPACING, 2.0).tolist() == [15, 5, 17]
    out = CropWithMargind(["image", "label"], margin_voxels="published", pad=True)(data)
    assert out["image"].shape[1:] == (5 + 30, 6 + 10, 4 + 34)
    assert torch.all(out["image"][0, 0, -1, -1] == -1000)  # past the border
    assert set(out["label"].unique().tolist()) == {0, 1}
    unknown = CropWithMargind(["image"], margin_voxels="published", pad=True)(data | {"slice_thickness": None})
    assert unknown["image"].shape[2] == 6 + 2 * 8  # the slice spacing, 1.25


def test_none_keeps_everything():
    data = scan()
    data["label"][:] = 0
    assert CropWithMargind(["image"], margin_mm=None)(data)["image"].shape == data["image"].shape
    assert CropWithMargin(margin_mm=None)(data["image"]).shape == data["image"].shape


def test_array_form_on_plain_tensors_and_arrays():
    image, mask = np.arange(10.0)[None], np.zeros((1, 10))
    mask[0, 4] = 1
    crop = CropWithMargin(margin_voxels=[2])
    assert np.asarray(crop(image, mask)).tolist() == [[2, 3, 4, 5, 6]]
    assert crop(mask).sum() == 1
    with pytest.raises(InputError, match="affine"):
        CropWithMargin()(image, mask)


def test_invertd_after_batching():
    """Through a data loader, decollated, and a prediction put back where the image came from."""
    chain = Compose([Flipd(["image", "label"], spatial_axis=0), CropWithMargind(["image", "label"], margin_mm=3)])
    items = [scan(seed=0), scan(seed=1)]
    (batch,) = DataLoader(Dataset(items, chain), batch_size=2)
    batch["pred"] = batch["image"] * 2
    post = Invertd("pred", chain, orig_keys="image", nearest_interp=False)
    for item, source in zip(decollate_batch(batch), items, strict=True):
        back = post(item)["pred"]
        assert back.shape == source["image"].shape
        assert np.allclose(back.affine, source["image"].affine)
        inside = source["label"].as_tensor() > 0
        assert torch.allclose(back.as_tensor()[inside], 2 * source["image"].as_tensor()[inside])


def test_after_lazy_transforms():
    keys = ["image", "label"]
    steps = [Flipd(keys, spatial_axis=1), CropWithMargind(keys, margin_mm=4)]
    eager, lazy = (Compose(steps, lazy=flag)(scan())["image"] for flag in (False, True))
    assert torch.allclose(eager.as_tensor(), lazy.as_tensor(), atol=1e-3)
    assert torch.allclose(eager.affine, lazy.affine)


def test_bad_input():
    data = scan()
    crop = CropWithMargind(["image", "label"])
    with pytest.raises(InputError, match=r"n1: the mask .* is empty"):
        crop(data | {"label": data["label"] * 0})
    with pytest.raises(InputError, match="n1: there is no mask"):
        crop({"image": data["image"], "nodule_id": "n1"})
    with pytest.raises(InputError, match="own grid"):
        crop(data | {"image": data["image"][:, :-1]})
    with pytest.raises(InputError, match="own grid"):
        CropWithMargin()(data["image"][:, :-1], data["label"])
    with pytest.raises(InputError, match="does not fit 3 axes"):
        CropWithMargind(["image"], margin_voxels=(1, 2))(data)
    with pytest.raises(KeyError):
        CropWithMargind(["none"])(data)
    assert "none" not in CropWithMargind(["image", "none"], allow_missing_keys=True)(data)


@pytest.mark.parametrize(
    "settings",
    [
        {"margin_mm": -1},
        {"margin_mm": float("nan")},
        {"margin_voxels": (1, -1, 1)},
        {"margin_voxels": (1.5, 1, 1)},
        {"margin_voxels": "publishd"},
        {"margin_voxels": "published", "margin_mm": None},
    ],
)
def test_bad_settings(settings):
    with pytest.raises(InputError, match="margin"):
        CropWithMargind(["image"], **settings)


def _pair(moved_mm, spacing=2.0):
    """An image and a mask of one shape, the mask's affine that many mm to the right."""
    affine = torch.diag(torch.tensor([spacing, spacing, spacing, 1.0], dtype=torch.float64))
    elsewhere = affine.clone()
    elsewhere[0, 3] = moved_mm
    label = torch.zeros(1, 12, 12, 12)
    label[:, 5:7, 5:7, 5:7] = 1
    return MetaTensor(torch.zeros(1, 12, 12, 12), affine=affine), MetaTensor(label, affine=elsewhere)


@pytest.mark.parametrize("moved_mm", [0.3, -10.0, float("nan")])
def test_a_mask_of_another_place_is_refused(moved_mm):
    image, label = _pair(moved_mm)
    data = {"image": image, "label": label, "mask": label, "nodule_id": "n7"}
    with pytest.raises(InputError, match="away from the image"):
        CropWithMargin(margin_mm=2.0)(image, label)
    with pytest.raises(InputError, match=r'^n7: the mask lies up to .* mm away from "image"'):
        CropWithMargind(["image", "label"], margin_mm=2.0)(data)
    with pytest.raises(InputError, match="away from the image"):
        CropRegiond(["image"], margin_mm=2.0)(data)
    with pytest.raises(InputError, match="away from the image"):
        prepare(data | {"spacing": (2.0, 2.0, 2.0)}, CropWithMargind(["image", "label"], margin_mm=None), Decimate(5))


def test_a_mask_that_rounding_moved_is_taken():
    image, label = _pair(0.1)
    assert CropWithMargin(margin_mm=2.0)(image, label).shape == (1, 4, 4, 4)
    # without an affine there is no place to compare
    assert CropWithMargin(margin_voxels=[1, 1, 1])(image.as_tensor(), label).shape == (1, 4, 4, 4)
