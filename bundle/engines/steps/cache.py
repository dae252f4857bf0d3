"""Files that are made once for a machine and kept in the user's cache: found whole there, or made anew.

Beside each file lies its checksum, written last. A file that was cut short (a full quota, a copied home folder) has
another and is made again; so nothing damaged is ever loaded. One process makes a file while others wait for it.
"""

from __future__ import annotations

import atexit
import contextlib
import hashlib
import os
import platform
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from bundle.files import file_digest, write_text, write_whole

try:
    import fcntl
except ImportError:  # Windows: two processes may make the same file, and each renames a whole one into place
    fcntl = None  # type: ignore[assignment]


def whole_files(name: str, make: Callable[[Path], Any]) -> Iterator[Path]:
    """The file of a name in each folder that may hold one, best first; made where it is missing or damaged.

    Who can't use the first (a folder from which nothing may be loaded) asks for the next.

    Args:
        name: of the file; holds all that the file depends on.
        make: writes the file at a path beside its place.

    Yields:
        its path: in LUNG_NODULE_CACHE or else the user's cache, then in a temporary folder of this process. A folder
        in which it can't be made is left out.

    Raises:
        Exception: what ``make`` raised, or why the folder can't be written, if there is no folder left.

    Example:
        >>> path = next(whole_files("doctest.txt", lambda path: path.write_text("made")))
        >>> path.read_text()
        'made'
    """
    fault: Exception | None = None
    for folder in _folders():
        path = folder / name
        try:
            if not is_whole(path):
                _make(path, make)
        except Exception as error:
            fault = error
            continue
        yield path
    if fault is not None:
        raise fault


def is_whole(path: Path) -> bool:
    """Whether a file has the checksum that lies beside it.

    Example:
        >>> is_whole(Path("nowhere.so"))
        False
    """
    try:
        return _seal(path).read_text(encoding="utf-8") == file_digest(path)
    except (OSError, ValueError):
        return False


def digest(*parts: str) -> str:
    """24 hexadecimal digits for a name that holds all that a file depends on.

    Example:
        >>> digest("a", "b") != digest("ab")
        True
    """
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:24]


def processor() -> str:
    """What a file made for this very processor depends on: its name and abilities."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() + platform.machine()
    found = {line.split(":")[0].strip(): line for line in lines if line.startswith(("flags", "model name", "Features"))}
    return "".join(sorted(found.values()))


def _make(path: Path, make: Callable[[Path], Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with _locked(path.with_name(path.name + ".lock")):
        if is_whole(path):  # another process made it while this one waited
            return
        write_whole(path, make)
        write_text(_seal(path), file_digest(path))


def _seal(path: Path) -> Path:
    return path.with_name(path.name + ".checksum")


def _folders() -> Iterator[Path]:
    base = os.environ.get("LUNG_NODULE_CACHE") or os.environ.get("XDG_CACHE_HOME")
    with contextlib.suppress(RuntimeError):  # a user without a name has no home
        yield (Path(base) if base else Path.home() / ".cache") / "lung_nodule_ct_reconstruction"
    temporary = tempfile.mkdtemp(prefix="lung_nodule_ct_reconstruction_")
    atexit.register(shutil.rmtree, temporary, ignore_errors=True)
    yield Path(temporary)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold a lock that ends with the process, however that ends."""
    with path.open("ab") as file:
        if fcntl is not None:
            with contextlib.suppress(OSError):  # a file system without locks: as on Windows
                fcntl.flock(file, fcntl.LOCK_EX)
        yield
