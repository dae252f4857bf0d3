"""The parts of a training config on a small problem: what they do alone, and that a killed training loses nothing."""

import json
import os
import signal

import pytest
import torch
from helpers.nodules import ROOT
from ignite.engine import Engine, Events
from ignite.handlers import EMAHandler
from ignite.metrics import Loss
from monai.engines import SupervisedEvaluator, SupervisedTrainer
from monai.handlers import LrScheduleHandler, ValidationHandler
from torch import nn
from torch.utils.data import DataLoader, Dataset

from bundle.engines import (
    ClipGradients,
    EpochSampler,
    ResumingCheckpointSaver,
    StopWithoutGain,
    ValidationRecord,
    WholeCheckpointSaver,
    parameter_groups,
)
from bundle.errors import InputError, OutputError

STEPS, BATCH = 5, 4


class Numbered(Dataset):
    """A parabola with noise, example by number; without end."""

    def __init__(self):
        self.asked = []

    def __len__(self):
        return 1

    def __getitem__(self, index):
        self.asked.append(index)
        rng = torch.Generator().manual_seed(index)
        x = torch.rand(1, generator=rng)
        return {"image": x, "label": x**2 + 0.1 * torch.randn(1, generator=rng)}


def make_training(folder, epochs=6, width=8, patience=None, rate=1e-2, worse=False, interval=1):
    """A trainer as ``configs/train.json`` makes it, of a network with dropout."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(1, width), nn.Tanh(), nn.Dropout(0.2), nn.Linear(width, 1))
    averaged = EMAHandler(network, momentum=0.2)
    optimizer = torch.optim.AdamW(parameter_groups(network, 0.01), lr=rate)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, 7, 0.5)
    record = ValidationRecord(folder / "training.json")
    best = WholeCheckpointSaver(
        str(folder), {"model": averaged.ema_model}, save_key_metric=True, key_metric_filename="model.pt"
    )
    sign = 1.0 if worse else -1.0
    score = Loss(lambda a, b: sign * nn.functional.mse_loss(a, b), lambda out: (out["pred"], out["label"]))
    validator = SupervisedEvaluator(
        "cpu", DataLoader(Numbered(), 4, sampler=range(1000, 1016)), averaged.ema_model,
        key_val_metric={"score": score}, val_handlers=[record, best], decollate=False,
    )  # fmt: skip
    stop = StopWithoutGain(patience, validator)
    state = {"network": network, "averaged": averaged.ema_model, "optimizer": optimizer, "schedule": schedule}
    sampler = EpochSampler(STEPS * BATCH)
    handlers = [
        sampler, ClipGradients(1.0), LrScheduleHandler(schedule, False, epoch_level=False), averaged,
        ValidationHandler(interval, validator), stop,
        ResumingCheckpointSaver(str(folder), {**state, "best": best, "record": record, "stop": stop}),
    ]  # fmt: skip
    trainer = SupervisedTrainer(
        "cpu", epochs, DataLoader(Numbered(), BATCH, sampler=sampler), network, optimizer, nn.MSELoss(),
        train_handlers=handlers, decollate=False,
    )  # fmt: skip
    for engine in (trainer, validator):
        engine.logger.setLevel("WARNING")
    return trainer


def killed_training(folder, iteration, event=Events.ITERATION_COMPLETED, **options):
    """Train in another process that is killed by a signal after an iteration of the whole training."""
    child = os.fork()
    if child == 0:
        torch.set_num_threads(1)
        trainer = make_training(folder, **options)

        @trainer.on(event)
        def die(engine):
            if engine.state.iteration == iteration:
                os.kill(os.getpid(), signal.SIGKILL)

        trainer.run()
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def left(folder):
    """Everything that a training left, comparable."""
    tensors = {path.name: torch.load(path, weights_only=True) for path in folder.glob("*.pt")}
    assert not [path for path in folder.iterdir() if path.name.startswith(".")]
    return repr(tensors), json.loads((folder / "training.json").read_text())


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    torch.set_printoptions(precision=10, threshold=10**6)
    make_training(folder).run()
    return left(folder)


@pytest.mark.parametrize("kills", [[2], [STEPS], [8, 13], [3, 12, 28], [STEPS * 6]])
def test_a_killed_training_ends_as_an_unbroken_one(whole, tmp_path, kills):
    for iteration in kills:
        assert killed_training(tmp_path, iteration) == -signal.SIGKILL
    for litter in tmp_path.glob(".*"):
        litter.unlink()
    make_training(tmp_path).run()
    assert left(tmp_path) == whole


def test_a_training_killed_between_validation_and_checkpoint(whole, tmp_path):
    assert killed_training(tmp_path, 2 * STEPS, Events.EPOCH_COMPLETED) == -signal.SIGKILL
    make_training(tmp_path).run()
    assert left(tmp_path) == whole


def test_an_epoch_is_the_most_that_is_lost_however_rare_the_validations(tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert killed_training(killed, 2 * STEPS + 1, interval=4) == -signal.SIGKILL
    again = make_training(killed, interval=4)
    again.run()
    assert min(again.data_loader.dataset.asked) == 2 * STEPS * BATCH
    make_training(whole, interval=4).run()
    assert left(killed) == left(whole)
    saver = json.loads((ROOT / "configs" / "train.json").read_text())["train"]["checkpoints"]
    assert "save_interval" not in saver  # the default is every epoch


@pytest.mark.parametrize("damage", ["cut", "empty", "text"])
@pytest.mark.parametrize("both", [False, True])
def test_a_damaged_checkpoint_gives_way_to_the_one_before(whole, tmp_path, damage, both, caplog):
    assert killed_training(tmp_path, 4 * STEPS + 1) == -signal.SIGKILL
    names = [f"checkpoint_epoch={epoch}.pt" for epoch in ((3, 4) if both else (4,))]
    for name in names:
        content = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes({"cut": content[:1000], "empty": b"", "text": b"no checkpoint"}[damage])
    make_training(tmp_path).run()
    assert left(tmp_path) == whole
    assert caplog.text.count("is damaged") == len(names)


def test_a_finished_training_is_left_alone(tmp_path):
    make_training(tmp_path).run()
    before = {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    trainer = make_training(tmp_path)
    trainer.run()
    assert trainer.data_loader.dataset.asked == []
    assert {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == before


def test_it_stops_where_nothing_is_gained_and_stays_so(tmp_path):
    trainer = make_training(tmp_path, epochs=20, patience=2, rate=0.0)
    trainer.run()
    assert trainer.state.epoch == 3
    again = make_training(tmp_path, epochs=20, patience=2, rate=0.0)
    again.run()
    assert (again.state.epoch, again.data_loader.dataset.asked) == (3, [])
    more = make_training(tmp_path, epochs=20, patience=4, rate=0.0)
    more.run()
    assert more.state.epoch == 5


def test_patience_counts_validations_however_rare(tmp_path):
    trainer = make_training(tmp_path, epochs=20, patience=2, rate=0.0, interval=3)
    trainer.run()
    assert trainer.state.epoch == 9  # the first of three validations is no worse than any before


def test_a_new_start_does_not_take_a_worse_epoch_for_the_best(tmp_path):
    first = make_training(tmp_path, worse=True)  # the score falls while the network learns
    first.add_event_handler(Events.EPOCH_COMPLETED(once=3), lambda engine: engine.terminate())
    first.run()
    best = (tmp_path / "model.pt").read_bytes()
    make_training(tmp_path, worse=True).run()
    rows = json.loads((tmp_path / "training.json").read_text())
    assert [row["epoch"] for row in rows] == [1, 2, 3, 4, 5, 6]
    assert max(rows, key=lambda row: row["score"])["epoch"] == 1
    assert (tmp_path / "model.pt").read_bytes() == best


def test_a_checkpoint_of_another_network_is_refused(tmp_path):
    make_training(tmp_path, epochs=1).run()
    with pytest.raises(InputError, match=r"checkpoint_epoch=1\.pt is of another network"):
        make_training(tmp_path, width=9).run()


def test_a_checkpoint_of_a_longer_training_is_refused(tmp_path):
    make_training(tmp_path, epochs=3).run()
    with pytest.raises(InputError, match="or a longer training"):
        make_training(tmp_path, epochs=2).run()


def test_a_folder_that_cannot_be_written_is_told_before_the_training(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="can't be written"):
        make_training(tmp_path / "file" / "below")


def test_every_epoch_has_examples_of_its_own(tmp_path):
    trainer = make_training(tmp_path, epochs=3)
    trainer.run()
    assert trainer.data_loader.dataset.asked == list(range(3 * STEPS * BATCH))


def test_biases_do_not_decay():
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.PReLU(), nn.Linear(2, 1))
    decaying, others = parameter_groups(network, 0.1)
    assert [tuple(p.shape) for p in decaying["params"]] == [(2, 1, 3, 3), (1, 2)]
    assert (decaying["weight_decay"], others["weight_decay"]) == (0.1, 0.0)
    assert sum(p.numel() for p in decaying["params"] + others["params"]) == sum(p.numel() for p in network.parameters())


@pytest.mark.parametrize(("largest", "expected"), [(0.5, 0.5), (1e9, 2e6)])
def test_the_gradient_of_all_parameters_together_is_clipped(largest, expected):
    network = nn.Linear(1, 1, bias=False)
    before = network.weight.item()
    batches = [{"image": torch.full((1, 1), 1e3), "label": torch.full((1, 1), 1e3 * before - 1e3)}]
    optimizer = torch.optim.SGD(network.parameters(), lr=1.0)
    trainer = SupervisedTrainer(
        "cpu", 1, batches, network, optimizer, nn.MSELoss(), train_handlers=[ClipGradients(largest)], decollate=False
    )
    trainer.run()
    assert before - network.weight.item() == pytest.approx(expected, rel=1e-3)


def test_checkpoints_are_of_the_engine_they_are_attached_to(tmp_path):
    engine = Engine(lambda engine, batch: None)
    ResumingCheckpointSaver(str(tmp_path), {"net": nn.Linear(1, 1)}, n_saved=1).attach(engine)
    engine.run([0, 0], max_epochs=2)
    (path,) = tmp_path.iterdir()
    assert torch.load(path, weights_only=True)["trainer"]["iteration"] == 4
