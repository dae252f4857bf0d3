"""Full steps on a lattice, and rates of parameter groups: as torch's own Adam takes them."""

import copy

import numpy as np
import pytest
import torch
from helpers.stacks import data_of, siren
from torch import nn

from bundle.engines import CoordinateBatches, FitOptions, NoduleData, NoduleTrainer, StackTrainer
from bundle.engines.steps.lattice import LatticePath
from bundle.engines.steps.native import pointwise_library
from bundle.engines.steps.sine import use_compiled_sines
from bundle.errors import InputError
from bundle.networks import CoordinateNetwork, Decoder, FinerLayer, GridLevel, Lattice, SineLayer

OPTIONS = FitOptions(
    epochs=6, learning_rate=1e-3, warmup=0, t_0=6, clip_norm=0.05, jitter=0.0, precision="fp32",
    rates=(("table", 10.0),),
)  # fmt: skip


def grid(seed=0, cell=0.6):
    torch.manual_seed(seed)
    level = GridLevel([cell] * 3, [-1] * 3, [1] * 3, orders=(1, 1, 2), shifted=True)
    return CoordinateNetwork(level, Decoder(2, hidden_features=8, hidden_layers=1, dropout=0.0, is_first=False))


def data(seed=0, counts=(5, 4, 3), kept=None):
    draw = torch.Generator().manual_seed(seed)
    axes = tuple(torch.linspace(-1, 1, n) for n in counts)
    size = int(np.prod(counts)) if kept is None else len(kept)
    values, weights = torch.rand(size, generator=draw), torch.rand(size, generator=draw) + 0.5
    return NoduleData(Lattice(axes, kept), values, seed, 2048, 0.0, weights)


def by_torch(network, one, options):
    """Full steps of torch's Adam, place by place."""
    groups = [
        {"params": [p], "lr": 0.0, "factor": 10.0 if "table" in n else 1.0} for n, p in network.named_parameters()
    ]
    optimizer, losses = torch.optim.Adam(groups), []
    for epoch in range(options.epochs):
        for group in optimizer.param_groups:
            group["lr"] = options.learning_rate * group["factor"] * (1 + np.cos(np.pi * epoch / options.t_0)) / 2
        optimizer.zero_grad()
        loss = (one.weights * (network(one.coordinates)[:, 0] - one.values) ** 2).mean()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), options.clip_norm)
        optimizer.step()
        losses.append(loss.item())
    return losses


@pytest.mark.parametrize("kept", [None, torch.arange(0, 60, 7)])
def test_it_fits_as_torch_does_place_by_place(kept):
    network, one = grid(), data(kept=kept)
    twin, start = copy.deepcopy(network), copy.deepcopy(network)
    trainer = StackTrainer(network, one, OPTIONS)
    trainer.run()
    assert trainer.path == "lattice, fp32, cpu"
    assert trainer.history["loss"] == pytest.approx(by_torch(twin, one, OPTIONS), rel=1e-4)
    for (name, a), b, before in zip(network.named_parameters(), twin.parameters(), start.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=2e-5)
        assert torch.equal(a, before) is (name == "encoding.shift")


def test_compiled_sines_and_their_gradients_are_torchs():
    torch.manual_seed(0)
    layer, x = SineLayer(6, 9, omega_0=7.0), torch.rand(37, 6)
    weight = torch.rand(37, 9)

    def made():
        place = x.clone().requires_grad_()
        value = layer(place)
        return value, *torch.autograd.grad((weight * value).sum(), [place, *layer.parameters()])

    plain = made()
    end = use_compiled_sines(nn.Sequential(layer, FinerLayer(9, 9)))
    compiled, inside = made(), "forward" in vars(layer)
    end()
    assert inside is (pointwise_library(torch.float32)[0] is not None)
    assert "forward" not in vars(layer)
    for a, b in zip(compiled, plain, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_networks_of_a_stack_may_differ_and_each_is_as_alone():
    def made():
        return [grid(0), grid(1, cell=0.4)], [data(0), data(1, (7, 6, 2))]

    together = StackTrainer(*made(), OPTIONS)
    together.run()
    for network, one, fit in zip(*made(), together.fits, strict=True):
        alone = StackTrainer(network, one, OPTIONS)
        alone.run()
        assert torch.equal(alone.fits[0].parameters, fit.parameters)


def test_it_is_evaluated_plane_by_plane_as_place_by_place():
    network = grid()
    trainer = StackTrainer(network, data(), OPTIONS)
    nn.init.normal_(network.encoding.table)
    lattice = Lattice((torch.linspace(-1, 1, 4), torch.linspace(-1, 1, 3), torch.linspace(-1, 1, 5)))
    torch.testing.assert_close(
        trainer.predict(network, lattice, chunk=24), network(lattice.places()).detach(), rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("changes", [{"batch_size": 32}, {"jitter": 1e-3}])
def test_other_data_are_fitted_step_by_step(changes):
    parts = {"batch_size": 2048, "jitter": 0.0} | changes
    lattice = data().lattice
    one = NoduleData(lattice, torch.zeros(60), 0, **parts)
    trainer = StackTrainer(grid(), one, OPTIONS)
    assert not isinstance(trainer._path, LatticePath)
    trainer.run()
    assert len(trainer.history["loss"]) == OPTIONS.epochs


def test_rates_of_groups_are_the_same_on_every_path():
    options = FitOptions(
        epochs=4, learning_rate=1e-3, warmup=0, t_0=0, batch_size=4096, jitter=0.0, precision="fp32",
        rates=(("layers.0", 3.0), ("bias", 0.0)),
    )  # fmt: skip
    one = data_of(150, 0, options)
    plain, fast = siren(0, dropout=0.0), siren(0, dropout=0.0)
    before = copy.deepcopy(fast)
    NoduleTrainer(plain, CoordinateBatches(one.coordinates, one.values, 4096, 0.0), options).run()
    StackTrainer(fast, one, options).run()
    for (name, a), b, start in zip(fast.named_parameters(), plain.parameters(), before.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-5)
        assert torch.equal(a, start) is ("bias" in name)


def test_rates_that_make_no_sense_are_told():
    with pytest.raises(InputError, match="expected pairs of a word in names and a factor"):
        FitOptions(rates=(("table", -1.0),)).check()
