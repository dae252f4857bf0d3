"""Calibrate methods' expected errors on nodules that none of them was made on: writes configs/uncertainty.json.

    python scripts/calibrate_uncertainty.py --datalist DATA --folds 0 --methods siren_mm prior

Every method reconstructs every nodule at several strides, cropped as in the study. One scale, the power of the gap in
mm that it follows, and one multiplier for each level are found for all strides together (bundle/inferers/calibration.py
says how). The file says what was calibrated on, and the coverage that each fifth of the patients gets from a
calibration on the others. Entries of other methods in the file stay.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from monai.bundle import ConfigParser

from bundle.data import NoduleSource, open_source
from bundle.data.windows import in_folds, patient_of
from bundle.errors import InputError, exit_on_mistake
from bundle.files import write_text
from bundle.inferers import Calibration, Reconstruction, SliceInferer, calibrate
from bundle.inferers.calibration.fit import coverage_of
from bundle.inferers.calibration.intervals import LEVELS, UNCERTAINTY_FILE, read_calibrations
from bundle.inferers.names import chosen_names
from bundle.metrics import slice_region, slice_sets
from bundle.study.case import Case, Crop, case_of, nodule_seed, reconstruct
from bundle.study.workers import run_all, worker_count
from bundle.transforms import Decimate, to_unit
from bundle.version import __version__

ROOT = Path(__file__).resolve().parents[1]
REGIONS = ("global", "tumour")
FOLDS = 5
MAX_VOXELS = 100_000


@dataclass
class Sample:
    """One method on one nodule at one stride: residuals and raw errors at unobserved voxels, by region.

    Attributes:
        nodule_id: of the nodule.
        stride: of the observed slices.
        gap_mm: between them.
        residuals: reconstruction minus truth, normalised, by region.
        errors: the method's raw error there.
        beyond: which of the voxels lie beyond the observed slices.
    """

    nodule_id: str
    stride: int
    gap_mm: float
    residuals: dict[str, np.ndarray] = field(default_factory=dict)
    errors: dict[str, np.ndarray] = field(default_factory=dict)
    beyond: dict[str, np.ndarray] = field(default_factory=dict)


@dataclass
class Sampling:
    """What the worker processes do with a nodule: every method at every stride.

    Attributes:
        source: of the nodules.
        crop: as in the study.
        inferers: by name, without a calibration.
        strides: of the observed slices.
        slices: which slices count: "unobserved" or "interpolated".
        seed: of the methods.
    """

    source: NoduleSource
    crop: Crop
    inferers: Mapping[str, SliceInferer]
    strides: Sequence[int]
    slices: str
    seed: int = 0

    def __call__(self, index: int, report: Callable[[str, int, int], None]) -> dict[str, list[Sample | str]]:
        """Samples by method; the reason instead of one where a method failed."""
        found: dict[str, list[Sample | str]] = {name: [] for name in self.inferers}
        try:
            cropped = self.crop(self.source[index])
        except InputError as fault:
            return {name: [f"{self.source.ids[index]}: {fault}"] for name in self.inferers}
        for stride in self.strides:
            for name, inferer in self.inferers.items():
                try:
                    case = case_of(cropped, Decimate(stride))
                    made, _ = reconstruct(case, inferer, nodule_seed(self.seed, case.nodule_id, name))
                    found[name].append(self._sample(case, made, stride, name))
                except InputError as fault:
                    found[name].append(f"{self.source.ids[index]} at stride {stride}: {fault}")
        return found

    def _sample(self, case: Case, made: Reconstruction, stride: int, name: str) -> Sample:
        if made.error is None or made.image is None:
            raise InputError(f"{name} gives no expected error: there is nothing to calibrate")
        sets = slice_sets(case.mask.shape[2], case.observed)
        chosen = slice_region(case.mask.shape, sets[self.slices])
        beyond = slice_region(case.mask.shape, sets["unobserved"] & ~sets["interpolated"])
        residual = (made.image - to_unit(case.truth_hu)).astype(np.float32)
        sample = Sample(case.nodule_id, stride, stride * case.spacing[case.axis])
        for region, inside in zip(REGIONS, (chosen, chosen & case.mask), strict=True):
            where = np.flatnonzero(inside)
            if len(where) > MAX_VOXELS:
                where = np.random.default_rng(0).choice(where, MAX_VOXELS, replace=False)
            sample.residuals[region] = residual.ravel()[where]
            sample.beyond[region] = beyond.ravel()[where]
            sample.errors[region] = made.error.astype(np.float32).ravel()[where]
        return sample


def calibrated(samples: Sequence[Sample]) -> Calibration:
    """Calibration of a method over the field of view; each nodule and stride has the same weight."""
    parts = ([getattr(s, name)["global"] for s in samples] for name in ("residuals", "errors", "beyond"))
    residuals, errors, beyond = parts
    return calibrate(residuals, errors, LEVELS, [s.gap_mm for s in samples], beyond)


def held_out_coverage(samples: Sequence[Sample]) -> dict[str, dict[str, list[float | None]]]:
    """Coverage by stride and region, of each fifth of the patients by the calibration of the other patients.

    Returns:
        for "all" and each stride, by region, the mean over nodules for each of the levels; None where undefined, as
        with a single patient.
    """
    patients = sorted({patient_of(sample.nodule_id) for sample in samples})
    by_place: dict[tuple[str, str], list[np.ndarray]] = {}
    for fold in range(min(FOLDS, len(patients))):
        held = set(patients[fold::FOLDS])
        rest = [s for s in samples if patient_of(s.nodule_id) not in held]
        if not rest:
            continue
        found = calibrated(rest)
        for sample in samples:
            if patient_of(sample.nodule_id) in held:
                for region in REGIONS:
                    residuals, errors = [sample.residuals[region]], [sample.errors[region]]
                    part = coverage_of(residuals, errors, found, [sample.gap_mm], [sample.beyond[region]])
                    for place in ("all", str(sample.stride)):
                        by_place.setdefault((place, region), []).append(part)
    table: dict[str, dict[str, list[float | None]]] = {}
    for place in ("all", *(str(stride) for stride in sorted({s.stride for s in samples}))):
        for region in REGIONS:
            parts = [part for part in by_place.get((place, region), []) if np.isfinite(part).all()]
            means = np.mean(parts, axis=0) if parts else [None] * len(LEVELS)
            table.setdefault(place, {})[region] = [None if m is None else round(float(m), 4) for m in means]
    return table


def entry_of(samples: Sequence[Sample], left_out: Sequence[str], data: Mapping[str, Any]) -> dict[str, Any]:
    """What the file says of a method."""
    found = calibrated(samples)
    return {
        "scale": found.scale,
        "gap_power": found.gap_power,
        "beyond": found.beyond,
        "multipliers": {f"{level:g}": q for level, q in found.intervals.items()},
        "calibrated_on": {
            **data,
            "nodules": len({s.nodule_id for s in samples}),
            "patients": len({patient_of(s.nodule_id) for s in samples}),
            "reconstructions": len(samples),
            "left_out": len(left_out),
        },
        "coverage_of_other_patients": {"levels": list(LEVELS), **held_out_coverage(samples)},
        "made_by": f"scripts/calibrate_uncertainty.py {__version__}",
    }


def table(entries: Mapping[str, Mapping[str, Any]]) -> str:
    """Nominal against actual coverage of other patients, as text."""
    lines = [f"{'method':<14}{'stride':<8}{'region':<9}" + "".join(f"{f'{level:.0%}':>8}" for level in LEVELS)]
    for name, entry in entries.items():
        for stride, regions in entry["coverage_of_other_patients"].items():
            if stride == "levels":
                continue
            for region, parts in regions.items():
                cells = "".join(f"{'–' if part is None else f'{part:.1%}':>8}" for part in parts)
                lines.append(f"{name:<14}{stride:<8}{region:<9}{cells}")
    return "\n".join(lines)


def parts_of_study(config: Path, methods: Sequence[str], device: str) -> tuple[Crop, dict[str, SliceInferer]]:
    """The study's crop, and the chosen methods as it makes them, without a calibration."""
    parser = ConfigParser()
    parser.read_config(config)
    # as for CT: what a config does for phantoms alone is no method of interest
    parser.update({"bundle_root": str(ROOT), "device": device, "datalist": "calibration"})
    known = parser.get_parsed_content("inferers")
    names = chosen_names(list(methods), list(known), "methods")
    return parser.get_parsed_content("crop")(), {name: known[name]() for name in names}


def chosen_nodules(source: NoduleSource, ids: Path | None, folds: Sequence[int] | None) -> NoduleSource:
    """The nodules to calibrate on: those named in a file, of patients in some folds, or all."""
    chosen = list(range(len(source)))
    if ids is not None:
        try:
            wanted = set(ids.read_text(encoding="utf-8-sig").split())
        except OSError as fault:
            raise InputError(f"{ids} can't be read ({fault.strerror}): give a file of nodule ids") from fault
        unknown = wanted - set(source.ids)
        if unknown or not wanted:
            raise InputError(
                f"{ids} names {', '.join(sorted(unknown)) or 'no nodule'}: expected ids of the data's nodules"
            )
        chosen = [i for i in chosen if source.ids[i] in wanted]
    if folds is not None:
        chosen = sorted(set(chosen) & set(in_folds(source.ids, folds)))
    if not chosen:
        raise InputError("no nodule is both in the file of ids and in the folds: leave one of them out")
    return NoduleSource(source.kind, [source.entries[i] for i in chosen], source.load, source.description)


def run(arguments: argparse.Namespace) -> str:
    """Calibrate, write the file; returns the table to print."""
    kept = {}
    if arguments.output.exists():
        read_calibrations(arguments.output)  # a broken file is told, not written over
        kept = json.loads(arguments.output.read_text(encoding="utf-8"))["methods"]
    source = chosen_nodules(open_source(datalist=arguments.datalist), arguments.ids, arguments.folds)
    crop, inferers = parts_of_study(arguments.config, arguments.methods, arguments.device)
    work = Sampling(source, crop, inferers, arguments.strides, arguments.slices)
    workers = worker_count(arguments.workers, len(source), arguments.device)
    done = dict(run_all(work, range(len(source)), workers, "calibration"))
    data = {
        "data": arguments.name or arguments.datalist.expanduser().resolve().name,
        "folds_of_5": arguments.folds,
        "strides": arguments.strides,
        "slices": arguments.slices,
    }
    entries = {}
    for name in inferers:
        found = [one for index in sorted(done) for one in done[index][name]]
        samples, reasons = [s for s in found if isinstance(s, Sample)], [s for s in found if isinstance(s, str)]
        for reason in reasons:
            print(f"left out: {name}, {reason}", file=sys.stderr)
        if not samples:
            raise InputError(f"{name} gave no expected error on any nodule; the first: {reasons[0]}")
        entries[name] = entry_of(samples, reasons, data)
    text = json.dumps({"methods": kept | entries}, indent=1) + "\n"
    # lists of numbers on a line of their own
    text = re.sub(r"\[\s+([^][{}]*?)\s+\]", lambda found: f"[{' '.join(found[1].split())}]", text)
    write_text(arguments.output, text)
    return f"{table(entries)}\nwrote {arguments.output}"


def main(argv: list[str] | None = None) -> None:
    """Read the command line, calibrate, print the table; a mistake ends it with one sentence."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--datalist", type=Path, required=True, help="MONAI datalist or folder of NIfTI pairs")
    parser.add_argument(
        "--methods", nargs="+", required=True, metavar="METHOD", help="as configs/study.json names them"
    )
    parser.add_argument("--ids", type=Path, help="text file of the nodule ids to use (default: all)")
    parser.add_argument("--folds", nargs="+", type=int, metavar="N", help="use patients of these folds of 5 only")
    parser.add_argument("--strides", nargs="+", type=int, default=[3, 5, 8], metavar="N")
    parser.add_argument("--slices", choices=["unobserved", "interpolated"], default="unobserved")
    parser.add_argument("--name", help="what the file calls the data (default: name of the datalist)")
    parser.add_argument("--config", type=Path, default=ROOT / "configs" / "study.json", help="makes crop and methods")
    parser.add_argument("--output", type=Path, default=UNCERTAINTY_FILE, help="default: %(default)s")
    parser.add_argument("--workers", type=int, help="processes (default: one a core)")
    parser.add_argument("--device", default="cpu", help="default: %(default)s")
    print(exit_on_mistake(lambda: run(parser.parse_args(argv))))


if __name__ == "__main__":
    main()
