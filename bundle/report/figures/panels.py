"""Panels of slices: views in their true proportions, outlines, bars, words, and how large all of that is."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from bundle.inferers.registry import label
from bundle.report.facts import NoduleFacts
from bundle.report.figures.style import LUNG_WINDOW, PAGE_WIDTH, wrapped
from bundle.report.figures.views import Cut, outline

FEWEST = 5  # panels of a row
PANEL = PAGE_WIDTH / 6.5  # inches
BAR_MM = 10
AROUND_MM = 6.0


def show(place: Axes, view: np.ndarray, cut: Cut, facts: NoduleFacts, bad: str | None = None, **colors: Any) -> Any:
    """A view in its true proportions, in the lung window unless other colours are given."""
    down, across = cut.pixel(facts.spacing)
    rows, columns = view.shape
    options: dict[str, Any] = {"cmap": "gray", "vmin": LUNG_WINDOW[0], "vmax": LUNG_WINDOW[1]} | colors
    shown = place.imshow(view, extent=(0, columns * across, rows * down, 0), aspect="equal", **options)
    if bad is not None:
        shown.set_cmap(shown.get_cmap().with_extremes(bad=bad))
    _bare(place)
    return shown


def draw_outline(place: Axes, flat: np.ndarray, cut: Cut, facts: NoduleFacts, color: str, width: float) -> None:
    """The border of a mask over a view."""
    down, across = cut.pixel(facts.spacing)
    pieces = [[(x * across, y * down) for x, y in piece] for piece in outline(flat)]
    place.add_collection(LineCollection(pieces, colors=color, linewidths=width, capstyle="round"), autolim=False)


def zoom(place: Axes, flat: np.ndarray, cut: Cut, facts: NoduleFacts) -> None:
    """Show a square around the mask, as wide as the mask and some mm; all of it for an empty mask."""
    where = np.nonzero(flat)
    if len(where[0]):
        steps = cut.pixel(facts.spacing)
        middle, half = [], 0.0
        for indices, step in zip(where, steps, strict=True):
            low, high = indices.min() * step, (indices.max() + 1) * step
            middle.append((low + high) / 2)
            half = max(half, (high - low) / 2 + AROUND_MM)
        place.set(xlim=(middle[1] - half, middle[1] + half), ylim=(middle[0] + half, middle[0] - half))
        place.set_facecolor("#333333")


def scale_bar(place: Axes, view: np.ndarray, cut: Cut, facts: NoduleFacts) -> None:
    """A bar of ``BAR_MM`` at the lower left."""
    down, across = cut.pixel(facts.spacing)
    y, x = 0.94 * view.shape[0] * down, 0.05 * view.shape[1] * across
    for color, width in (("#000000", 3.5), ("#FFFFFF", 2.0)):
        place.plot([x, x + BAR_MM], [y, y], color=color, linewidth=width, solid_capstyle="butt")


def write(place: Axes, text: str) -> None:
    """Words in place of a picture."""
    place.text(0.5, 0.5, text, ha="center", va="center", transform=place.transAxes, fontsize=7)
    _bare(place)


def _bare(place: Axes) -> None:
    place.set(xticks=[], yticks=[])
    place.grid(visible=False)
    for spine in place.spines.values():
        spine.set_visible(False)


def titles(row: Sequence[Axes], names: Sequence[str]) -> None:
    """Names over the panels of a row."""
    for place, name in zip(row, names, strict=False):
        place.set_title(wrapped(label(name)))


def title_height(names: Iterable[str]) -> float:
    """Inches of the highest title over a panel."""
    return 0.14 * max(len(wrapped(label(name)).splitlines()) for name in names)


def panel_grid(drawn: Figure, rows: int, used: int, **options: Any) -> np.ndarray:
    """(rows, columns) panels, of which the first ``used`` of a row are; never so few that they outgrow the page."""
    axes = drawn.subplots(rows, max(used, FEWEST), squeeze=False, **options)
    for place in axes[:, used:].flat:
        place.set_axis_off()
    return axes


def finish(drawn: Figure) -> None:
    """Little air between panels."""
    engine = drawn.get_layout_engine()
    if engine is not None:
        engine.set(w_pad=0.03, h_pad=0.02, wspace=0.01, hspace=0.01)  # type: ignore[call-arg]


def band_height(cut: Cut, facts: NoduleFacts) -> float:
    """Inches of a row of such views, a panel wide; a very flat one has room for the words beside it."""
    down, across = cut.pixel(facts.spacing)
    width, height = (facts.shape[i] for i in range(3) if i != cut.axis)
    return min(1.4 * PANEL, max(0.6 * PANEL, PANEL * (height * down) / (width * across)))
