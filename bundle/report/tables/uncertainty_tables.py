"""Whether methods know how far they are off, as tables: coverage of intervals, width, expected against actual error.

There are none where no method says how far it may be off.
"""

from __future__ import annotations

from bundle.metrics.table import metric_of, metrics_of
from bundle.report.results import StudyResults
from bundle.report.tables.paper_tables import REGIONS, SLICES
from bundle.report.tables.table import Entry, Line, Table, metric_table

SHOWN_LEVEL = 0.9


def levels_of(results: StudyResults) -> dict[str, float]:
    """Levels whose coverage was measured, ascending: per cent as in the names of metrics, and part of 1.

    Example:
        >>> # levels_of(results) == {"50": 0.5, "90": 0.9}
    """
    names = {row["metric"].partition("_")[2] for row in results.uncertainty if row["metric"].startswith("coverage_")}
    return {name: float(name) / 100 for name in sorted(names, key=float)}


def uncertainty_tables(results: StudyResults) -> list[Table]:
    """A table for the unobserved slices, and one for those between observed ones; empty ones are left out."""
    levels = levels_of(results)
    metrics = [metric_of(f"coverage_{text}") for text in levels]
    if levels:
        width = min(levels, key=lambda text: abs(levels[text] - SHOWN_LEVEL))
        metrics.append(metric_of(f"width_hu_{width}"))
    metrics += metrics_of("error")
    tables = []
    for slices in ("unobserved", "interpolated"):
        lines = []
        for region, words in REGIONS.items():
            for method in results.unsure_methods:
                found = [results.summaries.get((method, slices, region, None, metric.name)) for metric in metrics]
                if any(found):
                    lines.append(Line((words, method), tuple(Entry(summary) for summary in found)))
        caption = (
            f"Uncertainty on {SLICES[slices]} of {len(results.nodules)} nodules ({results.kind_words}; "
            f"{results.protocol_words}): part of the voxels whose truth is within the interval, width of the interval "
            "within the HU window, mean expected over mean actual absolute error, and Spearman's correlation of both "
            "over voxels; mean ± sd over nodules."
        )
        if lines:
            suffix = "" if slices == "unobserved" else f"_{slices}"
            name = f"table_uncertainty{suffix}"
            tables.append(metric_table(name, caption, ("region", "method"), tuple(metrics), lines))
    return tables
