"""One folder, one run: between processes, between shares of one run, and after a death."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from helpers.nodules import ROOT

from bundle import lock
from bundle.errors import InputError
from bundle.lock import hold

HOLDER = (
    "import sys, time\nfrom pathlib import Path\nfrom bundle.lock import hold\n"
    "with hold(Path(sys.argv[1]), 'the folder', sys.argv[2] or None):\n    print('held', flush=True)\n"
    "    time.sleep(600)\n"
)


@pytest.fixture
def holder(tmp_path):
    """Start a process that holds the lock of the test's folder."""
    started = []

    def start(share=""):
        command = [sys.executable, "-c", HOLDER, str(tmp_path / ".lock"), share]
        started.append(subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE))
        assert started[-1].stdout.readline() == b"held\n"
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def taken(path, share=None):
    try:
        with hold(path, "the folder", share):
            return True
    except InputError as fault:
        return str(fault)


def test_a_second_process_is_told_who_is_at_work_until_that_one_dies(tmp_path, holder):
    path, process = tmp_path / ".lock", holder()
    for share in (None, "a"):
        sentence = taken(path, share)
        assert (
            f"the folder is in use by another run (process {process.pid} on {os.uname().nodename}, since " in sentence
        )
        assert "\n" not in sentence
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert path.read_bytes(), "what the killed one wrote is still there"
    assert taken(path) is True
    assert path.read_bytes() == b""


def test_shares_of_one_run_hold_it_together_and_no_other_run_does(tmp_path, holder):
    path, process = tmp_path / ".lock", holder("a")
    assert taken(path, "a") is True
    assert "in use" in taken(path, None)
    assert "in use" in taken(path, "b")
    process.kill()
    process.wait()
    assert taken(path, "b") is True


@pytest.mark.parametrize(
    ("boot", "age", "share", "free"),
    [("another", 5, None, False), ("another", 5, "a", True), ("another", 120, None, True), (None, 5, None, True)],
)
def test_a_lock_of_another_machine_counts_while_it_is_fresh(tmp_path, boot, age, share, free):
    """A mount that does not pass locks on: what the other machine wrote and touches is all there is to see."""
    path = tmp_path / ".lock"
    holder = {"host": "node7", "process": 12, "boot": boot or lock._boot(), "share": "a", "since": "today"}
    path.write_text(json.dumps(holder), encoding="utf-8")
    os.utime(path, (time.time() - age,) * 2)
    answer = taken(path, share)
    assert (answer is True) is free
    assert free or "process 12 on node7, since today" in answer


def test_without_locks_of_the_system_a_fresh_holder_counts(tmp_path, monkeypatch):
    def unsupported(*_):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(lock.fcntl, "flock", unsupported)
    path = tmp_path / ".lock"
    with hold(path, "the folder"):
        assert "in use" in taken(path)
    assert taken(path) is True


def test_the_lock_is_touched_while_it_is_held(tmp_path, monkeypatch):
    monkeypatch.setattr(lock, "TOUCH_SECONDS", 0.02)
    path = tmp_path / ".lock"
    with hold(path, "the folder"):
        os.utime(path, (0, 0))
        end = time.monotonic() + 30
        while path.stat().st_mtime == 0 and time.monotonic() < end:
            time.sleep(0.02)
        assert path.stat().st_mtime > 0


@pytest.mark.parametrize("content", [b"[1]", b"{", b"\xff", b"{}"])
def test_a_damaged_lock_file_keeps_nobody_out(tmp_path, content):
    (tmp_path / ".lock").write_bytes(content)
    assert taken(tmp_path / ".lock") is True
