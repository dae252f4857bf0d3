"""What a Dask worker does: one piece at a time on one thread, telling how far it is, stopping when nobody waits for it.

Imported on other machines, so it asks little: the functions here are what is sent there by name.
"""

from __future__ import annotations

import hashlib
import platform
import time
import traceback
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from bundle.errors import InputError
from bundle.progress import Progress, Report
from bundle.version import __version__

TELL_SECONDS = 0.5
PACKAGES = ("torch", "numpy", "scipy", "scikit-image", "monai", "pytorch-ignite")

_works: dict[str, Any] = {}  # the work in hand, unpacked once a process


class Stopped(BaseException):
    """Nobody waits for the piece any more; no piece takes it for a failure of its own."""


def about() -> dict[str, str]:
    """What a result may depend on: the bundle's code, versions of packages, the processor.

    Example:
        >>> about()["bundle"].split()[0] == __version__
        True
    """
    code = hashlib.sha256()
    root = Path(__file__).parents[1]
    for path in sorted((*root.rglob("*.py"), *root.rglob("*.c")), key=lambda path: path.relative_to(root).as_posix()):
        code.update(path.read_bytes().replace(b"\r\n", b"\n"))
    known = {"bundle": f"{__version__} (code {code.hexdigest()[:8]})"}
    known["python"] = ".".join(platform.python_version_tuple()[:2])
    for name in PACKAGES:
        try:
            known[name] = version(name).partition("+")[0]  # builds for CPU and GPU are one version
        except PackageNotFoundError:
            known[name] = "not installed"
    return known | {"processor": _processor()}


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    wanted = ("vendor_id", "cpu family", "model", "CPU part")
    return " ".join(dict.fromkeys(line.split(":")[1].strip() for line in lines if line.split("\t")[0] in wanted))


def hold(packed: bytes) -> bytes:
    """Keep the packed work on the machines, so that it is sent to each of them once."""
    return packed


def carry_out(packed: bytes, piece: int, sent: Any, topic: str) -> tuple[str, Any]:
    """Do a piece.

    Args:
        packed: the work.
        piece: its number.
        sent: what it needs where there is no common folder; None: there is one.
        topic: of Dask's events by which progress is told.

    Returns:
        ``done`` and the result, or ``raised`` and an exception that the other end can read.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        work = _unpacked(packed)
        report = _report(topic)
        return "done", work(piece, report) if sent is None else work.elsewhere(sent, report)
    except InputError as fault:
        return "raised", type(fault)(str(fault))
    except Exception as fault:
        return "raised", RuntimeError("".join(traceback.format_exception(fault)))
    finally:
        torch.set_num_threads(threads)


def scratch() -> str | None:
    """The folder that the Dask worker of this thread was given for its files, which goes with it; None: of the system.

    Example:
        >>> scratch() is None
        True
    """
    try:
        from distributed.worker import get_worker

        return str(get_worker().local_directory)
    except (ImportError, ValueError):  # no worker
        return None


def _unpacked(packed: bytes) -> Any:
    from distributed.protocol import pickle  # which also reads what a script defines

    name = hashlib.sha256(packed).hexdigest()
    if name not in _works:
        _works.clear()
        _works[name] = pickle.loads(packed)
    return _works[name]


def _report(topic: str) -> Report:
    from distributed.worker import get_worker, thread_state

    worker, key = get_worker(), thread_state.key
    told = {"at": 0.0}

    def progress(what: str) -> Progress:
        def tell(done: float, total: float, words: str = "") -> None:
            if done < total and time.monotonic() - told["at"] < TELL_SECONDS:
                return
            told["at"] = time.monotonic()
            state = worker.state.tasks.get(key)
            if state is None or state.state == "cancelled":
                raise Stopped
            worker.log_event(topic, [what, float(done), float(total), words])

        return tell

    return progress
