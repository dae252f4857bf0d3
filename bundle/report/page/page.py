"""The report as one HTML file: its style, script and pictures are inside, and it loads nothing.

The words are in ``templates/report.html.j2``, the looks in ``style.css``, the viewer in ``script.js`` there. A content
security policy in the page forbids it the network, so that a report of patients' CT stays where it is opened.
"""

from __future__ import annotations

import datetime
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from bundle.inferers.registry import label
from bundle.metrics import explain_undefined
from bundle.report.figures.draw import PAPERS, Drawn
from bundle.report.figures.views import chosen_nodules
from bundle.report.options import ReportOptions
from bundle.report.page.answer import FIELD, SHAPE, TUMOUR, answers, forests, question
from bundle.report.page.nodule_pages import page_groups, page_parts, write_nodule_pages
from bundle.report.page.overview import cohort_table, failures_table, glance_table, seconds_table
from bundle.report.page.template import template
from bundle.report.results import TRUTH, StudyResults
from bundle.report.statistics.tests import OVER_NODULES
from bundle.report.tables.main_columns import best_first
from bundle.report.tables.paper_tables import MAIN_TABLES
from bundle.report.tables.table import Table
from bundle.report.tables.write import Tables
from bundle.version import __version__

TITLE = "Recovered CT slices around lung nodules"
MOST_NAMED = 20


def report_html(
    results: StudyResults,
    tables: Tables,
    comparisons: Sequence[Table],
    figures: Sequence[Drawn],
    left_out: Sequence[str] = (),
    options: ReportOptions | None = None,
) -> str:
    """The whole page; of a study of more nodules than one can hold, those of the nodules are written beside it.

    Args:
        results: of the study.
        tables: those that are in ``tables/`` too.
        comparisons: further tables.
        figures: in the order of the page.
        left_out: what could not be shown, one sentence each.
        options: which method the others are compared with.

    Returns:
        HTML that opens from disk, with a script or without.
    """
    order = _looked_for(results)
    chosen = options or ReportOptions()
    alone = len(page_groups(results.nodules)) < 2
    links = {} if alone else write_nodule_pages(results, order, TITLE)
    shown = page_parts(results, results.nodules if alone else chosen_nodules(results, 3), order)
    viewed = [page["id"] for page in shown["viewed"]]
    return template("report.html.j2").render(
        title=TITLE,
        version=__version__,
        results=results,
        measured=datetime.date.fromtimestamp((results.root / "metrics.csv").stat().st_mtime).isoformat(),
        question=question(results),
        answers=list(answers(results, chosen)),
        forests=forests(results, chosen),
        intervals=OVER_NODULES,
        glance=glance_table(results),
        cohort=cohort_table(results),
        links=links | {page["id"]: f"#{page['anchor']}" for page in shown["nodules"]},
        elsewhere=len(results.nodules) - len(shown["nodules"]),
        protocol=_protocol(results),
        tables=tables,
        main_tables=[table for table in tables.paper if table.name in MAIN_TABLES],
        more_tables=[table for table in tables.paper if table.name not in MAIN_TABLES],
        statistics=comparisons,
        figures=figures,
        example=next((name for name in chosen_nodules(results, 1) if name in viewed), viewed[0] if viewed else ""),
        failures=failures_table(results),
        undefined=_undefined(results),
        # read while the page was made, so problems come last
        problems=[*results.problems, *left_out],
        study_json=json.dumps(results.study, indent=1) if results.study else "",
        seconds=seconds_table(results),
        **shown,
    )


def _looked_for(results: StudyResults) -> list[str]:
    """All methods, those first that a reader looks for: the best, the paper's, the best masks."""
    images, field, masks = (best_first(results, results.methods, column) for column in (TUMOUR, FIELD, SHAPE))
    papers = [name for name in PAPERS if name in results.image_methods]
    return list(dict.fromkeys([*images[:1], *field[:1], *papers, *masks[:1], *images, *results.methods]))


def _protocol(results: StudyResults) -> list[dict[str, Any]]:
    """Each configured part: its class and its parameters."""
    named = ("crop", "decimate", "evaluator", "texture", "uncertainty", "sizes", "radiomics")
    parts = {name: results.study.get(name) for name in named}
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
    return [{"method": label(m), "sentence": s, "nodules": _some(n)} for (m, s), n in found.items() if m != TRUTH or n]


def _some(names: Sequence[str]) -> list[str]:
    """So many names that a page can show them, and how many more there are."""
    more = [f"and {len(names) - MOST_NAMED} more"] if len(names) > MOST_NAMED else []
    return [*names[:MOST_NAMED], *more]
