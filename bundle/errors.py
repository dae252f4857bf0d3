"""The one exception that means "the input is wrong", as opposed to a fault of the program, and how it ends a run."""

from __future__ import annotations

import difflib
import io
import logging
import sys
import unicodedata
from collections.abc import Callable, Iterable
from typing import Any

from bundle.stopping import stoppable


class InputError(ValueError):
    """A user's mistake or a nodule that can't be used, told in one sentence.

    The message names the file or value, what was expected and what to do. The study records it as the
    failure of that nodule and goes on; a command ends with it, without a traceback and with a non-zero status.
    Line breaks of what it quotes, such as a damaged header, are spaces in it, other signs of control are spelt out.

    Example:
        >>> from bundle.errors import InputError
        >>> str(InputError("scan.nii.gz has 2 axes,\\r\\nexpected 3: give a volume"))
        'scan.nii.gz has 2 axes, expected 3: give a volume'
    """

    def __init__(self, message: object = "") -> None:
        super().__init__(_one_line(str(message)))


class OutputError(InputError):
    """The output can't be written: the disk is full, or the folder may not be written to. It ends the run.

    An InputError of one nodule does not: the others may do.

    Example:
        >>> issubclass(OutputError, InputError)
        True
    """


def _one_line(text: str) -> str:
    lines = text.splitlines()
    if len(lines) > 1 or text.endswith(("\n", "\r")):
        text = " ".join(filter(None, (line.strip() for line in lines)))
    return "".join(repr(sign)[1:-1] if unicodedata.category(sign) == "Cc" else sign for sign in text)


def mistake_behind(fault: BaseException) -> InputError | None:
    """The InputError that a fault is or was caused by; libraries wrap what a transform raises.

    Example:
        >>> mistake_behind(RuntimeError("no cause")) is None
        True
    """
    seen: BaseException | None = fault
    while seen is not None and not isinstance(seen, InputError):
        seen = seen.__cause__ or seen.__context__
    return seen


def exit_on_mistake(run: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Call ``run``; end the program with one sentence and exit status 1 if the user made a mistake.

    Ctrl-C and SIGTERM end it with one line too, see :func:`bundle.stopping.stoppable`.

    Example:
        >>> exit_on_mistake(max, 1, 42)
        42
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a locale without the sign must not end a run
    for handler in logging.getLogger().handlers:
        handler.addFilter(_is_no_mistake)
    try:
        with stoppable("stopped: what was finished is kept, give the same command again to go on"):
            return run(*args, **kwargs)
    except Exception as fault:
        mistake = mistake_behind(fault)
        if mistake is None:
            raise
        raise SystemExit(f"error: {mistake}") from None


def _is_no_mistake(record: logging.LogRecord) -> bool:
    """Whether a record of the log is to be seen: MONAI's handlers log a mistake with its traceback, and raise it."""
    fault = record.exc_info[1] if record.exc_info else None
    return fault is None or mistake_behind(fault) is None


def nearest(name: str, known: Iterable[str], likeness: float = 0.5) -> str | None:
    """The known name that a mistyped one is most like, at least by so much of 1; None if it is like none.

    Example:
        >>> nearest("cubc", ["cubic", "linear"])
        'cubic'
    """
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=likeness)
    return near[0] if near else None
