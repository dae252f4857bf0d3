"""How much a size changes though the nodule did not: measured again with the first slice elsewhere.

Vocabulary: values are (nodules, first slices), nan where nothing was measured. A *pair* is a first and a later scan of
one nodule, in both orders; any growth in a pair is *false*. The within-nodule coefficient of variation (wCV) is the
root mean square over nodules of sd / mean, the repeatability coefficient (RC) 2.77 times that: 95 of 100 repeated
measurements differ by less (Bland and Altman, BMJ 1996; 312:1654; Obuchowski and Bullen, Stat Methods Med Res 2018;
27:3204).
"""

from __future__ import annotations

import itertools

import numpy as np

from bundle.metrics.categories import GrowthRule

RC = 1.96 * 2**0.5  # 2.77
DAYS = 90.0  # between the scans of a pair, of which a doubling time asks


def within_cv(values: np.ndarray) -> float:
    """Within-nodule coefficient of variation, a part of 1.

    Args:
        values: (N, K); nodules with fewer than two values are left out.

    Returns:
        nan where none is left.

    Example:
        >>> round(within_cv(np.array([[90.0, 110.0], [95.0, 105.0], [7.0, np.nan]])), 4)
        0.1118
    """
    squares = [(row.std(ddof=1) / row.mean()) ** 2 for row in _measured(values)]
    return float(np.sqrt(np.mean(squares))) if squares else float("nan")


def false_growth(values: np.ndarray, rule: GrowthRule, days: float = DAYS) -> float:
    """Share of pairs that a rule calls growth.

    Args:
        values: (N, K) of the rule's quantity.
        rule: of growth.
        days: between the two scans of a pair.

    Returns:
        nan where there is no pair.

    Example:
        >>> from bundle.metrics.categories import GROWTH
        >>> false_growth(np.array([[100.0, 130.0, np.nan]]), GROWTH["volume_25"])
        0.5
    """
    grown = [rule.grew(*pair, days) for row in _measured(values) for pair in itertools.permutations(row.tolist(), 2)]
    return float(np.mean(grown)) if grown else float("nan")


def _measured(values: np.ndarray) -> list[np.ndarray]:
    rows = [row[np.isfinite(row)] for row in np.asarray(values, dtype=np.float64)]
    return [row for row in rows if len(row) > 1]
