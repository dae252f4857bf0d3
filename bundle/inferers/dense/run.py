"""Make many scans dense: each result whole or not there, a bad scan told and passed over, a stopped run taken up again.

Vocabulary: a *result* is the files of one scan, made under one set of options; its *record*, a JSON file beside them,
names its input, options and notes, and is written last: what has one is whole.
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from monai.data import DataLoader, Dataset

from bundle.cluster import Cluster
from bundle.data import check_empty_folder
from bundle.data.identity import FileHashes
from bundle.data.notes import notes_of
from bundle.errors import InputError, OutputError, mistake_behind
from bundle.files import writable_folder, write_text
from bundle.inferers.dense.batch import batch_of_one
from bundle.inferers.dense.many import ManyScans
from bundle.inferers.dense.results import Plan, Results, clear_series, digest, identity
from bundle.inferers.dense.sent import SentScans
from bundle.progress import counted
from bundle.version import __version__

log = logging.getLogger(__name__)

# options by which two results of one scan are two regions, not one made anew
_REGION = ("center", "center_unit", "size_mm", "margin_mm", "segment")
COLUMNS = ("input", "output", "method", "notes", "seconds")


class ScanRun:
    """Works through scans by a MONAI evaluator, one at a time, or each on one of several machines.

    Args:
        evaluator: infers one batch and saves it; a new data loader is given to it for each scan.
        transform: loads a scan.
        output_dir: where the records, ``results.csv`` and ``failures.csv`` go.
        options: what the results depend on besides the scan, as JSON can hold it.
        suffix: ending of the volumes' names.
        dicom_output: folder for DICOM series; of several scans each has a folder of its own in it.
        previews: makes pages of results (:class:`bundle.report.preview.previews.Previews`); None: none are made.
        machines: that work on several scans, each on one thread; None: this process, on all cores, one after the other.
        config: content of the config that this is made by, for the machines' processes.
        measurements: measures what a mask holds (:class:`bundle.study.measure.Measurements`); None: not.
        samples: draws samples of results (:class:`bundle.study.samples.Samples`); None: not.

    Example:
        >>> ScanRun(evaluator, preprocessing, "output", {"method": "pchip"})(find_scans("scans", "."))  # doctest: +SKIP
    """

    def __init__(
        self,
        evaluator: Any,
        transform: Callable[[Any], Any],
        output_dir: str | Path,
        options: Mapping[str, Any],
        suffix: str = ".nii.gz",
        dicom_output: str | Path | None = None,
        previews: Any = None,
        machines: Cluster | None = None,
        config: Mapping[str, Any] | None = None,
        measurements: Any = None,
        samples: Any = None,
    ) -> None:
        self.evaluator = evaluator
        evaluator.interrupt_resume_enabled = False  # what failed for one scan is not gone on with for the next
        self.transform = transform
        self.folder = Path(output_dir).expanduser()
        self.options = dict(options)
        self.hashes = FileHashes()
        self.suffix = suffix
        self.results = Results(self.folder, suffix)
        self.dicom_output = None if not dicom_output else Path(dicom_output).expanduser()
        self.previews = previews
        self.machines = machines
        self.config = config or {}
        self.measurements = measurements
        self.samples = samples

    def __call__(self, scans: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Make every scan dense that has no result yet.

        Args:
            scans: of :func:`bundle.data.scans.find_scans`.

        Returns:
            the records, in the order of the scans that worked.

        Raises:
            InputError: the only scan, or each of them, can't be used.
            OutputError: nothing can be written.
        """
        several = len(scans) > 1
        self.hashes.load(self.folder / "inputs.json")
        if several and self.machines is not None:
            kind = ManyScans if self.machines.shared_folder else SentScans
            work = kind(self.config, scans, [self])
            with self.machines as machines:
                pieces = machines.run(work, range(len(scans)), "scans", _lost, work.cost, "scan")
                found = dict(pieces)
            made = [found[piece] for piece in range(len(scans))]
        else:
            made = [self.attempt(scan, several) for scan in counted(scans, "scans", "scan", least=2)]
        records = [record for record, _ in made if record is not None]
        failures = [
            {"input": str(scan["image"]), "reason": reason}
            for scan, (record, reason) in zip(scans, made, strict=True)
            if record is None
        ]
        if records or failures:
            self._tables(failures, several)
            write_text(self.folder / "inputs.json", self.hashes.text())
        if failures and not records:
            raise InputError(
                f"none of {len(scans)} scans could be used, see {self.folder / 'failures.csv'}: {failures[0]['reason']}"
            )
        if failures:
            log.warning("%d of %d scans were left out: see %s", len(failures), len(scans), self.folder / "failures.csv")
        return records

    def attempt(self, scan: Mapping[str, Any], several: bool) -> tuple[dict[str, Any] | None, str]:
        """The record of one scan; of several, None and the reason where it can't be used.

        Raises:
            InputError: the only scan can't be used.
            OutputError: nothing can be written.
        """
        return self.told(scan, several, lambda: self._one(scan, several))

    def told(
        self, scan: Mapping[str, Any], several: bool, make: Callable[[], dict[str, Any]]
    ) -> tuple[dict[str, Any] | None, str]:
        """What ``make`` gives of a scan; see :meth:`attempt`."""
        try:
            return make(), ""
        except Exception as fault:
            mistake = mistake_behind(fault)
            if isinstance(mistake, OutputError) or (not several and mistake is not None):
                raise mistake from fault
            if not several:
                raise
            reason = str(mistake) if mistake is not None else f"{type(fault).__name__}: {fault}"
            said = "" if str(scan["image"]) in reason else f"{scan['image']}: "
            log.warning("left out: %s%s", said, reason)
            return None, " ".join(reason.split())

    def _one(self, scan: Mapping[str, Any], several: bool) -> dict[str, Any]:
        """The record of one scan, which is computed if there is none."""
        plan = self.plan(scan)
        if plan.record is not None:
            for extra in self._extras(scan):
                if not extra.there(self.folder, plan.name):
                    extra.write(self.folder, plan.name, plan.record, self.transform(scan)["image"])
            return plan.record
        dicom = self.dicom_folder(plan.name, several)
        item = {**scan, "result": plan.name} | ({} if dicom is None else {"dicom_output": str(dicom)})
        with self.making(scan, plan, dicom):
            started = time.perf_counter()
            self.evaluator.state.output = None  # each scan has the memory to itself
            self.evaluator.data_loader = DataLoader(
                Dataset([item], self.transform), batch_size=1, num_workers=0, collate_fn=batch_of_one
            )
            self.evaluator.state.epoch_length = 1
            self.evaluator.run()
        made = self.evaluator.state.output[0]
        pred = made["pred"]
        record = self.finish(plan, dicom, {
            "method": str(pred.meta.get("method") or self.options["method"]),
            "notes": notes_of(pred),
            "observed_kept": bool(pred.meta.get("observed_kept", True)),
            "seconds": round(time.perf_counter() - started, 2),
            "shape": list(pred.shape[1:]),
            "nodules": json.loads(str(pred.meta.get("nodules", "null"))),
        })  # fmt: skip
        for extra in self._extras(scan):
            extra.write(self.folder, plan.name, record, made["image"], pred)
        return record

    def plan(self, scan: Mapping[str, Any]) -> Plan:
        """What a scan's result is called, and the record of one that is there already."""
        mask = None if scan.get("mask") is None else Path(str(scan["mask"]))
        key = identity(scan["image"], {**self.options, "mask": mask}, self.hashes)
        region = {name: self.options.get(name) for name in _REGION} | {"mask": str(mask)}
        origin = str(scan.get("origin", scan["image"]))
        place = digest([str(Path(origin).absolute()), getattr(scan["image"], "name", ""), region])
        asked = scan.get("result") or f"{scan['name']}_dense_{self.options['method']}"
        return self.results.plan(str(asked), {"key": key, "place": place, "input": origin})

    def dicom_folder(self, name: str, several: bool) -> Path | None:
        """Where the DICOM series of a result goes; None: there is none."""
        return None if self.dicom_output is None else self.dicom_output / name if several else self.dicom_output

    @contextlib.contextmanager
    def making(self, scan: Mapping[str, Any], plan: Plan, dicom: Path | None) -> Iterator[None]:
        """While the block makes a result, its record says that it is not whole; where it fails, all is as it was.

        Raises:
            InputError: the folder for the DICOM series holds other files.
            OutputError: nothing can be written.
        """
        if dicom is not None:
            if plan.stored.get("key") == plan.known["key"]:
                clear_series(dicom)  # of this very result, which a killed run did not finish
            check_empty_folder(dicom)
        writable_folder(self.folder, "--output_dir")
        for extra in self._extras(scan):
            extra.forget(self.folder, plan.name)
        self.results.write(plan.name, {**plan.known, "whole": False})
        try:
            yield
        except BaseException:
            self.results.put_back(plan)
            raise

    def finish(self, plan: Plan, dicom: Path | None, made: Mapping[str, Any]) -> dict[str, Any]:
        """Write the record of a result whose files are there."""
        record = {
            **plan.known,
            "output": f"{plan.name}{self.suffix}",
            "dicom": None if dicom is None else str(dicom),
            **made,
            "options": json.loads(json.dumps(self.options, default=str)),
            "version": __version__,
            "files": self.results.files(plan.name),
            "whole": True,
        }
        self.results.write(plan.name, record)
        return record

    def _extras(self, scan: Mapping[str, Any]) -> list[Any]:
        """What is made beside a scan's result."""
        measured = None if scan.get("mask") is None else self.measurements
        return [extra for extra in (measured, self.samples, self.previews) if extra is not None]

    def _tables(self, failures: Sequence[Mapping[str, Any]], several: bool) -> None:
        """All whole results in the folder, and what failed in this run."""
        records = self.results.whole()
        rows = [{**record, "notes": "; ".join(record["notes"])} for record in records]
        write_text(self.folder / "results.csv", _table(COLUMNS, rows))
        write_text(self.folder / "failures.csv", _table(("input", "reason"), failures))
        if several and self.previews is not None:
            self.previews.index(self.folder, records, failures)


def _lost(piece: int, reason: str) -> tuple[None, str]:
    return None, reason


def _table(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
