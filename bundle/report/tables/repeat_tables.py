"""How much a size depends on where the first slice fell, as a table; none where one first slice alone was measured."""

from __future__ import annotations

from typing import Any

import numpy as np

from bundle.inferers.registry import label
from bundle.metrics.categories import GROWTH
from bundle.metrics.size_evaluator import MISSED
from bundle.report.first_slices import first_slice_values, first_slices
from bundle.report.results import TRUTH, StudyResults
from bundle.report.statistics.repeatability import DAYS, RC, false_growth, within_cv
from bundle.report.statistics.size_agreement import REFERENCES
from bundle.report.tables.table import Table
from bundle.report.tidy import number_text


def repeat_tables(results: StudyResults) -> list[Table]:
    """One table, ``table_repeatability``: a row for each reference and method."""
    slices = first_slices(results)
    if len(slices) < 2:
        return []
    values, missed = first_slice_values(results), _missed(results)
    records = []
    for reference, words in REFERENCES.items():
        for where, method, quantity in values:
            if where != reference or method == TRUTH or quantity != "volume_mm3":
                continue
            volumes = values[reference, method, "volume_mm3"]
            cv = within_cv(volumes)
            record: dict[str, Any] = {"reference": words, "method": method, "wcv": cv, "rc": RC * cv}
            record |= {name: false_growth(values[reference, method, r.quantity], r) for name, r in GROWTH.items()}
            record |= {"missed": missed.get((reference, method), 0) / volumes.size}
            record |= {"failed": np.isnan(volumes).mean() - record["missed"]}
            records.append(record | {"n": int((np.isfinite(volumes).sum(axis=1) > 1).sum())})
    fields = ("reference", "method", "wcv", "rc", *GROWTH, "missed", "failed", "n")
    rows = tuple(
        (r["reference"], label(r["method"]), *(number_text(100 * r[key], 0) for key in fields[2:-1]), str(r["n"]))
        for r in records
    )
    rules = [f"grown: {rule.label}, %" for rule in GROWTH.values()]
    columns = ("reference", "method", "wCV, %", "RC, %", *rules, "missed, %", "failed, %", "n")
    caption = (
        f"Repeatability of the volume over {len(slices)} first slices of {len(results.nodules)} nodules "
        f"({results.kind_words}; {results.protocol_words}): within-nodule coefficient of variation (wCV), "
        "repeatability coefficient (RC, 2.77 wCV), share of pairs of first slices, in both orders, that a "
        f"rule calls growth though nothing grew (doubling time: {DAYS:g} days between the scans), "
        "share of measurements that found nothing, and that failed. n: nodules measured at two first slices or more."
    )
    return [Table("table_repeatability", caption, columns, rows, heads=2, records=tuple(records), fields=fields)]


def _missed(results: StudyResults) -> dict[tuple[str, str], int]:
    """How many volumes are missing because nothing was found, by reference and method."""
    found: dict[tuple[str, str], int] = {}
    for rows in first_slices(results).values():
        for row in rows:
            if row["quantity"] == "volume_mm3" and row["reason"] == MISSED:
                place = (row["reference"], row["method"])
                found[place] = found.get(place, 0) + 1
    return found
