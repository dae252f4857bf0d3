"""Make many scans dense: each result whole or not there, a bad scan told and passed over, a stopped run taken up again.

Vocabulary: a *result* is the files of one scan, made under one set of options; its *record*, a JSON file beside them,
names its input, options and notes, and is written last: what has one is whole.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from monai.data import DataLoader, Dataset

from bundle.cluster import Cluster
from bundle.data import check_empty_folder
from bundle.data.dicom.export import SEGMENTATION
from bundle.data.identity import FileHashes
from bundle.data.notes import notes_of
from bundle.data.scans import DicomSeries
from bundle.errors import InputError, OutputError, mistake_behind
from bundle.files import file_digest, writable_folder, write_text
from bundle.inferers.dense.batch import batch_of_one
from bundle.inferers.dense.many import ManyScans
from bundle.progress import counted
from bundle.version import __version__

log = logging.getLogger(__name__)

# options by which two results of one scan are two regions, not one made anew
_REGION = ("center", "center_unit", "size_mm", "margin_mm", "segment")
# options that may name a file
_FILES = ("mask", "positions", "weights", "calibration")
COLUMNS = ("input", "output", "method", "notes", "seconds")


def identity(scan: Any, options: Mapping[str, Any], hashes: FileHashes) -> str:
    """A short text that changes with what a scan's files hold, or those that an option names, or with an option.

    Args:
        scan: a path, or the files of a series.
        options: by name.
        hashes: of whole files; knows those that are unchanged since an earlier run.

    Example:
        >>> hashes = FileHashes()
        >>> identity("absent.nii", {}, hashes) == identity("absent.nii", {"method": "linear"}, hashes)
        False
    """
    paths: Iterable[Any] = scan.files if isinstance(scan, DicomSeries) else [scan]
    named = {name: _state(options[name], hashes) for name in _FILES if isinstance(options.get(name), str | Path)}
    return _digest([[_state(path, hashes) for path in paths], {**options, **named}, __version__])


def _digest(values: Any) -> str:
    text = json.dumps(values, sort_keys=True, default=str)
    return hashlib.blake2b(text.encode("utf-8", "surrogateescape"), digest_size=16).hexdigest()


def _state(path: Any, hashes: FileHashes) -> list[Any]:
    """Name, size and hash of a file, or of all files that a folder holds."""
    path = Path(str(path)).expanduser()
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    return [path.name, *(hashes.identity(file) for file in files if file.is_file())]


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
    ) -> None:
        self.evaluator = evaluator
        evaluator.interrupt_resume_enabled = False  # what failed for one scan is not gone on with for the next
        self.transform = transform
        self.folder = Path(output_dir).expanduser()
        self.options = dict(options)
        self.hashes = FileHashes()
        self.suffix = suffix
        self.dicom_output = None if not dicom_output else Path(dicom_output).expanduser()
        self.previews = previews
        self.machines = machines
        self.config = config or {}
        self.measurements = measurements

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
            work = ManyScans(self.config, scans)
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
        try:
            return self._one(scan, several), ""
        except Exception as fault:
            mistake = mistake_behind(fault)
            if isinstance(mistake, OutputError) or (not several and mistake is not None):
                raise mistake from fault
            if not several:
                raise
            reason = str(mistake) if mistake is not None else f"{type(fault).__name__}: {fault}"
            log.warning("%s was left out: %s", scan["image"], reason)
            return None, " ".join(reason.split())

    def _one(self, scan: Mapping[str, Any], several: bool) -> dict[str, Any]:
        """The record of one scan, which is computed if there is none."""
        mask = _path(scan.get("mask"))
        key = identity(scan["image"], {**self.options, "mask": mask}, self.hashes)
        region = {name: self.options.get(name) for name in _REGION} | {"mask": str(mask)}
        origin = str(scan.get("origin", scan["image"]))
        place = _digest([str(Path(origin).absolute()), getattr(scan["image"], "name", ""), region])
        name, record = self._name(f"{scan['name']}_dense_{self.options['method']}", place)
        dicom = None if self.dicom_output is None else self.dicom_output / name if several else self.dicom_output
        if record.get("key") == key and record.get("whole"):
            if record.get("files") == self._files(name):
                log.info("%s is there already", self.folder / record["output"])
                for extra in self._extras(scan):
                    if not extra.there(self.folder, name):
                        extra.write(self.folder, name, record, self.transform(scan)["image"])
                return record
            log.warning("%s was damaged, changed or moved: it is made anew", self.folder / record["output"])
        elif record.get("whole"):
            log.info("%s was made with other options or of another file: it is overwritten", name)
        if dicom is not None:
            if record.get("key") == key:
                _clear(dicom)  # of this very result, which a killed run did not finish
            check_empty_folder(dicom)
        writable_folder(self.folder, "--output_dir")
        for extra in self._extras(scan):
            extra.forget(self.folder, name)
        started = time.perf_counter()
        self._write(name, {"key": key, "place": place, "input": origin, "whole": False})
        item = {**scan, "result": name} | ({} if dicom is None else {"dicom_output": str(dicom)})
        self.evaluator.state.output = None  # each scan has the memory to itself
        try:
            self.evaluator.data_loader = DataLoader(
                Dataset([item], self.transform), batch_size=1, num_workers=0, collate_fn=batch_of_one
            )
            self.evaluator.state.epoch_length = 1
            self.evaluator.run()
        except BaseException:
            if record.get("whole"):
                self._write(name, record)
            else:
                (self.folder / f"{name}.json").unlink(missing_ok=True)
            raise
        made = self.evaluator.state.output[0]
        pred = made["pred"]
        meta = pred.meta
        record = {
            "key": key,
            "place": place,
            "input": origin,
            "output": f"{name}{self.suffix}",
            "dicom": None if dicom is None else str(dicom),
            "method": str(meta.get("method") or self.options["method"]),
            "notes": notes_of(pred),
            "observed_kept": bool(meta.get("observed_kept", True)),
            "seconds": round(time.perf_counter() - started, 2),
            "shape": list(pred.shape[1:]),
            "nodules": json.loads(str(meta.get("nodules", "null"))),
            "options": json.loads(json.dumps(self.options, default=str)),
            "version": __version__,
            "files": self._files(name),
            "whole": True,
        }
        self._write(name, record)
        for extra in self._extras(scan):
            extra.write(self.folder, name, record, made["image"], pred)
        return record

    def _extras(self, scan: Mapping[str, Any]) -> list[Any]:
        """What is made beside a scan's result."""
        measured = None if scan.get("mask") is None else self.measurements
        return [extra for extra in (measured, self.previews) if extra is not None]

    def _name(self, name: str, place: str) -> tuple[str, dict[str, Any]]:
        """A name that no result of another scan or region has, and the record there is under it."""
        for candidate in (name, f"{name}-{place[:8]}"):
            record = _read(self.folder / f"{candidate}.json")
            if record.get("place") == place:
                return candidate, record
            if not record and not (self.folder / f"{candidate}{self.suffix}").exists():
                return candidate, {}
        return f"{name}-{place[:8]}", {}

    def _files(self, name: str) -> dict[str, str]:
        """Hashes of a result's files."""
        paths = [self.folder / f"{name}{end}{self.suffix}" for end in ("", "_uncertainty")]
        return {path.name: file_digest(path) for path in paths if path.is_file()}

    def _write(self, name: str, record: Mapping[str, Any]) -> None:
        write_text(self.folder / f"{name}.json", json.dumps(record, indent=2, ensure_ascii=False) + "\n")

    def _tables(self, failures: Sequence[Mapping[str, Any]], several: bool) -> None:
        """All whole results in the folder, and what failed in this run."""
        paths = sorted(self.folder.glob("*_dense_*.json"))
        records = [{**record, "record": path.name} for path in paths if (record := _read(path)).get("whole")]
        rows = [{**record, "notes": "; ".join(record["notes"])} for record in records]
        write_text(self.folder / "results.csv", _table(COLUMNS, rows))
        write_text(self.folder / "failures.csv", _table(("input", "reason"), failures))
        if several and self.previews is not None:
            self.previews.index(self.folder, records, failures)


def _lost(piece: int, reason: str) -> tuple[None, str]:
    return None, reason


def _clear(folder: Path) -> None:
    """Delete the DICOM files that this program writes into a folder."""
    for file in [*folder.glob("IM[0-9]*.dcm"), folder / SEGMENTATION]:
        file.unlink(missing_ok=True)


def _path(value: Any) -> Path | None:
    return None if value is None else Path(str(value))


def _read(path: Path) -> dict[str, Any]:
    """A record; {} where there is none, or what is there is none."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}


def _table(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
