"""Slice synthesis: the network at its start, its loss, its metric, and a training that learns and goes on."""

import json

import numpy as np
import pytest
import torch
from helpers.nodules import ROOT
from ignite.engine import Events
from monai.bundle import ConfigParser
from scipy.interpolate import PchipInterpolator

from bundle.data import WindowDataset, WindowOptions
from bundle.engines import (
    NoduleWindows,
    PsnrGain,
    SynthesisLoss,
    SynthesisOptions,
    SynthesisTrainer,
    synthesis_batch,
)
from bundle.errors import InputError
from bundle.networks import SliceSynthesisNet, slice_window


def drifting(seed=0, shape=(24, 24, 16), spacing=(0.7, 0.7, 1.0)):
    """A tube that moves a pixel a slice: what interpolation along z can't follow and a network can learn."""
    rng = np.random.default_rng(seed)
    x, y, z = np.meshgrid(*[np.arange(n) for n in shape], indexing="ij")
    centre = rng.uniform(8, 16, 2)
    image = np.exp(-((x - centre[0] - (z - 8) * 0.7) ** 2 + (y - centre[1]) ** 2) / 8)
    return {"image": image[None].astype("f4"), "label": (image > 0.5)[None], "spacing": spacing, "nodule_id": "p_n"}


def small_training(folder, epochs=3, **options):
    torch.manual_seed(0)
    data = WindowDataset([drifting(i) for i in range(4)], epochs * 4 * 8, WindowOptions(patch=16, strides=(4, 4)))
    return SynthesisTrainer(
        "cpu", epochs, SliceSynthesisNet(features=(8, 8), fine=4), data, NoduleWindows([drifting(9)], strides=(4,)),
        SynthesisOptions(steps=4, batch_size=8, warmup=2, average=0.5, precision="fp32", **options), ckpt_dir=folder,
    )  # fmt: skip


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


def test_training_learns_what_interpolation_cannot(tmp_path):
    trainer = small_training(tmp_path, epochs=12, learning_rate=1e-2)
    trainer.run()
    assert max(trainer.gains) > 1.0
    rows = json.loads((tmp_path / "training.json").read_text())
    assert [row["gain_db"] for row in rows] == pytest.approx(trainer.gains, abs=1e-4)
    best = SliceSynthesisNet(features=(8, 8), fine=4)
    best.load_state_dict(torch.load(tmp_path / "model.pt", weights_only=True))
    gain = PsnrGain()
    with torch.no_grad():
        for batch in trainer.evaluator.data_loader:
            window, truth = synthesis_batch(batch)
            gain.update((best(window), truth))
    assert gain.compute() == pytest.approx(max(trainer.gains), abs=1e-3)


def test_a_training_that_was_stopped_goes_on_as_if_it_had_not_been(tmp_path):
    whole = small_training(tmp_path / "whole")
    whole.run()
    first = small_training(tmp_path / "parts")
    first.add_event_handler(Events.EPOCH_COMPLETED, lambda engine: engine.terminate())
    first.run()
    assert len(first.gains) == 1
    second = small_training(tmp_path / "parts")
    second.run()
    assert second.gains == pytest.approx(whole.gains, abs=1e-5)
    for one, other in zip(whole.average.parameters(), second.average.parameters(), strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)


def test_it_stops_where_the_gain_no_longer_grows(tmp_path):
    trainer = small_training(tmp_path, epochs=9, learning_rate=0.0, patience=2)
    trainer.run()
    assert len(trainer.gains) == 3


def test_weights_of_another_network_are_refused(tmp_path):
    torch.save({"network": {}, "average": {}, "optimizer": {}}, tmp_path / "last.pt")
    with pytest.raises(InputError, match="is of another network"):
        small_training(tmp_path).run()


def test_no_nodule_to_validate_on(tmp_path):
    data = WindowDataset([drifting()], 8, WindowOptions(patch=16, strides=(4, 4)))
    with pytest.raises(InputError, match="no nodule of the validation patients"):
        SynthesisTrainer("cpu", 1, SliceSynthesisNet(), data, NoduleWindows([], strides=(4,)), ckpt_dir=tmp_path)


def test_the_config_trains_on_any_datalist(nodule_folder, tmp_path):
    folder = nodule_folder(2, shape=(20, 18, 14))
    parser = ConfigParser()
    parser.read_config(ROOT / "configs" / "train_prior.json")
    parser.update({
        "bundle_root": str(ROOT), "datalist": str(folder), "epochs": 1, "options#steps": 2, "options#batch_size": 2,
        "network_def#features": [8, 8], "train_folds": [0], "validation_folds": [1], "device": "cpu",
        "ckpt_dir": str(tmp_path / "made"), "windows#patch": 16, "validation_strides": [5],
    })  # fmt: skip
    parser.get_parsed_content("train#trainer").run()
    assert {path.name for path in (tmp_path / "made").iterdir()} == {"model.pt", "last.pt", "training.json"}
