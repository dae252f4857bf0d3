"""Measure what many pieces and many nodules cost beside the work itself.

    python scripts/benchmark_scale.py pieces                      ms a piece of 10 to 1,000 empty ones, memory
    python scripts/benchmark_scale.py pieces --cluster tcp://...  the same at a Dask scheduler
    python scripts/benchmark_scale.py nodules --count 2600        a study whose results are all there, to its report

The nodules of the second are one small phantom crop under many names, with stored results of six methods: what is
measured is the reading, the tables and the pages, as at the end of a study of that many.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import resource
import tempfile
import time
from pathlib import Path
from typing import Any

import nibabel
import numpy as np

from bundle.cluster import DaskCluster, LocalProcesses
from bundle.inferers import method_factories
from bundle.metrics import NoduleEvaluator, TextureEvaluator
from bundle.progress import Report
from bundle.store import _check
from bundle.study.study import Study
from bundle.transforms import CropWithMargind, Decimate

METHODS = ["linear", "cubic", "pchip", "kriging", "morphological", "signed_distance"]
SHAPE = (20, 18, 14)


class Nothing:
    """The empty piece."""

    def __call__(self, piece: int, report: Report) -> int:
        """The piece's number."""
        return piece


def pieces(cluster: str | None) -> None:
    """Print the overhead of a piece: of 10, 100 and 1,000, where the workers are up."""
    ends: dict[str, Any] = {f"{n} processes": LocalProcesses(n) for n in (1, 2, 4)}
    if cluster:
        ends = {cluster: DaskCluster(cluster)}
    for name, end in ends.items():
        with end as machines, contextlib.redirect_stderr(io.StringIO()):
            for count in (10, 100, 1000):
                times = []
                for _ in machines.run(Nothing(), range(count), name):
                    times.append((time.perf_counter(), time.process_time()))
                # from the first result on, which waits for the processes
                each, own = (
                    1e3 * (last - first) / (count - 1) for first, last in zip(times[0], times[-1], strict=True)
                )
                words = f"{each:8.2f} ms each, {own:.2f} ms of this process's core, {_memory_mb():.0f} MB"
                print(f"{name:24} {count:5} pieces {words}", flush=True)


def nodules(count: int, folder: Path, page: bool) -> None:
    """Print the seconds of a study of so many nodules whose results are all there."""
    study = _study(folder, page)
    _datalist(folder, 1)
    with contextlib.redirect_stdout(io.StringIO()):
        _study(folder, False).run()
    _datalist(folder, count)
    study = _study(folder, page)
    start = time.perf_counter()
    _multiply(study, folder)
    print(f"{count} nodules laid out in {time.perf_counter() - start:.0f} s", flush=True)
    start, busy = time.perf_counter(), time.process_time()
    study.run()
    taken, busy = time.perf_counter() - start, time.process_time() - busy
    print(f"study of {count} nodules, all there: {taken:.1f} s, {busy:.1f} s of a core, {_memory_mb():.0f} MB")
    for path in sorted(study_folder(folder).glob("*.*")):
        print(f"{path.stat().st_size / 1e6:10.2f} MB {path.name}")
    pages = list(study_folder(folder).rglob("*.html"))
    if pages:
        print(f"{len(pages)} pages, the largest {max(p.stat().st_size for p in pages) / 1e6:.2f} MB")


def study_folder(folder: Path) -> Path:
    """Where the study writes."""
    return folder / "study"


def _study(folder: Path, page: bool) -> Study:
    from bundle.data import open_source

    source = open_source(datalist=folder / "list.json") if (folder / "list.json").exists() else open_source(limit=1)
    crop: Any = CropWithMargind(keys=["image", "label"], label_key="label", margin_mm=10.0)
    metrics = NoduleEvaluator(thresholds=[-500, -400, -300], roi_margin_mm=3.0)
    texture = TextureEvaluator(slices=["unobserved", "interpolated"], clip_truth=True)
    return Study(
        source, crop, Decimate(5), method_factories("cpu"), METHODS, metrics, str(study_folder(folder)),
        texture=texture, report=page, machines=LocalProcesses(1),
    )  # fmt: skip


def _datalist(folder: Path, count: int) -> None:
    rng = np.random.default_rng(0)
    axes = np.meshgrid(*[np.linspace(-1, 1, n) for n in SHAPE], indexing="ij")
    radius = np.sqrt(sum((a / s) ** 2 for a, s in zip(axes, (0.5, 0.6, 0.7), strict=True)))
    hu = (-850 + 880 / (1 + np.exp(12 * (radius - 1))) + rng.normal(0, 25, SHAPE)).astype(np.int16)
    affine = np.diag([-0.7, -0.7, 1.0, 1.0])
    for name, volume in (("image", hu), ("mask", (radius < 1).astype(np.uint8))):
        nibabel.save(nibabel.Nifti1Image(volume, affine), folder / f"{name}.nii.gz")
    rows = [{"nodule_id": f"n{i:05}", "image": "image.nii.gz", "label": "mask.nii.gz"} for i in range(count)]
    (folder / "list.json").write_text(json.dumps(rows), encoding="utf-8")


def _multiply(study: Study, folder: Path) -> None:
    """Give every nodule the results of the first, as links to its files, with fingerprints of its own."""
    work = study.work()
    first = study_folder(folder) / "nodules" / "n00000"
    parts = {part.name: json.loads((part / "result.json").read_text(encoding="utf-8")) for part in first.iterdir()}
    shared = json.dumps(parts)
    for index, nodule_id in enumerate(work.source.ids[1:], start=1):
        wanted = work.fingerprints(index)
        for name, stored in json.loads(shared.replace("n00000", nodule_id)).items():
            made = first.parent / nodule_id / name
            made.mkdir(parents=True)
            for file in stored["files"]:
                os.link(first / name / file, made / file)
            stored["fingerprint"] = wanted[name]
            stored["check"] = _check(stored)
            (made / "result.json").write_text(json.dumps(stored), encoding="utf-8")


def _memory_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


def main() -> None:
    """Read the command line, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["pieces", "nodules"])
    parser.add_argument("--cluster", help="address of a Dask scheduler")
    parser.add_argument("--count", type=int, default=2600, help="nodules (default 2600)")
    parser.add_argument("--no-page", action="store_true", help="tables alone, no report.html")
    chosen = parser.parse_args()
    if chosen.what == "pieces":
        pieces(chosen.cluster)
        return
    with tempfile.TemporaryDirectory() as folder:
        nodules(chosen.count, Path(folder), not chosen.no_page)


if __name__ == "__main__":
    main()
