"""The metrics that stand for a method at a glance, and where their values are found."""

from __future__ import annotations

from collections.abc import Iterable
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
    """Methods that have a mean, the best one first."""
    means = {name: found.mean for name in methods if (found := summary_at(results, name, column)) and found.n}
    return sorted(means, key=lambda name: means[name], reverse=column.higher_is_better)
