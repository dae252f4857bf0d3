"""What a reconstruction does to the size that a person reads: differences from the truth, method by method."""

from __future__ import annotations

import math
from dataclasses import replace

from bundle.inferers.registry import label
from bundle.metrics.categories import SCHEMES, flips
from bundle.metrics.size_evaluator import QUANTITIES
from bundle.metrics.table import Metric
from bundle.report.results import StudyResults
from bundle.report.statistics.size_agreement import (
    REFERENCES,
    Sizes,
    is_relative,
    measured_places,
    size_differences,
    size_pairs,
    sizes_by_place,
)
from bundle.report.tables.table import Entry, Line, Table, metric_table
from bundle.report.tidy import Summary, summarise

FLIPS = SCHEMES["lung_rads_volume"]


def size_tables(results: StudyResults) -> list[Table]:
    """One table, ``table_sizes``: mean and sd over nodules of what is measured minus the truth; none without sizes."""
    sizes = sizes_by_place(results)
    shown = [quantity for quantity in QUANTITIES if quantity.name != "perpendicular_diameter_mm"]
    changed = Metric("category_changed", None, "size", f"{FLIPS.label} changed", "%", 0)
    lines = []
    for reference, method in measured_places(sizes):
        found = [summarise(size_differences(sizes, reference, method, quantity)) for quantity in shown]
        entries = [Entry(s if s.n or not i else None) for i, s in enumerate(found)]
        lines.append(
            Line((REFERENCES[reference], label(method)), (*entries, Entry(_changed(sizes, reference, method))))
        )
    if not lines:
        return []
    caption = (
        f"Sizes of {len(results.nodules)} nodules ({results.kind_words}; {results.protocol_words}): measured minus "
        "true, mean ± sd over nodules. Outlines: masks against the readers' consensus; segmentation: images by one "
        f"rule ({_rule(results)}), against the true image by the same. Failed: the method failed, or found nothing."
    )
    metrics = (*(_bias(quantity) for quantity in shown), changed)
    return [metric_table("table_sizes", caption, ("reference", "method"), metrics, lines)]


def _rule(results: StudyResults) -> str:
    rule = results.study.get("sizes") or {}
    if not {"threshold_hu", "margin_mm"} <= rule.keys():
        return "a threshold"
    return f"above {rule['threshold_hu']:g} HU, at most {rule['margin_mm']:g} mm from the consensus, connected to it"


def _bias(quantity: Metric) -> Metric:
    named = replace(quantity, name=f"{quantity.name.rpartition('_')[0]}_difference")
    return replace(named, unit="%", decimals=0) if is_relative(quantity) else named


def _changed(sizes: Sizes, reference: str, method: str) -> Summary | None:
    """Per cent of nodules of another class than the truth, of those that have both."""
    measured, true = size_pairs(sizes, reference, method, FLIPS.quantity)
    found = summarise(flips(FLIPS, measured.tolist(), true.tolist()))
    return replace(found, mean=100 * found.mean, sd=math.nan) if found.n else None
