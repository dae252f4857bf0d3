"""Forks schedulers and workers of Dask from one process, so that what takes seconds to import is imported once.

A line of JSON on stdin asks for one, or for its end; closing stdin ends all.
"""

from __future__ import annotations

import atexit
import importlib
import json
import os
import signal
import subprocess
import sys
from functools import cache
from typing import Any

from helpers.nodules import ROOT

_DASK = {"scheduler": "distributed.cli.dask_scheduler", "worker": "distributed.cli.dask_worker"}
_IMPORTED = (*_DASK.values(), "bundle.inferers.dense.run", "bundle.label", "bundle.study.study")


class Fork:
    """A scheduler or worker; its number is its own until :meth:`end`."""

    def __init__(self, what: str, words: list[str], folder: str) -> None:
        self.pid = _asked({"what": what, "words": words, "folder": folder})

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)

    def end(self) -> None:
        _asked({"end": self.pid})


@cache
def _server() -> subprocess.Popen[str]:
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    made = subprocess.Popen(
        [sys.executable, "-m", "helpers.dask_forks"], env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8",
    )  # fmt: skip
    atexit.register(made.communicate)
    return made


def _asked(what: dict[str, Any]) -> int:
    server = _server()
    assert server.stdin
    assert server.stdout
    server.stdin.write(json.dumps(what) + "\n")
    server.stdin.flush()
    return int(server.stdout.readline())


def _become(what: str, words: list[str], folder: str) -> None:
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in range(3):
        os.dup2(nothing, stream)
    os.chdir(folder)
    try:
        sys.modules[_DASK[what]].main.main(words, standalone_mode=False)  # type: ignore[attr-defined]
    finally:
        os._exit(0)


def _end(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def main() -> None:
    for name in _IMPORTED:
        importlib.import_module(name)
    running = set()
    for line in sys.stdin:
        asked = json.loads(line)
        if "end" in asked:
            running.remove(pid := asked["end"])
            _end(pid)
        elif not (pid := os.fork()):
            _become(**asked)
        else:
            running.add(pid)
        print(pid, flush=True)
    for pid in running:
        _end(pid)


if __name__ == "__main__":
    main()
