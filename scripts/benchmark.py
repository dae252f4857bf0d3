"""Measure how fast nodules are fitted here, against a usual loop, the plain Ignite loop and the machine's limit.

    python scripts/benchmark.py            two minutes on two cores
    python scripts/benchmark.py --quick    under 50 seconds
    python scripts/benchmark.py --json     one JSON object instead of a table
    python scripts/benchmark.py --device cuda --profile    a stack of the cohort's 57 nodules, and what bounds it

The loops take turns in one process, so that a busy machine slows all of them alike; ratios are of medians. A
*usual loop* is a DataLoader over single voxels, autograd, ``torch.optim.Adam``, ``loss.item()``; the *plain*
loop is :class:`bundle.engines.NoduleTrainer`. On a CPU each runs on one thread; on a GPU they run there too.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import statistics
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from peak import BATCH, matmul_peak, shares_of_peak, wait
from torch import nn
from torch.utils.data import DataLoader, Dataset

from bundle.cluster.processes import worker_count
from bundle.engines import CoordinateBatches, FitOptions, NoduleData, NoduleTrainer, StackTrainer
from bundle.engines.steps.paths import chosen_precision, one_thread
from bundle.engines.steps.products import multiplies_bfloat16
from bundle.networks import Siren
from bundle.report.tidy import aligned

# the whole study: steps of 2,048 voxels an epoch over all nodules' crops, times epochs
STUDY_STEPS = 894 * 2000
# multiply-adds of the three hidden layers' products, forward and twice backward, of one step
STEP_GFLOP = 3 * 3 * 2 * BATCH * 256 * 256 / 1e9


class Voxels(Dataset):
    """One voxel an item, as one would write it first."""

    def __init__(self, coordinates: torch.Tensor, values: torch.Tensor) -> None:
        self.coordinates, self.values = coordinates, values

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        return self.coordinates[index], self.values[index]


def nodule(length: int, seed: int = 0) -> NoduleData:
    """A nodule of random voxels: the speed does not depend on what they show."""
    generator = torch.Generator().manual_seed(seed)
    places = torch.rand(length, 3, generator=generator) * 2 - 1
    return NoduleData(places, torch.rand(length, generator=generator), seed, BATCH)


def usual_loop(data: NoduleData, device: str) -> Iterator[int]:
    """The loop that this bundle is compared with; yields the steps taken since the last time: 1."""
    network = Siren().to(device)
    optimizer = torch.optim.Adam(network.parameters(), lr=5e-5)
    loader = DataLoader(Voxels(data.coordinates, data.values), batch_size=BATCH, shuffle=True, drop_last=True)
    while True:
        for places, truth in loader:
            places, truth = places.to(device), truth.to(device)
            places = places + torch.randn_like(places) * 1e-4
            loss = nn.functional.mse_loss(network(places)[:, 0], truth)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
            loss.item()
            yield 1


def plain_epochs(data: NoduleData, device: str) -> Iterator[int]:
    """Epochs of the plain Ignite loop; yields the steps of one."""
    batches = CoordinateBatches(data.coordinates, data.values, BATCH)
    trainer = NoduleTrainer(Siren(), batches, FitOptions(), device)
    while True:
        trainer.state.max_epochs = trainer.state.epoch + 1
        trainer.run()
        yield data.steps


def fast_epochs(trainer: StackTrainer) -> Iterator[int]:
    """Epochs of the fast engine; yields the steps of one, of all nodules together."""
    while True:
        trainer.state.max_epochs = trainer.state.epoch + 1
        trainer.run()
        yield sum(fit.data.steps for fit in trainer.fits)


def take_turns(loops: dict[str, Iterator[int]], turn: float, seconds: float, device: str) -> dict[str, list[float]]:
    """Seconds a step of each loop, one number a turn; turns last ``turn`` seconds, all together ``seconds``."""
    for loop in loops.values():
        next(loop)
    taken: dict[str, list[float]] = {name: [] for name in loops}
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(taken[next(iter(loops))]) < 3:
        for name, loop in loops.items():
            taken[name].append(_seconds_a_step(loop, turn, device))
    return taken


def _seconds_a_step(loop: Iterator[int], turn: float, device: str) -> float:
    wait(device)
    start, steps = time.perf_counter(), 0
    while time.perf_counter() - start < turn:
        steps += next(loop)
    wait(device)
    return (time.perf_counter() - start) / steps


def worker_speedup(seconds: float) -> float:
    """Steps a second of two processes at once, over those of one."""
    context = multiprocessing.get_context("spawn")
    rates = {1: [], 2: []}  # type: dict[int, list[float]]
    with context.Pool(2) as pool:
        pool.map(_worker_rate, [0.2, 0.2], chunksize=1)  # imports and compiles
        for _ in range(3):
            for count in rates:
                parts = pool.map(_worker_rate, [seconds] * count, chunksize=1)
                rates[count].append(sum(parts))
    return statistics.median(rates[2]) / statistics.median(rates[1])


def _worker_rate(seconds: float) -> float:
    torch.set_num_threads(1)
    loop = fast_epochs(StackTrainer(Siren(), nodule(8 * BATCH), FitOptions()))
    next(loop)
    return 1 / _seconds_a_step(loop, seconds, "cpu")


def peak_memory_mb(device: str) -> float:
    """Largest memory of this process so far (CPU), or allocated on the GPU."""
    if device.startswith("cuda"):
        return torch.cuda.max_memory_allocated() / 2**20
    usage = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return usage / (2**20 if sys.platform == "darwin" else 2**10)


def cohort_lengths() -> list[int]:
    """Observed voxels of the crops of the cohort's nodules, from their contours."""
    import numpy as np

    from bundle.data import load_cohort
    from bundle.data.lidc.annotations import consensus_mask

    lengths = []
    for item in load_cohort():
        mask, _ = consensus_mask(item["annotation_ids"])
        inside = np.argwhere(mask)
        spacing = np.array([item["pixel_spacing"]] * 2 + [item["slice_spacing"]])
        x, y, z = inside.max(0) - inside.min(0) + 1 + 2 * np.ceil(10 / spacing).astype(int)
        lengths.append(int(x * y * -(-z // 5)))
    return lengths


def machine(device: str) -> str:
    """The processor or GPU, in words."""
    if device.startswith("cuda"):
        return torch.cuda.get_device_name()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return "CPU"


def measure(
    device: str = "cpu",
    quick: bool = False,
    precision: str = "auto",
    profile: bool = False,
    seconds: float | None = None,
) -> dict[str, Any]:
    """Run the benchmark.

    Args:
        device: ``"cpu"`` or ``"cuda"``.
        quick: shorter, and without the test with two workers.
        precision: of the fast engine, see :class:`bundle.engines.FitOptions`.
        profile: add what takes most of the time.
        seconds: length of the interleaved part; None: 12 if quick, else 60.

    Returns:
        what the table shows, by name; ``projected_study_hours`` is for one process a core, or one GPU.
    """
    seconds = seconds or (12.0 if quick else 60.0)
    on_gpu = device.startswith("cuda")
    options = FitOptions(precision=precision)
    lengths = cohort_lengths() if on_gpu else [8 * BATCH]
    data = [nodule(length, seed) for seed, length in enumerate(lengths)]
    with one_thread():
        trainer = StackTrainer([Siren() for _ in data], data, options, device)
        one = nodule(8 * BATCH)
        loops = {"usual": usual_loop(one, device), "plain": plain_epochs(one, device), "fast": fast_epochs(trainer)}
        turns = take_turns(loops, min(1.0, seconds / 24), seconds, device)
        resolved = chosen_precision(precision, torch.device(device))
        peak = matmul_peak(device, resolved, 5 if quick else 15)
        medians = {name: statistics.median(values) for name, values in turns.items()}
        cores = worker_count(None, 57, device)
        result: dict[str, Any] = {
            "speedup_vs_usual_loop": medians["usual"] / medians["fast"],
            "speedup_vs_plain_ignite": medians["plain"] / medians["fast"],
            "steps_per_second": 1 / medians["fast"],
            "ms_per_step": {name: 1e3 * value for name, value in medians.items()},
            "gflops": STEP_GFLOP / medians["fast"],
            "matmul_peak_gflops": peak,
            "projected_study_hours": STUDY_STEPS * medians["fast"] / cores / 3600,
            "projected_processes": cores,
            "peak_memory_mb": peak_memory_mb(device),
            "device": machine(device),
            "path": trainer.path,
            "fallback": trainer.fallback,
            "nodules_in_stack": len(data),
            "turns": len(turns["fast"]),
            "torch": torch.__version__,
        }
        if not on_gpu:
            loops_of = {
                name: fast_epochs(StackTrainer(Siren(), one, FitOptions(precision=name)))
                for name in ("fp32", "bf16")[: 1 + multiplies_bfloat16()]
            }
            result["gflops_and_peak"] = shares_of_peak(loops_of, STEP_GFLOP, seconds / 10)
        if profile:
            result["profile"] = profile_of(loops["fast"], on_gpu)
    if not quick and not on_gpu:
        result["two_workers_vs_one"] = worker_speedup(5.0)
    return result


def profile_of(loop: Iterator[int], on_gpu: bool) -> list[str]:
    """torch's operations or kernels that take most of an epoch; functions compiled from C are not seen."""
    kinds = [torch.profiler.ProfilerActivity.CPU]
    if on_gpu:
        kinds.append(torch.profiler.ProfilerActivity.CUDA)
    with torch.profiler.profile(activities=kinds) as profiler:
        next(loop)

    def own(event: Any) -> float:
        return event.self_device_time_total if on_gpu else event.self_cpu_time_total

    events = sorted(profiler.key_averages(), key=own, reverse=True)
    total = sum(map(own, events)) or 1.0
    return [f"{100 * own(event) / total:.0f} % {event.key[:80]} x{event.count}" for event in events[:10]]


def table(result: dict[str, Any]) -> str:
    """The result for people."""
    times = result["ms_per_step"]
    rows = [
        ("usual DataLoader loop", f"{times['usual']:.2f} ms a step", ""),
        ("plain Ignite loop", f"{times['plain']:.2f} ms a step", ""),
        ("fast engine", f"{times['fast']:.3f} ms a step of a nodule", f"{result['steps_per_second']:.0f} steps/s"),
        ("speed-up", f"{result['speedup_vs_usual_loop']:.1f} x the usual loop",
         f"{result['speedup_vs_plain_ignite']:.1f} x the plain one"),
        ("arithmetic", f"{result['gflops']:.0f} GFLOP/s", f"of {result['matmul_peak_gflops']:.0f} measured peak"),
        *((f"share of peak, {name}", f"{one / peak:.0%}", f"{one:.0f} of {peak:.0f} GFLOP/s, goal 75 %")
          for name, (one, peak) in result.get("gflops_and_peak", {}).items()),
        ("peak memory", f"{result['peak_memory_mb']:.0f} MB", ""),
        ("the whole study", f"{result['projected_study_hours']:.2f} h", f"{result['projected_processes']} processes"),
    ]  # fmt: skip
    if "two_workers_vs_one" in result:
        rows.append(("two workers", f"{result['two_workers_vs_one']:.2f} x one", ""))
    said = f"{result['device']}, torch {result['torch']}: {result['path']}"
    slower = f"\na faster path is not taken: {result['fallback']}" if result["fallback"] else ""
    measured = aligned(("", "measured", ""), rows, heads=3)
    return "\n".join([said + slower, measured, *result.get("profile", [])])


def main(arguments: list[str] | None = None) -> None:
    """Read the command line, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer and shorter turns, no test with two workers")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--device", default="cpu", help="cpu (default) or cuda")
    parser.add_argument("--precision", default="auto", choices=["auto", "fp32", "tf32", "bf16"])
    parser.add_argument("--profile", action="store_true", help="say what takes the time")
    chosen = parser.parse_args(arguments)
    if chosen.device.startswith("cuda") and not torch.cuda.is_available():
        parser.error("--device cuda: torch sees no GPU here; leave it out to measure the CPU")
    result = measure(chosen.device, chosen.quick, chosen.precision, chosen.profile)
    print(json.dumps(result) if chosen.json else table(result))


if __name__ == "__main__":
    main()
