"""Compare methods over a whole tidy table: every pair at every place, and by what is known of the nodules.

Vocabulary: a *place* is what a figure is about: slices, region, threshold and metric. Tables hold one value for each
nodule, method and place; a nodule that lacks one counts as failed there. Slices beyond the last observed one are in
the places of the "unobserved" slices and not in those of the "interpolated" ones.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from typing import Any

import numpy as np

from bundle.errors import InputError
from bundle.report.statistics.tests import (
    Test,
    bootstrap_interval,
    few_words,
    holm,
    paired_difference,
    paired_t_test,
    t_test,
    wilcoxon,
)
from bundle.report.tidy import Summary, summarise

Rows = Iterable[Mapping[str, Any]]
Place = tuple[str, str, float | None, str]


@dataclass(frozen=True)
class Comparison:
    """Two methods at one place.

    Attributes:
        first: a method.
        second: the method its values are subtracted from.
        slices: of the place.
        region: of the place.
        threshold_hu: of the place; a mask method, which has none, is compared at every threshold.
        metric: of the place.
        mean_difference: first minus second.
        low: lower end of the 95 % interval of the mean difference.
        high: its upper end.
        p_value: Wilcoxon's signed-rank test; nan if there is none.
        p_holm: corrected for all pairs of methods at the place; nan if there is none.
        n: nodules where both are finite.
        n_failed: the other nodules.
        reason: why there is no interval or no test; "" if there are both.
    """

    first: str
    second: str
    slices: str
    region: str
    threshold_hu: float | None
    metric: str
    mean_difference: float
    low: float
    high: float
    p_value: float
    p_holm: float
    n: int
    n_failed: int
    reason: str = ""


def compare_methods(
    rows: Rows, methods: Sequence[str] | None = None, resamples: int = 10_000, seed: int = 0
) -> list[Comparison]:
    """Compare every pair of methods at every place of a table.

    Args:
        rows: tidy; several studies may not be mixed, one value for each nodule, method and place.
        methods: in the order of comparison; None: as they appear.
        resamples: of the bootstrap.
        seed: of the bootstrap.

    Returns:
        one comparison for each pair and place where both methods have rows; mask methods, which have no threshold,
        are compared with image methods at each threshold, and among themselves once.

    Example:
        >>> place = dict(slices="all", region="roi", threshold_hu=None, metric="dsc")
        >>> rows = [
        ...     place | dict(nodule_id=str(i), method=m, value=v + i)
        ...     for i in range(3)
        ...     for m, v in (("a", 0.5), ("b", 0.25))
        ... ]
        >>> [(c.first, c.second, c.mean_difference, c.n) for c in compare_methods(rows)]
        [('a', 'b', 0.25, 3)]
    """
    values, nodules, order = _by_place(rows)
    names = list(dict.fromkeys(method for method, _ in values)) if methods is None else list(methods)
    comparisons = []
    for place in order:
        without: Place = (*place[:2], None, place[3])
        pairs: list[tuple[str, str, np.ndarray, np.ndarray]] = []
        for first, second in combinations(names, 2):
            if not any((name, place) in values for name in (first, second)):
                continue  # two mask methods: compared once, not at each threshold
            a, b = (values.get((name, place), values.get((name, without))) for name in (first, second))
            if a is not None and b is not None:
                pairs.append((first, second, _aligned(a, nodules), _aligned(b, nodules)))
        tests = [wilcoxon(one, other) for _, _, one, other in pairs]
        corrected = holm([test.p_value for test in tests])
        for (first, second, one, other), test, p_holm in zip(pairs, tests, corrected, strict=True):
            difference, failed = paired_difference(one, other)
            mean = float(difference.mean()) if len(difference) else math.nan
            low, high = bootstrap_interval(difference, resamples=resamples, seed=seed)
            n, p_value, reason = len(difference), test.p_value, test.reason or few_words(len(difference))
            comparisons.append(
                Comparison(first, second, *place, mean, low, high, p_value, float(p_holm), n, failed, reason)
            )
    return comparisons


def sd_ratio_tests(
    rows: Rows, slices: str = "unobserved", region: str = "tumour", methods: Sequence[str] | None = None
) -> tuple[dict[str, Test], dict[tuple[str, str], Test]]:
    """The paper's tests of Table 2: each method's sd ratio against 1, and each pair of methods.

    Args:
        rows: tidy, with the metric ``sd_ratio`` (``texture.csv``).
        slices: of the rows to test.
        region: of the rows to test.
        methods: to test, in order; None: as they appear, without the truth.

    Returns:
        one-sample t-tests by method; paired t-tests by pair of methods.

    Example:
        >>> sd_ratio_tests([])
        ({}, {})
    """
    values, nodules, _ = _by_place(rows)
    place = (slices, region, None, "sd_ratio")
    found = [method for method, at in values if at == place and method != "truth"]
    names = found if methods is None else [name for name in methods if name in found]
    aligned = {name: _aligned(values[name, place], nodules) for name in names}
    against_one = {name: t_test(aligned[name], 1.0) for name in names}
    pairs = {(a, b): paired_t_test(aligned[a], aligned[b]) for a, b in combinations(names, 2)}
    return against_one, pairs


def by_bins(
    rows: Rows, covariate: Mapping[str, float], edges: Sequence[float], unit: str = "mm"
) -> dict[tuple[str, str, str, str, float | None, str], Summary]:
    """Summaries of a table by bins of something known of each nodule, such as its gap width or its diameter.

    Args:
        rows: tidy.
        covariate: by nodule id; a nodule without one, or with nan, is in the bin "unknown".
        edges: ascending inner limits of the bins; 3 and 4 make "< 3", "3 to 4" (4 not included) and ">= 4".
        unit: written behind the limits.

    Returns:
        summaries by (bin, method, slices, region, threshold_hu, metric), bins ascending; empty bins are left out.

    Raises:
        InputError: edges that don't ascend.

    Example:
        >>> row = dict(method="a", slices="all", region="roi", threshold_hu=None, metric="dsc")
        >>> rows = [row | dict(nodule_id=str(i), value=float(i)) for i in range(3)]
        >>> {key[0]: found.mean for key, found in by_bins(rows, {"0": 2.5, "1": 2.9, "2": 5.0}, [3.0]).items()}
        {'< 3 mm': 0.5, '>= 3 mm': 2.0}
    """
    limits = [float(edge) for edge in edges]
    if not limits or any(b <= a for a, b in pairwise(limits)):
        raise InputError(f"bin edges {limits} do not ascend: give at least one, the lowest first")
    labels = [f"< {limits[0]:g} {unit}"]
    labels += [f"{low:g} to {high:g} {unit}" for low, high in pairwise(limits)]
    labels += [f">= {limits[-1]:g} {unit}", "unknown"]
    groups: dict[tuple, list[float]] = {}
    for entry in rows:
        value = covariate.get(entry["nodule_id"], math.nan)
        # a gap of 5 slices of 0.6 mm is 3 mm, though not quite in floating point
        k = len(labels) - 1 if math.isnan(value) else int(np.searchsorted(limits, value + 1e-6, side="right"))
        key = (k, entry["method"], entry["slices"], entry["region"], entry["threshold_hu"], entry["metric"])
        groups.setdefault(key, []).append(entry["value"])
    ordered = sorted(groups, key=lambda key: key[0])
    return {(labels[key[0]], *key[1:]): summarise(groups[key]) for key in ordered}


def _by_place(
    rows: Rows,
) -> tuple[dict[tuple[str, Place], dict[str, float]], list[str], list[Place]]:
    """Values by (method, place) and nodule, the nodules, and the places, in order of appearance."""
    values: dict[tuple[str, Place], dict[str, float]] = {}
    nodules: dict[str, None] = {}
    places: dict[Place, None] = {}
    for entry in rows:
        place = (entry["slices"], entry["region"], entry["threshold_hu"], entry["metric"])
        found = values.setdefault((entry["method"], place), {})
        if entry["nodule_id"] in found:
            raise InputError(
                f"{entry['nodule_id']} has two values of {entry['metric']} by {entry['method']} "
                f"on the {entry['slices']} slices: give the table of one study"
            )
        found[entry["nodule_id"]] = float(entry["value"])
        nodules[entry["nodule_id"]] = None
        places[place] = None
    return values, list(nodules), list(places)


def _aligned(found: Mapping[str, float], nodules: Sequence[str]) -> np.ndarray:
    """One value for each nodule of the table; nan where there is none, which counts as failed."""
    return np.array([found.get(nodule, math.nan) for nodule in nodules])
