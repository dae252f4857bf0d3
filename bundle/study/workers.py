"""Run many independent pieces of work, one single-threaded process a core, with progress bars.

Fits of small networks gain little from several threads: each of their steps is too short to be shared. And one
thread a process keeps a result the same for any number of workers.
"""

from __future__ import annotations

import multiprocessing
import os
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing.connection import wait
from typing import Any

import torch
from tqdm import tqdm

from bundle.progress import ProgressBars, Report

Work = Callable[[int, Report], Any]
"""A piece of work: called with its index and what gives a place to report progress to; picklable."""

_work: Work | None = None
_queue: Any = None


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


def run_all(work: Work, pieces: Sequence[int], workers: int, title: str) -> Iterator[tuple[int, Any]]:
    """Run ``work`` on every piece and yield (piece, result) as they end.

    Args:
        work: what to do; must not raise.
        pieces: what to call it with.
        workers: processes; 1 works in this process.
        title: of the progress bar.

    Example:
        >>> list(run_all(lambda i, report: i * i, [2, 3], 1, "squares"))
        [(2, 4), (3, 9)]
    """
    with tqdm(total=len(pieces), desc=title, unit="nodule", dynamic_ncols=True) as bar:
        if workers == 1:
            threads = torch.get_num_threads()
            torch.set_num_threads(1)
            try:
                for piece in pieces:
                    with inner_bars() as report:
                        yield piece, work(piece, report)
                    bar.update()
            finally:
                torch.set_num_threads(threads)
            return
        context = multiprocessing.get_context("spawn")  # fork is unsafe once torch has threads
        queue = context.SimpleQueue()
        pool = ProcessPoolExecutor(workers, context, _start_worker, (work, queue, list(warnings.filters)))
        with pool, inner_bars() as report:
            listener = threading.Thread(target=_listen, args=(queue, report), daemon=True)
            listener.start()
            futures = {pool.submit(_call, piece): piece for piece in pieces}
            for future in as_completed(futures):
                yield futures[future], future.result()
                bar.update()
            queue.put(None)
            listener.join(timeout=5)


def inner_bars() -> ProgressBars:
    """Bars below that of the study, one for each thing in hand."""
    return ProgressBars("epoch", indent="  ")


def _listen(queue: Any, bars: ProgressBars) -> None:
    while (message := queue.get()) is not None:
        bars.update(*message)


def _start_worker(work: Work, queue: Any, filters: list) -> None:
    global _work, _queue
    _work, _queue = work, queue
    warnings.filters[:] = filters  # type: ignore[index]
    torch.set_num_threads(1)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    # a killed parent must not leave workers behind that write into the next run's folder
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


def _call(piece: int) -> Any:
    assert _work is not None
    return _work(piece, lambda what: lambda *progress: _queue.put((what, *progress)))
