"""The methods of a study side by side: how good, how much better than a baseline, on how large a part of the nodules.

Vocabulary: the *reference* is the method that differences are taken to; *baselines* are the methods that one should
beat. A method *wins* a nodule against others where its value is strictly better than each of theirs; one that failed
wins nothing, and is no rival. The *share* is the part of the nodules that a method wins, of those where it or a rival
has a value at all; *both* is over the field of view and in the tumour at once. Differences are paired, over the
nodules where both methods have a value, with seeded bootstrap intervals (:mod:`bundle.report.statistics.tests`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bundle.inferers.names import chosen_names
from bundle.inferers.registry import names_of
from bundle.metrics.table import metric_of
from bundle.report.results import TRUTH, StudyResults
from bundle.report.statistics.tests import bootstrap_interval, paired_difference
from bundle.report.tidy import summarise

# what looks at no other patient; of those, the ones that are in the study
BASELINES = names_of("image", sees_patients=False)
BOTH = "both"
SHAPE_PLACES = (("unobserved", "dsc"), ("all", "dsc"), ("all", "hd_mm"), ("unobserved", "arve"))
ROUNDING = 1e-7


@dataclass(frozen=True)
class Score:
    """One method at one place.

    Attributes:
        method: its name.
        slices: of the place.
        region: of the place; ``both``: global and tumour at once, which has shares only.
        metric: of the place; ``seconds`` has a mean only.
        mean: over nodules where it is finite; nan if there is none.
        sd: sample standard deviation over the same.
        n: those nodules.
        n_failed: the other nodules.
        difference: mean paired difference to the reference; nan for the reference itself and without pairs.
        low: lower end of its 95 % interval.
        high: upper end.
        beats_reference: share of nodules, 0 to 1; nan for the reference itself, and where no value is the better one.
        beats_all: share of nodules where every other baseline is beaten; nan as above.
    """

    method: str
    slices: str
    region: str
    metric: str
    mean: float = math.nan
    sd: float = math.nan
    n: int = 0
    n_failed: int = 0
    difference: float = math.nan
    low: float = math.nan
    high: float = math.nan
    beats_reference: float = math.nan
    beats_all: float = math.nan


def wins(own: np.ndarray, others: Sequence[np.ndarray], higher: bool = True) -> np.ndarray:
    """Nodules where a method is strictly better than each of others.

    Args:
        own: (N,) values; nan where it failed.
        others: of the other methods, (N,) each, of the same nodules.
        higher: whether more is better.

    Returns:
        (N,) 1.0 where it is, 0.0 where not, nan where neither it nor another has a value, or there is no other.

    Example:
        >>> nan = float("nan")
        >>> wins(np.array([2.0, 2.0, nan, 1.0, nan]), [np.array([1.0, 2.0, 1.0, nan, nan])])
        array([ 1.,  0.,  0.,  1., nan])
    """
    known = ~np.isnan(own)
    won = np.where(known, 1.0, 0.0)
    for other in others:
        better = (own > other) if higher else (own < other)
        won[~np.isnan(other) & ~(better & ~np.isclose(own, other, rtol=ROUNDING, atol=0))] = 0.0
        known |= ~np.isnan(other)
    return np.where(known, won, math.nan) if len(others) else np.full(len(own), math.nan)


def chosen_nodules(results: StudyResults, min_slices: int = 0) -> list[str]:
    """Nodules of at least so many slices; those that could not even be loaded are in if 0 are asked for."""
    if min_slices <= 0:
        return list(results.nodules)
    return [name for name, facts in results.facts.items() if facts.shape[facts.axis] >= min_slices]


def density_scores(
    results: StudyResults,
    nodules: Sequence[str],
    reference: str,
    baselines: Sequence[str],
    slices: str = "interpolated",
    seed: int = 0,
) -> list[Score]:
    """Every image method at every place: PSNR, SSIM, sd ratio, kurtosis, global and in the tumour; seconds.

    Args:
        results: of the study.
        nodules: to look at.
        reference: that differences are taken to.
        baselines: methods that one should beat; may be none.
        slices: ``interpolated`` or ``unobserved``.
        seed: of the bootstrap.

    Returns:
        scores by method and place; the truth's kurtosis last, where it was measured.

    Raises:
        InputError: the reference or a baseline is not in the study.
    """
    methods = results.image_methods
    chosen_names([reference], methods, "reference")
    rivals = chosen_names(list(baselines), methods, "baselines") if baselines else []
    scores = []
    for method in methods:
        won_reference, won_all = [], []
        for metric in ("psnr", "ssim", "sd_ratio", "kurtosis"):
            for region in ("global", "tumour"):
                values = {name: _values(results, nodules, name, slices, region, metric) for name in methods}
                score, to_reference, to_all = _score(values, method, reference, rivals, (slices, region, metric), seed)
                scores.append(score)
                if metric == "psnr":
                    won_reference.append(to_reference)
                    won_all.append(to_all)
        # nan in either region: not counted
        shares = (_share(won_reference[0] * won_reference[1]), _share(won_all[0] * won_all[1]))
        scores.append(Score(method, slices, BOTH, "psnr", beats_reference=shares[0], beats_all=shares[1]))
        scores.append(_seconds(results, nodules, method))
    for region in ("global", "tumour"):
        found = summarise(_values(results, nodules, TRUTH, slices, region, "kurtosis"))
        if found.n:
            scores.append(Score(TRUTH, slices, region, "kurtosis", found.mean, found.sd, found.n, found.n_failed))
    return scores


def shape_scores(results: StudyResults, nodules: Sequence[str], reference: str, seed: int = 0) -> list[Score]:
    """Every mask method's DSC, Hausdorff distance (mm) and ARVE; every other one is a rival.

    Args:
        results: of the study.
        nodules: to look at.
        reference: that differences are taken to.
        seed: of the bootstrap.

    Returns:
        scores by method and place; none if the study has no mask method.

    Raises:
        InputError: the reference is not in the study.
    """
    methods = results.mask_methods
    if not methods:
        return []
    chosen_names([reference], methods, "mask-reference")
    scores = []
    for method in methods:
        for slices, metric in SHAPE_PLACES:
            values = {name: _values(results, nodules, name, slices, "roi", metric) for name in methods}
            scores.append(_score(values, method, reference, methods, (slices, "roi", metric), seed)[0])
        scores.append(_seconds(results, nodules, method))
    return scores


def _values(
    results: StudyResults, nodules: Sequence[str], method: str, slices: str, region: str, metric: str
) -> np.ndarray:
    """One value for each nodule; nan where there is none."""
    found = results.values(method, slices, region, None, metric)
    return np.array([found.get(nodule, math.nan) for nodule in nodules], dtype=np.float64)


def _score(
    values: dict[str, np.ndarray],
    method: str,
    reference: str,
    rivals: Sequence[str],
    place: tuple[str, str, str],
    seed: int,
) -> tuple[Score, np.ndarray, np.ndarray]:
    """A score, and the nodules won against the reference and against all rivals."""
    own, others = values[method], [values[name] for name in rivals if name != method]
    found = summarise(own)
    difference = low = high = math.nan
    to_reference = np.full(len(own), math.nan)
    to_all = to_reference
    if method != reference:
        pairs, _ = paired_difference(own, values[reference])
        difference = float(pairs.mean()) if len(pairs) else math.nan
        low, high = bootstrap_interval(pairs, seed=seed)
    better = metric_of(place[2]).better
    if better:
        higher = better == "higher"
        to_all = wins(own, others, higher)
        if method != reference:
            to_reference = wins(own, [values[reference]], higher)
    score = Score(
        method,
        *place,
        *(found.mean, found.sd),
        n=found.n,
        n_failed=found.n_failed,
        difference=difference,
        low=low,
        high=high,
        beats_reference=_share(to_reference),
        beats_all=_share(to_all),
    )
    return score, to_reference, to_all


def _seconds(results: StudyResults, nodules: Sequence[str], method: str) -> Score:
    found = summarise([results.seconds.get((nodule, method), math.nan) for nodule in nodules])
    return Score(method, "", "", "seconds", found.mean, found.sd, found.n, found.n_failed)


def _share(won: np.ndarray) -> float:
    counted = won[np.isfinite(won)]
    return float(counted.mean()) if len(counted) else math.nan
