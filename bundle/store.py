"""Where the results of a study lie on disk: whole or not at all, and never mixed with others.

Every result is a folder ``nodules/<nodule>/<part>/`` whose ``result.json`` holds a *fingerprint*: a hash of
all that the result depends on (the nodule's voxels, the protocol, the method's parameters, the seed, the
version), and the hash of every file beside it. A folder appears under its name by one rename, after all of its
files are written; so a killed run leaves nothing half done. A result whose fingerprint is not the wanted one, or
whose files are not what was written, is not read; it is moved to ``superseded/`` when another takes its place.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bundle.errors import InputError
from bundle.files import file_digest, folder_name, whole_folder, writable_folder, write_text


def describe(thing: Any) -> Any:
    """What a part was configured with, as plain JSON values, so that it can be hashed and shown.

    Args:
        thing: a number, string, path, array, collection, class, function, ``functools.partial``, dataclass
            or any object; of an object the public attributes count (callbacks named ``on_...`` do not).

    Returns:
        JSON values that are equal exactly if the configurations are.

    Example:
        >>> describe(functools.partial(dict, a=(1, 2.0)))
        {'call': 'builtins.dict', 'args': [], 'a': [1, 2.0]}
    """
    if thing is None or isinstance(thing, bool | int | float | str):
        return thing
    if isinstance(thing, np.generic | np.ndarray):
        return thing.tolist()
    if isinstance(thing, Path | torch.device | torch.dtype):
        return str(thing)
    if isinstance(thing, Mapping):
        return {str(key): describe(value) for key, value in thing.items()}
    if isinstance(thing, set | frozenset):
        return sorted((describe(item) for item in thing), key=repr)
    if isinstance(thing, list | tuple):
        return [describe(item) for item in thing]
    if isinstance(thing, functools.partial):
        keywords = {key: describe(value) for key, value in thing.keywords.items()}
        return {"call": _name(thing.func), "args": describe(thing.args), **keywords}
    if isinstance(thing, type) or (callable(thing) and hasattr(thing, "__qualname__")):
        return _name(thing)
    if isinstance(thing, torch.nn.Module):
        hashed = hashlib.sha256()
        for key, tensor in sorted(thing.state_dict().items()):
            hashed.update(key.encode() + tensor.detach().cpu().contiguous().numpy().tobytes())
        return {"is": _name(type(thing)), "repr": repr(thing), "state": hashed.hexdigest()}
    if dataclasses.is_dataclass(thing):
        public = {field.name: getattr(thing, field.name) for field in dataclasses.fields(thing)}
    else:
        public = {key: value for key, value in vars(thing).items() if not key.startswith("_") and key[:3] != "on_"}
    if isinstance(device := public.get("device"), str):
        public["device"] = device.split(":")[0]  # which of several GPUs it was makes no other result
    return {"is": _name(type(thing)), **{key: describe(value) for key, value in sorted(public.items())}}


def fingerprint(*parts: Any) -> str:
    """Hash of what the parts were configured with: 64 hexadecimal digits.

    Example:
        >>> fingerprint({"stride": 5}) == fingerprint({"stride": 5}) != fingerprint({"stride": 4})
        True
    """
    text = json.dumps([describe(part) for part in parts], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def mask_name(threshold: float | None) -> str:
    """What a mask is called: by the threshold in HU that it was made with, if it was.

    Example:
        >>> mask_name(-400), mask_name(-400.25), mask_name(None)
        ('mask_-400HU', 'mask_-400.25HU', 'mask')
    """
    return "mask" if threshold is None else f"mask_{threshold:+.12g}HU"


class ResultStore:
    """The output folder of a study.

    Args:
        root: made if it is absent.

    Raises:
        OutputError: the folder can't be made or written.

    Example:
        >>> import tempfile
        >>> store = ResultStore(tempfile.mkdtemp())
        >>> with store.writing("a_nodule", "linear", "f00d") as folder:
        ...     _ = (folder / "note.txt").write_text("whole")
        >>> store.read("a_nodule", "linear", "f00d")["fingerprint"]
        'f00d'
    """

    def __init__(self, root: str | Path) -> None:
        self.root = writable_folder(root, "--output_dir")

    def folder(self, nodule_id: str, part: str) -> Path:
        """Where a result lies, or will.

        Raises:
            InputError: a name that can't be a folder's.
        """
        return self.root / "nodules" / folder_name(nodule_id, "nodule id") / folder_name(part, "method")

    def read(self, nodule_id: str, part: str, wanted: str) -> dict[str, Any] | None:
        """The stored ``result.json`` if its fingerprint is the wanted one and nothing of it is damaged, else None."""
        stored = _stored(self.folder(nodule_id, part))
        if stored is None or stored.get("fingerprint") != wanted or self.damage(nodule_id, part):
            return None
        return {key: value for key, value in stored.items() if key not in ("files", "check")}

    def rows(self, nodule_id: str, part: str, kind: str) -> list[dict[str, Any]]:
        """The rows of a kind in a stored result that was read in this run.

        Raises:
            InputError: it is gone.
        """
        stored = _stored(self.folder(nodule_id, part))
        if stored is None:
            raise InputError(f"{self.folder(nodule_id, part)} is gone while the run is at work: give the command again")
        return list(stored[kind])

    def damage(self, nodule_id: str, part: str) -> str | None:
        """What is wrong with the files of a stored result; None: nothing, or there is no result."""
        folder = self.folder(nodule_id, part)
        if not folder.exists():
            return None
        stored = _stored(folder)
        if stored is None or not isinstance(stored.get("files"), dict):
            return "result.json is cut short or gone"
        if stored["check"] != _check(stored):
            return "result.json was changed"
        for name, digest in stored["files"].items():
            file = folder / name
            if not file.is_file():
                return f"{name} is gone"
            if file_digest(file) != digest:
                return f"{name} is cut short or was changed"
        return None

    def fingerprint_of(self, nodule_id: str, part: str) -> str | None:
        """Of a result that can be read, whole or not; None where there is none."""
        stored = _stored(self.folder(nodule_id, part))
        return None if stored is None else str(stored.get("fingerprint"))

    def is_stale(self, nodule_id: str, part: str, wanted: str) -> bool:
        """Whether there is a result that can be read, but of other parameters."""
        return self.fingerprint_of(nodule_id, part) not in (None, wanted)

    @contextlib.contextmanager
    def writing(self, nodule_id: str, part: str, wanted: str, result: dict[str, Any] | None = None) -> Iterator[Path]:
        """Write a result: fill the yielded folder, and it takes its place when the block ends well.

        A result of other parameters that stands there is moved to ``superseded/<nodule>/``.
        ``result`` may be filled inside of the block; it is stored as ``result.json``.
        """
        final = self.folder(nodule_id, part)
        with whole_folder(final) as temporary:
            yield temporary
            content = {"fingerprint": wanted, **(result or {})}
            content["files"] = {file.name: file_digest(file) for file in sorted(temporary.iterdir())}
            content["check"] = _check(content)
            write_text(temporary / "result.json", json.dumps(content, indent=1) + "\n")
            if final.exists():
                self._set_aside(final, nodule_id, part)

    def packed(self, nodule_id: str) -> dict[str, dict[str, bytes]]:
        """The files of all whole results of a nodule, by part and name, to be sent to another machine."""
        folders = sorted(path.parent for path in self.folder(nodule_id, "truth").parent.glob("[!.]*/result.json"))
        return {folder.name: {file.name: file.read_bytes() for file in folder.iterdir()} for folder in folders}

    def unpack(self, nodule_id: str, part: str, files: Mapping[str, bytes]) -> None:
        """Take over a result that another machine packed; one that stands there moves to ``superseded/``.

        Raises:
            OutputError: it can't be written.
        """
        final = self.folder(nodule_id, part)
        with whole_folder(final) as temporary:
            for name, content in files.items():
                (temporary / folder_name(name, "file")).write_bytes(content)
            if final.exists():
                self._set_aside(final, nodule_id, part)

    def clean(self, nodule_id: str) -> None:
        """Remove what killed runs left half written for a nodule."""
        for left in (self.root / "nodules" / folder_name(nodule_id, "nodule id")).glob(".*-*"):
            shutil.rmtree(left, ignore_errors=True)

    def write_text(self, name: str, text: str) -> Path:
        """Write a text file of the output folder: whole, in utf-8."""
        path = self.root / name
        write_text(path, text)
        return path

    def write_json(self, name: str, content: Any) -> None:
        """Write a JSON file of the output folder: whole, in utf-8."""
        self.write_text(name, json.dumps(content, indent=1, ensure_ascii=False) + "\n")

    def _set_aside(self, final: Path, nodule_id: str, part: str) -> None:
        stored = _stored(final) or {}
        label = str(stored.get("fingerprint", "unfinished"))[:12]
        aside = self.root / "superseded" / nodule_id / f"{part}-{label}"
        aside.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(aside, ignore_errors=True)
        os.replace(final, aside)


def _stored(folder: Path) -> dict[str, Any] | None:
    try:
        stored = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return stored if isinstance(stored, dict) else None


def _check(content: Mapping[str, Any]) -> str:
    """Hash of a ``result.json`` without this hash; the same before it is written and after it is read."""
    plain = json.loads(json.dumps({key: value for key, value in content.items() if key != "check"}))
    return hashlib.sha256(json.dumps(plain).encode()).hexdigest()


def _name(thing: Any) -> str:
    return f"{thing.__module__}.{thing.__qualname__}"
