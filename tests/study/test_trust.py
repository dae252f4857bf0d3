"""A study that is stopped, killed in part, out of disk, damaged on disk, or started twice."""

import csv
import functools
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from helpers.configs import make_evaluation, make_study, save
from helpers.nodules import ROOT, small_nodule, write_nodule

from bundle.errors import InputError
from bundle.lock import hold
from bundle.report.tidy import read_rows

SHAPE = (24, 24, 21)


def start(datalist, out, workers, epochs=3000):
    command = [
        sys.executable, "-m", "monai.bundle", "run", "--config_file", "configs/study.json", "--datalist", str(datalist),
        "--methods", "['linear','siren']", "--epochs", str(epochs), "--workers", str(workers), "--device", "cpu",
        "--report", "False", "--output_dir", str(out),
    ]  # fmt: skip
    # a shell that runs the tests in the background has Ctrl-C ignored by all that they start
    heard = functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    pipe = subprocess.PIPE
    return subprocess.Popen(
        command, cwd=ROOT, stdout=pipe, stderr=subprocess.STDOUT, start_new_session=True, preexec_fn=heard
    )


def wait_for(process, out, results):
    end = time.monotonic() + 300
    while len(list(out.glob("nodules/*/linear/result.json"))) < results:
        assert process.poll() is None
        assert time.monotonic() < end
        time.sleep(0.05)


def left_over(out):
    return [path for path in out.rglob(".*") if path.name != ".lock"]


@pytest.mark.slow
@pytest.mark.parametrize(("number", "status", "workers"), [(signal.SIGINT, 130, 2), (signal.SIGTERM, 143, 1)])
def test_a_stopped_study_ends_at_once_with_one_line_and_leaves_nothing_half(
    nodule_folder, tmp_path, number, status, workers
):
    out = tmp_path / "out"
    process = start(nodule_folder(4, shape=SHAPE), out, workers)
    wait_for(process, out, workers)
    stopped = time.monotonic()
    os.killpg(process.pid, number)
    told = process.communicate(timeout=60)[0].decode()
    assert time.monotonic() - stopped < 30  # it takes less than two seconds where a core is free
    assert process.returncode == status
    assert "stopped: what was finished is kept, give the same command again to go on" in told
    assert "Traceback" not in told
    assert left_over(out) == []
    assert not (out / "metrics.csv").exists()
    assert len(list(out.glob("nodules/*/linear"))) == workers


@pytest.mark.slow
def test_a_killed_worker_costs_what_it_had_in_hand_and_no_more(nodule_folder, tmp_path):
    out = tmp_path / "out"
    process = start(nodule_folder(3, shape=SHAPE), out, 2, epochs=100)
    wait_for(process, out, 2)
    with open(f"/proc/{process.pid}/task/{process.pid}/children", encoding="utf-8") as file:
        children = file.read().split()
    spawned = [pid for pid in children if "spawn_main" in Path(f"/proc/{pid}/cmdline").read_text(encoding="utf-8")]
    os.kill(int(spawned[0]), signal.SIGKILL)
    told = process.communicate(timeout=280)[0].decode()
    assert process.returncode == 0, told
    assert "Traceback" not in told
    assert told.count("a process was killed: what it had in hand is tried once more, alone, after the others") == 1
    with (out / "failures.csv").open(encoding="utf-8") as file:
        assert list(csv.DictReader(file)) == []
    assert left_over(out) == []


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="mounting a small disk wants root")
def test_a_full_disk_is_one_sentence_and_the_study_goes_on_with_more_room(nodule_folder, tmp_path):
    folder, disk = nodule_folder(3, shape=(40, 40, 31)), tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", str(disk)], check=False).returncode:
        pytest.skip("no disk can be mounted here")
    try:
        with pytest.raises(InputError, match=r"can't be written \(No space left on device\): make room") as stop:
            make_study(folder, disk / "out", ["linear", "cubic"]).run()
        assert "\n" not in str(stop.value)
        assert left_over(disk / "out") == []
        kept = list(disk.glob("out/nodules/*/*/result.json"))
        assert kept
        subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)
        stamps = [path.stat().st_mtime_ns for path in kept]
        make_study(folder, disk / "out", ["linear", "cubic"]).run()
        assert [path.stat().st_mtime_ns for path in kept] == stamps
        make_study(folder, tmp_path / "out", ["linear", "cubic"]).run()
        assert (tmp_path / "out" / "metrics.csv").read_bytes() == (disk / "out" / "metrics.csv").read_bytes()
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)  # the error still holds a file


def test_damaged_results_are_computed_anew_with_a_word(nodule_folder, tmp_path, capsys):
    folder, out = nodule_folder(2), tmp_path / "out"
    make_study(folder, out, ["linear", "cubic"]).run()
    good = (out / "metrics.csv").read_bytes()
    image, result = out / "nodules/n0/linear/image.nii.gz", out / "nodules/n1/truth/result.json"
    whole = image.read_bytes()
    image.write_bytes(whole[:99])
    stored = json.loads(result.read_text(encoding="utf-8"))
    result.write_text(json.dumps({"fingerprint": stored["fingerprint"]}), encoding="utf-8")
    capsys.readouterr()
    make_study(folder, out, ["linear", "cubic"]).run()
    told = " ".join(capsys.readouterr().out.split())
    assert "2 damaged results were computed anew, the old ones are in superseded/" in told
    assert "n0 linear (image.nii.gz is cut short or was changed)" in told
    assert "(3 of them earlier)" in told
    assert (out / "metrics.csv").read_bytes() == good
    assert image.read_bytes()[10:] == whole[10:]  # but for the time in gzip's header


def test_a_second_run_in_the_folder_is_told_and_changes_nothing(nodule_folder, tmp_path):
    folder, out = nodule_folder(1), tmp_path / "out"
    make_study(folder, out, ["linear"]).run()
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file() and path.name != ".lock"}
    with hold(out / ".lock", "the folder"), pytest.raises(InputError, match="is in use by another run"):
        make_study(folder, out, ["linear", "cubic"], stride=4).run()
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert len(list(out.rglob("*"))) == len(before) + sum(path.is_dir() for path in out.rglob("*")) + 1


def test_only_the_file_of_the_very_id_is_measured(tmp_path):
    rows = []
    for k, name in enumerate(["lesion[2]", "scan (1)", "n?"]):
        hu, mask = small_nodule(seed=k)
        write_nodule(tmp_path / "in", f"f{k}", hu, mask)
        rows.append({"image": f"f{k}_image.nii.gz", "label": f"f{k}_mask.nii.gz", "nodule_id": name})
        made = "nX" if name == "n?" else name  # another nodule's file, which the pattern n? would find
        affine = np.diag([-0.7, -0.7, 1.0, 1.0])
        affine[:3, 3] = 10, 20, -30
        save(tmp_path / "made" / "mine" / f"{made}.nii.gz", hu + 7, affine)
    (tmp_path / "in" / "list.json").write_text(json.dumps(rows), encoding="utf-8")
    make_evaluation(tmp_path / "in" / "list.json", tmp_path / "made", tmp_path / "out").run()
    found = {
        row["nodule_id"]: row["value"] * 1400
        for row in read_rows(tmp_path / "out" / "metrics.csv")
        if (row["metric"], row["region"], row["slices"]) == ("mae", "global", "unobserved")
    }
    assert found["lesion[2]"] == pytest.approx(7, abs=0.5)
    assert found["scan (1)"] == pytest.approx(7, abs=0.5)
    assert np.isnan(found["n?"])


@pytest.mark.parametrize(
    ("method", "out", "told"),
    [
        ("truth", "out", "the name of the CT itself in all results: rename the method"),
        ("mine", "made/out", "whose reconstructions are to be measured: give another folder"),
        ("mine", "made", "whose reconstructions are to be measured: give another folder"),
    ],
)
def test_results_and_inputs_are_kept_apart(nodule_folder, tmp_path, method, out, told):
    save(tmp_path / "made" / method / "n0.nii.gz", small_nodule()[0])
    with pytest.raises(InputError, match=told):
        make_evaluation(nodule_folder(1), tmp_path / "made", tmp_path / out).run()
