"""This machine's processes: one single-threaded process a core, with a bar for all.

Fits of small networks gain little from several threads: each of their steps is too short to be shared. And one
thread a process keeps a result the same for any number of workers. The piece of a process that was killed is tried once
more after the others, alone, where memory is all its own; Ctrl-C ends all processes at once.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import pickle
import signal
import sys
import threading
import traceback
import types
import warnings
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any

import torch
from tqdm import tqdm

from bundle.cluster.base import Cluster, Cost, Death, Work, longest_first
from bundle.errors import InputError
from bundle.progress import Progress, WorkBar

_UNGUARDED = 77  # exit status of a process that would start a study while its script is imported


def worker_count(asked: int | None, pieces: int, device: str = "cpu") -> int:
    """Number of processes: as asked, else one a core; one on a GPU; never more than there are pieces.

    Example:
        >>> worker_count(None, 1), worker_count(8, 3), worker_count(None, 9, "cuda:0")
        (1, 3, 1)
    """
    if asked is None:
        affinity = getattr(os, "sched_getaffinity", None)
        cores = len(affinity(0)) if affinity else (os.cpu_count() or 1)
        asked = cores if str(device).startswith("cpu") else 1
    return max(1, min(int(asked), pieces))


def leave_unguarded_import() -> None:
    """End a process that is being started and imports a script which runs the study without a main guard.

    Its parent tells the user; see :class:`LocalProcesses`.

    Example:
        >>> leave_unguarded_import()
    """
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        raise SystemExit(_UNGUARDED)


@dataclass(frozen=True)
class LocalProcesses(Cluster):
    """Processes of this machine.

    With one of them the work is done in this process. So is work that can't be sent to another one: where this is a
    process of somebody else's pool, or the work is made of what only this interpreter knows.

    Attributes:
        workers: processes; None: one a core.
        device: where networks are fitted; decides only the number of workers here.

    Raises:
        InputError: the script that called lacks a main guard that its work needs, or a process died.

    Example:
        >>> with LocalProcesses(1) as machines:
        ...     list(machines.run(lambda i, report: i * i, [2, 3], "squares"))
        [(2, 4), (3, 9)]
    """

    workers: int | None = None
    device: str = "cpu"

    def __enter__(self) -> LocalProcesses:
        if self.workers is not None and (not isinstance(self.workers, int) or self.workers < 1):
            raise InputError(f"--workers is {self.workers!r}, expected a whole number of processes, 1 or more")
        return self

    def run(
        self,
        work: Work,
        pieces: Sequence[int],
        title: str,
        died: Death | None = None,
        cost: Cost | None = None,
        unit: str = "nodule",
    ) -> Iterator[tuple[int, Any]]:
        """See :meth:`bundle.cluster.base.Cluster.run`."""
        left = deque(longest_first(pieces, cost))
        workers = worker_count(self.workers, len(pieces), self.device)
        with WorkBar(title, len(pieces), unit) as bar:
            if workers > 1 and (packed := _packed(work)) is not None:
                with contextlib.closing(_in_processes(packed, left, workers, died, bar)) as results:
                    for done in results:
                        yield done
                        bar.advance()
            threads = torch.get_num_threads()
            torch.set_num_threads(1)
            try:
                while left:
                    piece = left.popleft()
                    yield piece, work(piece, bar)
                    bar.advance()
            finally:
                torch.set_num_threads(threads)


def _say(sentence: str) -> None:
    tqdm.write(sentence, file=sys.stderr)


def _packed(work: Work) -> bytes | None:
    """The work as bytes for other processes; None, and a word, where it must stay in this one."""
    if multiprocessing.current_process().daemon:
        _say("this process belongs to a pool and may start no others: working in this one alone")
        return None
    try:
        packed = pickle.dumps(work)
    except Exception as fault:
        _say(f"the work can't be sent to other processes ({fault}): working in this one alone")
        return None
    if b"__main__" in packed and not os.path.exists(getattr(sys.modules["__main__"], "__file__", None) or ""):
        _say("parts of the study are defined in an interpreter or notebook: working in its one process alone")
        return None
    return packed


class _Worker:
    """A process, the pipe to it, and the piece that it has in hand."""

    def __init__(self, packed: bytes) -> None:
        context = multiprocessing.get_context("spawn")  # fork is unsafe once torch has threads
        self.pipe, theirs = context.Pipe()
        self.ready, self.piece = False, None  # type: tuple[bool, int | None]
        arguments = (theirs, packed, list(warnings.filters))
        self.process = context.Process(target=_serve, args=arguments, daemon=True)
        with _no_interrupt(), contextlib.nullcontext() if b"__main__" in packed else _no_main():
            self.process.start()
        theirs.close()

    def hand(self, piece: int | None) -> None:
        """Give it a piece; None: it may end."""
        self.piece = piece
        with contextlib.suppress(OSError):  # it died: its pipe tells
            self.pipe.send(piece)

    def end(self) -> int:
        """End the process if it has not ended; its exit status, minus the signal that killed it."""
        self.process.kill()
        self.process.join()
        self.pipe.close()
        return self.process.exitcode or 0

    def death(self) -> int:
        """Exit status of a process that closed its pipe by itself."""
        self.process.join(timeout=10)
        return self.end()


def _in_processes(
    packed: bytes, left: deque[int], count: int, died: Death | None, bar: WorkBar
) -> Generator[tuple[int, Any]]:
    """Yield results until no piece is left, or no process can be started: then pieces are left."""
    deaths: list[tuple[int, int]] = []

    def first(piece: int, status: int) -> None:
        _say(f"a process {_manner(status)}: what it had in hand is tried once more, alone, after the others")
        deaths.append((piece, status))

    yield from _round(packed, left, count, first, bar)
    for piece, status in deaths:
        alone, again = deque([piece]), [status]
        yield from _round(packed, alone, 1, lambda _, status, again=again: again.append(status), bar)  # type: ignore[misc]
        if alone or len(again) > 1:  # no process could be started: in this one it could end everything
            yield piece, _died(piece, again[-1], died)


def _round(
    packed: bytes, left: deque[int], count: int, on_death: Callable[[int, int], Any], bar: WorkBar
) -> Generator[tuple[int, Any]]:
    """Yield results of pieces tried once; of one whose process died, tell the piece and the exit status."""
    workers: list[_Worker] = []
    for _ in range(count):
        _start(packed, workers)
    try:
        while workers and (left or any(worker.piece is not None for worker in workers)):
            for pipe in wait([worker.pipe for worker in workers]):
                worker = next(worker for worker in workers if worker.pipe is pipe)
                try:
                    kind, *message = worker.pipe.recv()
                except (EOFError, OSError):
                    workers.remove(worker)
                    status, piece = worker.death(), worker.piece
                    if piece is not None:
                        on_death(piece, status)
                        if left and (status != -signal.SIGKILL or not workers):
                            _start(packed, workers)
                    elif not worker.ready:
                        _not_started(status)
                    continue
                if kind == "progress":
                    bar.update(*message)
                    continue
                if kind == "raised":
                    raise message[0]
                if kind == "done":
                    yield worker.piece, message[0]  # type: ignore[misc]
                worker.ready = True
                worker.hand(left.popleft() if left else None)
    finally:
        for worker in workers:
            worker.end()


def _start(packed: bytes, workers: list[_Worker]) -> None:
    try:
        workers.append(_Worker(packed))
    except OSError as fault:
        _say(f"no further process could be started ({fault.strerror}): working in {max(1, len(workers))}")


def _manner(status: int) -> str:
    if status == -signal.SIGKILL:
        return "was killed"
    if status < 0:
        return f"crashed ({signal.Signals(-status).name})"
    return f"ended early (exit status {status})"


def _died(piece: int, status: int, died: Death | None) -> Any:
    advice = ": if memory ran out, give it a machine with more" if status == -signal.SIGKILL else ""
    reason = f"its process {_manner(status)}, also when it was tried once more, alone{advice}"
    if died is None:
        raise InputError(f"piece {piece}: {reason}")
    return died(piece, reason)


def _not_started(status: int) -> None:
    if status == _UNGUARDED:
        raise InputError(
            "the script runs the study while it is imported, which each of its processes does: put the call below "
            "if __name__ == '__main__', or give --workers 1"
        )
    _say(f"a process ended before it could work (exit status {status}): the others go on, or this one alone")


@contextlib.contextmanager
def _no_interrupt() -> Iterator[None]:
    """Processes started inside never get Ctrl-C; their parent does, and ends them."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def _no_main() -> Iterator[None]:
    """Processes started inside do not import the script that is run: it may have no file, or no main guard."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = types.ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


def _serve(pipe: Connection, packed: bytes, filters: list) -> None:
    """What a worker process does."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    warnings.filters[:] = filters  # type: ignore[index]
    torch.set_num_threads(1)
    with contextlib.suppress(EOFError, ConnectionError):  # the parent was stopped, and wants no more
        _work_off(pipe, pickle.loads(packed))


def _work_off(pipe: Connection, work: Work) -> None:
    def progress(what: str) -> Progress:
        return lambda *message: pipe.send(("progress", what, *message))

    pipe.send(("ready",))
    while (piece := pipe.recv()) is not None:
        try:
            pipe.send(("done", work(piece, progress)))
        except InputError as fault:
            pipe.send(("raised", fault))
        except Exception as fault:
            pipe.send(("raised", RuntimeError("".join(traceback.format_exception(fault)))))


def _end_with_parent() -> None:
    # a killed parent must not leave workers behind that write into the next run's folder
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
