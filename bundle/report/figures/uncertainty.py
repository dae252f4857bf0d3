"""Reliability: the part of the voxels that intervals are meant to hold against the part that they do hold."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from bundle.inferers.registry import label
from bundle.report.figures.style import PAGE_WIDTH, figure, legend_below, legend_grid, looks
from bundle.report.results import StudyResults
from bundle.report.tables.uncertainty_tables import levels_of

PANELS = {"global": "field of view", "tumour": "tumour"}


def figure_reliability(results: StudyResults) -> tuple[Figure, str] | None:
    """Actual against nominal coverage on the unobserved slices, mean and quartiles over nodules.

    Returns:
        the figure and its caption; None if no interval was measured.
    """
    levels = levels_of(results)
    if not levels:
        return None
    styles, methods = looks(results.methods), results.unsure_methods
    lowest = 0.4
    labels = {name: label(name) for name in methods}
    with figure(PAGE_WIDTH, 3.1 + legend_grid(["as meant", *labels.values()])[1]) as drawn:
        axes = drawn.subplots(1, 2, sharex=True, sharey=True)
        for place, (region, words) in zip(axes, PANELS.items(), strict=True):
            place.plot([0, 1], [0, 1], color="#9a9a9a", linewidth=0.8, label="as meant")
            for i, name in enumerate(methods):
                found = []
                for text, level in levels.items():
                    values = results.values(name, "unobserved", region, None, f"coverage_{text}").values()
                    finite = np.array([v for v in values if np.isfinite(v)])
                    if len(finite):
                        found.append((level, finite.mean(), *np.percentile(finite, [25, 75])))
                if not found:
                    continue
                nominal, mean, low, high = np.array(found).T
                # side by side, where several methods would hide each other
                x = nominal + 0.006 * (i - (len(methods) - 1) / 2)
                look = styles[name]
                place.plot(x, mean, color=look.color, linestyle=look.linestyle, marker=look.marker, label=label(name))
                lowest = min(lowest, *low, *mean)
                place.vlines(x, low, high, color=look.color, linewidth=0.8, alpha=0.7)
            place.set_title(words, loc="left")
            place.set(xlabel="nominal: voxels that an interval is meant to hold", xlim=(0.4, 1))
            place.xaxis.set_major_formatter(PercentFormatter(1))
            place.yaxis.set_major_formatter(PercentFormatter(1))
        axes[0].set_ylim(lowest - 0.02, 1.02)
        axes[0].set_ylabel("actual: voxels that it holds")
        legend_below(drawn, *axes)
    count = max(s.n for key, s in results.summaries.items() if key[4].startswith("coverage_"))
    return drawn, (
        f"Nominal against actual coverage of the methods' intervals on the unobserved slices, mean over {count} "
        f"nodules and their quartiles (bars) ({results.kind_words}). Below the grey line a method is surer than "
        "it should be, above it less sure."
    )
