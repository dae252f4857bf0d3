"""What a reconstruction does to the size that a person reads: differences from the truth, method by method."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

from bundle.inferers.registry import label
from bundle.metrics.categories import SCHEMES, flips
from bundle.metrics.size_evaluator import QUANTITIES
from bundle.metrics.table import Metric
from bundle.report.results import TRUTH, StudyResults
from bundle.report.tables.table import Entry, Line, Table, metric_table
from bundle.report.tidy import Summary, summarise

REFERENCES = {"outline": "outlines", "seg": "segmentation"}
FLIPS = SCHEMES["lung_rads_volume"]

Sizes = Mapping[tuple[str, str, str], Mapping[str, float]]


def sizes_by_place(results: StudyResults) -> Sizes:
    """Values by nodule, by (reference, method, quantity), in the order of ``clinical.csv``."""
    found: dict[tuple[str, str, str], dict[str, float]] = {}
    for row in results.clinical:
        found.setdefault((row["reference"], row["method"], row["quantity"]), {})[row["nodule_id"]] = row["value"]
    return found


def size_tables(results: StudyResults) -> list[Table]:
    """One table, ``table_sizes``: mean and sd over nodules of what is measured minus the truth; none without sizes."""
    sizes = sizes_by_place(results)
    shown = [quantity for quantity in QUANTITIES if quantity.name != "perpendicular_diameter_mm"]
    changed = Metric("category_changed", None, "size", f"{FLIPS.label} changed", "%", 0)
    lines = []
    for reference, words in REFERENCES.items():
        methods = dict.fromkeys(method for where, method, _ in sizes if where == reference)
        for method in methods:
            if method == TRUTH:
                continue
            found = [_difference(sizes, reference, method, quantity) for quantity in shown]
            entries = [Entry(s if s.n or not i else None) for i, s in enumerate(found)]
            lines.append(Line((words, label(method)), (*entries, Entry(_changed(sizes, reference, method)))))
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


def _relative(quantity: Metric) -> bool:
    """Whether a difference is told as a part of the truth: a mean over nodules of mm3 would be that of the largest."""
    return quantity.unit in ("mm3", "mg")


def _bias(quantity: Metric) -> Metric:
    named = replace(quantity, name=f"{quantity.name.rpartition('_')[0]}_difference")
    return replace(named, unit="%", decimals=0) if _relative(quantity) else named


def _difference(sizes: Sizes, reference: str, method: str, quantity: Metric) -> Summary:
    true = sizes.get((reference, TRUTH, quantity.name), {})
    values = []
    for nodule, value in sizes.get((reference, method, quantity.name), {}).items():
        against = true.get(nodule, math.nan)
        values.append(100 * (value / against - 1) if _relative(quantity) else value - against)
    return summarise(values)


def _changed(sizes: Sizes, reference: str, method: str) -> Summary | None:
    """Per cent of nodules of another class than the truth, of those that have both."""
    true = sizes.get((reference, TRUTH, FLIPS.quantity), {})
    measured = sizes.get((reference, method, FLIPS.quantity), {})
    found = summarise(flips(FLIPS, list(measured.values()), [true.get(nodule, math.nan) for nodule in measured]))
    return replace(found, mean=100 * found.mean, sd=math.nan) if found.n else None
