"""A folder that one run at a time writes into; the shares of one run may share it.

The lock is the operating system's (``flock``) on a hidden file, so it goes with its process however that ends. The
file says whose it is, for people, and it is touched every few seconds: a machine that mounts the folder but not its
locks sees by this that another one is at work.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from bundle.errors import InputError
from bundle.files import told_as_output

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

TOUCH_SECONDS = 15.0
FRESH_SECONDS = 60.0


@contextlib.contextmanager
def hold(path: Path, what: str, share: str | None = None) -> Iterator[None]:
    """Hold a lock while the block runs.

    Args:
        path: of the lock's file, in the folder that is held; stays there afterwards, empty.
        what: is held, in words.
        share: whoever gives the same may hold it too; None: nobody may.

    Raises:
        InputError: somebody else holds it; names the process and its machine.
        OutputError: the file can't be written.

    Example:
        >>> path = Path(tempfile.mkdtemp()) / ".lock"
        >>> with hold(path, "the folder"):
        ...     with contextlib.suppress(InputError), hold(path, "the folder"):
        ...         print("never")
    """
    with told_as_output(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a+b", buffering=0)
    with file:
        _take(file, path, what, share)
        done = threading.Event()
        toucher = threading.Thread(target=_keep_fresh, args=(path, done), daemon=True)
        toucher.start()
        try:
            yield
        finally:
            done.set()
            toucher.join()
            if _flock(file, exclusive=True) is not False:  # else another share goes on
                file.truncate(0)


def alone_in(folder: str | Path, run: Callable[[], Any]) -> Any:
    """Call ``run`` while no other run works in a folder.

    Example:
        >>> alone_in(tempfile.mkdtemp(), lambda: 42)
        42
    """
    with hold(Path(folder) / ".lock", f"the folder {folder}"):
        return run()


def _take(file: IO[bytes], path: Path, what: str, share: str | None) -> None:
    alone = _flock(file, exclusive=True)
    if alone is not False:
        # nobody holds it as far as this machine's locks reach; beyond them, what another one wrote counts while fresh
        holder = _holder(file)
        beyond = holder and (alone is None or holder.get("boot") != _boot())
        shared = share is not None and holder.get("share") == share
        if beyond and not shared and _age(path) < FRESH_SECONDS:
            raise InputError(_in_use(what, holder))
        mine = {"host": platform.node(), "process": os.getpid(), "boot": _boot(), "share": share}
        mine["since"] = time.strftime("%Y-%m-%d %H:%M:%S")
        with contextlib.suppress(OSError):  # a full disk is told by what is written next
            file.truncate(0)
            file.write(json.dumps(mine).encode() + b"\n")
        if share is not None:
            _flock(file, exclusive=False)
        return
    end = time.monotonic() + 5  # the first of several shares has just begun
    while share is not None and time.monotonic() < end:
        if _flock(file, exclusive=False) is not False and _holder(file).get("share") == share:
            return
        time.sleep(0.05)
    raise InputError(_in_use(what, _holder(file)))


def _in_use(what: str, holder: dict[str, Any]) -> str:
    who = f"process {holder.get('process', '?')} on {holder.get('host', '?')}, since {holder.get('since', '?')}"
    return f"{what} is in use by another run ({who}): wait until it ends, or give another folder"


def _flock(file: IO[bytes], exclusive: bool) -> bool | None:
    """Take or change the system's lock without waiting; None where there are no locks."""
    if fcntl is None:
        return None
    try:
        fcntl.flock(file, (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        return None
    return True


def _holder(file: IO[bytes]) -> dict[str, Any]:
    file.seek(0)
    try:
        holder = json.loads(file.read())
    except ValueError:
        return {}
    return holder if isinstance(holder, dict) else {}


def _boot() -> str:
    """What names this machine since it was started."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
    except OSError:
        return platform.node()


def _age(path: Path) -> float:
    """Seconds since the file was touched, by the clock of its file system."""
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".clock-") as now:
        return os.stat(now.name).st_mtime - path.stat().st_mtime


def _keep_fresh(path: Path, done: threading.Event) -> None:
    while not done.wait(TOUCH_SECONDS):
        with contextlib.suppress(OSError):
            os.utime(path)
