"""Calibrate methods' expected errors on nodules that none of them was made on: writes the file that a study reads.

Every method reconstructs every nodule at several strides, cropped as in the study. One scale, the power of the gap in
mm that it follows, and one multiplier for each level are found for all strides together, as
:mod:`bundle.inferers.calibration.fit` has it.
"""

from __future__ import annotations

import contextlib
import json
import math
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bundle.cluster import Cluster, LocalProcesses
from bundle.data import NoduleSource
from bundle.data.windows import in_folds
from bundle.errors import InputError
from bundle.files import write_whole
from bundle.inferers import Reconstruction, SliceInferer
from bundle.inferers.calibration.intervals import read_calibrations
from bundle.inferers.calibration.samples import REGIONS, Sample, entry_of
from bundle.inferers.names import chosen_names
from bundle.progress import Report
from bundle.report.tables.table import DASH, Table
from bundle.study.case import Case, Crop, case_of, nodule_seed, reconstruct
from bundle.transforms import Decimate, to_hu, to_unit

MAX_VOXELS = 100_000


@dataclass
class Sampling:
    """What the worker processes do with a nodule: every method at every protocol.

    Attributes:
        source: of the nodules.
        crop: as in the study.
        inferers: by name, without a calibration.
        protocols: stride of the observed slices, and how many slices each is the average of.
        slices: which slices count: "unobserved" or "interpolated".
        seed: of the methods.
    """

    source: NoduleSource
    crop: Crop
    inferers: Mapping[str, SliceInferer]
    protocols: Sequence[tuple[int, int]]
    slices: str
    seed: int = 0

    def __call__(self, index: int, report: Report) -> dict[str, list[Sample | str]]:
        """Samples by method; the reason instead of one where a method failed."""
        try:
            cropped = self.crop(self.source[index])
        except InputError as fault:
            return {name: [f"{self.source.ids[index]}: {fault}"] for name in self.inferers}
        return self.elsewhere(cropped, report)

    def sent(self, index: int) -> Mapping[str, Any] | None:
        """The cropped nodule, for a machine that can't read the data; None where it can't be used."""
        with contextlib.suppress(InputError):  # told when it is done here
            return self.crop(self.source[index])
        return None

    def received(self, index: int, made: dict[str, list[Sample | str]] | None) -> dict[str, list[Sample | str]]:
        """The samples as a machine gave them; None: the nodule is done here."""
        return self(index, lambda what: lambda done, total, words: None) if made is None else made

    def elsewhere(self, cropped: Mapping[str, Any], report: Report) -> dict[str, list[Sample | str]]:
        """Samples of a cropped nodule by method."""
        found: dict[str, list[Sample | str]] = {name: [] for name in self.inferers}
        for stride, average in self.protocols:
            for name, inferer in self.inferers.items():
                try:
                    case = case_of(cropped, Decimate(stride, average=average))
                    made, _ = reconstruct(case, inferer, nodule_seed(self.seed, case.nodule_id, name))
                    found[name].append(self._sample(case, made, name))
                except InputError as fault:
                    found[name].append(f"{cropped['nodule_id']} at stride {stride}, averages of {average}: {fault}")
        return found

    def _sample(self, case: Case, made: Reconstruction, name: str) -> Sample:
        if made.error is None or made.image is None:
            raise InputError(f"{name} gives no expected error: there is nothing to calibrate")
        truth = case.truth
        beyond = truth.region("unobserved", "global") & ~truth.region("interpolated", "global")
        residual = (made.image - to_unit(case.truth_hu)).astype(np.float32)
        error = made.error.astype(np.float32)
        where = {}
        for region in REGIONS:
            voxels = np.flatnonzero(truth.region(self.slices, region))
            if len(voxels) > MAX_VOXELS:
                voxels = np.random.default_rng(0).choice(voxels, MAX_VOXELS, replace=False)
            where[region] = voxels
        volumes = (residual, error, beyond, to_hu(made.image).astype(np.float32))
        values = [{region: volume.ravel()[at] for region, at in where.items()} for volume in volumes]
        stride, average = case.decimate.stride, case.decimate.average
        residuals, errors, outside, images = values
        gap_mm = stride * case.spacing[case.axis]
        return Sample(case.nodule_id, stride, gap_mm, residuals, errors, outside, images, average)


class CalibrationStudy:
    """Calibrate methods on a cohort, and write what was found.

    Args:
        source: of the nodules: CT, not phantoms.
        crop: the dictionary transform over ``image`` and ``label``.
        inferers: every method there is, by name, each makes its inferer.
        methods: names of those to calibrate; each gives expected errors.
        output_file: JSON that is written; entries of other methods in it stay.
        strides: of the observed slices.
        thick: pairs of a stride and of how many slices an observed one is the average of, beside the strides.
        slices: which slices count: ``unobserved`` or ``interpolated``.
        ids: text file of the nodule ids to use; None: all.
        folds: use patients of these folds of 5 only; None: all.
        data_name: what the file calls the nodules; None: the source's own words.
        seed: of the methods.
        machines: that work on the nodules; None: one process a core of this one.

    Example:
        >>> # python -m monai.bundle run --config_file "['configs/study.json','configs/calibrate.json']" --datalist DIR
    """

    def __init__(
        self,
        source: NoduleSource,
        crop: Crop,
        inferers: Mapping[str, Callable[[], SliceInferer]],
        methods: Sequence[str] | str,
        output_file: str,
        strides: Sequence[int] = (3, 5, 8),
        thick: Sequence[Sequence[int]] = ((3, 3), (5, 5), (2, 4), (3, 6)),
        slices: str = "unobserved",
        ids: str | None = None,
        folds: Sequence[int] | None = None,
        data_name: str | None = None,
        seed: int = 0,
        machines: Cluster | None = None,
    ) -> None:
        self.source = source
        self.crop = crop
        self.inferers = inferers
        self.methods = methods
        self.output_file = Path(output_file).expanduser()
        self.protocols = [(stride, 1) for stride in strides] + [(int(pair[0]), int(pair[1])) for pair in thick]
        self.slices = slices
        self.ids = ids
        self.folds = folds
        self.data_name = data_name
        self.seed = seed
        self.machines = machines or LocalProcesses()

    def run(self) -> None:
        """Calibrate, write the file, print nominal against actual coverage.

        Raises:
            InputError: a value or nodules that can't be used; nothing is written.
        """
        kept = {}
        if self.output_file.exists():
            read_calibrations(self.output_file)  # a broken file is told, not written over
            kept = json.loads(self.output_file.read_text(encoding="utf-8"))["methods"]
        if self.slices not in ("unobserved", "interpolated"):
            raise InputError(f"--slices is {self.slices!r}, expected 'unobserved' or 'interpolated'")
        source = self.source
        if source.kind == "phantom":
            raise InputError("phantoms say nothing about errors on CT: give --datalist or --dicom_root")
        source = chosen_nodules(source, self.ids, self.folds)
        names = chosen_names(self.methods, list(self.inferers), "methods")
        work = Sampling(
            source, self.crop, {n: self.inferers[n]() for n in names}, self.protocols, self.slices, self.seed
        )
        with self.machines as machines:
            done = dict(machines.run(work, range(len(source)), "calibration"))
        data = {
            "data": self.data_name or source.description,
            "folds_of_5": None if self.folds is None else list(self.folds),
            "protocols": [list(pair) for pair in self.protocols],
            "slices": self.slices,
        }
        entries = {name: _entry(name, [one for i in sorted(done) for one in done[i][name]], data) for name in names}
        text = json.dumps({"methods": kept | entries}, indent=1) + "\n"
        # lists of numbers on a line of their own
        text = re.sub(r"\[\s+([^][{}]*?)\s+\]", lambda found: f"[{' '.join(found[1].split())}]", text)
        write_whole(self.output_file, lambda path: path.write_text(text, encoding="utf-8"))
        for name, entry in entries.items():
            if entry["calibrated_on"]["not_promised"]:
                print(_too_few(name, **entry["calibrated_on"]))
        print("coverage of each patient by the calibration of the others; a dash where there are none:")
        print(f"{coverage_table(entries).text()}\nwrote {self.output_file}")


def chosen_nodules(source: NoduleSource, ids: str | None, folds: Sequence[int] | None) -> NoduleSource:
    """The nodules to calibrate on: those named in a file, of patients in some folds, or all.

    Raises:
        InputError: the file can't be read or names what is not there, or no nodule is left.
    """
    chosen = list(range(len(source)))
    if ids is not None:
        try:
            wanted = set(Path(ids).expanduser().read_text(encoding="utf-8").split())
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


def coverage_table(entries: Mapping[str, Mapping[str, Any]]) -> Table:
    """Nominal against actual coverage of other patients."""
    rows: list[tuple[str, ...]] = []
    levels: Sequence[float] = ()
    for name, entry in entries.items():
        held = dict(entry["coverage_of_other_patients"])
        levels = held.pop("levels")
        for stride, regions in held.items():
            for region, parts in regions.items():
                rows.append((name, stride, region, *(DASH if part is None else f"{part:.1%}" for part in parts)))
    columns = ("method", "stride", "region", *(f"{level:.0%}" for level in levels))
    return Table("", "Coverage of other patients.", columns, tuple(rows), heads=3)


def _too_few(name: str, patients: int, not_promised: Sequence[float], **_: Any) -> str:
    """Which levels so few patients can't promise, and how many can (:func:`.calibration.fit.promised`)."""
    levels = ", ".join(f"{100 * level:g}" for level in not_promised)
    enough = ", ".join(f"{math.floor(round(level / (1 - level), 6)) + 1}" for level in not_promised)
    return (
        f"{name}: intervals of {levels} % take the largest error seen: {patients} patients can't promise more of the "
        f"next one; give {enough} or more"
    )


def _entry(name: str, found: Sequence[Sample | str], data: Mapping[str, Any]) -> dict[str, Any]:
    samples, reasons = [s for s in found if isinstance(s, Sample)], [s for s in found if isinstance(s, str)]
    for reason in reasons:
        print(f"left out: {name}, {reason}", file=sys.stderr)
    if not samples:
        raise InputError(f"{name} gave no expected error on any nodule; the first: {reasons[0]}")
    return entry_of(samples, len(reasons), data)
