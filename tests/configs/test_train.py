"""``configs/train.json``: it learns, keeps the best, goes on where it was, and tells a user's mistake."""

import json

import numpy as np
import pytest
import torch
from helpers.nodules import ROOT, write_nodule
from ignite.engine import Events
from monai.bundle import ConfigParser
from monai.engines import SupervisedEvaluator, SupervisedTrainer

from bundle.errors import InputError, OutputError

SMALL = {
    "device": "cpu", "precision": "fp32", "steps": 4, "batch_size": 8, "warmup_steps": 2, "average": 0.5,
    "learning_rate": 1e-2, "network_def#features": [8, 8], "network_def#target_features": [8],
    "network_def#fine": 4, "validation_averages": [],
    "train#dataset#options#patch": 16, "train#dataset#options#strides": [4, 4],
    "train_folds": [0, 2, 3, 4], "validation_folds": [1], "validation_strides": [4],
}  # fmt: skip


def training(datalist, ckpt_dir, **options):
    parser = ConfigParser()
    parser.read_config(ROOT / "configs" / "train.json")
    parser.update({**SMALL, "bundle_root": str(ROOT), "datalist": str(datalist), "ckpt_dir": str(ckpt_dir), **options})
    parser.get_parsed_content("initialize")
    trainer = parser.get_parsed_content("train#trainer")
    for engine in (trainer, parser.get_parsed_content("validate#evaluator")):
        engine.logger.setLevel("WARNING")
    return trainer, parser


@pytest.fixture(scope="module")
def drifting(tmp_path_factory):
    """Tubes that move a pixel a slice: what interpolation along z can't follow and a network can learn."""
    folder = tmp_path_factory.mktemp("drifting")
    x, y, z = np.meshgrid(*[np.arange(n) for n in (24, 24, 16)], indexing="ij")
    for i in range(5):
        centre = np.random.default_rng(i).uniform(8, 16, 2)
        image = np.exp(-((x - centre[0] - (z - 8) * 0.7) ** 2 + (y - centre[1]) ** 2) / 8)
        write_nodule(folder, f"LIDC-IDRI-000{i}_0", (1400 * image - 1000).astype(np.int16), (image > 0.5).astype("u1"))
    return folder


def gains(folder):
    return [row["gain_db"] for row in json.loads((folder / "training.json").read_text())]


def test_it_learns_and_keeps_the_best(drifting, tmp_path):
    trainer, parser = training(drifting, tmp_path, epochs=12)
    trainer.run()
    assert max(gains(tmp_path)) > 1.0
    assert {path.name for path in tmp_path.iterdir()} == {
        "model.pt", "training.json", "checkpoint_epoch=11.pt", "checkpoint_epoch=12.pt"
    }  # fmt: skip
    network = parser.get_parsed_content("network_def", instantiate=True)
    network.load_state_dict(torch.load(tmp_path / "model.pt", weights_only=True))
    given = parser.get_parsed_content("validate#evaluator")
    evaluator = SupervisedEvaluator(
        "cpu", given.data_loader, network, prepare_batch=given.prepare_batch, inferer=given.inferer,
        key_val_metric=parser.get_parsed_content("validate#key_metric"), decollate=False,
    )  # fmt: skip
    evaluator.run()
    assert evaluator.state.metrics["gain_db"] == pytest.approx(max(gains(tmp_path)), abs=1e-6)


def test_it_is_built_of_monais_parts(drifting, tmp_path):
    trainer, parser = training(drifting, tmp_path, epochs=1)
    assert type(trainer) is SupervisedTrainer
    assert type(parser.get_parsed_content("validate#evaluator")) is SupervisedEvaluator
    assert trainer.inferer is parser.get_parsed_content("train#inferer")
    names = {handler["_target_"] for handler in parser["train::handlers"]}
    assert {"LrScheduleHandler", "ValidationHandler"} <= names


def test_one_that_was_stopped_ends_as_an_unbroken_one(drifting, tmp_path):
    training(drifting, tmp_path / "whole", epochs=3)[0].run()
    first, _ = training(drifting, tmp_path / "parts", epochs=3)

    def stop(engine):
        raise KeyboardInterrupt

    first.add_event_handler(Events.ITERATION_COMPLETED(once=6), stop)
    with pytest.raises(KeyboardInterrupt):
        first.run()
    assert len(gains(tmp_path / "parts")) == 1
    training(drifting, tmp_path / "parts", epochs=3)[0].run()
    assert gains(tmp_path / "parts") == gains(tmp_path / "whole")
    for name in ("model.pt", "checkpoint_epoch=3.pt"):
        both = [torch.load(tmp_path / part / name, weights_only=True) for part in ("whole", "parts")]
        states = [one.get("averaged", one) for one in both]
        assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])


def test_a_damaged_file_among_good_ones_is_left_out(nodule_folder, tmp_path, caplog):
    folder = nodule_folder(8, shape=(20, 18, 14))
    bad = folder / "n3_image.nii.gz"
    bad.write_bytes(bad.read_bytes()[:-200])
    training(folder, tmp_path / "made", epochs=1)[0].run()
    assert "1 of 6 nodules are left out" in caplog.text
    assert len(gains(tmp_path / "made")) == 1


@pytest.mark.parametrize(
    ("shape", "count", "message"),
    [((20, 18, 14), 1, "none of 1 nodules is of a patient in folds"), ((20, 18, 4), 6, "has room for a stride")],
)
def test_too_few_nodules_are_told(nodule_folder, tmp_path, shape, count, message):
    with pytest.raises(RuntimeError) as caught:
        training(nodule_folder(count, shape=shape), tmp_path / "made")
    fault = caught.value
    while fault is not None and not isinstance(fault, InputError):
        fault = fault.__cause__
    assert message in str(fault)


def test_a_folder_that_cannot_be_written_is_told_before_the_training(nodule_folder, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RuntimeError) as caught:
        training(nodule_folder(6, shape=(20, 18, 14)), tmp_path / "file")
    assert isinstance(caught.value.__cause__, OutputError)
