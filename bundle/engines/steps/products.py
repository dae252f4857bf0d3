"""Matrix products of bfloat16 on a CPU: torch's own where they are right and fast, and what stands in for them.

What is wanted: operands rounded to bfloat16, sums in fp32, the result rounded once. A processor without bfloat16 gives
that by way of slow loops, or could sum in bfloat16, which after some 256 terms adds nothing any more. Which of
both a machine does is measured, never guessed from its name.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path

import torch

from bundle.engines.steps.cache import digest, processor, whole_files
from bundle.errors import OutputError

Product = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], None]

# measured: 0.02 to 0.8 without bfloat16 in hardware, 2 to 6 with it
LEAST_GAIN = 1.4


def own_product(a: torch.Tensor, b: torch.Tensor, out: torch.Tensor) -> None:
    """``a @ b`` into ``out``, as torch multiplies their type: (N, K), (K, M), (N, M)."""
    torch.mm(a, b, out=out)


def widened_product(a: torch.Tensor, b: torch.Tensor, out: torch.Tensor) -> None:
    """``a @ b`` into ``out``, multiplied and summed in fp32 whatever the type: (N, K), (K, M), (N, M).

    Example:
        >>> ones, out = torch.ones(1, 1000, dtype=torch.bfloat16), torch.empty(1, 1, dtype=torch.bfloat16)
        >>> widened_product(ones, ones.T, out)
        >>> out.item()
        1000.0
    """
    out.copy_(torch.mm(a.float(), b.float()))


def sums_in_fp32(product: Product = own_product, length: int = 4096) -> bool:
    """Whether a product of bfloat16 sums long rows in fp32 and rounds once, in each layout that a step multiplies.

    Args:
        product: to be tried.
        length: of the rows.

    Example:
        >>> sums_in_fp32(widened_product)
        True
    """
    generator = torch.Generator().manual_seed(0)
    rows, columns = (torch.rand(32, length, generator=generator).bfloat16() for _ in range(2))
    upright = columns.T.contiguous()
    for a, b in ((rows, columns.T), (rows, upright), (rows.T.contiguous().T, upright)):
        out = torch.empty(32, 32, dtype=torch.bfloat16)
        product(a, b, out)
        # one rounding moves a value by 2^-9 of itself at most
        if not torch.allclose(out.double(), a.double() @ b.double(), rtol=2**-8, atol=0):
            return False
    return True


def bfloat16_gain(turns: int = 9, seconds: float = 0.5) -> float:
    """How many times as fast as fp32 this CPU multiplies bfloat16, in a product of a step's size on one thread.

    Args:
        turns: most products of each; the best counts, which is the least disturbed.
        seconds: after which no further turn begins.
    """
    # time of the processor, where it is fine enough: a busy machine interrupts the longer product more often
    fine = time.get_clock_info("thread_time").resolution < 1e-4
    clock = time.thread_time if fine else time.perf_counter
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        kinds = (torch.float32, torch.bfloat16)
        factors = [(torch.ones(2048, 256, dtype=kind), torch.ones(256, 256, dtype=kind)) for kind in kinds]
        best, begin = [float("inf")] * 2, clock()
        for turn in range(turns):
            if turn > 1 and clock() - begin > seconds:
                break
            for i, (a, b) in enumerate(factors):
                start = clock()
                torch.mm(a, b.T)
                best[i] = min(best[i], clock() - start)
    finally:
        torch.set_num_threads(threads)
    return best[0] / best[1]


@cache
def multiplies_bfloat16() -> bool:
    """Whether bfloat16 is worth choosing on this CPU: torch's own product is right, and faster than fp32's.

    The speed is measured once for a machine (half a second at most) and kept in the user's cache, so that all processes
    answer the same.
    """
    return sums_in_fp32() and _kept_gain() >= LEAST_GAIN


def bfloat16_product() -> Product:
    """The product of bfloat16 that is right here: torch's own if it is also fast, else the one widened to fp32."""
    return own_product if multiplies_bfloat16() else widened_product


def _kept_gain() -> float:
    limits = [os.environ.get(name, "") for name in ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA", "ATEN_CPU_CAPABILITY")]
    name = f"bfloat16_{digest(processor(), torch.__version__, *limits)}.json"
    try:
        return json.loads(next(whole_files(name, _write_gain)).read_text(encoding="utf-8"))["gain"]
    except (OSError, OutputError):  # no folder to keep it in
        return bfloat16_gain()


def _write_gain(path: Path) -> None:
    path.write_text(json.dumps({"gain": bfloat16_gain()}), encoding="utf-8")
