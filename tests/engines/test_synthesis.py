"""Slice synthesis: the network at its start, its loss, its metric, its validation."""

import numpy as np
import pytest
import torch
from scipy.interpolate import PchipInterpolator

from bundle.engines import NoduleWindows, PsnrGain, SynthesisInferer, SynthesisLoss, synthesis, synthesis_batch
from bundle.engines.synthesis import autocasts
from bundle.errors import InputError
from bundle.networks import SliceSynthesisNet, slice_window

SMALL = {"features": (8, 8), "target_features": (8,), "fine": 4}


def geometry_at(places, count=1):
    """(count, 21) of windows whose slices all exist, kriging weights of 1/6."""
    offsets = torch.as_tensor(places).expand(count, 6)
    return torch.cat([offsets, torch.ones(count, 6), torch.full((count, 6), 1 / 6), torch.ones(count, 3)], dim=1)


def drifting(seed=0, shape=(24, 24, 16), spacing=(0.7, 0.7, 1.0)):
    """A tube that moves a pixel a slice: what interpolation along z can't follow and a network can learn."""
    rng = np.random.default_rng(seed)
    x, y, z = np.meshgrid(*[np.arange(n) for n in shape], indexing="ij")
    centre = rng.uniform(8, 16, 2)
    image = np.exp(-((x - centre[0] - (z - 8) * 0.7) ** 2 + (y - centre[1]) ** 2) / 8)
    return {"image": image[None].astype("f4"), "label": (image > 0.5)[None], "spacing": spacing, "nodule_id": "p_n"}


def test_an_untrained_network_is_pchip():
    torch.manual_seed(0)
    slices = torch.rand(2, 6, 10, 9)
    at = torch.cat([geometry_at([-9.0, -7, -2, 3, 8, 11]), geometry_at([-12.0, -9, -4, 1, 5, 7])])
    out = SliceSynthesisNet(features=(8, 16), target_features=(8,))(slice_window(slices, at))
    for made, seen, places in zip(out, slices, at[:, :6], strict=True):
        expected = PchipInterpolator(places.numpy()[1:5], seen.numpy()[1:5])(0.0)
        np.testing.assert_allclose(made[0].detach(), expected, atol=1e-6)
    assert (out[:, 1] > 0).all()


def test_other_channels_are_refused():
    with pytest.raises(ValueError, match="expected 27"):
        SliceSynthesisNet(in_channels=3)


def test_the_error_branch_does_not_move_the_slice():
    net = SliceSynthesisNet(**SMALL)
    torch.nn.init.normal_(net.head.weight)
    torch.nn.init.normal_(net.error[-1].weight)
    net(slice_window(torch.rand(1, 6, 8, 8), geometry_at([-9.0, -6, -1, 4, 9, 12])))[:, 1].sum().backward()
    moved = {name.split(".")[0] for name, p in net.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}
    assert moved == {"error"}


def test_loss_by_hand():
    target, base, made = torch.zeros(2, 4, 4), torch.full((2, 4, 4), 0.2), torch.full((2, 4, 4), 0.1)
    mask = torch.zeros(2, 4, 4)
    mask[0, :3, :3] = 1
    mask[1, 0, 0] = 1  # fewer voxels than 9: this slice has no term of the mask
    error = torch.full((2, 4, 4), 0.1)
    loss = SynthesisLoss(mask_weight=0.5, error_weight=0.1, floor=0.0)
    got = loss(torch.stack([made, error], 1), torch.stack([target, mask, base], 1))
    assert got.item() == pytest.approx((0.25 * 1.5 + 0.25) / 2 + 0.1 * (1 + np.log(0.1)), rel=1e-5)


def test_gain_is_the_difference_of_two_psnr():
    rng = np.random.default_rng(0)
    gain, expected = PsnrGain(), []
    for size in (5, 7):
        target, base, made = (rng.random((3, size, size)) for _ in range(3))
        mask = rng.random((3, size, size)) > 0.5
        truth = np.stack([target, mask, base], 1)
        gain.update((torch.tensor(np.stack([made, made], 1)), torch.tensor(truth)))
        for where in (np.ones_like(mask), mask):
            psnr = [-10 * np.log10(((v - target)[where] ** 2).mean()) for v in (base, made)]
            expected.append(psnr[1] - psnr[0])
    assert gain.compute() == pytest.approx(np.mean(expected))


def test_validation_takes_every_slice_between_observed_ones():
    item = drifting()
    (batch,) = NoduleWindows([item], strides=(6,))
    assert batch["slices"].shape == (2, 6, 24, 24)  # 16 slices: 0, 6, 12 observed, 13 to 15 beyond
    assert batch["window"].tolist() == [0] * 5 + [1] * 5
    between = [z for z in range(12) if z % 6]
    np.testing.assert_array_equal(batch["target"], np.moveaxis(item["image"][0][..., between], 2, 0))
    _, truth, _, _ = synthesis_batch(batch)
    expected = PchipInterpolator([0, 6, 12], item["image"][0][..., ::6], axis=2)(between)
    np.testing.assert_allclose(truth[:, 2], np.moveaxis(expected, 2, 0), atol=1e-6)


def test_validation_of_thick_slices_takes_every_slice_between_the_centres():
    item = drifting()
    (batch,) = NoduleWindows([item], strides=(), averages=((2, 4),))
    # 16 slices: centres at 1.5, 3.5, ... 13.5
    assert batch["window"].tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5]
    np.testing.assert_array_equal(batch["target"], np.moveaxis(item["image"][0][..., 2:14], 2, 0))
    np.testing.assert_allclose(batch["slices"][2, 2], item["image"][0][..., 4:8].mean(-1), atol=1e-6)
    assert batch["geometry"][0, 18] == 4.0
    np.testing.assert_allclose(batch["geometry"][5, :6], [-5.5, -3.5, -1.5, 0.5, 2.5, 4.5])


def test_targets_of_one_gap_share_its_context():
    torch.manual_seed(0)
    net = SliceSynthesisNet(**SMALL)
    torch.nn.init.normal_(net.head.weight, std=0.1)
    (batch,) = NoduleWindows([drifting()], strides=(6,))
    slices, _, _, others = synthesis_batch(batch)
    together = SynthesisInferer("fp32")(slices, net, **others)
    alone = net(slice_window(slices[others["window"]], others["geometry"]))
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=0)


def test_no_nodule_to_validate_on():
    with pytest.raises(InputError, match="none of 1 nodules of the validation patients is longer than 20"):
        NoduleWindows([drifting()], strides=(20, 30))


def test_bf16_is_taken_where_it_is_multiplied(monkeypatch, caplog):
    for fast in (True, False):
        monkeypatch.setattr(synthesis, "multiplies_bfloat16", lambda fast=fast: fast)
        autocasts.cache_clear()
        assert [autocasts(asked, "cpu") for asked in ("auto", "bf16", "fp32")] == [fast, fast, False]
        assert ("bf16 was asked for" in caplog.text) == (not fast)
        assert [autocasts(asked, "cuda") for asked in ("auto", "bf16", "fp32")] == [True, True, False]
    autocasts.cache_clear()
    with pytest.raises(InputError, match="precision is 'half'"):
        autocasts("half", "cpu")
