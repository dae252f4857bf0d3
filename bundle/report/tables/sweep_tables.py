"""The tables of a sweep: gains by setting and by gap, the order of methods and where it turns, what failed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bundle.inferers.registry import label
from bundle.report.options import ReportOptions
from bundle.report.statistics.gains import REGIONS, Gain, mean_gain
from bundle.report.statistics.gaps import GapBin, Turn, binned, gap_bins, share_better, turns
from bundle.report.sweep import POINT, SettingResults, SweepResults
from bundle.report.tables.paper_tables import SLICES
from bundle.report.tables.scanner_tables import count_texts, gain_text
from bundle.report.tables.table import DASH, Table, write_tables
from bundle.report.tidy import to_csv
from bundle.store import ResultStore

WORDS = {"global": "field", "tumour": "tumour"}
MOST_TURNS = 60


@dataclass(frozen=True)
class Stratum:
    """A method's gains over some points.

    Attributes:
        where: setting or bin, in words.
        method: its name.
        gap_mm: mean gap of the points.
        field: mean gain over the field of view.
        tumour: mean gain in the tumour.
        both: share of points better than the reference in both.
    """

    where: str
    method: str
    gap_mm: float
    field: Gain
    tumour: Gain
    both: float


def by_setting(results: SweepResults, options: ReportOptions, common: bool = False) -> list[Stratum]:
    """A stratum a setting and method, of nodules that have a gain at all settings if only the common are asked for."""
    shared = common_nodules(results, options) if common else None
    found = []
    for setting in results.settings:
        kept = [i for i, name in enumerate(setting.results.nodules) if shared is None or name in shared]
        nodules = [setting.results.nodules[i] for i in kept]
        gaps = setting.gaps[kept]
        gap = float(np.nanmean(gaps)) if np.isfinite(gaps).any() else math.nan
        for method in results.others(options):
            gains = [setting.gains(method, region, options)[kept] for region in REGIONS]
            found.append(_stratum(setting.name, method, gap, gains, nodules, options))
    return found


def common_nodules(results: SweepResults, options: ReportOptions) -> set[str]:
    """Nodules on which every method that has any gain at a setting has one there, at every setting."""
    sets = []
    for setting in results.settings:
        gains = np.array([setting.gains(m, r, options) for m in results.others(options) for r in REGIONS])
        known = np.isfinite(gains)
        full = known[known.any(axis=1)].all(axis=0) & known.any() if len(known) else np.zeros(0, bool)
        sets.append({name for name, all_there in zip(setting.results.nodules, full, strict=True) if all_there})
    return set.intersection(*sets)


def by_gap(results: SweepResults, options: ReportOptions) -> list[Stratum]:
    """A stratum a bin of gaps and method, over all thin settings."""
    gaps, nodules = results.places
    bins, found = gap_bins(gaps), []
    for method in results.others(options):
        gains = [results.points(method, region, options) for region in REGIONS]
        for one in bins:
            at = list(one.points)
            points = [g[at] for g in gains]
            found.append(_stratum(one.label, method, one.centre, points, [nodules[i] for i in at], options))
    order = [one.label for one in bins]
    return sorted(found, key=lambda stratum: order.index(stratum.where))


def _stratum(
    where: str, method: str, gap: float, gains: Sequence[np.ndarray], nodules: Sequence[str], options: ReportOptions
) -> Stratum:
    field, tumour = (mean_gain(one, nodules, options.seed) for one in gains)
    return Stratum(where, method, gap, field, tumour, share_better(gains[0], gains[1]))


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
    known = np.any([np.isfinite(g) for g in others.values()], axis=0) if others else np.zeros(0, bool)
    return {options.reference_in(results.first): np.where(known, 0.0, math.nan), **others}


def sweep_tables(results: SweepResults, options: ReportOptions) -> list[Table]:
    """All tables of the page; empty ones are left out."""
    against, shared = label(options.reference_in(results.first)), common_nodules(results, options)
    words = {setting.name: setting.words for setting in results.settings}
    most = max(sum(np.isfinite(setting.gaps)) for setting in results.settings)
    tail = (
        f"({results.first.kind_words}), {SLICES[options.slices]}: mean difference in PSNR to {against}, bootstrap 95 % "
        "interval over patients; share of nodules better in field and tumour at once."
    )
    settings = _strata("sweep_settings", "setting", by_setting(results, options), words, f"By setting {tail}", against)
    tables = [settings]
    if 0 < len(shared) < most:
        told = (
            f"By setting, nodules with a value of every method at every setting alone, {len(shared)} of {most} {tail}"
        )
        rows = by_setting(results, options, common=True)
        tables.append(_strata("sweep_common", "setting", rows, words, told, against))
    if results.thin:
        told = f"By gap, over all strides of thin slices; n counts a nodule once a stride {tail}"
        tables.append(_strata("sweep_gaps", "gap", by_gap(results, options), {}, told, against))
        tables += [_order(results, options), _turns(results, options)]
    return [table for table in [*tables, failures(results)] if table.rows]


def _strata(
    name: str, head: str, strata: Sequence[Stratum], words: dict[str, str], caption: str, against: str
) -> Table:
    rows, records = [], []
    fields = (head, "method", "gap_mm", "region", "gain", "low", "high", "better_in_both", "n", "patients", "n_failed")
    for one in strata:
        both = DASH if math.isnan(one.both) else f"{100 * one.both:.0f} %"
        gap = DASH if math.isnan(one.gap_mm) else f"{one.gap_mm:.1f}"
        gains = [one.field, one.tumour]
        where = words.get(one.where, one.where)
        rows.append((where, label(one.method), gap, *map(gain_text, gains), both, *count_texts(gains)))
        for region, gain in zip(REGIONS, gains, strict=True):
            numbers = (gain.mean, gain.low, gain.high, one.both, gain.n, gain.patients, gain.n_failed)
            records.append(dict(zip(fields, (one.where, one.method, one.gap_mm, region, *numbers), strict=True)))
    titles = (f"PSNR minus {against}'s, field, dB", "tumour, dB", "better in both", "n", "patients", "failed")
    columns = (head, "method", "mean gap, mm", *titles)
    title = caption.partition(" (")[0]
    return Table(name, caption, columns, tuple(rows), 2, title, records=tuple(records), fields=fields)


def _order(results: SweepResults, options: ReportOptions) -> Table:
    rows: list[tuple[str, ...]] = []
    for region in REGIONS:
        for where, order in ranked(results, options, region):
            names = " > ".join(label(name) for name, _ in order)
            rows.append((WORDS[region], where.label, names, str(order[0][1].n) if order else "0"))
    caption = (
        f"The order of methods by mean gain in each bin of gaps ({results.first.kind_words}), the best first; those "
        "with fewer nodules than others come last. Neighbours may differ by chance: see the intervals."
    )
    fields = ("region", "gap", "order", "n")
    records = tuple(dict(zip(fields, row, strict=True)) for row in rows)
    return Table(
        "sweep_order", caption, fields, tuple(rows), 3, "Order of methods by gap", records=records, fields=fields
    )


def _turns(results: SweepResults, options: ReportOptions) -> Table:
    found = [(region, turn) for region in REGIONS for turn in all_turns(results, options, region)]
    clear = [(region, turn) for region, turn in found if turn.clear]
    rows = [
        (
            WORDS[region],
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


def failures(results: SweepResults) -> Table:
    """What failed at each setting, a row for each reason."""
    rows = []
    for setting in results.settings:
        for reason, nodules, methods in _reasons(setting):
            every = len(methods) == len(setting.results.methods)
            names = "every method" if every else ", ".join(label(name) for name in methods)
            rows.append((setting.words, names, str(len(nodules)), f"{nodules[0]}: {reason}"))
    columns = ("setting", "method", "nodules", "remark")
    caption = "Failed reconstructions by setting: how many nodules, and the first one. All are in failures.csv there."
    return Table("", caption, columns, tuple(rows), heads=2, title="Failures")


def _reasons(setting: SettingResults) -> list[tuple[str, list[str], list[str]]]:
    """Nodules and methods by the start of a reason, before its numbers."""
    found: dict[tuple[str, tuple[str, ...]], tuple[str, list[str]]] = {}
    by_nodule: dict[tuple[str, str], list[str]] = {}
    for row in setting.results.failures:
        by_nodule.setdefault((row["nodule_id"], row["reason"]), []).append(row["method"])
    for (nodule, reason), methods in by_nodule.items():
        kind = ("".join(letter for letter in reason if not letter.isdigit()), tuple(methods))
        found.setdefault(kind, (reason, []))[1].append(nodule)
    return [(reason, nodules, list(methods)) for (_, methods), (reason, nodules) in found.items()]


def write_sweep_tables(results: SweepResults, options: ReportOptions) -> list[Table]:
    """Make all tables, write ``sweep.csv`` and ``tables/``.

    Raises:
        InputError: an option names what is not in the sweep, or the folder can't be written.
    """
    options.check(results.first.methods)
    store, tables = ResultStore(results.root), sweep_tables(results, options)
    store.write_text("sweep.csv", to_csv(results.rows(options), POINT))
    write_tables(store, tables)
    return tables
