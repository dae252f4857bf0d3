"""Figures of a sweep: gains against the gap, and what a gain in the field costs or brings in the tumour."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from bundle.inferers.registry import Look, label
from bundle.report.figures.style import PAGE_WIDTH, figure, legend_below, legend_grid, looks
from bundle.report.options import ReportOptions
from bundle.report.statistics.gains import WHERE, Gain
from bundle.report.statistics.gaps import gap_bins
from bundle.report.statistics.tests import ENOUGH, OVER_PATIENTS
from bundle.report.sweep import SettingResults, SweepResults
from bundle.report.tables.paper import PAPER_NODULES, TABLE_1
from bundle.report.tables.sweep_tables import Stratum, by_gap, by_setting

LEAST_DB = 0.2  # of the corner where both gains are above 0, if no method is there
FAR_DB = 3.0  # a method worse than the reference by more would press all others into a corner
HOLLOW = f"Hollow, and joined by no line: fewer than {ENOUGH} patients."
PAPER_STRIDE = 5
PAPER_REFERENCE = "cubic"
COLUMNS = 3


def figure_gains(results: SweepResults, options: ReportOptions) -> tuple[Figure, str, list[str]] | None:
    """Gain against the gap in field and tumour, share of nodules better in both, and how many nodules there are.

    Returns:
        the figure, its caption, and which methods lie below it; None where no setting is thin or no method has a gain.
    """
    strata = [one for one in by_gap(results, options) if one.field.n or one.tumour.n] if results.thin else []
    if not strata:
        return None
    methods = [name for name in results.others(options) if any(one.method == name for one in strata)]
    styles, against = looks(results.methods), label(options.reference_in(results.first))
    with figure(PAGE_WIDTH, 5.4 + legend_grid([against, *map(label, methods)])[1]) as drawn:
        (field, tumour), (both, count) = drawn.subplots(2, 2)
        for number, name in enumerate(methods):
            mine, look = [one for one in strata if one.method == name], styles[name]
            for place, part in ((field, "field"), (tumour, "tumour")):
                _gain_line(place, mine, part, look, label(name), _aside(number, len(methods)))
            _marked_line(both, [(one.gap_mm, 100 * one.both, one.field) for one in mine], look)
        for place, words in zip((field, tumour), WHERE.values(), strict=True):
            place.axhline(0, color="#000000", linewidth=0.8, label=against)
            place.set_title(f"gain {words}", loc="left")
            place.set(xlabel="gap, mm", ylabel=f"PSNR minus {against}'s, dB")
            low, high = place.get_ylim()
            place.set_ylim(max(low, -FAR_DB), high)
        both.set(xlabel="gap, mm", ylabel="nodules, %", ylim=(-3, 103))
        both.set_title("better in field and tumour at once", loc="left")
        _counts(count, results, strata)
        for place in (field, tumour, both):
            place.set_xlim(count.get_xlim())
        legend_below(drawn, field, tumour)
    caption = (
        f"Gain in PSNR over {against} against the gap between observed slices, stride times spacing of each nodule "
        f"({results.first.kind_words}). A point is the mean over the nodules in a bin of gaps, at their mean gap; the "
        f"limits of bins are grey lines in the last panel. {HOLLOW} Bars: {OVER_PATIENTS}, moved aside by method so "
        "that they can be told apart. Numbers: points and patients of a bin."
    )
    return drawn, caption, _cut(strata, against)


def _cut(strata: Sequence[Stratum], against: str) -> list[str]:
    """What is to be told of the methods that a figure has no room for."""
    far = dict.fromkeys(label(one.method) for one in strata if min(one.field.mean, one.tumour.mean) < -FAR_DB)
    told = f"more than {FAR_DB:g} dB below {against} at some gap or setting, where it is cut off or outside the figures"
    return [f"{name} lies {told}" for name in far]


def _aside(number: int, count: int) -> float:
    """Shift of a method's points along the gap, mm, so that intervals do not lie on each other."""
    return 0.05 * (number - (count - 1) / 2)


def _gain_line(place: Axes, strata: Sequence[Stratum], part: str, look: Look, words: str, aside: float) -> None:
    known = [(one.gap_mm + aside, getattr(one, part)) for one in strata if getattr(one, part).n]
    if not known:
        return
    _marked_line(place, [(x, gain.mean, gain) for x, gain in known], look, words)
    sure = [(x, gain) for x, gain in known if math.isfinite(gain.low)]
    place.vlines(
        [x for x, _ in sure], [g.low for _, g in sure], [g.high for _, g in sure], color=look.color, lw=0.8, alpha=0.6
    )


def _marked_line(place: Axes, points: Sequence[tuple[float, float, Gain]], look: Look, words: str = "") -> None:
    """A line through points, broken at those of few patients, which are hollow."""
    x = [at for at, _, _ in points]
    for enough, style in ((True, {"ls": look.linestyle, "label": words}), (False, {"ls": "", "mfc": "none"})):
        y = [value if (of.patients >= ENOUGH) is enough else math.nan for _, value, of in points]
        place.plot(x, y, color=look.color, marker=look.marker, **style)


def _counts(place: Axes, results: SweepResults, strata: Sequence[Stratum]) -> None:
    """Bars of how many points lie in each bin; those without a value of any method on top, empty."""
    gaps, _ = results.places
    bins = gap_bins(gaps)
    tallest = max(len(one.points) for one in bins)
    for one in bins:
        most = max(
            (gain for s in strata if s.where == one.label for gain in (s.field, s.tumour)),
            key=lambda gain: gain.n,
            default=None,
        )
        n, patients = (most.n, most.patients) if most else (0, 0)
        place.bar(one.centre, n, width=0.35, color="#888888")
        place.bar(one.centre, len(one.points) - n, width=0.35, bottom=n, fill=False, edgecolor="#888888", linewidth=0.8)
        place.text(
            one.centre, len(one.points) + 0.02 * tallest, f"{n}\n({patients})", ha="center", va="bottom", size=6.5
        )
        for edge in (one.low, one.high):
            if 0 < edge < math.inf:
                place.axvline(edge, color="#cccccc", linewidth=0.6, zorder=0)
    place.set(xlabel="gap, mm", ylabel="points", ylim=(0, 1.25 * tallest))
    place.set_title("points (patients); empty: failed", loc="left")
    place.yaxis.set_major_locator(MaxNLocator(integer=True))


def figure_trade_off(results: SweepResults, options: ReportOptions) -> tuple[Figure, str, list[str]] | None:
    """Gain in the tumour against gain in the field, a point a method, a panel a setting; the paper's two at its stride.

    Returns:
        the figure, its caption, and which methods lie outside; None where no method has a gain.
    """
    strata = [one for one in by_setting(results, options) if one.field.n and one.tumour.n]
    if not strata:
        return None
    settings = [s for s in results.settings if any(one.where == s.name for one in strata)]
    near = [one for one in strata if min(one.field.mean, one.tumour.mean) >= -FAR_DB]
    styles, against = looks(results.methods), label(options.reference_in(results.first))
    methods = [name for name in results.others(options) if any(one.method == name for one in near)]
    columns = min(COLUMNS, len(settings))
    rows = -(-len(settings) // columns)
    papers = [words for words, _ in _papers()]
    shown = [s.name for s in settings if s.stride == PAPER_STRIDE and s.average == 1 and against == PAPER_REFERENCE]
    with figure(PAGE_WIDTH, 2.4 * rows + legend_grid([*map(label, methods), *papers])[1]) as drawn:
        places = drawn.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
        for place, setting in zip(places.ravel(), settings, strict=False):
            _trade_off(place, setting, [one for one in near if one.where == setting.name], styles)
            if setting.name in shown:
                for (words, paper), face in zip(_papers(), ("none", "#000000"), strict=True):
                    place.plot(*paper, ls="", marker="*", ms=8, mfc=face, mec="#000000", label=words)
        _shade(places[0, 0], list(places.ravel()[: len(settings)]))
        for place in places.ravel()[len(settings) :]:
            place.set_axis_off()
        for place in places[:, 0]:
            place.set_ylabel("gain in the tumour, dB")
        for k in range(columns):
            last = max(r for r in range(rows) if r * columns + k < len(settings))
            places[last, k].set_xlabel("gain in the field, dB")
            places[last, k].tick_params(labelbottom=True)
        legend_below(drawn, *places.ravel())
    papers_words = (
        f"Stars: the paper's Table 1, {PAPER_NODULES} nodules, 1 slice in {PAPER_STRIDE}: its SIREN minus its cubic."
        if shown
        else f"The paper's points are of 1 slice in {PAPER_STRIDE} and gains over cubic, which are not in this figure."
    )
    caption = (
        f"Gain in PSNR over {against} in the tumour against that in the field of view, a point a method, mean over "
        f"nodules; bars: {OVER_PATIENTS} ({results.first.kind_words}). {HOLLOW} Shaded: better than {against} in both. "
        f"{papers_words}"
    )
    return drawn, caption, _cut(strata, against)


def _papers() -> list[tuple[str, tuple[float, float]]]:
    """The paper's two points: its cubic, from which gains are counted, and its SIREN; field and tumour, dB."""
    gains = [TABLE_1[region, "psnr"][1] - TABLE_1[region, "psnr"][0] for region in ("global", "tumour")]
    return [("cubic, the paper's", (0.0, 0.0)), ("SIREN, the paper's", (gains[0], gains[1]))]


def _trade_off(place: Axes, setting: SettingResults, strata: Sequence[Stratum], styles: dict[str, Look]) -> None:
    place.axhline(0, color="#000000", linewidth=0.6)
    place.axvline(0, color="#000000", linewidth=0.6)
    for one in strata:
        look, x, y = styles[one.method], one.field, one.tumour
        if math.isfinite(x.low) and math.isfinite(y.low):
            place.plot([x.low, x.high], [y.mean] * 2, color=look.color, linewidth=0.8, alpha=0.5)
            place.plot([x.mean] * 2, [y.low, y.high], color=look.color, linewidth=0.8, alpha=0.5)
        face = look.color if min(x.patients, y.patients) >= ENOUGH else "none"
        place.plot(x.mean, y.mean, ls="", marker=look.marker, color=look.color, mfc=face, ms=6, label=label(one.method))
    gap = np.nanmean(setting.gaps) if np.isfinite(setting.gaps).any() else math.nan
    n = max((one.field.n for one in strata), default=0)
    place.set_title(f"{setting.words}\n(mean gap {gap:.1f} mm, n = {n})", loc="left")


def _shade(first: Axes, places: Sequence[Axes]) -> None:
    """Fill the corner where both gains are above 0; all panels have the limits of the first."""
    (left, right), (bottom, top) = first.get_xlim(), first.get_ylim()
    right, top = max(right, LEAST_DB), max(top, LEAST_DB)
    for place in places:
        place.fill_between([0, right], 0, top, color="#e8f4ee", zorder=0, linewidth=0)
    first.set(xlim=(left, right), ylim=(bottom, top))
