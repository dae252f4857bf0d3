"""Ctrl-C, and SIGTERM alike, end a run with one line."""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType


@contextlib.contextmanager
def stoppable(told: str) -> Iterator[None]:
    """End the program with one line and exit status 130 (Ctrl-C) or 143 (SIGTERM) when the block is stopped.

    Args:
        told: the line.

    Example:
        >>> with stoppable("stopped"):
        ...     pass
    """
    caught = signal.SIGINT

    def stop(number: int, frame: FrameType | None) -> None:
        nonlocal caught
        caught = signal.Signals(number)
        logging.disable(logging.CRITICAL)  # MONAI's and Ignite's handlers would log it with a traceback
        raise KeyboardInterrupt

    mine = [signal.SIGINT, signal.SIGTERM] if threading.current_thread() is threading.main_thread() else []
    # one that is ignored stays so: nohup, or a shell's background job
    before = {number: old for number in mine if (old := signal.getsignal(number)) not in (None, signal.SIG_IGN)}
    for number in before:
        signal.signal(number, stop)
    try:
        yield
    except KeyboardInterrupt:
        print(told, file=sys.stderr, flush=True)
        if getattr(sys.modules["__main__"].__spec__, "name", "") == "monai.bundle.__main__":
            atexit.register(_leave, 128 + caught)
        raise SystemExit(128 + caught) from None
    finally:
        for number, old in before.items():
            signal.signal(number, old)
        logging.disable(logging.NOTSET)


def _leave(status: int) -> None:
    """Do all that is done at exit, but for taking a million objects of torch and MONAI apart: 1.4 s for nothing."""
    atexit.unregister(_leave)
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
