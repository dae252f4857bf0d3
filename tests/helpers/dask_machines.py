"""A real Dask scheduler and real worker processes on this machine, and pieces of work for them."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

from helpers.dask_forks import Fork


def free_port() -> int:
    with contextlib.closing(socket.socket()) as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


class DaskMachines:
    """Starts and kills the processes of a cluster."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.address = f"tcp://127.0.0.1:{self.port}"
        self.processes: list[Fork] = []

    def scheduler(self) -> Fork:
        return self._start("scheduler", "--host", "127.0.0.1", "--port", str(self.port), "--no-dashboard")

    def worker(self, *more: str) -> Fork:
        """One that is not started again when it dies."""
        words = (self.address, "--host", "127.0.0.1", "--nthreads", "1", "--no-nanny", "--no-dashboard")
        return self._start("worker", *words, "--local-directory", str(self.folder), *more)

    def _start(self, what: str, *words: str) -> Fork:
        self.processes.append(Fork(what, list(words), str(self.folder)))
        return self.processes[-1]

    def end(self) -> None:
        for process in self.processes:
            process.end()


@contextlib.contextmanager
def dask_machines(folder: Path, workers: int = 0) -> Iterator[DaskMachines]:
    """A scheduler and so many workers while the block runs."""
    machines = DaskMachines(folder)
    try:
        machines.scheduler()
        for _ in range(workers):
            machines.worker()
        yield machines
    finally:
        machines.end()


class Marked:
    """Work that leaves a mark for each piece begun; piece 1 kills its worker, piece 2 waits for a word."""

    def __init__(self, folder: Path, deadly: int | None = None, waits: int | None = None) -> None:
        self.folder, self.deadly, self.waits = folder, deadly, waits

    def __call__(self, piece: int, report):
        (self.folder / f"{piece}-{os.getpid()}").touch()
        if piece == self.deadly:
            os.kill(os.getpid(), signal.SIGKILL)
        while piece == self.waits and not (self.folder / "go").exists():
            report("piece")(1, 2, "")
            time.sleep(0.05)
        return piece, os.getpid()


def wait_until(true, seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.05)
