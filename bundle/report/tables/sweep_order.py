"""The order of methods in a sweep: which is the best at which gap, and where one overtakes another."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np

from bundle.inferers.registry import label
from bundle.report.options import ReportOptions
from bundle.report.statistics.gains import REGIONS, SHORT, WHERE, Gain
from bundle.report.statistics.gaps import GapBin, Turn, binned, gap_bins, span_words, turns
from bundle.report.statistics.tests import ENOUGH, OVER_PATIENTS
from bundle.report.sweep import SweepResults
from bundle.report.tables.scanner_tables import gain_text
from bundle.report.tables.table import DASH, Table, signed

MOST_TURNS = 60


def answers(results: SweepResults, options: ReportOptions) -> Iterator[str]:
    """Which method has the best mean at which gaps, one sentence a region; bins of few patients say nothing."""
    against = label(options.reference_in(results.first))
    for region in REGIONS:
        runs: list[tuple[str, float, float, list[Gain]]] = []
        few = 0
        for place, order in ranked(results, options, region) if results.thin else []:
            if not _enough(order):
                few += 1
                continue
            best, gain = order[0]
            if runs and runs[-1][0] == best:
                runs[-1] = (best, runs[-1][1], place.high, [*runs[-1][3], gain])
            else:
                runs.append((best, place.low, place.high, [gain]))
        if runs:
            words = ", then ".join(
                f"{label(name)} ({span_words(low, high)}{_span(gains)})" for name, low, high, gains in runs
            )
            told = f"; bins of fewer than {ENOUGH} patients left out: {few}" if few else ""
            yield f"The best mean {WHERE[region]}, by gap: {words}; gains against {against}, {OVER_PATIENTS}{told}."
        elif few:
            yield f"No method is the best {WHERE[region]}: no bin of gaps has {ENOUGH} patients or more."


def _enough(order: Sequence[tuple[str, Gain]]) -> bool:
    """Whether a bin has methods and the patients to rank them by."""
    return bool(order) and order[0][1].patients >= ENOUGH


def _span(gains: Sequence[Gain]) -> str:
    """The least and the greatest of some gains, each with its interval if it has one, and of how many points."""
    ends = (pick(gains, key=lambda gain: gain.mean) for pick in (min, max))
    low, high = (gain_text(gain) if gain.low < gain.high else signed(gain.mean, 2) for gain in ends)
    counts = [g.n for g in gains]
    n = f"{min(counts)}" if min(counts) == max(counts) else f"{min(counts)} to {max(counts)}"
    return f": {low if low == high else f'{low} to {high}'} dB, n = {n}"


def ranked(results: SweepResults, options: ReportOptions, region: str) -> list[tuple[GapBin, list[tuple[str, Gain]]]]:
    """In each bin of gaps the methods with a mean, the reference among them, best first; of fewer nodules last."""
    gaps, nodules = results.places
    bins = gap_bins(gaps)
    every = {
        name: binned(gains, nodules, bins, options.seed)
        for name, gains in _with_reference(results, options, region).items()
    }
    found = []
    for k, one in enumerate(bins):
        gains = [(name, by_bin[k]) for name, by_bin in every.items() if by_bin[k].n]
        found.append((one, sorted(gains, key=lambda pair: (-pair[1].n, -pair[1].mean))))
    return found


def all_turns(results: SweepResults, options: ReportOptions, region: str) -> list[Turn]:
    """Where the order of methods changes, see :func:`bundle.report.statistics.gaps.turns`."""
    gaps, nodules = results.places
    return turns(_with_reference(results, options, region), nodules, gap_bins(gaps), options.seed)


def _with_reference(results: SweepResults, options: ReportOptions, region: str) -> dict[str, np.ndarray]:
    others = {name: results.points(name, region, options) for name in results.others(options)}
    if not others:
        return {}
    known = np.any([np.isfinite(g) for g in others.values()], axis=0)
    return {options.reference_in(results.first): np.where(known, 0.0, math.nan), **others}


def order_table(results: SweepResults, options: ReportOptions) -> Table:
    """A row a region and bin of gaps: the methods, best first."""
    rows: list[tuple[str, ...]] = []
    for region in REGIONS:
        for where, order in (one for one in ranked(results, options, region) if one[1]):
            names = " > ".join(label(name) for name, _ in order) if _enough(order) else DASH
            rows.append((SHORT[region], where.label, names, str(order[0][1].n)))
    caption = (
        f"The order of methods by mean gain in each bin of gaps ({results.first.kind_words}), the best first; those "
        f"with fewer nodules than others come last; none where there are fewer than {ENOUGH} patients. Neighbours may "
        "differ by chance: see the intervals."
    )
    fields = ("region", "gap", "order", "n")
    records = tuple(dict(zip(fields, row, strict=True)) for row in rows)
    return Table(
        "sweep_order", caption, fields, tuple(rows), 3, "Order of methods by gap", records=records, fields=fields
    )


def turns_table(results: SweepResults, options: ReportOptions) -> Table:
    """A row a clear change of order; its records are of all changes."""
    found = [(region, turn) for region in REGIONS for turn in all_turns(results, options, region)]
    clear = [(region, turn) for region, turn in found if turn.clear]
    rows = [
        (
            SHORT[region],
            f"{label(turn.first)}, then {label(turn.second)}",
            f"{turn.gap_mm:.1f}",
            gain_text(turn.before),
            gain_text(turn.after),
            f"{turn.before.n} / {turn.after.n}",
        )
        for region, turn in clear[:MOST_TURNS]
    ]
    fields = ("region", "first", "second", "gap_mm", "before", "before_low", "before_high", "after", "after_low",
              "after_high", "n_before", "n_after", "clear")  # fmt: skip
    records = tuple(
        dict(zip(fields, (region, t.first, t.second, t.gap_mm, *_ends(t.before), *_ends(t.after), t.before.n, t.after.n,
                          int(t.clear)), strict=True))
        for region, t in found
    )  # fmt: skip
    caption = (
        f"Where the order turns ({results.first.kind_words}): a method that is better at smaller gaps, and one that is "
        "better at larger ones; the gap at which their mean difference is 0, between the bins before and after, with "
        f"their differences there. Only those whose intervals are without 0 on both sides: {len(clear)} of "
        f"{len(found)} changes of order."
    )
    columns = ("region", "better", "turns at, mm", "first minus second before, dB", "after, dB", "n before / after")
    return Table(
        "sweep_turns", caption, columns, tuple(rows), 2, "Where the order turns", records=records, fields=fields
    )


def _ends(gain: Gain) -> tuple[float, float, float]:
    return gain.mean, gain.low, gain.high
