"""Scans on machines that don't see this one's files: their bytes are sent, and the files of their results fetched."""

from __future__ import annotations

import contextlib
import html
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from bundle.cluster.worker import scratch
from bundle.data.formats import image_files
from bundle.data.scans import DicomSeries
from bundle.errors import InputError
from bundle.files import whole_folder, write_whole
from bundle.inferers.dense.many import ManyScans
from bundle.inferers.dense.results import FILES, MADE, Plan
from bundle.progress import Report

# below a worker's own folder
_OPTIONS, _IN, _OUT, _DICOM = "options", "in", "out", "dicom"
_ROOT_FILE = "configs/metadata.json"  # by which a bundle's folder is known

Packed = dict[str, bytes]
"""Content of files by their place below a folder, with ``/``."""

Fetched = tuple[dict[str, Any] | None, str, dict[str, Packed]]
"""How a result was made, by the names of ``MADE``; None and the reason where it was not; its files by folder."""


@dataclass(frozen=True)
class SentScan:
    """What a machine needs of a scan.

    Attributes:
        scan: of :func:`bundle.data.scans.find_scans`; ``result`` is the name of its result.
        roots: the folders that its image and its mask lie in, by key.
        files: below each of them.
    """

    scan: Mapping[str, Any]
    roots: Mapping[str, str]
    files: Mapping[str, Packed]


@dataclass
class SentScans(ManyScans):
    """Work on scans for machines without the common folder (:class:`bundle.cluster.Portable`).

    What the config's options name, such as weights, goes with the work: to each machine once. A scan's own files go
    when its turn comes.
    """

    options: Mapping[str, tuple[str, bytes]] = field(default_factory=dict)
    plans: dict[int, Plan] = field(default_factory=dict)
    _home: list[Any] = field(default_factory=list, repr=False)

    def __getstate__(self) -> dict[str, Any]:
        known = {"made": [], "plans": {}, "_home": [], "scans": [], "options": _option_files(self.config)}
        return {**vars(self), **known}

    def sent(self, piece: int) -> SentScan | None:
        """The files of a scan; None where its result is there, or it can't be read."""
        with contextlib.suppress(InputError, OSError):  # told when it is done here
            scan = self.scans[piece]
            plan = self.run().plan(scan)
            if plan.record is None:
                self.plans[piece] = plan
                return _sent({"origin": str(scan["image"]), **scan, "result": plan.name})
        return None

    def elsewhere(self, sent: SentScan, report: Report) -> Fetched:
        """Make a scan dense there."""
        home = self._unpacked_home()
        try:
            scan, places = _received(sent, home / _IN)
            record, reason = self.attempt(scan, report)
            if record is None:
                return None, _renamed(reason, places), {}
            made = {name: record[name] for name in MADE}
            made["notes"] = [_renamed(note, places) for note in record["notes"]]
            return made, "", {name: _packed(home / name, places) for name in (_OUT, _DICOM)}
        finally:
            for name in (_IN, _OUT, _DICOM):
                shutil.rmtree(home / name, ignore_errors=True)

    def received(self, piece: int, made: Fetched | None) -> tuple[dict[str, Any] | None, str]:
        """The record of a scan whose files were fetched, and are now in the output folder; None: it is done here.

        Raises:
            OutputError: they can't be written.
        """
        scan, run, plan = self.scans[piece], self.run(), self.plans.pop(piece, None)
        if made is None or plan is None:
            return run.attempt(scan, several=True)
        return run.told(scan, True, lambda: self._kept(scan, plan, *made))

    def _kept(
        self,
        scan: Mapping[str, Any],
        plan: Plan,
        made: Mapping[str, Any] | None,
        reason: str,
        folders: Mapping[str, Packed],
    ) -> dict[str, Any]:
        if made is None:
            raise InputError(reason)
        run = self.run()
        dicom = run.dicom_folder(plan.name, True)
        with run.making(scan, plan, dicom):
            for name, content in folders[_OUT].items():
                if name != f"{plan.name}.json":  # which is written last, as this machine has it
                    write_whole(run.folder / name, partial(_fill, content=content))
            if dicom is not None:
                with whole_folder(dicom) as folder:
                    _unpack(folder, {Path(name).name: content for name, content in folders[_DICOM].items()})
        return run.finish(plan, dicom, made)

    def _unpacked_home(self) -> Path:
        """This process's own folder, with the files that options name, and the config that reads them."""
        if not self._home:
            self._home.append(tempfile.TemporaryDirectory(prefix="scans-", dir=scratch()))
            home = Path(self._home[0].name)
            named = {}
            for option, (name, content) in self.options.items():
                named[option] = str(home / _OPTIONS / option / name)
                _unpack(home / _OPTIONS / option, {name: content})
            _unpack(home, {_ROOT_FILE: b"{}"})
            own = {"bundle_root": str(home), "output_dir": str(home / _OUT), "cluster": None, "workers": 1}
            dicom = {"dicom_output": str(home / _DICOM)} if self.config.get("dicom_output") else {}
            self.config = {**self.config, **own, **dicom, **named}
        return Path(self._home[0].name)


def _option_files(config: Mapping[str, Any]) -> dict[str, tuple[str, bytes]]:
    """Name and content of each file that an option names."""
    found = {}
    for option in set(FILES) - {"mask"}:  # which goes with each scan
        value = config.get(option)
        path = Path(value).expanduser() if isinstance(value, str | Path) else None
        if path is not None and path.is_file():
            found[option] = (path.name, path.read_bytes())
    return found


def _sent(scan: dict[str, Any]) -> SentScan | None:
    """A scan with its files; None where it is not known which they are."""
    roots, files = {}, {}
    for key in ("image", "mask"):
        if (named := scan.get(key)) is None:
            continue
        if not isinstance(named, DicomSeries):
            named = Path(str(named)).expanduser()
        paths = named.files if isinstance(named, DicomSeries) else image_files(named)
        if not paths:
            return None
        root = Path(os.path.commonpath([path.parent for path in paths]))
        roots[key] = str(root)
        files[key] = {path.relative_to(root).as_posix(): path.read_bytes() for path in paths}
        scan[key] = _moved(named, root, Path())
    return SentScan(scan, roots, files)


def _received(sent: SentScan, folder: Path) -> tuple[dict[str, Any], dict[str, str]]:
    """The scan as it lies below a folder, and what its folders were called before."""
    scan, places = dict(sent.scan), {}
    for key, files in sent.files.items():
        _unpack(folder / key, files)
        scan[key] = _moved(scan[key], Path(), folder / key)
        places[str(folder / key)] = sent.roots[key]
    return scan, places


def _moved(named: Any, root: Path, to: Path) -> Any:
    """A path or a series that lies below ``root``, below ``to``."""

    def moved(path: Path) -> Path:
        return to / path.relative_to(root)

    if isinstance(named, DicomSeries):
        return replace(named, folder=moved(named.folder), files=tuple(map(moved, named.files)))
    return str(moved(Path(named)))


def _unpack(folder: Path, files: Packed) -> None:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


def _fill(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def _packed(folder: Path, places: Mapping[str, str]) -> Packed:
    """All files below a folder; a page names folders as they were called before."""
    packed = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        content = path.read_bytes()
        if path.suffix == ".html":
            content = _renamed(content.decode(), {there: html.escape(here) for there, here in places.items()}).encode()
        packed[path.relative_to(folder).as_posix()] = content
    return packed


def _renamed(text: str, places: Mapping[str, str]) -> str:
    for there, here in places.items():
        text = text.replace(there, here)
    return text
