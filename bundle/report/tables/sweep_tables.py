"""The tables of a sweep: gains by setting and by gap, the order of methods, what failed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bundle.inferers.registry import label
from bundle.report.options import ReportOptions
from bundle.report.statistics.gains import REGIONS, Gain, mean_gain
from bundle.report.statistics.gaps import gap_bins, share_better
from bundle.report.statistics.tests import OVER_PATIENTS
from bundle.report.sweep import POINT, SettingResults, SweepResults
from bundle.report.tables.paper_tables import SLICES
from bundle.report.tables.scanner_tables import count_texts, gain_text
from bundle.report.tables.sweep_order import order_table, turns_table
from bundle.report.tables.table import DASH, Table, write_tables
from bundle.report.tidy import to_csv
from bundle.store import ResultStore


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
        every = [setting.gains(m, r, options) for m in results.others(options) for r in REGIONS]
        gains = np.array(every).reshape(len(every), len(setting.results.nodules))
        measured = gains[np.isfinite(gains).any(axis=1)].T
        pairs = zip(setting.results.nodules, measured, strict=True)
        sets.append({name for name, own in pairs if len(own) and np.isfinite(own).all()})
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


def sweep_tables(results: SweepResults, options: ReportOptions) -> list[Table]:
    """All tables of the page; empty ones are left out."""
    against, shared = label(options.reference_in(results.first)), common_nodules(results, options)
    words = {setting.name: setting.words for setting in results.settings}
    most = max(sum(np.isfinite(setting.gaps)) for setting in results.settings)
    tail = (
        f"({results.first.kind_words}), {SLICES[options.slices]}: mean difference in PSNR to {against}, "
        f"{OVER_PATIENTS}; share of nodules better in field and tumour at once."
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
        tables += [order_table(results, options), turns_table(results, options)]
    return [table for table in [*tables, failures(results)] if table.rows or table.records]


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


def failures(results: SweepResults) -> Table:
    """What failed at each setting, a row for each reason."""
    rows = [(setting.words, *row) for setting in results.settings for row in _failed(setting)]
    columns = ("setting", "method", "nodules", "remark")
    caption = "Failed reconstructions by setting: how many nodules, and the first one. All are in failures.csv there."
    return Table("", caption, columns, tuple(rows), heads=2, title="Failures")


def failure_lines(results: SweepResults) -> list[str]:
    """What failed and why, one sentence a setting: the reason that most nodules have."""
    lines = []
    for setting in results.settings:
        rows = sorted(_failed(setting), key=lambda row: -int(row[1]))
        for names, count, remark in rows[:1]:
            more = f" (and {len(rows) - 1} more reasons in failures.csv)" if len(rows) > 1 else ""
            lines.append(f"{setting.name}, {names} failed on {count} nodules: {remark}{more}")
    return lines


def _failed(setting: SettingResults) -> list[tuple[str, str, str]]:
    """Methods, how many nodules, and the first one with its reason, a row for each reason."""
    rows = []
    for reason, nodules, methods in _reasons(setting):
        every = len(methods) == len(setting.results.methods)
        names = "every method" if every else ", ".join(label(name) for name in methods)
        rows.append((names, str(len(nodules)), f"{nodules[0]}: {reason}"))
    return rows


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
