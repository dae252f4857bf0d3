"""The report as one HTML file: its style, script and pictures are inside, and it loads nothing.

The words are in ``templates/report.html.j2``, the looks in ``style.css``, the slider in ``script.js`` there. A content
security policy in the page forbids it the network, so that a report of patients' CT stays where it is opened.
"""

from __future__ import annotations

import datetime
import json
import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any

import jinja2

from bundle.inferers.registry import label
from bundle.metrics import explain_undefined
from bundle.report.figures.draw import Drawn
from bundle.report.page.nodule_page import nodule_page, seconds_text
from bundle.report.results import TRUTH, StudyResults
from bundle.report.tables.main_columns import MAIN_COLUMNS, threshold_of
from bundle.report.tables.paper_tables import MAIN_TABLES
from bundle.report.tables.table import DASH, Table
from bundle.report.tables.write import Tables
from bundle.version import __version__


def report_html(
    results: StudyResults,
    tables: Tables,
    comparisons: Sequence[Table],
    figures: Sequence[Drawn],
    left_out: Sequence[str] = (),
) -> str:
    """The whole page.

    Args:
        results: of the study.
        tables: those that are in ``tables/`` too.
        comparisons: further tables.
        figures: in the order of the page.
        left_out: what could not be shown, one sentence each.

    Returns:
        HTML that opens from disk, with a script or without.
    """
    nodules = [nodule_page(results, name, i + 1) for i, name in enumerate(results.nodules)]
    return _template().render(
        title="Recovered CT slices around lung nodules",
        version=__version__,
        results=results,
        measured=datetime.date.fromtimestamp((results.root / "metrics.csv").stat().st_mtime).isoformat(),
        columns=[column.label for column in MAIN_COLUMNS],
        glance=_glance(results),
        sentences=list(_sentences(results)),
        cohort=_cohort(results, nodules),
        protocol=_protocol(results),
        tables=tables,
        main_tables=[table for table in tables.paper if table.name in MAIN_TABLES],
        more_tables=[table for table in tables.paper if table.name not in MAIN_TABLES],
        statistics=comparisons,
        figures=figures,
        nodules=nodules,
        undefined=_undefined(results),
        # read while the page was made, so problems come last
        problems=[*results.problems, *left_out],
        study_json=json.dumps(results.study, indent=1) if results.study else "",
        seconds=_seconds(results),
        label=label,
        dash=DASH,
    )


@cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("bundle.report.page", "templates"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    return environment.get_template("report.html.j2")


def _glance(results: StudyResults) -> list[dict[str, Any]]:
    """A row a method: means of the main metrics, the best of each marked."""
    found = [
        [
            results.summaries.get((name, c.slices, c.region, threshold_of(results, name, c), c.metric))
            for c in MAIN_COLUMNS
        ]
        for name in results.methods
    ]
    best = []
    for i, column in enumerate(MAIN_COLUMNS):
        means = [row[i].mean for row in found if row[i] and row[i].n]  # type: ignore[union-attr]
        best.append((max if column.higher_is_better else min)(means) if len(means) > 1 else math.nan)
    rows = []
    for name, row in zip(results.methods, found, strict=True):
        cells = [
            {"text": s.text(c.decimals) if s else DASH, "best": bool(s and s.mean == top)}
            for s, c, top in zip(row, MAIN_COLUMNS, best, strict=True)
        ]
        failed = sum(not results.has(nodule, name) for nodule in results.nodules) if results.facts else 0
        failed = max(failed, sum(f["method"] == name for f in results.failures))
        rows.append({"method": label(name), "cells": cells, "n": len(results.nodules) - failed, "failed": failed})
    return rows


def _sentences(results: StudyResults) -> Iterator[str]:
    """The best mean of each main metric in words; none where fewer than two methods have one."""
    for column in MAIN_COLUMNS:
        means = {}
        for name in results.methods:
            at = threshold_of(results, name, column)
            summary = results.summaries.get((name, column.slices, column.region, at, column.metric))
            if summary and summary.n:
                means[name] = summary
        if len(means) > 1:
            sign = 1 if column.higher_is_better else -1
            top = max(means, key=lambda name: sign * means[name].mean)
            words = "highest" if column.higher_is_better else "lowest"
            mean = f"{means[top].mean:.{column.decimals}f}"
            yield f"{column.label}: {words} mean by {label(top)}, {mean} (n = {means[top].n})"


def _cohort(results: StudyResults, nodules: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    rows = []
    for page in nodules:
        facts = results.facts.get(page["id"])
        failed = sum(f["nodule_id"] == page["id"] for f in results.failures)
        cells = [DASH] * 5
        if facts:
            cells = [
                f"{facts.diameter_mm:.1f}" if facts.diameter_mm else DASH,
                " × ".join(map(str, facts.shape)),
                " × ".join(f"{s:.3g}" for s in facts.spacing),
                f"{facts.gap_mm:.2f}" if len(facts.observed) > 1 else DASH,
                f"{len(facts.observed)} of {facts.shape[facts.axis]}",
            ]
        malignancy = facts.ratings.get("malignancy") if facts else None
        rows.append(
            {
                "id": page["id"],
                "anchor": page["anchor"],
                "cells": [*cells, DASH if malignancy is None else f"{malignancy:.2f}", str(failed)],
            }
        )
    return rows


def _protocol(results: StudyResults) -> list[dict[str, Any]]:
    """Each configured part: its class and its parameters."""
    parts = {name: results.study.get(name) for name in ("crop", "decimate", "evaluator", "texture", "uncertainty")}
    if not results.unsure_methods:
        del parts["uncertainty"]
    parts |= {f"method {label(name)}": part for name, part in (results.study.get("methods") or {}).items()}
    found = []
    for name, part in parts.items():
        if isinstance(part, Mapping):
            found.append({"name": name, "is": _kind(part), "parameters": dict(_flat(part))})
    return found


def _kind(part: Mapping[str, Any]) -> str:
    return str(part.get("is") or part.get("call") or "").rpartition(".")[2]


# of MONAI's base classes, and a network spelt out layer by layer: a page of it says less than its class and its hash
_HOUSEKEEPING = {"is", "call", "args", "allow_missing_keys", "keys", "label_key", "reduction", "get_not_nans", "repr"}


def _flat(part: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in part.items():
        if key in _HOUSEKEEPING:
            continue
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            if _kind(value):
                yield name, _kind(value)
            yield from _flat(value, f"{name}.")
        elif isinstance(value, list):
            yield name, ", ".join(map(str, value))
        else:
            yield name, str(value)


def _undefined(results: StudyResults) -> list[dict[str, Any]]:
    """Values that are undefined though the method did not fail: method, why, and on which nodules."""
    found: dict[tuple[str, str], list[str]] = {}
    failed = {(f["nodule_id"], f["method"]) for f in results.failures}
    for row in (*results.rows, *results.texture, *results.uncertainty):
        if math.isfinite(row["value"]) or (row["nodule_id"], row["method"]) in failed:
            continue
        for sentence in explain_undefined([row]) or [f"{row['metric']} is infinite"]:
            found.setdefault((row["method"], sentence), []).append(row["nodule_id"])
    return [{"method": label(m), "sentence": s, "nodules": n} for (m, s), n in found.items() if m != TRUTH or n]


def _seconds(results: StudyResults) -> list[tuple[str, str, str]]:
    """Method, median and total seconds."""
    rows = []
    for name in results.methods:
        times = [s for (_, method), s in results.seconds.items() if method == name]
        if times:
            rows.append((label(name), seconds_text(statistics.median(times)), seconds_text(sum(times))))
    return rows
