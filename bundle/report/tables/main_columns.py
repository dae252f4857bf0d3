"""The metrics that stand for a method at a glance, and where their values are found."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bundle.metrics.table import metric_of
from bundle.report.results import StudyResults
from bundle.report.tidy import Summary


@dataclass(frozen=True)
class Column:
    """A metric in a table of nodules or methods: where its value is found, and where in words."""

    metric: str
    slices: str
    region: str
    where: str = ""

    @property
    def label(self) -> str:
        """Of the column, with the unit."""
        return metric_of(self.metric).heading(self.where)

    @property
    def decimals(self) -> int:
        """Of its values."""
        return metric_of(self.metric).decimals

    @property
    def higher_is_better(self) -> bool:
        """Whether more is better, not less."""
        return metric_of(self.metric).better == "higher"


MAIN_COLUMNS = (
    Column("psnr", "unobserved", "global", "field"),
    Column("psnr", "unobserved", "tumour", "tumour"),
    Column("ssim", "unobserved", "tumour", "tumour"),
    Column("dsc", "unobserved", "roi"),
    Column("hd_mm", "all", "roi"),
    Column("arve", "unobserved", "roi"),
)


def threshold_of(results: StudyResults, method: str, column: Column) -> float | None:
    """The threshold at which a column is read: the main one for image methods, none for others."""
    return results.main_threshold if column.region == "roi" and method in results.image_methods else None


def summary_at(results: StudyResults, method: str, column: Column) -> Summary | None:
    """A method's mean and sd over nodules; None where it was not measured."""
    at = threshold_of(results, method, column)
    return results.summaries.get((method, column.slices, column.region, at, column.metric))


def values_at(results: StudyResults, method: str, column: Column) -> dict[str, float]:
    """A method's values by nodule; nan where it failed."""
    return results.values(method, column.slices, column.region, threshold_of(results, method, column), column.metric)


def best_first(results: StudyResults, methods: Iterable[str], column: Column) -> list[str]:
    """Methods that have a mean, the best one first; those with a mean over fewer nodules than others after these.

    A Hausdorff distance is undefined where a method finds nothing, and what fails on hard nodules has the mean of the
    easy ones: who finds one nodule of three is not the best.
    """
    found = {name: s for name in methods if (s := summary_at(results, name, column)) and s.n}
    sign = -1 if column.higher_is_better else 1
    return sorted(found, key=lambda name: (-found[name].n, sign * found[name].mean))


def set_back(results: StudyResults, ranked: Sequence[str], column: Column) -> list[str]:
    """Methods of :func:`best_first` that are not the first for the number of their nodules alone.

    Example:
        >>> # {"half": [0.5, nan, nan], "fair": [1.0, 1.2, 1.1]} in mm: half, whose mean of 0.5 is over 1 of 3 nodules
    """
    found = {name: s for name in ranked if (s := summary_at(results, name, column))}
    sign = -1 if column.higher_is_better else 1
    first = found[ranked[0]]
    return [name for name, s in found.items() if s.n < first.n and sign * s.mean < sign * first.mean]
