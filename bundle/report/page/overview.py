"""What a reader looks for first, and what belongs to a run, as tables of the page."""

from __future__ import annotations

import math
import statistics

from bundle.inferers.registry import label
from bundle.report.results import StudyResults
from bundle.report.tables.main_columns import MAIN_COLUMNS, best_first, summary_at, values_at
from bundle.report.tables.table import DASH, Table
from bundle.report.tidy import number_text, summary_texts

MOST_FAILURES = 500


def glance_table(results: StudyResults) -> Table:
    """A row a method: means of the main metrics, the best of each in bold."""
    rows, strong = [], []
    compared = [name for name in results.methods if name not in results.samples]
    best = [best_first(results, compared, column) for column in MAIN_COLUMNS]
    for i, name in enumerate(compared):
        found = [summary_at(results, name, column) for column in MAIN_COLUMNS]
        cells = summary_texts(found, [column.decimals for column in MAIN_COLUMNS])
        strong += [(i, 1 + k) for k, ranked in enumerate(best) if len(ranked) > 1 and ranked[0] == name]
        failed = sum(not results.has(nodule, name) for nodule in results.nodules) if results.facts else 0
        failed = max(failed, sum(f["method"] == name for f in results.failures))
        rows.append((label(name), *cells, str(len(results.nodules) - failed), str(failed)))
    at = results.main_threshold
    caption = (
        "Mean ± sd over nodules on unobserved slices (HD: the whole crop)"
        f"{'' if at is None else f'; shape by image methods at {at:g} HU'}; best mean in bold, of those over the most "
        f"nodules ({results.kind_words})."
    )
    columns = ("method", *(column.label for column in MAIN_COLUMNS), "done", "failed")
    return Table("", caption, columns, tuple(rows), strong=tuple(strong))


def nodule_table(results: StudyResults, nodule: str) -> Table:
    """Values of every method on one nodule."""
    rows = []
    for method in results.methods:
        values = [values_at(results, method, column).get(nodule, math.nan) for column in MAIN_COLUMNS]
        cells = [number_text(value, column.decimals) for value, column in zip(values, MAIN_COLUMNS, strict=True)]
        seconds = results.seconds.get((nodule, method))
        rows.append((label(method), *cells, DASH if seconds is None else seconds_text(seconds)))
    columns = ("method", *(column.label for column in MAIN_COLUMNS), "seconds")
    return Table("", f"Values of every method on {nodule}.", columns, tuple(rows))


def cohort_table(results: StudyResults) -> Table:
    """What is known of each nodule."""
    rows = []
    for nodule in results.nodules:
        facts = results.facts.get(nodule)
        cells = [DASH] * 6
        if facts:
            malignancy = facts.ratings.get("malignancy")
            cells = [
                f"{facts.diameter_mm:.1f}" if facts.diameter_mm else DASH,
                " × ".join(map(str, facts.shape)),
                " × ".join(f"{s:.3g}" for s in facts.spacing),
                f"{facts.gap_mm:.2f}" if len(facts.observed) > 1 else DASH,
                f"{len(facts.observed)} of {facts.shape[facts.axis]}",
                DASH if malignancy is None else f"{malignancy:.2f}",
            ]
        failed = len(results.failed_methods.get(nodule, []))
        rows.append((nodule, *cells, str(failed)))
    known = ("diameter, mm", "voxels of the crop", "spacing, mm", "gap, mm", "observed slices", "malignancy")
    return Table("", "The nodules.", ("nodule", *known, "failed"), tuple(rows))


def failures_table(results: StudyResults) -> Table:
    """Failed reconstructions, and why; a row for all methods that failed on a nodule for one reason."""
    found: dict[tuple[str, str], list[str]] = {}
    for failure in results.failures:
        found.setdefault((failure["nodule_id"], failure["reason"]), []).append(failure["method"])
    rows = []
    for (nodule, reason), methods in found.items():
        every = len(methods) == len(results.methods) > 1
        rows.append((nodule, "every method" if every else ", ".join(map(label, methods)), reason))
    shown = "" if len(rows) <= MOST_FAILURES else f" The first {MOST_FAILURES} rows; all are in failures.csv."
    columns = ("nodule", "method", "remark")
    return Table("", f"Failed reconstructions.{shown}", columns, tuple(rows[:MOST_FAILURES]), heads=2)


def seconds_table(results: StudyResults) -> Table:
    """Computing times by method."""
    rows = []
    for name in results.methods:
        times = [s for (_, method), s in results.seconds.items() if method == name]
        if times:
            rows.append((label(name), seconds_text(statistics.median(times)), seconds_text(sum(times))))
    return Table("", "Computing times.", ("method", "seconds a nodule, median", "seconds in all"), tuple(rows))


def seconds_text(seconds: float) -> str:
    """Seconds to read, not to compute with.

    Example:
        >>> seconds_text(0.0004), seconds_text(25.8123), seconds_text(1234.5)
        ('< 0.01', '25.8', '1234')
    """
    if seconds < 0.01:
        return "< 0.01"
    return f"{seconds:.{2 if seconds < 10 else 1 if seconds < 100 else 0}f}"
