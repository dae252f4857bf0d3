"""How far something is: one protocol for epochs, tiles and nodules, and the bars that show it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from tqdm import tqdm

Progress = Callable[[float, float, str], None]
"""Called with (how much is done, of how much, what else there is to say, such as the loss)."""

Report = Callable[[str], Progress]
"""Called with the name of something in hand; gives where to report its progress."""

_BAR = "{desc}: {percentage:3.0f}%|{bar}| {n:.4g}/{total:.4g} {unit}s [{elapsed}<{remaining}{postfix}]"


class ProgressBars:
    """Progress bars, one for each thing in hand; a :data:`Report`.

    Args:
        unit: what is counted.
        keep: leave a bar on the screen when its thing is done.
        indent: before the name, as below another bar.
        show: False shows nothing.

    Example:
        >>> with ProgressBars("epoch", show=False) as report:
        ...     report("siren")(1, 2, "loss 0.1")
    """

    def __init__(self, unit: str, keep: bool = False, indent: str = "", show: bool = True) -> None:
        self.unit, self.keep, self.indent, self.show = unit, keep, indent, show
        self._bars: dict[str, tqdm] = {}

    def __call__(self, what: str) -> Progress:
        """Where to report the progress of one thing."""
        return partial(self.update, what)

    def update(self, what: str, done: float, total: float, words: str = "") -> None:
        """Move one thing's bar, which ends when all is done."""
        if what not in self._bars:
            self._bars[what] = tqdm(
                total=total, desc=self.indent + what, unit=self.unit, leave=self.keep, disable=not self.show,
                dynamic_ncols=True, bar_format=_BAR,
            )  # fmt: skip
        bar = self._bars[what]
        bar.set_postfix_str(words, refresh=False)
        bar.update(done - bar.n)
        if done >= total:
            self._bars.pop(what).close()

    def close(self) -> None:
        """End the bars of what is not done."""
        for bar in self._bars.values():
            bar.close()
        self._bars.clear()

    def __enter__(self) -> ProgressBars:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
