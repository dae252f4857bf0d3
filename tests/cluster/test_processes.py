"""Processes that work, that die, that are stopped, and scripts that can't have any."""

import os
import signal
import subprocess
import sys
import textwrap
import time

import pytest
import torch
from helpers.nodules import ROOT

from bundle.cluster import LocalProcesses
from bundle.cluster.processes import _died, worker_count
from bundle.errors import InputError, OutputError


class Square:
    """Picklable work that reports progress and says where it ran."""

    def __call__(self, index, report):
        for step in range(3):
            report(f"piece {index}")(step + 1, 3, "")
        return index**2, os.getpid(), torch.get_num_threads()


@pytest.mark.parametrize("workers", [1, 2])
def test_every_piece_once_with_one_thread(workers):
    threads = torch.get_num_threads()
    results = dict(LocalProcesses(workers).run(Square(), range(5), "squares"))
    assert {i: r[0] for i, r in results.items()} == {i: i**2 for i in range(5)}
    assert {r[2] for r in results.values()} == {1}
    assert (os.getpid() in {r[1] for r in results.values()}) is (workers == 1)
    assert torch.get_num_threads() == threads


def test_worker_count():
    assert worker_count(3, 10) == 3
    assert worker_count(3, 2) == 2
    assert worker_count(None, 100) >= 1
    assert worker_count(None, 100, "cuda:1") == 1
    assert worker_count(2, 100, "cuda:1") == 2


class Trouble:
    """Pieces whose process dies, always or the first time, and one that can't be written."""

    def __init__(self, marks):
        self.marks = marks

    def __call__(self, index, report):
        tried = len(list(self.marks.glob(f"{index}-*")))
        (self.marks / f"{index}-{os.getpid()}").touch()
        if index in (1, 3) or (index == 2 and not tried):
            os.kill(os.getpid(), signal.SIGBUS if index == 3 else signal.SIGKILL)
        if index == 7:
            raise OutputError("the disk is full")
        return index


@pytest.mark.parametrize("workers", [2, 4])
def test_a_piece_whose_process_dies_is_tried_once_more_and_then_fails_alone(workers, tmp_path, capsys):
    work, died = Trouble(tmp_path), lambda piece, reason: (piece, reason)
    results = dict(LocalProcesses(workers).run(work, range(4), "trouble", died))
    again = "also when it was tried once more, alone"
    assert results.pop(1) == (1, f"its process was killed, {again}: if memory ran out, give it a machine with more")
    assert results.pop(3) == (3, f"its process crashed (SIGBUS), {again}")
    assert results == {0: 0, 2: 2}
    tries = [len({path.name for path in tmp_path.glob(f"{i}-*")}) for i in range(4)]
    assert tries == [1, 2, 2, 2], "each try is a process of its own"
    assert capsys.readouterr().err.count("is tried once more, alone, after the others") == 3


def test_a_full_disk_ends_everything_in_its_own_words(tmp_path):
    with pytest.raises(OutputError, match=r"^the disk is full$"):
        list(LocalProcesses(2).run(Trouble(tmp_path), [7, 8], "trouble"))


def test_where_nobody_takes_a_death_it_ends_everything():
    with pytest.raises(InputError, match="piece 4: its process ended early"):
        _died(4, 1, None)


class Later:
    """Piece 2 waits for piece 0."""

    def __init__(self, mark):
        self.mark = mark

    def __call__(self, index, report):
        if index == 0:
            self.mark.touch()
        end = time.monotonic() + 240
        while index == 2 and not self.mark.exists() and time.monotonic() < end:
            time.sleep(0.02)
        return index


def test_results_come_as_they_end(tmp_path):
    assert [index for index, _ in LocalProcesses(2).run(Later(tmp_path / "mark"), [2, 0], "sleepers")] == [0, 2]


CALL = """
    from bundle.cluster import LocalProcesses, leave_unguarded_import
    {work}
    def call():
        leave_unguarded_import()
        try:
            print(sorted(dict(LocalProcesses(2).run({name}(), range(4), "pieces")).values()))
        except ValueError as fault:
            raise SystemExit(f"error: {{fault}}")
"""
OURS = CALL.format(work="from helpers.work import Double", name="Double")
OWN = CALL.format(work="class Own:\n        def __call__(self, index, report): return 2 * index", name="Own")
POOL = """
    import multiprocessing
    if __name__ == '__main__':
        with multiprocessing.get_context('spawn').Pool(1) as pool: pool.apply(call)
"""


@pytest.mark.parametrize(
    ("script", "how", "told"),
    [
        (OURS + "\n    call()", "stdin", ""),
        (OWN + "\n    call()", "file", "error: the script runs the study while it is imported"),
        (OWN + "\n    call()", "-c", "defined in an interpreter or notebook: working in its one process alone"),
        (OWN + POOL, "file", "this process belongs to a pool and may start no others"),
    ],
    ids=["no guard and no file", "own work, no guard", "own work, -c", "in a pool"],
)
def test_any_script_works_or_is_told_in_one_sentence(tmp_path, script, how, told):
    script = textwrap.dedent(script)
    (tmp_path / "script.py").write_text(script, encoding="utf-8")
    command = {"file": [str(tmp_path / "script.py")], "stdin": ["-"], "-c": ["-c", script]}[how]
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    done = subprocess.run(
        [sys.executable, *command], input=script if how == "stdin" else None, cwd=tmp_path, timeout=300, check=False,
        env={**os.environ, "PYTHONPATH": path}, capture_output=True, encoding="utf-8",
    )  # fmt: skip
    refused = told.startswith("error")
    assert "Traceback" not in done.stderr
    assert done.returncode == refused, done.stderr
    assert told in done.stderr
    assert done.stdout == ("" if refused else "[0, 2, 4, 6]\n")
