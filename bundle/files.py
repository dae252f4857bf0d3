"""Files and folders that are there whole or not at all, and text that is utf-8 whatever the locale.

What is written gets a temporary name beside its place, ``.<process>-<number>-<name>``, and takes its place by one
rename.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import os
import secrets
import shutil
import tempfile
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from bundle.errors import InputError, OutputError

_LONGEST = 200  # of the 255 bytes that a name may have: what is written beside it has a longer one
_NO_NAMES = frozenset("/\\" if os.name == "posix" else '/\\<>:"|?*')
_ADVICE = dict.fromkeys((errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", -1)), "make room")
_ADVICE |= dict.fromkeys((errno.EEXIST, errno.ENOTDIR), "move the file away that is where a folder should be")
_DEVICES = {"CON", "PRN", "AUX", "NUL", *(f"{port}{k}" for port in ("COM", "LPT") for k in range(1, 10))}


def write_whole(path: Path, write: Callable[[Path], Any]) -> None:
    """Let ``write`` fill a temporary file beside ``path``, then rename it to ``path``.

    A file that was there stays as it was where ``write`` fails; the folder above is made if it is absent.

    Raises:
        OutputError: the disk is full, or the folder can't be written.

    Example:
        >>> import tempfile
        >>> target = Path(tempfile.mkdtemp()) / "a.bin"
        >>> write_whole(target, lambda temporary: temporary.write_bytes(b"all of it"))
        >>> target.read_bytes()
        b'all of it'
    """
    temporary = _beside(path)
    try:
        with told_as_output(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            write(temporary)
            os.replace(temporary, path)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """Fill the yielded folder; it becomes ``path`` when the block ends well, and goes when it does not.

    Args:
        path: must be absent, or an empty folder; the folder above it is made if it is absent.

    Raises:
        OutputError: the disk is full, or the folder above can't be written.

    Example:
        >>> import tempfile
        >>> target = Path(tempfile.mkdtemp()) / "series"
        >>> with whole_folder(target) as folder:
        ...     _ = (folder / "slice").write_bytes(b"0")
        ...     target.exists()
        False
        >>> [file.name for file in target.iterdir()]
        ['slice']
    """
    temporary = _beside(path)
    try:
        with told_as_output(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary.mkdir()
            yield temporary
            if path.is_dir():
                path.rmdir()
            os.replace(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file whole, in utf-8.

    Parts of paths that this locale could not read (Python keeps their bytes as lone surrogates) come out as the
    utf-8 that they are.

    Raises:
        OutputError: the disk is full, or the folder can't be written.

    Example:
        >>> import tempfile
        >>> target = Path(tempfile.mkdtemp()) / "a.txt"
        >>> write_text(target, "3 ± 1")
        >>> target.read_text(encoding="utf-8")
        '3 ± 1'
    """
    known = text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    write_whole(path, lambda temporary: temporary.write_bytes(known.encode("utf-8")))


def save_torch(path: Path, state: Any) -> None:
    """Save tensors for ``torch.load``; a full disk is an OSError, as with any other file.

    ``torch.save`` to a path raises a RuntimeError of its own there.

    Example:
        >>> import tempfile
        >>> target = Path(tempfile.mkdtemp()) / "network.pt"
        >>> save_torch(target, {"weight": torch.ones(2)})
        >>> torch.load(target, weights_only=True)
        {'weight': tensor([1., 1.])}
    """
    buffer = io.BytesIO()
    torch.save(state, buffer)
    path.write_bytes(buffer.getvalue())


def writable_folder(path: str | Path, option: str) -> Path:
    """The output folder, made if it is absent.

    Args:
        path: of the folder.
        option: that names it, for the error.

    Raises:
        OutputError: it can't be made or written.

    Example:
        >>> import tempfile
        >>> writable_folder(Path(tempfile.mkdtemp()) / "out", "--output_dir").is_dir()
        True
    """
    folder = Path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("wb", dir=folder):
            pass
    except OSError as fault:
        raise OutputError(
            f"the output folder {folder} can't be written ({fault.strerror}): give one you may write to with {option}"
        ) from fault
    return folder


def _beside(path: Path) -> Path:
    # the suffix stays last: some writers choose the format by it
    return path.with_name(f".{os.getpid()}-{secrets.token_hex(3)}-{path.name}")


def file_digest(path: Path) -> str:
    """Hash of a whole file: 32 hexadecimal digits.

    Example:
        >>> import tempfile
        >>> target = Path(tempfile.mkdtemp()) / "a.txt"
        >>> write_text(target, "a")
        >>> file_digest(target)
        '27c35e6e9373877f29e562464e46497e'
    """
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def folder_name(name: str, what: str) -> str:
    """The name, if a folder can be called so on every system and be read back.

    Args:
        name: of a nodule or a method.
        what: of which it is, for the error.

    Raises:
        InputError: it is empty, leads out of a folder, is hidden, reserved on Windows, longer than 200 bytes, or
            holds what can't be in a name.

    Example:
        >>> folder_name("scan (1)", "nodule id")
        'scan (1)'
    """
    wrong = ""
    if not name or name != name.strip() or name[0] == "." or name[-1] == ".":
        wrong = "is empty or begins or ends with a space or a full stop"
    elif bad := [sign for sign in name if sign in _NO_NAMES or unicodedata.category(sign) in ("Cc", "Zl", "Zp")]:
        wrong = f"holds {bad[0]!r}"
    elif name.split(".")[0].upper() in _DEVICES:
        wrong = "is what Windows calls a device"
    else:
        try:
            too_long = max(len(name.encode()), len(os.fsencode(name))) > _LONGEST
            wrong = f"is longer than {_LONGEST} bytes" if too_long else ""
        except UnicodeEncodeError:
            wrong = "has letters that files can't have in this locale (set PYTHONUTF8=1)"
    if wrong:
        shown = name if len(name) <= 60 else f"{name[:57]}..."
        raise InputError(f"the {what} {shown!r} {wrong}, so no folder can be called so: choose another")
    return name


@contextlib.contextmanager
def told_as_output(path: Path) -> Iterator[None]:
    """Tell what the system says against writing ``path`` as one sentence.

    Raises:
        OutputError: the disk is full, or the folder can't be written.

    Example:
        >>> with told_as_output(Path("a.csv")):
        ...     pass
    """
    try:
        yield
    except OSError as fault:
        advice = _ADVICE.get(fault.errno or 0, "choose a folder you may write to")
        raise OutputError(
            f"{path} can't be written ({fault.strerror or fault}): {advice}, then give the command again"
        ) from fault
