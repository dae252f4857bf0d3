"""How many GFLOP/s a product of matrices reaches on a machine, and what share of that the fits do."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Mapping

import torch

BATCH = 2048


def wait(device: str) -> None:
    """Until a GPU has done what it was given."""
    if device.startswith("cuda"):
        torch.cuda.synchronize()


def matmul_peak(
    device: str, precision: str, repeats: int = 15, clock: Callable[[], float] = time.perf_counter
) -> float:
    """Most GFLOP/s of a matrix product in the engine's precision, of the step's size and of a large one."""
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")
    best = 0.0
    large = 8192 if device.startswith("cuda") else 2048
    for rows, width in ((BATCH, 256), (large, large)):
        a = torch.randn(rows, width, device=device, dtype=dtype)
        b = torch.randn(width, width, device=device, dtype=dtype)
        for _ in range(repeats):
            wait(device)
            start = clock()
            a @ b
            wait(device)
            best = max(best, 2 * rows * width * width / (clock() - start) / 1e9)
    torch.set_float32_matmul_precision(before)
    return best


def shares_of_peak(
    loops: Mapping[str, Iterator[int]], step_gflop: float, seconds: float
) -> dict[str, tuple[float, float]]:
    """GFLOP/s of the fast engine, and most of a matrix product, by precision on this CPU.

    In processor time of the one thread that computes, so that what else the machine does weighs little.

    Args:
        loops: by precision; each yields the steps taken since the last time.
        step_gflop: of a step's products.
        seconds: of each loop.
    """
    found, clock = {}, time.thread_time
    for precision, loop in loops.items():
        next(loop)
        rates, peak = [], 0.0
        for _ in range(3):
            peak = max(peak, matmul_peak("cpu", precision, 5, clock))
            start, steps = clock(), 0
            while clock() - start < seconds / 3:
                steps += next(loop)
            rates.append(step_gflop * steps / (clock() - start))
        found[precision] = (statistics.median(rates), peak)
    return found
