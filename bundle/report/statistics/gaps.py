"""Gains against the gap in mm: means in bins of it, the order of methods in each, and where that order turns.

Bins have fixed limits, so that two sweeps can be compared: at slices of 1 mm, strides 2, 3, 4, 5 and 8 have one each. A
nodule may be in a bin at two settings; intervals resample patients, so this makes none narrower.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise

import numpy as np

from bundle.report.statistics.gains import Gain, mean_gain

EDGES_MM = (1.5, 2.5, 3.5, 4.5, 6.0, 8.5)
ROUNDING_MM = 1e-6  # a gap of 5 slices of 0.6 mm is 3 mm, though not quite in floating point


@dataclass(frozen=True)
class GapBin:
    """Points whose gaps are alike.

    Attributes:
        low: lower limit in mm, inclusive; 0 for the first.
        high: upper limit; infinite for the last.
        centre: mean gap of the points.
        points: their numbers.
    """

    low: float
    high: float
    centre: float
    points: tuple[int, ...]

    @property
    def label(self) -> str:
        """Its limits in words."""
        return span_words(self.low, self.high)


def span_words(low: float, high: float) -> str:
    """From one gap to another; 0 and infinity are no limits.

    Example:
        >>> span_words(0, 1.5), span_words(1.5, 6.0), span_words(8.5, math.inf)
        ('< 1.5 mm', '1.5 to 6 mm', '>= 8.5 mm')
    """
    if math.isinf(high):
        return f">= {low:g} mm" if low else "every gap"
    return f"{low:g} to {high:g} mm" if low else f"< {high:g} mm"


def gap_bins(gaps: np.ndarray, edges: Sequence[float] = EDGES_MM) -> list[GapBin]:
    """The bins that hold points, ascending.

    Args:
        gaps: (P,) mm; points of nan are in none.
        edges: inner limits, ascending.

    Example:
        >>> [(one.label, one.centre, one.points) for one in gap_bins(np.array([2.0, 5.0, 2.4, np.nan]))]
        [('1.5 to 2.5 mm', 2.2, (0, 2)), ('4.5 to 6 mm', 5.0, (1,))]
    """
    limits = [0.0, *edges, math.inf]
    places = np.searchsorted(edges, gaps + ROUNDING_MM, side="right")
    found = []
    for k, (low, high) in enumerate(pairwise(limits)):
        inside = np.flatnonzero((places == k) & np.isfinite(gaps))
        if len(inside):
            found.append(GapBin(low, high, float(gaps[inside].mean()), tuple(inside.tolist())))
    return found


def binned(gains: np.ndarray, nodules: Sequence[str], bins: Sequence[GapBin], seed: int = 0) -> list[Gain]:
    """The mean gain in each bin.

    Args:
        gains: (P,), nan where a method failed.
        nodules: of each point.
        bins: of the points.
        seed: of the bootstrap over patients.
    """
    return [mean_gain(gains[list(one.points)], [nodules[i] for i in one.points], seed) for one in bins]


def share_better(field: np.ndarray, tumour: np.ndarray) -> float:
    """Share of points with a gain above 0 in both regions, of those with a gain in both; nan if there is none.

    Example:
        >>> share_better(np.array([1.0, 1.0, 1.0, np.nan]), np.array([1.0, -1.0, 0.0, 1.0]))
        0.3333333333333333
    """
    both = np.isfinite(field) & np.isfinite(tumour)
    return float(((field > 0) & (tumour > 0))[both].mean()) if both.any() else math.nan


@dataclass(frozen=True)
class Turn:
    """Where one method overtakes another as gaps grow.

    Attributes:
        first: the better one at smaller gaps.
        second: the better one at larger gaps.
        gap_mm: where their difference is 0, between the centres of two bins.
        before: first minus second in the bin below.
        after: the same in the bin above.
    """

    first: str
    second: str
    gap_mm: float
    before: Gain
    after: Gain

    @property
    def clear(self) -> bool:
        """Whether both differences have an interval without 0."""
        return self.before.low > 0 and self.after.high < 0


def turns(gains: Mapping[str, np.ndarray], nodules: Sequence[str], bins: Sequence[GapBin], seed: int = 0) -> list[Turn]:
    """Every change of order between neighbouring bins, by gap.

    Args:
        gains: (P,) by method; the reference's are 0.
        nodules: of each point.
        bins: of the points.
        seed: of the bootstrap over patients.

    Example:
        >>> gaps, patients = np.repeat([2.0, 4.0], 5), list("pqrst") * 2
        >>> gains = {"a": np.zeros(10), "b": np.repeat([-1.0, 1.0], 5)}
        >>> [(t.first, t.second, t.gap_mm, t.clear) for t in turns(gains, patients, gap_bins(gaps))]
        [('a', 'b', 3.0, True)]
    """
    found = []
    for one, other in combinations(gains, 2):
        differences = binned(gains[one] - gains[other], nodules, bins, seed)
        known = [(place.centre, d) for place, d in zip(bins, differences, strict=True) if d.n]
        for (x0, before), (x1, after) in pairwise(known):
            if before.mean * after.mean < 0:
                at = x0 + (x1 - x0) * before.mean / (before.mean - after.mean)
                names, sides = ((one, other), (before, after))
                if before.mean < 0:
                    names, sides = (other, one), (_minus(before), _minus(after))
                found.append(Turn(*names, at, *sides))
    return sorted(found, key=lambda turn: turn.gap_mm)


def _minus(gain: Gain) -> Gain:
    return Gain(-gain.mean, -gain.high, -gain.low, gain.n, gain.patients, gain.n_failed)
