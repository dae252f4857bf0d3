"""Where the results of a study lie on disk: whole or not at all, and never mixed with others.

Every result is a folder ``nodules/<nodule>/<part>/`` whose ``result.json`` holds a *fingerprint*: a hash of
all that the result depends on (the nodule's voxels, the protocol, the method's parameters, the seed, the
version). A folder appears under its name by one rename, after all of its files are written; so a killed run
leaves nothing half done. A result whose fingerprint is not the wanted one is moved to ``superseded/``.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bundle.errors import InputError
from bundle.files import write_whole


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
    return {"is": _name(type(thing)), **{key: describe(value) for key, value in sorted(public.items())}}


def fingerprint(*parts: Any) -> str:
    """Hash of what the parts were configured with: 64 hexadecimal digits.

    Example:
        >>> fingerprint({"stride": 5}) == fingerprint({"stride": 5}) != fingerprint({"stride": 4})
        True
    """
    text = json.dumps([describe(part) for part in parts], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


class ResultStore:
    """The output folder of a study.

    Args:
        root: made if it is absent.

    Raises:
        InputError: the folder can't be made or written.

    Example:
        >>> store = ResultStore(tempfile.mkdtemp())
        >>> with store.writing("a_nodule", "linear", "f00d") as folder:
        ...     _ = (folder / "note.txt").write_text("whole")
        >>> store.read("a_nodule", "linear", "f00d")["fingerprint"]
        'f00d'
    """

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.root):
                pass
        except OSError as fault:
            raise InputError(
                f"the output folder {self.root} can't be written ({fault.strerror}): "
                "give one you may write to with --output_dir"
            ) from fault

    def folder(self, nodule_id: str, part: str) -> Path:
        """Where a result lies, or will."""
        return self.root / "nodules" / nodule_id / part

    def read(self, nodule_id: str, part: str, wanted: str) -> dict[str, Any] | None:
        """The stored ``result.json`` if its fingerprint is the wanted one, else None."""
        stored = self._stored(self.folder(nodule_id, part))
        return stored if stored is not None and stored.get("fingerprint") == wanted else None

    def is_stale(self, nodule_id: str, part: str, wanted: str) -> bool:
        """Whether there is a result, but of other parameters."""
        return self.folder(nodule_id, part).exists() and self.read(nodule_id, part, wanted) is None

    @contextlib.contextmanager
    def writing(self, nodule_id: str, part: str, wanted: str, result: dict[str, Any] | None = None) -> Iterator[Path]:
        """Write a result: fill the yielded folder, and it takes its place when the block ends well.

        A result of other parameters that stands there is moved to ``superseded/<nodule>/``.
        ``result`` may be filled inside of the block; it is stored as ``result.json``.
        """
        final = self.folder(nodule_id, part)
        final.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{part}-", dir=final.parent))
        try:
            yield temporary
            content = {"fingerprint": wanted, **(result or {})}
            (temporary / "result.json").write_text(json.dumps(content, indent=1) + "\n")
            temporary.chmod(0o755)  # mkdtemp makes it private
            if final.exists():
                self._set_aside(final, nodule_id, part)
            os.replace(temporary, final)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)

    def clean(self, nodule_id: str) -> None:
        """Remove what killed runs left half written for a nodule."""
        for left in (self.root / "nodules" / nodule_id).glob(".*-*"):
            shutil.rmtree(left, ignore_errors=True)

    def write_text(self, name: str, text: str) -> Path:
        """Write a file of the output folder whole: under a temporary name, then renamed."""
        path = self.root / name
        write_whole(path, lambda temporary: temporary.write_text(text))
        return path

    def _set_aside(self, final: Path, nodule_id: str, part: str) -> None:
        stored = self._stored(final) or {}
        label = str(stored.get("fingerprint", "unfinished"))[:12]
        aside = self.root / "superseded" / nodule_id / f"{part}-{label}"
        aside.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(aside, ignore_errors=True)
        os.replace(final, aside)

    @staticmethod
    def _stored(folder: Path) -> dict[str, Any] | None:
        try:
            return json.loads((folder / "result.json").read_text())
        except (OSError, ValueError):
            return None


def _name(thing: Any) -> str:
    return f"{thing.__module__}.{thing.__qualname__}"
