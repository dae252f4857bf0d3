"""The paper's Tables 1, 2 and 3 over a study's nodules, with the paper's values in a row below ours.

Each table comes for all unobserved slices, and again without the slices beyond the last observed one, where methods
extrapolate; Table 3 also for the whole crop.
"""

from __future__ import annotations

from bundle.inferers.learned.sample import NOTE
from bundle.metrics.table import Metric, metric_of, metrics_of
from bundle.report.results import TRUTH, StudyResults
from bundle.report.tables.paper import PAPER, PAPER_NODULES, published
from bundle.report.tables.table import DASH, Entry, Line, Table, metric_table

REGIONS = {"global": "field of view", "tumour": "tumour"}
TITLES = {1: "Table 1. Brightness", 2: "Table 2. Texture", 3: "Table 3. Shape"}
MAIN_TABLES = tuple(f"table{number}" for number in TITLES)
SLICES = {
    "unobserved": "all unobserved slices",
    "interpolated": "unobserved slices between observed ones",
    "all": "the whole crop (observed slices included)",
}


def paper_tables(results: StudyResults) -> list[Table]:
    """All tables that the rows allow: first the main ones, ``table1`` to ``table3``, then the others.

    A main table is on the unobserved slices, or where a protocol does not measure these, on the next of ``SLICES``.
    The paper's values stand in the main tables, and in that of shape on the whole crop.
    """
    main: list[Table] = []
    others: list[Table] = []
    for number in TITLES:
        measured = [slices for slices in SLICES if _table(results, number, slices, "", False).rows]
        for i, slices in enumerate(measured):
            suffix = f"_{slices}" if i else ""
            with_paper = i == 0 or (number == 3 and slices == "all")
            (others if i else main).append(_table(results, number, slices, suffix, with_paper))
    return main + others


def _textured(results: StudyResults) -> tuple[str, ...]:
    methods = dict.fromkeys(row["method"] for row in results.texture)
    return tuple(sorted(methods, key=lambda name: name != TRUTH))


def _table(results: StudyResults, number: int, slices: str, suffix: str, with_paper: bool) -> Table:
    heads, metrics, lines = _shape_lines(results, slices) if number == 3 else _region_lines(results, number, slices)
    if not with_paper:
        lines = [Line(line.heads, tuple(Entry(entry.ours) for entry in line.entries)) for line in lines]
    caption = (
        f"{TITLES[number]} on {SLICES[slices]} of {len(results.nodules)} nodules ({results.kind_words}; "
        f"{results.protocol_words}): mean ± sd over nodules."
    )
    if number == 3 and slices != "all":
        caption += " HD is that of the whole crop."
    if any(entry.paper for line in lines for entry in line.entries):
        caption += f" paper: {PAPER}, {PAPER_NODULES} nodules of LIDC-IDRI."
    if number == 2 and results.samples:
        caption += f" {', '.join(results.samples)}: {NOTE}."
    counts = {(s.n, s.n_failed) for line in lines for entry in line.entries if (s := entry.ours)}
    if len(counts) > 1:
        caption += " n, failed: where they differ between metrics, in the order of the columns."
    return metric_table(f"table{number}{suffix}", caption, heads, metrics, lines)


def _region_lines(
    results: StudyResults, number: int, slices: str
) -> tuple[tuple[str, ...], tuple[Metric, ...], list[Line]]:
    metrics = metrics_of("radiometric" if number == 1 else "texture")
    methods = results.image_methods if number == 1 else _textured(results)
    lines = []
    for region, words in REGIONS.items():
        for method in methods:
            entries = tuple(_entry(results, method, slices, region, None, metric.name) for metric in metrics)
            if any(entry.ours for entry in entries):
                lines.append(Line((words, method), entries))
    return ("region", "method"), metrics, lines


def _shape_lines(results: StudyResults, slices: str) -> tuple[tuple[str, ...], tuple[Metric, ...], list[Line]]:
    lines, metrics = [], metrics_of("geometric")
    for method in results.methods:
        for threshold in (None, *results.thresholds):
            entries = tuple(_entry(results, method, slices, "roi", threshold, metric.name) for metric in metrics)
            if any(entry.ours for entry in entries):
                lines.append(Line((method, DASH if threshold is None else f"{threshold:g}"), entries))
    return ("method", "HU >"), metrics, lines


def _entry(results: StudyResults, method: str, slices: str, region: str, threshold: float | None, metric: str) -> Entry:
    ours = results.summaries.get((method, slices, region, threshold, metric))
    if ours is None and metric_of(metric).whole_volume:
        # such as the Hausdorff distance
        ours = results.summaries.get((method, "all", region, threshold, metric))
    return Entry(ours, published(method, region, threshold, metric))
