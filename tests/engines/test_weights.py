"""Voxels that count more than others: the same on every path, and as the definition says."""

import copy

import pytest
import torch
from helpers.replay import plain_fit
from helpers.stacks import OPTIONS, PATHS, results, siren
from torch import nn

from bundle.engines import CoordinateBatches, FitOptions, NoduleData, NoduleTrainer, StackTrainer
from bundle.engines.steps.lock_step import StackData
from bundle.engines.trainer import squared_error
from bundle.errors import InputError


def weighted(length, seed, options=OPTIONS, weights=None):
    draw = torch.Generator().manual_seed(length)
    places = torch.rand(length, 3, generator=draw) * 2 - 1
    given = torch.rand(length, generator=draw) + 0.1 if weights is None else weights
    return NoduleData(places, places[:, 0] ** 2, seed, options.batch_size, options.jitter, given)


def test_agrees_with_the_plain_loop_fed_the_same():
    lengths = (150, 70)
    trainer = StackTrainer([siren(i) for i in range(2)], [weighted(n, i) for i, n in enumerate(lengths)], OPTIONS)
    for i, (mine, length) in enumerate(zip(results(trainer), lengths, strict=True)):
        plain = plain_fit(siren(i), weighted(length, i), OPTIONS, [24, 24])
        wanted = nn.utils.parameters_to_vector(plain.network.parameters()).detach()
        torch.testing.assert_close(mine, wanted, rtol=0, atol=3e-5)
        assert trainer.histories[i]["loss"] == pytest.approx(plain.history["loss"], rel=1e-4)


@pytest.mark.parametrize("name", list(PATHS))
def test_every_path_weights_alike(name):
    def trainer():
        return StackTrainer(
            [siren(i) for i in range(3)], [weighted(n, i) for i, n in enumerate((150, 64, 200))], OPTIONS
        )

    wanted, other = trainer(), trainer()
    other._path = PATHS[name](other.fits)
    for a, b in zip(results(other), results(wanted), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=3e-5)
    for a, b in zip(other.histories, wanted.histories, strict=True):
        assert a["loss"] == pytest.approx(b["loss"], rel=1e-4)


def test_one_step_is_the_weighted_mean_by_hand():
    options = FitOptions(1, 1e-3, warmup=0, t_0=0, clip_norm=0, batch_size=100, jitter=0, precision="fp32")
    data = weighted(100, 0, options)
    network = siren(0, dropout=0.0)
    twin = copy.deepcopy(network)
    optimizer = torch.optim.Adam(twin.parameters(), lr=1e-3)
    loss = (data.weights * (twin(data.coordinates)[:, 0] - data.values) ** 2).sum() / 100
    loss.backward()
    optimizer.step()
    trainer = StackTrainer(network, data, options)
    (mine,) = results(trainer)
    torch.testing.assert_close(mine, nn.utils.parameters_to_vector(twin.parameters()).detach(), rtol=0, atol=1e-5)
    assert trainer.history["loss"] == pytest.approx([loss.item()], rel=1e-5)


def test_a_weight_of_two_is_the_place_twice():
    options = FitOptions(epochs=3, learning_rate=1e-3, warmup=0, t_0=0, batch_size=1000, jitter=0, precision="fp32")
    once = weighted(100, 0, options, torch.cat([torch.full((40,), 2.0), torch.ones(60)]))
    places, values = (torch.cat([t[:40], t]) for t in (once.coordinates, once.values))
    twice = NoduleData(places, values, 0, 1000, 0)
    a, b = (StackTrainer(siren(0, dropout=0.0), data, options) for data in (once, twice))
    for x, y in zip(results(a), results(b), strict=True):  # Adam takes no notice of the factor 140 / 100
        torch.testing.assert_close(x, y, rtol=0, atol=2e-5)
    assert [1.4 * y for y in b.history["loss"]] == pytest.approx(a.history["loss"], rel=1e-4)


def test_weights_of_one_change_nothing():
    given = weighted(150, 0, weights=torch.ones(150))
    plain = NoduleData(given.coordinates, given.values, 0, OPTIONS.batch_size, OPTIONS.jitter)
    a, b = (results(StackTrainer(siren(0), data, OPTIONS))[0] for data in (plain, given))
    assert torch.equal(a, b)


def test_a_weight_travels_with_its_place():
    data = weighted(200, 3, weights=torch.arange(1.0, 201.0))
    places, _, weights = data.epoch(4)
    nearest = torch.cdist(places, data.coordinates).argmin(dim=1)
    assert torch.equal(weights, data.weights[nearest])
    stack = StackData([data, weighted(70, 1)], "cpu")
    stack.draw(torch.tensor([4, 0]))
    assert torch.allclose(stack.weight[0, :3] * 64, weights[:192].reshape(3, 64))
    assert torch.allclose(stack.weight[0, 3, :8] * 8, weights[192:])
    assert not stack.weight[0, 3, 8:].any()


def test_the_plain_loop_alone():
    places = torch.rand(150, 3) * 2 - 1
    weights = torch.rand(150) + 0.1
    batches = CoordinateBatches(places, places[:, 0], 64, 0.0, weights)
    batch = next(iter(batches))
    assert batch["label"].shape == (1, 64, 2)
    match = torch.cdist(batch["image"][0], places).argmin(dim=1)
    assert torch.equal(batch["label"][0], torch.stack([places[match, 0], weights[match]], dim=-1))
    trainer = NoduleTrainer(siren(0), batches, OPTIONS)
    trainer.run()
    assert trainer.history["loss"][-1] < trainer.history["loss"][0]
    with_weights = StackTrainer(siren(0), batches, OPTIONS, seeds=[1]).fits[0].data
    assert torch.equal(with_weights.weights, weights)


def test_squared_error_without_weights_is_torchs():
    prediction, label = torch.rand(1, 9, 1), torch.rand(1, 9, 1)
    assert torch.equal(squared_error(prediction, label), nn.MSELoss()(prediction, label))
    doubled = torch.cat([label, torch.full_like(label, 2)], dim=-1)
    assert squared_error(prediction, doubled).item() == pytest.approx(2 * nn.MSELoss()(prediction, label).item())


@pytest.mark.parametrize(
    ("weights", "message"),
    [(torch.ones(5), "5 weights for 10 voxels"), (torch.zeros(10), "not above 0"), (torch.full((10,), -1.0), "above 0"),
     (torch.full((10,), float("nan")), "above 0")],
)  # fmt: skip
@pytest.mark.parametrize("kind", [NoduleData, CoordinateBatches])
def test_weights_that_are_none(weights, message, kind):
    with pytest.raises(InputError, match=message):
        kind(torch.zeros(10, 3), torch.zeros(10), weights=weights)
