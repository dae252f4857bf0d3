"""Volume of a nodule against where the first observed slice fell, by method: flat where a method does not mind."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from bundle.inferers.registry import label
from bundle.report.figures.style import PAGE_WIDTH, figure, legend_below, legend_grid, looks
from bundle.report.figures.views import chosen_nodules
from bundle.report.first_slices import first_slice_values, first_slices
from bundle.report.results import TRUTH, StudyResults
from bundle.report.statistics.size_agreement import REFERENCES

NODULES = 4


def figure_first_slice(results: StudyResults) -> tuple[Figure, str] | None:
    """A column a nodule, a row a reference; volumes in per cent of that reference's truth.

    Returns:
        the figure and its caption; None if one first slice alone was measured.
    """
    first = list(first_slices(results))
    if len(first) < 2:
        return None
    volumes = {(r, m): v for (r, m, quantity), v in first_slice_values(results).items() if quantity == "volume_mm3"}
    shown = chosen_nodules(results, NODULES)
    rows = [r for r in REFERENCES if any(where == r and name != TRUTH for where, name in volumes)]
    methods = list(dict.fromkeys(name for _, name in volumes if name != TRUTH))
    if not shown or not rows:
        return None
    styles = looks(methods)
    with figure(PAGE_WIDTH, 0.4 + 1.7 * len(rows) + legend_grid(["truth", *map(label, methods)])[1]) as drawn:
        axes = drawn.subplots(len(rows), len(shown), squeeze=False, sharex=True, sharey="row")
        for row, (line, reference) in enumerate(zip(axes, rows, strict=True)):
            for place, nodule in zip(line, shown, strict=True):
                i = results.nodules.index(nodule)
                true = volumes[reference, TRUTH][i]
                place.axhline(100, color="#000000", linewidth=0.8, label="truth")
                place.axhspan(75, 125, color="#eeeeee", zorder=0)
                for name in methods:
                    if (reference, name) in volumes:
                        look, part = styles[name], 100 * volumes[reference, name][i] / true
                        kind = {"color": look.color, "linestyle": look.linestyle, "marker": look.marker}
                        place.plot(first, part, label=label(name), **kind)
                place.xaxis.set_major_locator(MaxNLocator(integer=True))
                if row == 0:
                    size = f"{np.nanmean(true):.0f} mm³" if np.isfinite(true).any() else ""
                    place.set_title(f"{nodule}\n{size}", loc="left")
            line[0].set_ylabel(f"{REFERENCES[reference]}: volume, %")
        for place in axes[-1]:
            place.set_xlabel("first slice")
        legend_below(drawn, *axes.ravel())
    return drawn, (
        f"Volume of {len(shown)} nodules in per cent of the truth against the first observed slice "
        f"({results.kind_words}; {results.protocol_words}); nodules did not change. Grey: 25 %, what counts as growth."
    )
