"""Categories of nodules by size, and rules of growth, as published; one table each.

They are for *solid* nodules: part-solid and ground-glass ones have limits of their own in each guideline, which want
the solid part measured by itself. A category here says how large, and nothing of what a radiologist would add.
"""

from __future__ import annotations

import math
from bisect import bisect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Quantity = Literal["volume_mm3", "mean_diameter_mm", "longest_diameter_mm"]


@dataclass(frozen=True)
class Scheme:
    """A guideline's classes by one quantity.

    Attributes:
        name: in files.
        label: in tables.
        quantity: that decides, see :mod:`bundle.metrics.size_evaluator`.
        classes: their names, one more than limits.
        limits: in mm or mm3, ascending.
        belongs_below: whether a value exactly at the limit is of the lower class, for each limit.
        decimals: that the guideline rounds to first; None: it does not.
        source: where it is published.
    """

    name: str
    label: str
    quantity: Quantity
    classes: tuple[str, ...]
    limits: tuple[float, ...]
    belongs_below: tuple[bool, ...]
    decimals: int | None
    source: str

    def place(self, value: float) -> int | None:
        """Number of a value's class, from 0; None of nan.

        Example:
            >>> SCHEMES["fleischner_diameter"].place(5.4), SCHEMES["fleischner_diameter"].place(5.5)
            (0, 1)
        """
        if math.isnan(value):
            return None
        if self.decimals is not None:
            value = math.floor(value * 10**self.decimals + 0.5) / 10**self.decimals
        k = bisect(self.limits, value)
        return k - 1 if k and self.limits[k - 1] == value and self.belongs_below[k - 1] else k

    def category(self, value: float) -> str | None:
        """Name of a value's class; None of nan.

        Example:
            >>> [SCHEMES["lung_rads_volume"].category(v) for v in (112.0, 113.0, 300.0, math.nan)]
            ['2', '3', '4A', None]
        """
        place = self.place(value)
        return None if place is None else self.classes[place]


_LUNG_RADS = (
    "ACR Lung-RADS v2022, solid nodules at baseline: 3 from 6 mm (113 mm3), 4A from 8 mm (268 mm3), 4B from 15 mm "
    "(1767 mm3); mean of the long and the short axis to one decimal, or whole mm3 (Christensen, Chest 2024; 165:738)"
)
_FLEISCHNER = (
    "Fleischner Society 2017, solid nodules: under 6 mm (100 mm3), 6 to 8 mm (100 to 250 mm3), over 8 mm (250 mm3); "
    "mean of the long and the short axis, to whole mm (MacMahon, Radiology 2017; 284:228)"
)
_BTS = (
    "British Thoracic Society 2015: no follow-up under 5 mm (80 mm3), surveillance to under 8 mm (300 mm3), then the "
    "Brock model; maximum diameter (Callister, Thorax 2015; 70 Suppl 2:ii1)"
)
_NELSON = (
    "NELSON, solid nodules at baseline: negative under 50 mm3, indeterminate to 500 mm3, positive above (van Klaveren, "
    "N Engl J Med 2009; 361:2221)"
)
_RADS = ("2", "3", "4A", "4B")
_BTS_CLASSES = ("no follow-up", "surveillance", "risk model")
_ALL = (
    Scheme("lung_rads_diameter", "Lung-RADS by diameter", "mean_diameter_mm", _RADS,
           (6.0, 8.0, 15.0), (False,) * 3, 1, _LUNG_RADS),
    Scheme("lung_rads_volume", "Lung-RADS by volume", "volume_mm3", _RADS,
           (113.0, 268.0, 1767.0), (False,) * 3, 0, _LUNG_RADS),
    Scheme("fleischner_diameter", "Fleischner by diameter", "mean_diameter_mm",
           ("under 6 mm", "6 to 8 mm", "over 8 mm"), (6.0, 8.0), (False, True), 0, _FLEISCHNER),
    Scheme("fleischner_volume", "Fleischner by volume", "volume_mm3",
           ("under 100 mm3", "100 to 250 mm3", "over 250 mm3"), (100.0, 250.0), (False, True), None, _FLEISCHNER),
    Scheme("bts_diameter", "BTS by diameter", "longest_diameter_mm", _BTS_CLASSES,
           (5.0, 8.0), (False,) * 2, None, _BTS),
    Scheme("bts_volume", "BTS by volume", "volume_mm3", _BTS_CLASSES, (80.0, 300.0), (False,) * 2, None, _BTS),
    Scheme("nelson_volume", "NELSON by volume", "volume_mm3", ("negative", "indeterminate", "positive"),
           (50.0, 500.0), (False, True), None, _NELSON),
)  # fmt: skip
SCHEMES = {scheme.name: scheme for scheme in _ALL}


def doubling_time(first: float, second: float, days: float) -> float:
    """Volume doubling time, ``days * ln 2 / ln(second / first)`` (Schwartz, Cancer 1961; 14:1272).

    Args:
        first: volume.
        second: volume, so many days later.
        days: between both.

    Returns:
        days; negative of a volume that shrinks, infinite of one that stays; nan if either is not above 0.

    Example:
        >>> doubling_time(100.0, 200.0, 90.0), doubling_time(100.0, 100.0, 90.0)
        (90.0, inf)
    """
    if not (first > 0 and second > 0):
        return math.nan
    growth = math.log(second / first)
    return days * math.log(2) / growth if growth else math.inf


@dataclass(frozen=True)
class GrowthRule:
    """What a guideline calls growth from one scan to a later one.

    Attributes:
        name: in files.
        label: in tables.
        quantity: that is compared.
        kind: ``share``: an increase by at least this part of the first; ``more``: by more than so many mm; ``least``:
            by at least so many; ``doubling``: a volume that doubles within fewer days than this.
        limit: see ``kind``.
        source: where it is published.
    """

    name: str
    label: str
    quantity: Quantity
    kind: Literal["share", "more", "least", "doubling"]
    limit: float
    source: str

    def grew(self, first: float, second: float, days: float) -> bool:
        """Whether the rule calls it growth; nan is none.

        Args:
            first: of the earlier scan.
            second: of the later one.
            days: between both; only a doubling time asks for it.

        Example:
            >>> GROWTH["volume_25"].grew(100.0, 125.0, 90.0), GROWTH["lung_rads"].grew(6.0, 7.5, 90.0)
            (True, False)
        """
        change = round(second - first, 9)  # 7.7 - 6.2 is 1.5
        if self.kind == "share":
            return change >= self.limit * first
        if self.kind == "doubling":
            return 0 < doubling_time(first, second, days) < self.limit
        return change > self.limit if self.kind == "more" else change >= self.limit


_RULES = (
    GrowthRule("volume_25", "25 % volume", "volume_mm3", "share", 0.25,
               "25 % of the volume: NELSON (van Klaveren 2009), BTS 2015"),
    GrowthRule("lung_rads", "1.5 mm", "mean_diameter_mm", "more", 1.5,
               "more than 1.5 mm of the mean diameter within 12 months: Lung-RADS v2022"),
    GrowthRule("fleischner", "2 mm", "mean_diameter_mm", "least", 2.0,
               "2 mm of the mean diameter: Fleischner Society (Bankier, Radiology 2017; 285:584)"),
    GrowthRule("doubling_400", "doubling under 400 days", "volume_mm3", "doubling", 400.0,
               "a volume doubling time under 400 days: NELSON (van Klaveren 2009), BTS 2015"),
)  # fmt: skip
GROWTH = {rule.name: rule for rule in _RULES}


def flips(scheme: Scheme, measured: Sequence[float], true: Sequence[float]) -> list[float]:
    """Whether each value is of another class than the truth: 1, 0, or nan where either value is.

    Example:
        >>> flips(SCHEMES["nelson_volume"], [49.0, 60.0, math.nan], [51.0, 70.0, 80.0])
        [1.0, 0.0, nan]
    """
    pairs = [(scheme.place(a), scheme.place(b)) for a, b in zip(measured, true, strict=True)]
    return [math.nan if None in pair else float(pair[0] != pair[1]) for pair in pairs]
