"""Each method's gain in several cohorts, side by side."""

from __future__ import annotations

import math

from matplotlib.figure import Figure

from bundle.inferers.registry import label
from bundle.report.cohorts import CohortResults
from bundle.report.figures.gaps import FAR_DB
from bundle.report.figures.style import PAGE_WIDTH, figure, legend_below, legend_grid
from bundle.report.statistics.gains import REGIONS, WHERE
from bundle.report.statistics.tests import OVER_PATIENTS
from bundle.report.tables.cohort_tables import differences, gain_in
from bundle.report.tables.statistics_tables import p_text

COLORS = ("#000000", "#0072B2", "#D55E00", "#009E73")
MARKERS = ("o", "s", "^", "D")


def figure_cohorts(results: CohortResults) -> tuple[Figure, str, list[str]] | None:
    """A row a method, a point a cohort, with its interval; p of the difference at the edge where there are two.

    Returns:
        the figure, its caption, and which methods lie outside; None where no method has a gain.
    """
    found = {
        (region, method): [gain_in(cohort, method, region) for cohort in results.cohorts]
        for region in REGIONS
        for method in results.methods
    }
    means = [gain.mean for gains in found.values() for gain in gains if gain.patients]
    if not means:
        return None
    against = label(results.reference)
    names = [f"{cohort.name} ({len(cohort.patients)} patients)" for cohort in results.cohorts]
    step = 0.5 / len(names)
    with figure(PAGE_WIDTH, 0.9 + 0.32 * len(results.methods) + legend_grid(names)[1]) as drawn:
        for place, region in zip(drawn.subplots(1, 2, sharey=True), REGIONS, strict=True):
            tests = {(d.cohort, d.method): d for d in differences(results, region)}
            place.axvline(0, color="#000000", linewidth=0.8)
            for row, method in enumerate(results.methods):
                for k, gain in enumerate(found[region, method]):
                    y, color = row + (k - (len(names) - 1) / 2) * step, COLORS[k % len(COLORS)]
                    if math.isfinite(gain.low):
                        place.plot([gain.low, gain.high], [y, y], color=color, linewidth=1.0)
                    place.plot(gain.mean, y, ls="", marker=MARKERS[k % len(MARKERS)], color=color, label=names[k], ms=4)
                if len(names) == 2:
                    p_value = p_text(tests[results.cohorts[1].name, method].p_holm)
                    place.text(1.01, row, f"p {p_value}", transform=place.get_yaxis_transform(), va="center", size=6.5)
            low, high = place.get_xlim()
            place.set_xlim(max(low, -FAR_DB), high)
            place.set(xlabel=f"PSNR minus {against}'s, dB")
            place.set_title(f"gain {WHERE[region]}", loc="left")
            place.set_yticks(range(len(results.methods)), [label(name) for name in results.methods])
            place.set_ylim(len(results.methods) - 0.4, -0.6)
        legend_below(drawn, place)
    caption = (
        f"Gain over {against}, mean of patients with {OVER_PATIENTS} ({results.kind_words}); p of Welch's "
        "test of the difference between two cohorts, corrected by Holm over the methods of a panel."
    )
    far = [
        f"{label(method)} lies more than {FAR_DB:g} dB below {against}, outside the figure"
        for method in results.methods
        if any(gain.mean < -FAR_DB for region in REGIONS for gain in found[region, method])
    ]
    return drawn, caption, far
