"""The study's files of values: one for each kind of rows, summaries, failures, timings; figures to print."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, Protocol

from bundle.metrics.size_evaluator import SUM_OF_AREAS
from bundle.metrics.table import metric_of
from bundle.progress import COLUMNS
from bundle.report.results import KINDS, TRUTH
from bundle.report.tables.table import Table
from bundle.report.tidy import CLINICAL, KEY, RADIOMICS, Summary, summarise_rows, summary_texts, to_csv
from bundle.report.tidy import COLUMNS as TIDY
from bundle.store import ResultStore

REGIONS = {"global": "over the field of view", "tumour": "in the tumour"}

Summaries = Mapping[tuple, Summary]


class NoduleOutcome(Protocol):
    """What the tables need of one nodule: rows of each file, failures and seconds, by method."""

    rows: dict[str, list[dict[str, Any]]]
    texture: dict[str, list[dict[str, Any]]]
    uncertainty: dict[str, list[dict[str, Any]]]
    sizes: dict[str, list[dict[str, Any]]]
    radiomics: dict[str, list[dict[str, Any]]]
    measured: set[str]
    failures: dict[str, str]
    seconds: dict[str, float]


def write_tables(
    store: ResultStore, outcomes: Sequence[tuple[str, NoduleOutcome]], methods: Iterable[str], kind: str
) -> str:
    """Write all tables of a study.

    Args:
        store: where to.
        outcomes: (nodule id, what became of it), in the order of the source.
        methods: in the order of the tables.
        kind: of the source; tables made from a ``"phantom"`` say so.

    Returns:
        the main figures, to be printed.
    """
    names = list(methods)
    rows = list(_tidy(outcomes, "rows", names))
    uncertainty = uncertainty_rows(outcomes, names)
    optional: dict[str, tuple[Iterable[dict[str, Any]], tuple[str, ...]]] = {
        "uncertainty.csv": (uncertainty, TIDY),
        "clinical.csv": (_tidy(outcomes, "sizes", [TRUTH, SUM_OF_AREAS, *names]), CLINICAL),
        "radiomics.csv": (_radiomics(store, outcomes, [TRUTH, *names]), RADIOMICS),
    }
    failures = [
        {"nodule_id": nodule_id, "method": name, "reason": outcome.failures[name]}
        for nodule_id, outcome in outcomes
        for name in names
        if name in outcome.failures
    ]
    timings = [
        {"nodule_id": nodule_id, "method": name, "seconds": outcome.seconds[name]}
        for nodule_id, outcome in outcomes
        for name in names
        if name in outcome.seconds
    ]
    store.write_text("metrics.csv", to_csv(rows))
    store.write_text("texture.csv", to_csv(_tidy(outcomes, "texture", [TRUTH, *names])))
    for file, (found, columns) in optional.items():
        left = iter(found)
        if (first := next(left, None)) is not None:
            store.write_text(file, to_csv(chain([first], left), columns))
        else:
            (store.root / file).unlink(missing_ok=True)  # of a run with other methods
    store.write_text("failures.csv", to_csv(failures, ("nodule_id", "method", "reason")))
    store.write_text("timings.csv", to_csv(timings, ("nodule_id", "method", "seconds")))
    summaries = summarise_rows(rows)
    store.write_text("summary.csv", summary_csv(summaries, kind))
    return main_figures(summaries, names, kind) + coverage_lines(summarise_rows(uncertainty), names)


def _tidy(outcomes: Sequence[tuple[str, NoduleOutcome]], part: str, methods: Sequence[str]) -> Iterator[dict[str, Any]]:
    """The rows of one file, nodule by nodule and method by method."""
    for nodule_id, outcome in outcomes:
        for name in methods:
            for row in getattr(outcome, part).get(name, []):
                yield {"nodule_id": nodule_id, "method": name, **row}


def _radiomics(
    store: ResultStore, outcomes: Sequence[tuple[str, NoduleOutcome]], methods: Sequence[str]
) -> Iterator[dict[str, Any]]:
    """The rows of ``radiomics.csv``, read from one stored result after the other; those of failures are at hand."""
    for nodule_id, outcome in outcomes:
        for name in methods:
            stored = name in outcome.measured
            for row in store.rows(nodule_id, name, "radiomics") if stored else outcome.radiomics.get(name, []):
                yield {"nodule_id": nodule_id, "method": name, **row}


def uncertainty_rows(outcomes: Sequence[tuple[str, NoduleOutcome]], methods: Sequence[str]) -> list[dict[str, Any]]:
    """Rows of ``uncertainty.csv``: none of a method that never says how far it may be off.

    One that does has rows of nan for the nodules where it failed, so that these are counted.
    """
    places: dict[str, dict[tuple, None]] = {}
    for _, outcome in outcomes:
        for name in methods:
            for row in outcome.uncertainty.get(name, []):
                places.setdefault(name, {})[tuple(row[key] for key in KEY[1:])] = None
    rows = []
    for nodule_id, outcome in outcomes:
        for name, known in places.items():
            found = {tuple(row[key] for key in KEY[1:]): row["value"] for row in outcome.uncertainty.get(name, [])}
            for place in known:
                place_of = dict(zip(KEY[1:], place, strict=True))
                value = {"value": found.get(place, float("nan"))}
                rows.append({"nodule_id": nodule_id, "method": name} | place_of | value)
    return rows


def coverage_lines(summaries: Summaries, methods: Sequence[str]) -> str:
    """A line for each method with intervals: what they are to hold, and what they do; "" where there is none.

    Example:
        >>> place = ("m", "unobserved", "global", None)
        >>> found = {(*place, f"coverage_{k}"): Summary(part, 0.02, 5, 0) for k, part in ((50, 0.512), (90, 0.9))}
        >>> print(coverage_lines(found, ["m"]).strip())
        m: intervals for 50, 90 % of the voxels hold 51.2, 90.0 % of them over the field of view (n = 5)
    """
    lines = []
    for name in methods:
        by_region: dict[str, dict[str, Summary]] = {}
        for (method, slices, region, _, metric), found in summaries.items():
            if (method, slices) == (name, "unobserved") and metric.startswith("coverage_"):
                by_region.setdefault(region, {})[metric.removeprefix("coverage_")] = found
        words = [
            f"{', '.join(f'{100 * s.mean:.1f}' for s in levels.values())} % of them {REGIONS[region]} "
            f"(n = {max(s.n for s in levels.values())})"
            for region, levels in by_region.items()
        ]
        if words:
            nominal = ", ".join(next(iter(by_region.values())))
            lines.append(f"\n{name}: intervals for {nominal} % of the voxels hold {', '.join(words)}")
    return "".join(lines)


def summary_csv(summaries: Summaries, kind: str) -> str:
    """One row a summary: number of the paper's table, data, the keys of tidy rows, mean, sd, n, n_failed."""
    columns = ("table", "data", *KEY, "mean", "sd", "n", "n_failed")
    return to_csv(
        (
            dict(zip(KEY, key, strict=True))
            | {"table": 3 if metric_of(key[4]).family == "geometric" else 1, "data": kind}
            | {"mean": s.mean, "sd": s.sd, "n": s.n, "n_failed": s.n_failed}
            for key, s in summaries.items()
        ),
        columns,
    )


def main_figures(summaries: Summaries, methods: Sequence[str], kind: str) -> str:
    """A few columns for the terminal: PSNR and SSIM, DSC at -400 HU or of the mask, Hausdorff distance."""
    rows: list[tuple[str, ...]] = []
    for name in methods:
        threshold = -400 if (name, "all", "roi", -400, "hd_mm") in summaries else None
        keys = [
            (name, "unobserved", "global", None, "psnr"),
            (name, "unobserved", "tumour", None, "psnr"),
            (name, "unobserved", "tumour", None, "ssim"),
            (name, "unobserved", "roi", threshold, "dsc"),
            (name, "all", "roi", threshold, "hd_mm"),
        ]
        cells = summary_texts([summaries.get(key) for key in keys], [metric_of(key[4]).decimals for key in keys])
        counts = summaries.get(keys[0]) or summaries.get(keys[3])
        n, failed = (counts.n, counts.n_failed) if counts else (0, 0)
        rows.append((name, *cells, str(n), str(failed)))
    columns = ("method", "PSNR field", "PSNR tumour", "SSIM tumour", "DSC", "HD, mm", "n", "failed")
    data = KINDS.get(kind, "data of unknown kind")
    caption = f"unobserved slices, mean ± sd over nodules ({data}); DSC and HD of images at -400 HU"
    for closer in (str, _tight, _without_sd):
        text = Table("", caption, columns, tuple((name, *map(closer, cells)) for name, *cells in rows)).text()
        if max(map(len, text.splitlines())) <= COLUMNS:
            break
    return f"{caption}\n{text}"


def _tight(cell: str) -> str:
    return cell.replace(" ± ", "±")


def _without_sd(cell: str) -> str:
    return re.sub(r" ± [^,]*", "", cell)
