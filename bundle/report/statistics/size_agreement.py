"""Sizes that were measured beside those of the truth: pairs, differences, and how nodules change their category."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from bundle.metrics.categories import Scheme
from bundle.metrics.table import Metric
from bundle.report.results import TRUTH, StudyResults

REFERENCES = {"outline": "outlines", "seg": "segmentation"}

Sizes = Mapping[tuple[str, str, str], Mapping[str, float]]


def sizes_by_place(results: StudyResults) -> Sizes:
    """Values by nodule, by (reference, method, quantity), in the order of ``clinical.csv``."""
    found: dict[tuple[str, str, str], dict[str, float]] = {}
    for row in results.clinical:
        found.setdefault((row["reference"], row["method"], row["quantity"]), {})[row["nodule_id"]] = row["value"]
    return found


def measured_places(sizes: Sizes) -> list[tuple[str, str]]:
    """Every (reference, method) but the truth's, outlines first."""
    places = dict.fromkeys((reference, method) for reference, method, _ in sizes if method != TRUTH)
    return [place for reference in REFERENCES for place in places if place[0] == reference]


def size_pairs(sizes: Sizes, reference: str, method: str, quantity: str) -> tuple[np.ndarray, np.ndarray]:
    """(N,) measured and (N,) true values, nodule by nodule; nan where there is none.

    Example:
        >>> sizes = {("seg", "truth", "mass_mg"): {"a": 2.0}, ("seg", "m", "mass_mg"): {"a": 1.0, "b": 3.0}}
        >>> size_pairs(sizes, "seg", "m", "mass_mg")
        (array([1., 3.]), array([ 2., nan]))
    """
    true = sizes.get((reference, TRUTH, quantity), {})
    measured = sizes.get((reference, method, quantity), {})
    return np.array(list(measured.values())), np.array([true.get(nodule, math.nan) for nodule in measured])


def is_relative(quantity: Metric) -> bool:
    """Whether a difference is told as a part of the truth: a mean over nodules of mm3 would be that of the largest."""
    return quantity.unit in ("mm3", "mg")


def size_differences(sizes: Sizes, reference: str, method: str, quantity: Metric) -> np.ndarray:
    """(N,) measured minus true; in per cent of the truth where that is how it is told."""
    measured, true = size_pairs(sizes, reference, method, quantity.name)
    return 100 * (measured / true - 1) if is_relative(quantity) else measured - true


def category_pairs(sizes: Sizes, reference: str, method: str, scheme: Scheme) -> list[tuple[int, int]]:
    """Number of the true class and of the measured one, of each nodule that has both.

    Example:
        >>> from bundle.metrics.categories import SCHEMES
        >>> places = [("seg", name, "volume_mm3") for name in ("truth", "m")]
        >>> sizes = dict(zip(places, ({"a": 49.0, "b": 60.0}, {"a": 51.0, "b": math.nan})))
        >>> category_pairs(sizes, "seg", "m", SCHEMES["nelson_volume"])
        [(0, 1)]
    """
    measured, true = size_pairs(sizes, reference, method, scheme.quantity)
    pairs = [(scheme.place(float(a)), scheme.place(float(b))) for a, b in zip(true, measured, strict=True)]
    return [(a, b) for a, b in pairs if a is not None and b is not None]


def moves(pairs: Sequence[tuple[int, int]]) -> str:
    """How many nodules go up and down, of pairs of a true and a measured class; "" of none.

    Example:
        >>> moves([(0, 1), (1, 1), (2, 0)]), moves([(1, 1)])
        ('+1 −1', '0')
    """
    up, down = (sum(sign * (measured - true) > 0 for true, measured in pairs) for sign in (1, -1))
    return "" if not pairs else f"+{up} −{down}" if up or down else "0"
