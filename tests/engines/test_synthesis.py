"""Slice synthesis: the network at its start, its loss, its metric, its validation."""

import numpy as np
import pytest
import torch
from scipy.interpolate import PchipInterpolator

from bundle.engines import NoduleWindows, PsnrGain, SynthesisLoss, synthesis, synthesis_batch
from bundle.engines.synthesis import autocasts
from bundle.errors import InputError
from bundle.networks import SliceSynthesisNet, slice_window


def drifting(seed=0, shape=(24, 24, 16), spacing=(0.7, 0.7, 1.0)):
    """A tube that moves a pixel a slice: what interpolation along z can't follow and a network can learn."""
    rng = np.random.default_rng(seed)
    x, y, z = np.meshgrid(*[np.arange(n) for n in shape], indexing="ij")
    centre = rng.uniform(8, 16, 2)
    image = np.exp(-((x - centre[0] - (z - 8) * 0.7) ** 2 + (y - centre[1]) ** 2) / 8)
    return {"image": image[None].astype("f4"), "label": (image > 0.5)[None], "spacing": spacing, "nodule_id": "p_n"}


def test_an_untrained_network_is_pchip():
    torch.manual_seed(0)
    slices, at = torch.rand(2, 4, 10, 9), torch.tensor([[-7.0, -2.0, 3.0, 8.0], [-9.0, -4.0, 1.0, 5.0]])
    out = SliceSynthesisNet(features=(8, 16))(slice_window(slices, at, torch.ones(2, 4), torch.ones(2, 2)))
    for made, seen, places in zip(out, slices, at, strict=True):
        expected = PchipInterpolator(places.numpy(), seen.numpy())(0.0)
        np.testing.assert_allclose(made[0].detach(), expected, atol=1e-6)
    assert (out[:, 1] > 0).all()


def test_other_channels_are_refused():
    with pytest.raises(ValueError, match="expected 14"):
        SliceSynthesisNet(in_channels=3)


def test_the_error_branch_does_not_move_the_slice():
    net = SliceSynthesisNet(features=(8, 16))
    torch.nn.init.normal_(net.head.weight)
    torch.nn.init.normal_(net.error[-1].weight)
    window = slice_window(torch.rand(1, 4, 8, 8), torch.tensor([[-6.0, -1, 4, 9]]), torch.ones(1, 4), torch.ones(1, 2))
    net(window)[:, 1].sum().backward()
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
    assert batch["slices"].shape == (10, 4, 24, 24)  # 16 slices: 0, 6, 12 observed, 13 to 15 beyond
    between = [z for z in range(12) if z % 6]
    np.testing.assert_array_equal(batch["target"][:, 0], np.moveaxis(item["image"][0][..., between], 2, 0))
    window, truth = synthesis_batch(batch)
    expected = PchipInterpolator([0, 6, 12], item["image"][0][..., ::6], axis=2)(between)
    np.testing.assert_allclose(truth[:, 2], np.moveaxis(expected, 2, 0), atol=1e-6)
    assert window.shape == (10, 14, 24, 24)


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
