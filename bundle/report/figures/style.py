"""How figures look: one colour, line and marker a method, type readable in print, PNG and PDF.

Colours of methods stand in the registry, told apart by the colour-blind; line style and marker differ too, so that a
print in grey can be read. Widths are those of a page: 180 mm for two columns.
"""

from __future__ import annotations

import contextlib
import logging
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from bundle.inferers.registry import METHODS, Look, label
from bundle.report.pictures import data_address
from bundle.report.results import TRUTH

PAGE_WIDTH = 180 / 25.4
LUNG_WINDOW = (-1350.0, 150.0)  # width 1500, level -600 HU
HEAT = "inferno"  # colours of absolute errors, dark to light
LEGEND_WIDTH = 30  # characters of a line
TICK_WIDTH = 26  # of a name beside an axis: those of the bundle are whole
PRINT_DPI = 300
SCREEN_DPI = 150

RC: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 7.5,
    "axes.titlesize": 8,
    "axes.labelsize": 7.5,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "figure.titlesize": 8.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "axes.grid": True,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.5,
    "axes.axisbelow": True,
    "lines.linewidth": 1.3,
    "lines.markersize": 4,
    "legend.frameon": False,
    "legend.handlelength": 3.2,
    "image.interpolation": "nearest",
    "pdf.fonttype": 42,
    "figure.constrained_layout.use": True,
}


_LOOKS = {TRUTH: Look("#000000", "-", "D")} | {name: method.look for name, method in METHODS.items()}
_COLORS = ("#CC79A7", "#56B4E9", "#009E73", "#E69F00", "#0072B2", "#D55E00", "#555555")
_LINES = ((0, (3, 1, 1, 1)), (0, (8, 2)), (0, (1, 2)))
_MARKERS = ("<", ">", "h", "p", "d", "8", "H")


_SPARE = [
    Look(color, line, marker)
    for line in _LINES
    for color, marker in zip(_COLORS, _MARKERS, strict=True)
    if (line, marker) not in {(look.linestyle, look.marker) for look in _LOOKS.values()}
]


def looks(methods: Sequence[str]) -> dict[str, Look]:
    """The look of each method; methods that aren't this bundle's get one that no other has, by their order.

    Example:
        >>> looks(["linear", "mine"])["linear"].color
        '#0072B2'
    """
    others = [name for name in methods if name not in _LOOKS]
    extra = {name: _SPARE[i % len(_SPARE)] for i, name in enumerate(others)}
    return {name: _LOOKS.get(name) or extra[name] for name in methods}


def wrapped(text: str, width: int = 12) -> str:
    """Words on lines of at most so many characters, so that they fit over a narrow panel.

    Example:
        >>> wrapped("guided distance"), wrapped("morphological")
        ('guided\\ndistance', 'morpho-\\nlogical')
    """
    return textwrap.fill(" ".join(_hyphened(word, width) for word in text.split()), width)


def tick_label(name: str) -> str:
    """A method's name beside an axis, cut where it is too long.

    Example:
        >>> tick_label("pchip"), tick_label("a_method_with_a_rather_long_name")
        ('PCHIP', 'a method with a rather lo…')
    """
    words = label(name)
    return words if len(words) <= TICK_WIDTH else f"{words[: TICK_WIDTH - 1]}…"


def _hyphened(word: str, width: int) -> str:
    """A word that is longer than a line in equal parts."""
    parts = -(-len(word) // (width - 1)) if len(word) > width else 1
    cuts = [len(word) * k // parts for k in range(parts + 1)]
    return "-".join(word[start:end] for start, end in pairwise(cuts))


def legend_grid(labels: Iterable[str]) -> tuple[int, float]:
    """Columns of a legend below a figure of the page's width, and its height in inches.

    Example:
        >>> legend_grid(["cubic", "guided distance"] * 10)
        (4, 0.95)
    """
    texts = [wrapped(text, LEGEND_WIDTH).splitlines() for text in labels]
    longest = max((len(line) for lines in texts for line in lines), default=1)
    columns = max(1, int(72 * PAGE_WIDTH / (42 + 4.3 * longest)))
    return columns, round(0.15 + 0.16 * -(-sum(map(len, texts)) // columns), 2)


def legend_below(drawn: Figure, *places: Axes) -> None:
    """One legend of all panels' lines under them; the figure was made :func:`legend_grid` higher for it."""
    pairs = [pair for place in places for pair in zip(*place.get_legend_handles_labels(), strict=True)]
    lines = {text: line for line, text in pairs}
    columns, _ = legend_grid(lines)
    labels = [wrapped(text, LEGEND_WIDTH) for text in lines]
    drawn.legend(list(lines.values()), labels, loc="outside lower center", ncols=min(columns, len(lines)))


@contextlib.contextmanager
def figure(width: float = PAGE_WIDTH, height: float = 3.0) -> Iterator[Figure]:
    """An empty figure in this style, of a size in inches; not pyplot's, so nothing is left open."""
    with _style():
        yield Figure(figsize=(width, height))


def save(drawn: Figure, folder: Path, name: str) -> str:
    """Save ``<name>.png`` and ``<name>.pdf`` for print.

    Returns:
        the same for the screen, lossless, as a ``data:`` address.
    """
    # the writer of PDF's fonts tells each of its steps to a study's log
    logging.getLogger("fontTools").setLevel(logging.WARNING)
    folder.mkdir(parents=True, exist_ok=True)
    with _style():
        # laid out once for all formats, as that takes longer than to draw; widths of text depend on the resolution
        drawn.set_dpi(PRINT_DPI)
        drawn.draw_without_rendering()
        drawn.set_layout_engine("none")
        # neither date nor version: the same results give the same file
        drawn.savefig(folder / f"{name}.pdf", dpi=PRINT_DPI, metadata={"CreationDate": None, "Producer": None})
        drawn.savefig(folder / f"{name}.png", dpi=PRINT_DPI, metadata={"Software": None})
    with Image.open(folder / f"{name}.png") as image:
        small = image.convert("RGB").reduce(PRINT_DPI // SCREEN_DPI)
    return data_address(small)


def _style() -> contextlib.AbstractContextManager[None]:
    """The style whatever the user's own matplotlibrc says; the backend alone is left as it is."""
    return mpl.rc_context({**mpl.rcParamsDefault, "backend": mpl.rcParams["backend"], **RC})
