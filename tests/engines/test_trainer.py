import copy

import pytest
import torch
from monai.handlers import CheckpointSaver
from torch import nn

from bundle.engines import CoordinateBatches, EpochProgress, FitOptions, NoduleTrainer, predict
from bundle.errors import InputError
from bundle.networks import Siren

OPTIONS = FitOptions(epochs=4, learning_rate=1e-3, warmup=2, t_0=2, batch_size=64, jitter=1e-3)


def small_siren(seed=0, **kwargs):
    torch.manual_seed(seed)
    return Siren(hidden_features=16, hidden_layers=1, **kwargs)


def batches(options=OPTIONS, count=150):
    places = torch.rand(count, 3, generator=torch.Generator().manual_seed(3)) * 2 - 1
    return CoordinateBatches(places, places[:, 0] ** 2, options.batch_size, options.jitter)


@pytest.mark.parametrize("clip_norm", [0.0, 1e-3, 1.0])
def test_the_trainer_does_what_a_handwritten_loop_does(clip_norm):
    options = FitOptions(epochs=4, learning_rate=1e-3, warmup=2, t_0=2, batch_size=64, clip_norm=clip_norm)
    network = small_siren()
    twin = copy.deepcopy(network)
    torch.manual_seed(5)
    trainer = NoduleTrainer(network, batches(options), options)
    trainer.run()

    torch.manual_seed(5)
    optimizer = torch.optim.Adam(twin.parameters(), lr=1.0)
    losses = []
    for epoch, rate in enumerate([0.5e-3, 1e-3, 1e-3, 0.5e-3]):
        optimizer.param_groups[0]["lr"] = rate
        squared, count = 0.0, 0
        for batch in batches(options):
            optimizer.zero_grad()
            loss = ((twin(batch["image"]) - batch["label"]) ** 2).mean()
            loss.backward()
            if clip_norm:
                norm = torch.sqrt(sum((p.grad**2).sum() for p in twin.parameters()))
                for p in twin.parameters():
                    p.grad *= min(1.0, clip_norm / (norm + 1e-6))
            optimizer.step()
            squared, count = squared + loss.item() * batch["label"].numel(), count + batch["label"].numel()
        losses.append(squared / count)
        assert trainer.history["lr"][epoch] == pytest.approx(rate)
    assert trainer.history["loss"] == pytest.approx(losses, rel=1e-5)
    for a, b in zip(network.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-7)


def test_a_seed_settles_a_fit():
    states = []
    for seed in (1, 1, 2):
        network = small_siren(seed)
        NoduleTrainer(network, batches(), OPTIONS).run()
        states.append(torch.cat([p.detach().flatten() for p in network.parameters()]))
    assert torch.equal(states[0], states[1])
    assert not torch.equal(states[0], states[2])


def test_epochs_given_to_the_trainer_win():
    trainer = NoduleTrainer(small_siren(), batches(), OPTIONS, max_epochs=2)
    trainer.run()
    assert len(trainer.history["loss"]) == len(trainer.history["lr"]) == 2


def test_epochs_are_reported():
    seen = []
    watch = EpochProgress(progress=lambda *a: seen.append(a))
    NoduleTrainer(small_siren(), batches(), OPTIONS, handlers=[watch]).run()
    assert [s[:2] for s in seen] == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert all(float(words.removeprefix("loss ")) > 0 for *_, words in seen)


def test_handlers_are_attached(tmp_path, capsys):
    network = small_siren()
    saver = CheckpointSaver(str(tmp_path), {"model": network}, save_final=True, final_filename="model.pt")
    NoduleTrainer(network, batches(), OPTIONS, handlers=[saver, EpochProgress("fit")]).run()
    saved = torch.load(tmp_path / "model.pt", weights_only=True)
    assert all(torch.equal(saved[name], value) for name, value in network.state_dict().items())
    assert "loss" in capsys.readouterr().err


def test_the_fit_learns():
    options = FitOptions(epochs=60, learning_rate=2e-3, warmup=0, t_0=0, batch_size=64)
    trainer = NoduleTrainer(small_siren(dropout=0.0), batches(options), options)
    trainer.run()
    assert trainer.history["loss"][-1] < 0.05 * trainer.history["loss"][0]


@pytest.mark.parametrize(
    ("name", "value"),
    [("epochs", 0), ("epochs", 1.5), ("batch_size", 0), ("learning_rate", -1), ("jitter", float("nan")),
     ("clip_norm", float("inf")), ("t_mult", 0), ("precision", "half")],
)  # fmt: skip
def test_options_that_cannot_be_used(name, value):
    with pytest.raises(InputError, match=name):
        FitOptions(**{name: value}).check()


@pytest.mark.parametrize("chunk", [1, 7, 100])
def test_prediction_in_chunks_is_prediction_at_once(chunk):
    network, places = small_siren(), torch.rand(20, 3)
    network.train()
    whole = network.eval()(places).detach()
    network.train()
    torch.testing.assert_close(predict(network, places, chunk), whole)
    assert network.training
    assert not predict(nn.Linear(3, 1), places).requires_grad
