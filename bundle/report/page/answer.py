"""The report's answer: one sentence made from the figures, and the differences behind it as rows of a plot."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from bundle.inferers.registry import label
from bundle.metrics.table import metric_of
from bundle.report.options import ReportOptions
from bundle.report.results import StudyResults
from bundle.report.statistics.tests import bootstrap_interval, few_words, paired_difference
from bundle.report.tables.main_columns import MAIN_COLUMNS, Column, best_first, set_back, summary_at, values_at
from bundle.report.tables.table import signed
from bundle.report.tidy import Summary, number_text

FIELD, TUMOUR, SHAPE = MAIN_COLUMNS[0], MAIN_COLUMNS[1], MAIN_COLUMNS[3]
WORDS = {FIELD: "in the field of view", TUMOUR: "in the tumour", SHAPE: "of all masks"}


@dataclass(frozen=True)
class Difference:
    """A method against the reference at one place, and where it lies on the axis of its plot.

    Attributes:
        method: its label.
        mean: of the paired differences.
        low: lower end of the bootstrap 95 % interval; nan for too few pairs.
        high: its upper end.
        n: pairs.
        text: all of it in words.
    """

    method: str
    mean: float
    low: float
    high: float
    n: int
    text: str


@dataclass(frozen=True)
class Forest:
    """Differences of all methods to the reference at one place.

    Attributes:
        title: of the plot.
        rows: best first, those of fewer pairs after the others.
        reach: the axis goes from minus to plus this.
    """

    title: str
    rows: tuple[Difference, ...]
    reach: float

    def at(self, value: float) -> float:
        """Where a value lies, in per cent of the axis.

        Example:
            >>> Forest("", (), 2.0).at(1.0)
            75.0
        """
        return round(float(np.clip(50 + 50 * value / self.reach, 0, 100)), 2)


def forests(results: StudyResults, options: ReportOptions) -> list[Forest]:
    """Plots of the differences in PSNR, field and tumour; none where fewer than two methods give brightness."""
    if len(results.image_methods) < 2:
        return []
    reference = options.reference_in(results)
    found = []
    for column in (FIELD, TUMOUR):
        others = [name for name in results.image_methods if name != reference]
        rows = [_difference(results, name, reference, column) for name in others]
        known = sorted((row for row in rows if row.n), key=lambda row: (-row.n, -row.mean))
        if known:
            ends = [abs(v) for row in known for v in (row.mean, row.low, row.high) if math.isfinite(v)]
            title = f"{column.label}: difference to {label(reference)}"
            found.append(Forest(title, tuple(known), max(*ends, 0.1) * 1.05))
    return found


def question(results: StudyResults) -> str:
    """What the study asks."""
    seen = results.protocol_words.removesuffix(" observed")
    return f"Which method recovers the missing slices of CT around a lung nodule best, where {seen} is given?"


def answers(results: StudyResults, options: ReportOptions) -> Iterator[str]:
    """The best method at each main place, by how much and how sure; one sentence each, none without a value."""
    for column, methods in (
        (FIELD, results.image_methods),
        (TUMOUR, results.image_methods),
        (SHAPE, results.methods),
    ):
        ranked = best_first(results, methods, column)
        if ranked:
            yield _answer(results, ranked, column, options.reference_in(results))


def _answer(results: StudyResults, ranked: Sequence[str], column: Column, reference: str) -> str:
    best, found = ranked[0], summary_at(results, ranked[0], column)
    assert found is not None  # it is ranked
    metric = metric_of(column.metric)
    words = f"{label(best)} is best {WORDS[column]}: {metric.label} {_mean_text(found, column)}"
    if len(ranked) == 1:
        return f"{words} (n = {found.n}), the only method with a value."
    if found.n < len(results.nodules):
        words += f" over {found.n} of {len(results.nodules)} nodules"
    if reference in ranked[2:]:
        words += f", {_difference(results, best, reference, column).text} against {label(reference)}"
    lead = _difference(results, best, ranked[1], column)
    few = few_words(lead.n)
    clear = "" if lead.low > 0 or lead.high < 0 else f": no clear lead{f', as there is {few}' if few else ''}"
    words = f"{words}; {lead.text} against the next, {label(ranked[1])}{clear}."
    return " ".join([words, *(_set_back(results, name, found, column) for name in set_back(results, ranked, column))])


def _mean_text(found: Summary, column: Column) -> str:
    return f"{number_text(found.mean, column.decimals)} {metric_of(column.metric).unit}".rstrip()


def _set_back(results: StudyResults, name: str, best: Summary, column: Column) -> str:
    """Why a method is not the best though its mean is the better one."""
    found = summary_at(results, name, column)
    assert found is not None  # it is ranked
    return (
        f"{label(name)} has {_mean_text(found, column)}, but over {found.n} of these {best.n} nodules: it comes after."
    )


def _difference(results: StudyResults, name: str, reference: str, column: Column) -> Difference:
    own, other = (values_at(results, method, column) for method in (name, reference))
    pairs, _ = paired_difference(*([found.get(n, math.nan) for n in results.nodules] for found in (own, other)))
    mean = float(pairs.mean()) if len(pairs) else math.nan
    low, high = bootstrap_interval(pairs)
    mean_text, low_text, high_text = (signed(v, column.decimals) for v in (mean, low, high))
    interval = "" if math.isnan(low) else f"95 % interval {low_text} to {high_text}, "
    text = f"{mean_text} ({interval}n = {len(pairs)})"
    return Difference(label(name), mean, low, high, len(pairs), text)
