"""Sizes against the truth's: volumes by diameter, method by method, and how nodules change their category."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bundle.metrics.categories import SCHEMES
from bundle.metrics.size_evaluator import QUANTITIES
from bundle.report.figures.agreement import ROW, heat_map
from bundle.report.figures.panels import titles
from bundle.report.figures.style import PAGE_WIDTH, figure, looks, tick_label, wrapped
from bundle.report.results import StudyResults
from bundle.report.statistics.agreement import limits_of_agreement
from bundle.report.statistics.size_agreement import (
    REFERENCES,
    category_pairs,
    measured_places,
    moves,
    size_differences,
    size_pairs,
    sizes_by_place,
)
from bundle.report.tables.table import DASH

COLUMNS, PANELS = 4, 8
GROWTH = 25.0  # per cent of volume that guidelines call growth
MOST = 100.0  # per cent: what is farther off lies at the edge
VOLUME = next(quantity for quantity in QUANTITIES if quantity.name == "volume_mm3")


def sized_methods(results: StudyResults) -> Sequence[str]:
    """Methods that have sizes, the sum of areas among them."""
    return [method for _, method in measured_places(sizes_by_place(results))]


def figure_volumes(results: StudyResults, methods: Sequence[str]) -> tuple[Figure, str] | None:
    """Bland and Altman's plot of volume, a panel a method: difference in per cent against the true diameter.

    Returns:
        the figure and its caption; None without methods.
    """
    sizes = sizes_by_place(results)
    places = [place for place in measured_places(sizes) if place[1] in methods]
    if not places:
        return None
    rows = -(-len(places) // COLUMNS)
    heights = [0.14 * max(len(tick_label(name)) > 12 for _, name in places) + 1.5] * rows
    with figure(PAGE_WIDTH, 0.35 + sum(heights)) as drawn:
        axes = drawn.subplots(rows, COLUMNS, squeeze=False, sharex=True, sharey=True)
        for place, (reference, method) in zip(axes.flat, places, strict=False):
            _, diameters = size_pairs(sizes, reference, method, "mean_diameter_mm")
            _panel(place, diameters, size_differences(sizes, reference, method, VOLUME), method)
        titles(list(axes.flat), [method for _, method in places])
        for place in axes.flat[len(places) :]:
            place.set_axis_off()
        for k in range(COLUMNS):
            shown = [row for row in range(rows) if row * COLUMNS + k < len(places)]
            if shown:
                axes[shown[-1], k].set_xlabel("true diameter, mm")
                axes[shown[-1], k].tick_params(labelbottom=True)
        for row in axes[:, 0]:
            row.set_ylabel("volume, % off")
    return drawn, (
        f"Volume against the truth's by mean diameter, nodule by nodule ({results.kind_words}; "
        f"{results.protocol_words}): line: bias, dashed: limits of agreement (1.96 sd), grey: {GROWTH:g} %, which "
        f"counts as growth. Masks against the readers' consensus, images by one rule of segmentation. What is more "
        f"than {MOST:g} % off lies at the edge."
    )


def figure_categories(results: StudyResults) -> tuple[Figure, str] | None:
    """Matrix: how many nodules of each method go up and down, by each guideline; coloured by the share that moves.

    Returns:
        the figure and its caption; None without sizes.
    """
    sizes = sizes_by_place(results)
    places = measured_places(sizes)
    if not places:
        return None
    pairs = [[category_pairs(sizes, *place, scheme) for scheme in SCHEMES.values()] for place in places]
    shares = [[float(np.mean([a != b for a, b in p])) if p else np.nan for p in row] for row in pairs]
    texts = [[moves(p) or DASH for p in row] for row in pairs]
    with figure(PAGE_WIDTH, 0.75 + ROW * len(places)) as drawn:
        place = drawn.subplots()
        heat_map(place, np.array(shares), texts, "Blues", (0.0, 0.5))
        place.set_yticks(range(len(places)), [tick_label(method) for _, method in places])
        place.set_xticks(range(len(SCHEMES)), [wrapped(scheme.label, 13) for scheme in SCHEMES.values()])
        masks = sum(reference == next(iter(REFERENCES)) for reference, _ in places)
        if 0 < masks < len(places):
            place.axhline(masks - 0.5, color="#000000", linewidth=1.2)
    most = max(len(p) for row in pairs for p in row)
    return drawn, (
        f"Nodules of {most} that go up (+) and down (−) in category ({results.kind_words}; {results.protocol_words}); "
        "the darker, the larger their share. Above the line masks against the readers' consensus, below it images by "
        "one rule of segmentation."
    )


def _panel(place: Axes, diameters: np.ndarray, differences: np.ndarray, method: str) -> None:
    look, limits = looks([method])[method], limits_of_agreement(differences)
    place.axhspan(-GROWTH, GROWTH, color="#e6e6e6", zorder=0)
    place.axhline(0, color="#000000", linewidth=0.6)
    for value, style in ((limits.bias, "-"), (limits.low, "--"), (limits.high, "--")):
        if np.isfinite(value) and abs(value) < MOST:
            place.axhline(value, color=look.color, linewidth=1.0, linestyle=style)
    shown = differences.clip(-MOST, MOST)
    place.plot(diameters, shown, ls="", marker=look.marker, color=look.color, ms=3.2, alpha=0.85, clip_on=False)
    place.set(ylim=(-MOST, MOST), yticks=[-MOST, -50, 0, 50, MOST])
