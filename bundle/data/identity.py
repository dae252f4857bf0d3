"""What identifies nodules and their files: ids that name one nodule each, and hashes of whole files."""

from __future__ import annotations

import hashlib
import json
import os
import time
import unicodedata
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from bundle.errors import InputError
from bundle.files import file_digest, folder_name

_SETTLED_NS = 2_000_000_000  # a file as young as the clock of its file system is coarse may change unseen


def check_ids(ids: Iterable[str], where: str) -> None:
    """Refuse nodule ids that can't name a folder, or of which two name the same one.

    Ids that differ by case or by the composition of letters alone are the same: they are one folder on macOS and
    Windows.

    Args:
        ids: of all nodules.
        where: they come from, for the error.

    Raises:
        InputError: see above.

    Example:
        >>> check_ids(["a", "b"], "a list")
    """
    seen: dict[str, str] = {}
    for name in ids:
        folder_name(name, f"nodule id of {where},")
        key = unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())
        if key in seen:
            told = (
                f"the nodule id {name} more than once" if name == seen[key] else f"{seen[key]} and {name}, one folder"
            )
            raise InputError(f'{where} has {told}: give each nodule a "nodule_id" of its own')
        seen[key] = name


class FileHashes:
    """Hashes of whole files, remembered for as long as a file's size and times stay what they were.

    Example:
        >>> hashes = FileHashes()
        >>> hashes.identity("no/such/file.nii")
        {'name': 'file.nii', 'size': None}
    """

    def __init__(self) -> None:
        self._known: dict[str, list[Any]] = {}

    def identity(self, path: str | Path) -> dict[str, Any]:
        """Name, size and hash of a file; size None where it is missing. Its folder and times are not part of it."""
        file = Path(path)
        if not file.is_file():
            return {"name": file.name, "size": None}
        status = file.stat()
        state = [status.st_size, status.st_mtime_ns, status.st_ctime_ns]
        # of the path only a hash is kept: folders may be called after patients
        key = hashlib.blake2b(os.fsencode(file.absolute()), digest_size=16).hexdigest()
        if self._known.get(key, [])[:3] == state:
            digest = self._known[key][3]
        else:
            digest = file_digest(file)
            if time.time_ns() - max(state[1:]) > _SETTLED_NS:
                self._known[key] = [*state, digest]
        return {"name": file.name, "size": status.st_size, "hash": digest}

    def load(self, path: Path) -> None:
        """Take over what an earlier run remembered; a file that is absent or damaged counts for nothing."""
        try:
            kept = json.loads(path.read_text(encoding="utf-8"))
            self._known |= {key: list(value) for key, value in kept.items() if len(value) == 4}
        except (OSError, ValueError, TypeError, AttributeError):
            return

    def text(self) -> str:
        """What is remembered, for :meth:`load`."""
        return json.dumps(self._known, indent=0) + "\n"
