"""Statistics of a study as tables: pairs of methods, the paper's tests of texture, results by gap and diameter."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

from bundle.inferers.registry import label
from bundle.report.options import ReportOptions
from bundle.report.results import TRUTH, StudyResults
from bundle.report.statistics.comparison import Comparison, by_bins, compare_methods, sd_ratio_tests
from bundle.report.statistics.tests import OVER_NODULES, Test
from bundle.report.tables.main_columns import MAIN_COLUMNS, threshold_of
from bundle.report.tables.paper import SD_RATIO_TESTS
from bundle.report.tables.paper_tables import SLICES
from bundle.report.tables.table import DASH, Table, signed
from bundle.report.tidy import summary_texts, to_csv
from bundle.store import ResultStore

GAP_EDGES_MM = (3.0, 4.0)
DIAMETER_EDGES_MM = (10.0, 20.0)


def write_statistics(results: StudyResults) -> list[Comparison]:
    """Compare every pair of methods at every place, and write them all to ``statistics.csv``.

    Returns:
        the comparisons; those of texture included, without the truth itself.
    """
    texture = [row for row in results.texture if row["method"] != TRUTH]
    found = compare_methods(results.rows, results.methods) + compare_methods(texture)
    columns = tuple(field.name for field in dataclasses.fields(Comparison))
    rows = (dataclasses.asdict(comparison) for comparison in found)
    ResultStore(results.root).write_text("statistics.csv", to_csv(rows, columns))
    return found


def statistics_tables(
    results: StudyResults, comparisons: Sequence[Comparison], options: ReportOptions | None = None
) -> list[Table]:
    """The tables that the page shows; empty ones are left out."""
    reference = (options or ReportOptions()).reference_in(results)
    tables = [_against(results, comparisons, reference), _sd_ratio(results)]
    tables.append(_pairs(results, comparisons, "Every pair of methods"))
    gaps = {name: facts.gap_mm for name, facts in results.facts.items()}
    diameters = {name: facts.diameter_mm or math.nan for name, facts in results.facts.items()}
    tables.append(_strata(results, gaps, GAP_EDGES_MM, "gap between observed slices"))
    tables.append(_strata(results, diameters, DIAMETER_EDGES_MM, "diameter of the nodule"))
    return [table for table in tables if table.rows]


def p_text(value: float) -> str:
    """A p-value as papers print it.

    Example:
        >>> p_text(0.03151), p_text(0.0002), p_text(float("nan"))
        ('0.032', '< 0.001', '–')
    """
    if math.isnan(value):
        return DASH
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def _against(results: StudyResults, comparisons: Sequence[Comparison], reference: str) -> Table:
    """Every method minus the reference."""
    turned = [c if c.second == reference else _turn(c) for c in comparisons if reference in (c.first, c.second)]
    return _pairs(results, turned, f"Every method minus {label(reference)}")


def _turn(c: Comparison) -> Comparison:
    """The same comparison the other way round."""
    return dataclasses.replace(
        c, first=c.second, second=c.first, mean_difference=-c.mean_difference, low=-c.high, high=-c.low
    )


def _pairs(results: StudyResults, comparisons: Sequence[Comparison], title: str) -> Table:
    rows: list[tuple[str, ...]] = []
    for column in MAIN_COLUMNS:
        for c in comparisons:
            # a mask method has no threshold: the pair is compared at the other's
            at = (threshold_of(results, name, column) for name in (c.first, c.second))
            place = (column.slices, column.region, next((t for t in at if t is not None), None), column.metric)
            if (c.slices, c.region, c.threshold_hu, c.metric) != place:
                continue
            difference, low, high = (signed(v, column.decimals) for v in (c.mean_difference, c.low, c.high))
            interval = DASH if math.isnan(c.low) else f"{low} to {high}"
            methods = f"{label(c.first)} − {label(c.second)}"
            counts = (str(c.n), str(c.n_failed))
            rows.append((column.label, methods, difference, interval, p_text(c.p_holm), *counts, c.reason))
    columns: tuple[str, ...] = ("metric", "methods", "mean difference", "95 % interval", "p (Holm)", "n", "failed")
    columns, rows = with_remarks(columns, rows)
    caption = (
        f"{title}: mean paired differences ({results.kind_words}), {OVER_NODULES}, "
        "Wilcoxon's signed-rank test with Holm's correction over all pairs of methods. Every slice set, region and "
        "threshold is in statistics.csv."
    )
    return Table("", caption, columns, tuple(rows), heads=2, title=title)


def with_remarks(
    columns: tuple[str, ...], rows: Sequence[tuple[str, ...]]
) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Rows end with a remark: keep that column only if there is one."""
    if any(row[-1] for row in rows):
        return (*columns, "remark"), list(rows)
    return columns, [row[:-1] for row in rows]


def _sd_ratio(results: StudyResults) -> Table:
    measured = {row["slices"] for row in results.texture}
    slices = next((name for name in SLICES if name in measured), "unobserved")
    against_one, pairs = sd_ratio_tests(results.texture, slices, methods=results.image_methods)
    named = [(f"{label(name)} against 1", f"{name} against 1", test) for name, test in against_one.items()]
    named += [(f"{label(a)} against {label(b)}", f"{a} against {b}", test) for (a, b), test in pairs.items()]
    rows: list[tuple[str, ...]] = [
        (words, *_test_cells(test), *_paper_cells(key), test.reason) for words, key, test in named
    ]
    columns: tuple[str, ...] = ("sd ratio", "t", "p", "n", "failed", "paper: t", "paper: p")
    columns, rows = with_remarks(columns, rows)
    caption = (
        f"t-tests of the sd ratio in the tumour on {SLICES[slices]} ({results.kind_words}): one-sample against 1, "
        "paired between methods; not corrected for several tests, as in the paper."
    )
    return Table("", caption, columns, tuple(rows), title="The paper's tests of texture")


def _test_cells(test: Test) -> tuple[str, ...]:
    t = DASH if math.isnan(test.statistic) else f"{test.statistic:.3f}"
    return (t, p_text(test.p_value), str(test.n), str(test.n_failed))


def _paper_cells(key: str) -> tuple[str, str]:
    t, p = SD_RATIO_TESTS.get(key, (None, None))
    return (DASH if t is None else f"{t:.3f}", p or DASH)


def _strata(results: StudyResults, covariate: dict[str, float], edges: Sequence[float], words: str) -> Table:
    """Means by stratum; one nodule is no group: its stratum says so and has no mean."""
    binned = by_bins(results.rows, covariate, edges)
    rows = []
    for name in dict.fromkeys(key[0] for key in binned):
        if max(s.n + s.n_failed for key, s in binned.items() if key[0] == name) == 1:
            rows.append((name, "one nodule: no mean", *[DASH] * len(MAIN_COLUMNS), "1", DASH))
            continue
        for method in results.methods:
            found = [
                binned.get((name, method, c.slices, c.region, threshold_of(results, method, c), c.metric))
                for c in MAIN_COLUMNS
            ]
            known = [summary for summary in found if summary]
            if known:
                cells = summary_texts(found, [column.decimals for column in MAIN_COLUMNS])
                n = max(summary.n for summary in known)
                rows.append((name, label(method), *cells, str(n), str(known[0].n + known[0].n_failed - n)))
    columns = (words, "method", *(column.label for column in MAIN_COLUMNS), "n", "failed")
    caption = f"Results by {words} ({results.kind_words}): mean ± sd over nodules; n of the metric with most values."
    return Table("", caption, columns, tuple(rows), heads=2, title=f"By {words}")
