import os
import time

import pytest
import torch

from bundle.study.workers import run_all, worker_count


class Square:
    """Picklable work that reports progress and says where it ran."""

    def __call__(self, index, report):
        for step in range(3):
            report(f"piece {index}")(step + 1, 3, "")
        return index**2, os.getpid(), torch.get_num_threads()


@pytest.mark.parametrize("workers", [1, 2])
def test_every_piece_once_with_one_thread(workers):
    threads = torch.get_num_threads()
    results = dict(run_all(Square(), range(5), workers, "squares"))
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


class Slow:
    def __call__(self, index, report):
        time.sleep(index * 0.2)
        return index


def test_results_come_as_they_end():
    assert [index for index, _ in run_all(Slow(), [2, 0], 2, "sleepers")] == [0, 2]
