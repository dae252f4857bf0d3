import os
import subprocess
import sys

import pytest
import torch
from helpers.nodules import ROOT
from helpers.replay import plain_fit
from helpers.stacks import LENGTHS, OPTIONS, PATHS, WIDTH, data_of, results, siren, stack, stacked_path, warming_up
from ignite.engine import Events
from ignite.handlers import EarlyStopping
from monai.handlers import CheckpointSaver
from torch import nn

from bundle.engines import CoordinateBatches, EpochProgress, FitOptions, StackTrainer, fit_stacks, plan
from bundle.engines.plan import plan_stacks
from bundle.engines.steps import native, paths, products
from bundle.engines.steps.functional import FunctionalNetwork
from bundle.engines.steps.lock_step import StackedPath
from bundle.engines.steps.paths import chosen_precision
from bundle.errors import InputError


def perceptron(seed):
    """A network that is no SIREN, with two dropouts of different kind."""
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Linear(3, 20), nn.Tanh(), nn.Dropout(0.5), nn.Linear(20, 12), nn.GELU(), nn.Dropout(0.2), nn.Linear(12, 1)
    )


def run_on(path, make=siren, **kwargs):
    """Run a stack on a path other than the one chosen; ``path`` is made from the fits."""
    trainer = stack(make=make, **kwargs)
    trainer._path = path(trainer.fits)
    return results(trainer), trainer


@pytest.mark.parametrize("dropout", [0.5, 0.25, 0.0])
def test_agrees_with_the_plain_loop_fed_the_same(dropout):
    def make(seed):
        return siren(seed, dropout)

    widths = [WIDTH] * (2 if dropout else 0)
    plain = [plain_fit(make(i), data_of(n, i), OPTIONS, widths) for i, n in enumerate(LENGTHS)]
    trainer = stack(make=make)
    for mine, other in zip(results(trainer), plain, strict=True):
        wanted = nn.utils.parameters_to_vector(other.network.parameters()).detach()
        torch.testing.assert_close(mine, wanted, rtol=0, atol=3e-5)
    for history, other in zip(trainer.histories, plain, strict=True):
        assert history["lr"] == pytest.approx(other.history["lr"])
        assert history["loss"] == pytest.approx(other.history["loss"], rel=1e-4)


@pytest.mark.parametrize("name", list(PATHS))
def test_every_path_computes_the_same(name):
    wanted = results(stack())
    got, trainer = run_on(PATHS[name])
    for a, b in zip(got, wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=3e-5)
    for fit in trainer.fits:  # and leaves it in the network itself
        assert torch.equal(nn.utils.parameters_to_vector(fit.network.parameters()), fit.parameters)


@pytest.mark.parametrize("clip_norm", [0.0, 1e-3])
def test_paths_clip_alike(clip_norm):
    options = FitOptions(**{**OPTIONS.__dict__, "clip_norm": clip_norm})
    wanted = results(stack(options=options))
    got, _ = run_on(stacked_path, options=options)
    unclipped = results(stack())
    for a, b, c in zip(got, wanted, unclipped, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=3e-5)
        assert (a - c).abs().max() > 1e-5 or clip_norm == 0.0


def test_step_passes_through_torch_compile():
    torch._dynamo.reset()
    wanted = results(stack())
    got, _ = run_on(lambda fits: stacked_path(fits, compile_with="aot_eager", capture=warming_up))
    for a, b in zip(got, wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=3e-5)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("make", [siren, perceptron])
def test_a_result_does_not_depend_on_the_stack(make, precision):
    options = FitOptions(**{**OPTIONS.__dict__, "precision": precision})
    together = results(stack(make=make, options=options))
    for i, length in enumerate(LENGTHS):
        alone = StackTrainer(make(i), data_of(length, i), options)
        assert torch.equal(results(alone)[0], together[i])
    pair = StackTrainer([make(3), make(1)], [data_of(150, 3), data_of(300, 1)], options)
    assert torch.equal(results(pair)[0], together[3])


def test_a_result_hardly_depends_on_the_stack_where_products_are_batched():
    together, _ = run_on(stacked_path)
    for i, length in enumerate(LENGTHS):
        trainer = StackTrainer(siren(i), data_of(length, i), OPTIONS)
        trainer._path = stacked_path(trainer.fits)
        torch.testing.assert_close(results(trainer)[0], together[i], rtol=0, atol=1e-5)


def test_a_result_does_not_depend_on_threads_or_on_what_else_happens():
    wanted = results(stack())
    threads, precision = torch.get_num_threads(), torch.get_float32_matmul_precision()
    try:
        torch.set_num_threads(2)
        torch.set_float32_matmul_precision("medium")
        trainer = stack()
        before = torch.random.get_rng_state()
        got = results(trainer)
        assert torch.equal(torch.random.get_rng_state(), before)
        assert (torch.get_num_threads(), torch.get_float32_matmul_precision()) == (2, "medium")
    finally:
        torch.set_num_threads(threads)
        torch.set_float32_matmul_precision(precision)
    assert all(torch.equal(a, b) for a, b in zip(got, wanted, strict=True))


def test_a_result_does_not_depend_on_the_process():
    code = "from helpers.stacks import *; print([x.double().sum().item() for x in results(stack())])"
    env = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT / "tests"), str(ROOT)])}
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=300, env=env)
    assert out.stdout.strip().splitlines()[-1] == str([x.double().sum().item() for x in results(stack())])


def test_without_a_compiler_it_falls_back_and_says_so(monkeypatch, fresh_library):
    wanted = results(stack())
    native.pointwise_library.cache_clear()
    monkeypatch.setenv("LUNG_NODULE_NATIVE", "0")
    trainer = stack()
    assert trainer.path == "torch step, fp32, one CPU thread"
    assert "LUNG_NODULE_NATIVE" in trainer.fallback
    for a, b in zip(results(trainer), wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=3e-5)


@pytest.mark.skipif(native.find_compiler() is None, reason="no C compiler")
def test_with_a_compiler_it_takes_the_compiled_step():
    trainer = stack()
    trainer.run()
    assert (trainer.path, trainer.fallback) == ("compiled step, fp32, one CPU thread", "")
    assert trainer.timings["steps"] == 5 * sum(-(-n // 64) for n in LENGTHS)
    assert trainer.timings["steps_per_second"] > 0


def test_any_network_agrees_with_the_plain_loop_fed_the_same():
    trainer = stack(make=perceptron)
    for i, (mine, length) in enumerate(zip(results(trainer), LENGTHS, strict=True)):
        plain = plain_fit(perceptron(i), data_of(length, i), OPTIONS, [20, 12])
        wanted = nn.utils.parameters_to_vector(plain.network.parameters()).detach()
        torch.testing.assert_close(mine, wanted, rtol=0, atol=3e-5)
        assert trainer.histories[i]["loss"] == pytest.approx(plain.history["loss"], rel=1e-4)


def test_any_network_in_a_stack():
    wanted = results(stack(make=perceptron))
    got, _ = run_on(lambda fits: StackedPath(fits, FunctionalNetwork(fits[0].network)), make=perceptron)
    for a, b in zip(got, wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=3e-5)


@pytest.mark.parametrize("layer", [nn.BatchNorm1d(4), nn.Dropout1d(0.5)])
def test_networks_that_a_stack_cannot_fit(layer):
    network = nn.Sequential(nn.Linear(3, 4), layer, nn.Linear(4, 1))
    with pytest.raises(InputError, match=f"layer 1 is a {type(layer).__name__}"):
        StackTrainer(network, data_of(10, 0), OPTIONS)


@pytest.mark.parametrize("path", [None, stacked_path])
def test_a_nodule_may_leave_and_the_others_go_on(path):
    wanted, _ = run_on(path) if path else (results(stack()), None)
    trainer = stack()
    if path:
        trainer._path = path(trainer.fits)

    def leave(engine):
        if engine.state.epoch == 2:
            engine.fits[1].stopped = True

    trainer.add_event_handler(Events.EPOCH_COMPLETED, leave)
    got = results(trainer)
    assert [len(h["loss"]) for h in trainer.histories] == [5, 2, 5, 5]
    for i in (0, 2, 3):
        torch.testing.assert_close(got[i], wanted[i], rtol=0, atol=0 if path is None else 1e-5)
    two = FitOptions(**{**OPTIONS.__dict__, "epochs": 2})
    torch.testing.assert_close(got[1], results(StackTrainer(siren(1), data_of(300, 1), two))[0], rtol=0, atol=3e-5)


def test_options_of_each_nodule():
    options = [FitOptions(**{**OPTIONS.__dict__, "epochs": e, "learning_rate": e * 1e-4}) for e in (5, 2, 3, 1)]
    trainer = stack(options=options)
    got = results(trainer)
    assert [len(h["loss"]) for h in trainer.histories] == [5, 2, 3, 1]
    for i, length in enumerate(LENGTHS):
        assert torch.equal(results(StackTrainer(siren(i), data_of(length, i), options[i]))[0], got[i])


def test_handlers_of_ignite_and_monai(tmp_path, capsys):
    network = siren(0)
    saver = CheckpointSaver(str(tmp_path), {"model": network}, save_final=True, final_filename="model.pt")
    trainer = StackTrainer(network, data_of(150, 0), OPTIONS, handlers=[saver, EpochProgress("fit")])
    assert torch.equal(results(trainer)[0], results(stack())[0])
    saved = torch.load(tmp_path / "model.pt", weights_only=True)
    assert all(torch.equal(saved[name], value) for name, value in network.state_dict().items())
    assert "loss" in capsys.readouterr().err


def test_early_stop():
    trainer = stack()
    stop = EarlyStopping(patience=2, score_function=lambda engine: 0.0, trainer=trainer)
    stop.logger.setLevel("WARNING")
    trainer.add_event_handler(Events.EPOCH_COMPLETED, stop)
    trainer.run()
    assert [len(h["loss"]) for h in trainer.histories] == [3] * 4


def test_epochs_are_reported():
    seen = []
    trainer = stack(handlers=[EpochProgress(progress=lambda *a: seen.append(a))], max_epochs=3)
    trainer.run()
    assert [s[:2] for s in seen] == [(1, 3), (2, 3), (3, 3)]
    assert seen[0][2] == f"loss {sum(h['loss'][0] for h in trainer.histories) / 4:.5f}"


def test_takes_the_plain_trainers_batches():
    data = data_of(150, 7)
    batches = CoordinateBatches(data.coordinates, data.values, 64, OPTIONS.jitter)
    a = results(StackTrainer(siren(0), batches, OPTIONS, seeds=[7]))
    b = results(StackTrainer(siren(0), data, OPTIONS))
    assert torch.equal(a[0], b[0])


def test_prediction_is_the_networks():
    trainer = stack()
    trainer.run()
    places = torch.rand(500, 3) * 2 - 1
    network = trainer.fits[1].network
    expected = network.eval()(places).detach()
    torch.testing.assert_close(trainer.predict(network, places, chunk=100), expected, rtol=0, atol=1e-5)


def test_stacks_are_of_similar_length():
    assert plan_stacks([5, 1, 4, 2, 3], 2) == [[0, 2], [4, 3], [1]]
    assert plan_stacks([5, 1, 4, 2, 3], 4) == [[0, 2, 4], [3, 1]]
    assert plan_stacks([5, 1], 99) == [[0, 1]]
    assert plan_stacks([], 3) == []


def test_out_of_memory_halves_the_stack(monkeypatch):
    tried = []

    class Small(StackTrainer):
        def run(self):
            tried.append(len(self.fits))
            if len(self.fits) > 2:
                raise torch.OutOfMemoryError("too many")
            super().run()

    monkeypatch.setattr(plan, "StackTrainer", Small)
    data = [data_of(n, i) for i, n in enumerate(LENGTHS)]
    done = {}
    for indices, trainer in fit_stacks(siren, data, OPTIONS, limit=4):
        done |= {i: fit.parameters for i, fit in zip(indices, trainer.fits, strict=True)}
    assert tried == [4, 2, 2]
    for i, wanted in enumerate(results(stack())):
        assert torch.equal(done[i], wanted)


def test_out_of_memory_with_one_nodule_is_told(monkeypatch):
    def run(self):
        raise torch.OutOfMemoryError("too many")

    monkeypatch.setattr(StackTrainer, "run", run)
    with pytest.raises(torch.OutOfMemoryError):
        list(fit_stacks(siren, [data_of(64, 0), data_of(64, 1)], OPTIONS, limit=2))


@pytest.fixture(params=[True, False], ids=["with bf16 in hardware", "without"])
def processor(request, monkeypatch):
    """Both kinds of processor, whatever this one is."""
    for module in (paths, products):
        monkeypatch.setattr(module, "multiplies_bfloat16", lambda: request.param)
    return request.param


def test_precision_on_each_device(processor):
    cpu, gpu = torch.device("cpu"), torch.device("cuda")
    assert [chosen_precision("auto", gpu), chosen_precision("bf16", gpu)] == ["tf32", "bf16"]
    assert chosen_precision("auto", cpu) == ("bf16" if processor else "fp32")
    assert chosen_precision("auto", cpu, written_out=False) == "fp32"
    assert [chosen_precision(p, cpu) for p in ("fp32", "tf32", "bf16")] == ["fp32", "fp32", "bf16"]
    assert chosen_precision("bf16", cpu, written_out=False) == ("bf16" if processor else "fp32")


@pytest.mark.parametrize("native_step", [True, False])
def test_bfloat16_fits_as_well(processor, native_step, monkeypatch, fresh_library):
    """The rate is annealed: at a constant one the last loss of fp32 itself differs 45 times from seed to seed."""
    monkeypatch.setenv("LUNG_NODULE_NATIVE", str(int(native_step)))
    options = FitOptions(epochs=80, learning_rate=2e-3, warmup=0, t_0=80, batch_size=64)
    losses = {}
    for precision in ("fp32", "bf16"):
        chosen = FitOptions(**{**options.__dict__, "precision": precision})
        trainer = StackTrainer(siren(0, dropout=0.0), data_of(300, 0), chosen)
        trainer.run()
        losses[precision] = trainer.history["loss"]
    assert ("bf16," if processor else "bf16 multiplied in fp32,") in trainer.path
    assert losses["fp32"][-1] < 0.1 * losses["fp32"][0]
    assert losses["bf16"][-1] < 3 * losses["fp32"][-1]
    assert losses["bf16"] != losses["fp32"]


def test_bfloat16_that_is_not_to_be_had_is_said(processor):
    trainer = stack(make=perceptron, options=FitOptions(**{**OPTIONS.__dict__, "precision": "bf16"}))
    if processor:
        assert (trainer.path, trainer.fallback) == ("torch step, bf16, one CPU thread", "")
    else:
        assert trainer.path == "torch step, fp32, one CPU thread"
        assert "bf16 was asked for" in trainer.fallback
