"""A study in shards: each nodule once, the same tables as in one process, a killed shard picked up."""

import os
import subprocess
import sys
import time

import pytest
from helpers.configs import make_study
from helpers.nodules import ROOT
from hypothesis import given
from hypothesis import strategies as st
from monai.bundle import ConfigParser

from bundle.errors import InputError
from bundle.store import ResultStore
from bundle.study.shards import Shard, ShardBoard, shard_from_environment


@given(st.integers(0, 60), st.integers(1, 9))
def test_shards_cover_every_nodule_once(count, world):
    shares = [Shard(rank, world).indices(count) for rank in range(world)]
    assert sorted(i for share in shares for i in share) == list(range(count))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


@pytest.mark.parametrize(
    ("environment", "shard"),
    [
        ({}, Shard()),
        ({"RANK": "2", "WORLD_SIZE": "4", "LOCAL_RANK": "1"}, Shard(2, 4, 1)),
        ({"SLURM_ARRAY_TASK_ID": "3", "SLURM_ARRAY_TASK_COUNT": "3", "SLURM_ARRAY_TASK_MIN": "1"}, Shard(2, 3)),
        ({"SLURM_PROCID": "1", "SLURM_NTASKS": "2", "SLURM_LOCALID": "1"}, Shard(1, 2, 1)),
    ],
)
def test_environment(environment, shard):
    assert shard_from_environment(environment) == shard


@pytest.mark.parametrize(
    ("environment", "sentence"),
    [
        ({"RANK": "2", "WORLD_SIZE": "2"}, "RANK is 2 of 2"),
        ({"RANK": "one", "WORLD_SIZE": "2"}, "should be whole numbers"),
    ],
)
def test_wrong_environment(environment, sentence):
    with pytest.raises(InputError, match=sentence):
        shard_from_environment(environment)


def test_board_counts_only_its_own_study(tmp_path):
    boards = [ShardBoard(ResultStore(tmp_path), Shard(rank, 2), "key") for rank in (0, 1)]
    boards[0].finish({"n": {"siren": "reason"}})
    assert boards[1].missing() == [1]
    ShardBoard(ResultStore(tmp_path), Shard(1, 2), "another study").finish({})
    assert boards[0].missing() == [1]
    boards[1].finish({})
    assert boards[0].missing() == []
    assert boards[1].failures() == {"n": {"siren": "reason"}}
    boards[0].start()
    assert boards[1].missing() == [0]


def test_two_shards_give_the_same_metrics_as_one_process(nodule_folder, tmp_path, capsys):
    folder = nodule_folder(3)
    (folder / "n1_mask.nii.gz").unlink()  # a failure is gathered too
    make_study(folder, tmp_path / "one", ["linear", "siren"], epochs=2).run()
    for rank in (0, 1):
        study = make_study(folder, tmp_path / "two", ["linear", "siren"], epochs=2)
        study.shard = Shard(rank, 2)
        capsys.readouterr()
        study.run()
        printed = capsys.readouterr().out
        assert (tmp_path / "two" / "metrics.csv").exists() is (rank == 1)
        assert ("shards [1] are not yet" in printed) is (rank == 0)
    for name in ("metrics.csv", "texture.csv", "failures.csv", "tables/table1.md"):
        assert (tmp_path / "one" / name).read_text() == (tmp_path / "two" / name).read_text()


def test_fitting_together_gives_the_same_metrics(nodule_folder, tmp_path):
    folder = nodule_folder(3)
    for name, stack in (("alone", False), ("together", True)):
        study = make_study(folder, tmp_path / name, ["siren"], epochs=2)
        study.stack = stack
        study.run()
    assert (tmp_path / "alone" / "metrics.csv").read_text() == (tmp_path / "together" / "metrics.csv").read_text()


def test_overlay_takes_the_shard_from_the_environment(monkeypatch):
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    parser = ConfigParser()
    parser.read_config([str(ROOT / "configs" / name) for name in ("study.json", "multi_gpu_study.json")])
    parser["bundle_root"] = str(ROOT)
    assert parser.get_parsed_content("study").shard == Shard(1, 2)


@pytest.mark.slow
def test_torchrun_after_a_killed_rank(nodule_folder, tmp_path):
    """Rank 1 of 2 is killed in its second nodule; torchrun computes what it left, and nothing twice."""
    folder, out = nodule_folder(4), tmp_path / "two"
    study = [
        "-m", "monai.bundle", "run", "--config_file", "['configs/study.json','configs/multi_gpu_study.json']",
        "--datalist", str(folder), "--methods", "['linear','siren']", "--epochs", "60", "--report", "False",
        "--device", "cpu", "--output_dir", str(out),
    ]  # fmt: skip
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    killed = subprocess.Popen(
        [sys.executable, *study], cwd=ROOT, env={**environment, "RANK": "1", "WORLD_SIZE": "2"},
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    first = out / "nodules" / "n1" / "siren" / "result.json"
    deadline = time.monotonic() + 120
    while not first.exists() and killed.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    killed.kill()
    killed.wait()
    assert first.exists()
    assert not (out / "shards" / "1-of-2.json").exists()
    stamp = first.stat().st_mtime_ns

    ranks = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--standalone", *study]
    done = subprocess.run(ranks, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert first.stat().st_mtime_ns == stamp
    make_study(folder, tmp_path / "one", ["linear", "siren"], epochs=60).run()
    assert (tmp_path / "one" / "metrics.csv").read_text() == (out / "metrics.csv").read_text()
