"""The results of scans in a folder: what each was made of, which are whole, and names that none of them share."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bundle.data.dicom.export import SEGMENTATION
from bundle.data.identity import FileHashes
from bundle.data.scans import DicomSeries
from bundle.files import file_digest, write_text
from bundle.version import __version__

log = logging.getLogger("bundle.inferers.dense.run")

# options that may name a file
FILES = ("mask", "positions", "weights", "calibration")
# of a record: how the result came about, wherever it was made
MADE = ("method", "notes", "observed_kept", "seconds", "shape", "nodules")


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
    named = {name: _state(options[name], hashes) for name in FILES if isinstance(options.get(name), str | Path)}
    return digest([[_state(path, hashes) for path in paths], {**options, **named}, __version__])


def digest(values: Any) -> str:
    """Hash of values that JSON can hold, or text of others: 32 hexadecimal digits.

    Example:
        >>> digest([1, "a"]) == digest([1, "a"]) != digest([1, "b"])
        True
    """
    text = json.dumps(values, sort_keys=True, default=str)
    return hashlib.blake2b(text.encode("utf-8", "surrogateescape"), digest_size=16).hexdigest()


def _state(path: Any, hashes: FileHashes) -> list[Any]:
    """Name, size and hash of a file, or of all files that a folder holds."""
    path = Path(str(path)).expanduser()
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    return [path.name, *(hashes.identity(file) for file in files if file.is_file())]


@dataclass(frozen=True)
class Plan:
    """A result that is there or is to be made.

    Attributes:
        name: of its files, without the ending.
        known: ``key``, ``place`` and ``input`` of its record.
        stored: the record there is under the name, whole or not.
        record: the same, if the result is there as it is wanted.
    """

    name: str
    known: Mapping[str, str]
    stored: Mapping[str, Any]
    record: dict[str, Any] | None = None


class Results:
    """The results in a folder, by their records.

    Args:
        folder: that has them.
        suffix: ending of the volumes' names.

    Example:
        >>> Results(Path("absent"), ".nii.gz").plan("scan_dense_pchip", {"key": "k", "place": "p"}).record is None
        True
    """

    def __init__(self, folder: Path, suffix: str) -> None:
        self.folder = folder
        self.suffix = suffix

    def plan(self, name: str, known: Mapping[str, str]) -> Plan:
        """What a result is called, and its record if it is there: whole, unchanged and with the same key.

        Args:
            name: that it has if no result of another scan or region has it.
            known: ``key`` and ``place`` of its record.
        """
        name, stored = self._name(name, known["place"])
        if not stored.get("whole"):
            return Plan(name, known, stored)
        if stored.get("key") != known["key"]:
            log.info("%s was made with other options or of another file: it is overwritten", name)
        elif stored.get("files") != self.files(name):
            log.warning("%s was damaged, changed or moved: it is made anew", self.folder / stored["output"])
        else:
            log.info("%s is there already", self.folder / stored["output"])
            return Plan(name, known, stored, stored)
        return Plan(name, known, stored)

    def _name(self, name: str, place: str) -> tuple[str, dict[str, Any]]:
        """A name that no result of another scan or region has, and the record there is under it."""
        for candidate in (name, f"{name}-{place[:8]}"):
            record = _read(self.folder / f"{candidate}.json")
            if record.get("place") == place:
                return candidate, record
            if not record and not (self.folder / f"{candidate}{self.suffix}").exists():
                return candidate, {}
        return f"{name}-{place[:8]}", {}

    def files(self, name: str) -> dict[str, str]:
        """Hashes of a result's files."""
        paths = [self.folder / f"{name}{end}{self.suffix}" for end in ("", "_uncertainty")]
        return {path.name: file_digest(path) for path in paths if path.is_file()}

    def write(self, name: str, record: Mapping[str, Any]) -> None:
        """Write a record.

        Raises:
            OutputError: it can't be written.
        """
        write_text(self.folder / f"{name}.json", json.dumps(record, indent=2, ensure_ascii=False) + "\n")

    def put_back(self, plan: Plan) -> None:
        """The record that there was before the result was begun."""
        if plan.stored.get("whole"):
            self.write(plan.name, plan.stored)
        else:
            (self.folder / f"{plan.name}.json").unlink(missing_ok=True)

    def whole(self) -> list[dict[str, Any]]:
        """The records of all whole results, each with the name of its file."""
        paths = sorted(self.folder.glob("*_dense_*.json"))
        return [{**record, "record": path.name} for path in paths if (record := _read(path)).get("whole")]


def clear_series(folder: Path) -> None:
    """Delete the DICOM files that this program writes into a folder."""
    for file in [*folder.glob("IM[0-9]*.dcm"), folder / SEGMENTATION]:
        file.unlink(missing_ok=True)


def _read(path: Path) -> dict[str, Any]:
    """A record; {} where there is none, or what is there is none."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}
