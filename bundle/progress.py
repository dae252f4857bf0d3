"""How far something is: one protocol for epochs, tiles and nodules, bars that show it, and words for a terminal.

On a terminal there are bars; in a file or a pipe, where they would tear, whole lines: one at each tenth of the way.
Nothing is coloured, so there is nothing that ``NO_COLOR`` would have to turn off.
"""

from __future__ import annotations

import contextlib
import os
import sys
import textwrap
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import TypeVar

from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

Progress = Callable[[float, float, str], None]
"""Called with (how much is done, of how much, what else there is to say, such as the loss)."""

Report = Callable[[str], Progress]
"""Called with the name of something in hand; gives where to report its progress."""

T = TypeVar("T")
COLUMNS = 100
"""Characters of a line that is written for a person."""
PAUSE_S = 1.0
"""Seconds from one line to the next of the same thing at least; its last line never waits."""
_REFRESH_S = 0.1
_BAR = "{desc}: {percentage:3.0f}%|{bar:16}| {n:.4g}/{total:.4g} {unit}s [{elapsed}<{remaining}{postfix}]"


def on_terminal() -> bool:
    """Whether standard error is a screen on which a line can be written over."""
    return sys.stderr.isatty() and os.environ.get("TERM") != "dumb"


def wrapped_lines(text: str) -> str:
    """Lines of at most 100 characters; a word that is longer, such as a path, stays whole.

    Example:
        >>> [len(line) for line in wrapped_lines("word " * 30).splitlines()]
        [99, 51]
    """
    wrap = textwrap.TextWrapper(COLUMNS, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)
    return "\n".join(line if len(line) <= COLUMNS else wrap.fill(line) for line in text.splitlines())


class _Bar:
    """On a terminal: a line that is written over, below what a logger writes."""

    _open, _logging = 0, contextlib.ExitStack()

    def __init__(self, title: str, total: float, unit: str, keep: bool, delay: float, started: float) -> None:
        if not _Bar._open:
            self._logging.enter_context(logging_redirect_tqdm())
        _Bar._open += 1
        self.bar = tqdm(
            total=total, desc=title, unit=unit, leave=keep, delay=delay, dynamic_ncols=True, bar_format=_BAR,
        )  # fmt: skip
        self.bar.start_t -= time.monotonic() - started
        self._shown = 0.0

    def update(self, done: float, words: str) -> None:
        self.bar.set_postfix_str(words, refresh=False)
        self.bar.update(done - self.bar.n)
        if (now := time.monotonic()) - self._shown > _REFRESH_S and self.bar.delay == 0:
            self.bar.refresh()  # the words may be new where the number is not
            self._shown = now

    def close(self) -> None:
        self.bar.close()
        _Bar._open -= 1
        if not _Bar._open:
            self._logging.close()


class _Lines:
    """In a file or a pipe: a whole line at each tenth, none too soon after the last."""

    def __init__(self, title: str, total: float, unit: str, keep: bool, delay: float, started: float) -> None:
        self.title, self.total, self.unit, self.delay = title, total, unit, delay
        self.started = self.said = started
        self.tenth = 0

    def update(self, done: float, words: str) -> None:
        part, now = done / self.total, time.monotonic()
        tenth, passed = int(10 * part + 1e-9), now - self.started
        if tenth <= self.tenth or passed < self.delay or (part < 1 and now - self.said < PAUSE_S):
            return
        self.tenth, self.said = tenth, now
        left = f", {tqdm.format_interval(passed * (1 - part) / part)} left" if part < 1 else ""
        so_far = f"{done:.4g} of {self.total:.4g} {self.unit}s in {tqdm.format_interval(passed)}"
        line = f"{self.title}: {part:.0%}, {so_far}{left}{f', {words}' if words else ''}"
        sys.stderr.write(line[:COLUMNS] + "\n")
        sys.stderr.flush()

    def close(self) -> None:
        pass


class ProgressBars:
    """Bars, or lines, one for each thing in hand; a :data:`Report`.

    Args:
        unit: what is counted.
        keep: leave a bar on the screen when its thing is done.
        show: False shows nothing.
        delay: seconds for which nothing is shown, of what may be quick.

    Example:
        >>> with ProgressBars("epoch", show=False) as report:
        ...     report("siren")(1, 2, "loss 0.1")
    """

    def __init__(self, unit: str, keep: bool = False, show: bool = True, delay: float = 0) -> None:
        self.unit, self.keep, self.show, self.delay = unit, keep, show, delay
        self._bars: dict[str, _Bar | _Lines] = {}
        self._started: dict[str, float] = {}

    def __call__(self, what: str) -> Progress:
        """Where to report the progress of one thing, which begins now."""
        self._started[what] = time.monotonic()
        return partial(self.update, what)

    def update(self, what: str, done: float, total: float, words: str = "") -> None:
        """Move one thing's bar, which ends when all is done."""
        if not self.show or not total:
            return
        if what not in self._bars:
            kind = _Bar if on_terminal() else _Lines
            started = self._started.pop(what, time.monotonic())
            self._bars[what] = kind(what, total, self.unit, self.keep, self.delay, started)
        self._bars[what].update(done, words)
        if done >= total:
            self._bars.pop(what).close()

    def close(self) -> None:
        """End the bars of what is not done."""
        for bar in reversed(self._bars.values()):
            bar.close()
        self._bars.clear()

    def __enter__(self) -> ProgressBars:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class WorkBar:
    """One bar for many pieces of work, which names what is in hand; a :data:`Report`.

    Args:
        title: of the bar.
        total: pieces.
        unit: what they are.

    Example:
        >>> with WorkBar("study", 0, "nodule") as bar:
        ...     bar("n0 siren")(1, 2, "")
    """

    def __init__(self, title: str, total: int, unit: str) -> None:
        self.title, self.total, self.done = title, total, 0
        self._bars = ProgressBars(unit, keep=True)
        self._started: dict[str, float] = {}
        self._tell("")

    def __call__(self, what: str) -> Progress:
        """Where to report how far one thing in hand is."""
        return partial(self.update, what)

    def update(self, what: str, done: float, total: float, words: str = "") -> None:
        """Name what is in hand, how far it is, and how long it will yet take."""
        now = time.monotonic()
        started, part = self._started.setdefault(what, now), done / max(total, 1)
        if part >= 1:
            del self._started[what]
        left = f", {tqdm.format_interval((now - started) * (1 - part) / part)} left" if 0 < part < 1 else ""
        self._tell(what + (f" {part:.0%}{left}" if part else ""))

    def advance(self) -> None:
        """One more piece is done."""
        self.done += 1
        self._tell("")

    def _tell(self, words: str) -> None:
        # what is complete has ended its bar
        if self.done <= self.total:
            self._bars.update(self.title, self.done, self.total, words)

    def __enter__(self) -> WorkBar:
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.close()


def counted(items: Sequence[T] | Iterable[T], title: str, unit: str, least: int = 1, delay: float = 0) -> Iterator[T]:
    """Go through items with a bar.

    Args:
        items: as many as :func:`len` says.
        title: of the bar.
        unit: what they are.
        least: fewer have none.
        delay: seconds for which nothing is shown.

    Example:
        >>> list(counted([3, 4], "scans", "scan", least=5))
        [3, 4]
    """
    found = list(items)
    with ProgressBars(unit, keep=delay == 0, show=len(found) >= least, delay=delay) as bars:
        tell = bars(title)
        tell(0, len(found), "")
        for number, item in enumerate(found, start=1):
            yield item
            tell(number, len(found), "")
