"""The study's tables: ``metrics.csv``, the paper's Tables 1 and 3, failures and timings.

Table 1 holds the radiometric errors over the field of view and in the tumour, Table 3 the geometric
agreement at each threshold. Every mean comes with its sd, n and n failed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

from bundle.metrics.table import metric_of, metrics_of
from bundle.report.tables.text_table import markdown_table
from bundle.report.tidy import KEY, Summary, summarise_rows, to_csv
from bundle.store import ResultStore

REGIONS = {"global": "over the field of view", "tumour": "in the tumour"}
SLICES = {
    "unobserved": "all unobserved slices",
    "interpolated": "unobserved slices between observed ones",
    "all": "the whole crop",
}

Summaries = Mapping[tuple, Summary]


class NoduleOutcome(Protocol):
    """What the tables need of one nodule: rows, texture, uncertainty, failures and seconds, each by method."""

    rows: dict[str, list[dict[str, Any]]]
    texture: dict[str, list[dict[str, Any]]]
    uncertainty: dict[str, list[dict[str, Any]]]
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
    rows = [
        {"nodule_id": nodule_id, "method": name, **row}
        for nodule_id, outcome in outcomes
        for name in names
        for row in outcome.rows[name]
    ]
    texture = [
        {"nodule_id": nodule_id, "method": name, **row}
        for nodule_id, outcome in outcomes
        for name in ("truth", *names)
        for row in outcome.texture.get(name, [])
    ]
    uncertainty = uncertainty_rows(outcomes, names)
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
    store.write_text("texture.csv", to_csv(texture))
    if uncertainty:
        store.write_text("uncertainty.csv", to_csv(uncertainty))
    else:
        (store.root / "uncertainty.csv").unlink(missing_ok=True)  # of a run with other methods
    store.write_text("failures.csv", to_csv(failures, ("nodule_id", "method", "reason")))
    store.write_text("timings.csv", to_csv(timings, ("nodule_id", "method", "seconds")))
    summaries = summarise_rows(rows)
    store.write_text("summary.csv", summary_csv(summaries, kind))
    store.write_text("summary.md", summary_markdown(summaries, names, kind, len(outcomes), failures))
    return main_figures(summaries, names, kind) + coverage_lines(summarise_rows(uncertainty), names)


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
    """One row a summary: table, data, method, slices, region, threshold_hu, metric, mean, sd, n, n_failed."""
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


def summary_markdown(
    summaries: Summaries, methods: Sequence[str], kind: str, nodules: int, failures: Sequence[Mapping[str, Any]]
) -> str:
    """Tables 1 and 3 as Markdown, and the list of failures."""
    lines = [f"# Summary of {nodules} nodules ({data_words(kind)})", ""]
    lines += ["Mean ± sd over nodules; n and n failed beside each.", ""]
    for slices in ("unobserved", "interpolated"):
        for region, words in (("global", "field of view"), ("tumour", "tumour")):
            lines += [f"## Table 1, {words}, {SLICES[slices]} ({data_words(kind)})", ""]
            lines += _table(
                [metric.heading() for metric in metrics_of("radiometric")],
                {
                    (name,): [
                        (summaries.get((name, slices, region, None, metric.name)), metric.decimals)
                        for metric in metrics_of("radiometric")
                    ]
                    for name in methods
                },
                ["method"],
            )
    thresholds = sorted({key[3] for key in summaries if key[3] is not None})
    for slices in ("unobserved", "interpolated", "all"):
        lines += [f"## Table 3, {SLICES[slices]} ({data_words(kind)})", ""]
        body = {}
        for name in methods:
            for threshold in (None, *thresholds):
                cells = [
                    # a metric such as the Hausdorff distance is of the whole crop
                    (
                        summaries.get((name, "all" if m.whole_volume else slices, "roi", threshold, m.name)),
                        m.decimals,
                    )
                    for m in metrics_of("geometric")
                ]
                if any(s is not None for s, _ in cells):
                    body[name, "–" if threshold is None else f"{threshold:g}"] = cells
        lines += _table([metric.heading() for metric in metrics_of("geometric")], body, ["method", "HU >"])
    lines += [f"## Failures ({len(failures)})", ""]
    if failures:
        columns = ("nodule_id", "method", "reason")
        lines += [markdown_table(("nodule", "method", "reason"), [[f[c] for c in columns] for f in failures])]
    else:
        lines += ["None."]
    return "\n".join(lines) + "\n"


def main_figures(summaries: Summaries, methods: Sequence[str], kind: str) -> str:
    """A few columns for the terminal: PSNR and SSIM, DSC at -400 HU or of the mask, Hausdorff distance."""
    header = ("method", "PSNR field", "PSNR tumour", "SSIM tumour", "DSC", "HD, mm", "n", "failed")
    table: list[tuple[str, ...]] = [header]
    for name in methods:
        threshold = -400 if (name, "all", "roi", -400, "hd_mm") in summaries else None
        keys = [
            (name, "unobserved", "global", None, "psnr"),
            (name, "unobserved", "tumour", None, "psnr"),
            (name, "unobserved", "tumour", None, "ssim"),
            (name, "unobserved", "roi", threshold, "dsc"),
            (name, "all", "roi", threshold, "hd_mm"),
        ]
        cells = [summaries[key].text(metric_of(key[4]).decimals) if key in summaries else "–" for key in keys]
        counts = summaries.get((name, "unobserved", "global", None, "psnr")) or summaries.get(keys[3])
        n, failed = (counts.n, counts.n_failed) if counts else (0, 0)
        table.append((name, *cells, str(n), str(failed)))
    widths = [max(len(row[i]) for row in table) for i in range(len(header))]
    title = f"unobserved slices, mean ± sd over nodules ({data_words(kind)}); DSC and HD of density methods at -400 HU"
    body = ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in table]
    return "\n".join([title, *body])


def data_words(kind: str) -> str:
    """What the figures were made from, so that no phantom is taken for a patient."""
    return "phantom data, not CT" if kind == "phantom" else "CT"


def _table(
    labels: Sequence[str], body: Mapping[tuple, Sequence[tuple[Summary | None, int]]], heads: Sequence[str]
) -> list[str]:
    columns = [*heads]
    for label in labels:
        columns += [label, "n", "failed"]
    rows = []
    for head, cells in body.items():
        fields = [*head]
        for summary, decimals in cells:
            if summary is None:
                fields += ["–", "–", "–"]
            else:
                fields += [summary.text(decimals), str(summary.n), str(summary.n_failed)]
        rows.append(fields)
    return [markdown_table(columns, rows), ""]
