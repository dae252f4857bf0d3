"""Find a calibration, as :mod:`.calibration` has it, from reconstructions whose truth is known; try it on others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np

from bundle.errors import InputError
from bundle.inferers.calibration.intervals import (
    GROUP_GAP_MM,
    GROUP_HU,
    GROUPS,
    LEVELS,
    MAX_POWER,
    REFERENCE_GAP_MM,
    Calibration,
    check_errors,
    group_factors,
)

SAME_GAP = 1e-3  # of the logarithm
GROUP_LEVEL = 0.9  # the level at which groups are made alike
LEAST_GROUP, LEAST_VOXELS = 6, 20  # reconstructions of a group, and voxels in each


def calibrate(
    residuals: Sequence[np.ndarray],
    errors: Sequence[np.ndarray],
    levels: Sequence[float] = LEVELS,
    gaps_mm: Sequence[float] | None = None,
    beyond: Sequence[np.ndarray] | None = None,
    images_hu: Sequence[np.ndarray] | None = None,
    thick: Sequence[bool] | None = None,
    patients: Sequence[str] | None = None,
) -> Calibration:
    """Find the scale and the multipliers from reconstructions whose truth is known.

    Args:
        residuals: for each nodule, reconstruction minus truth at voxels that the method was not given; any shape.
        errors: for each nodule the raw error at the same voxels.
        levels: see :class:`Calibration`.
        gaps_mm: for each nodule the gap between its observed slices; give a nodule several times, with other gaps,
            and the power is found by which actual over raw error grows with the gap (least squares of the logarithms).
            None, or all alike: the power is 0.
        beyond: for each nodule which of the voxels lie beyond the observed slices; None: none does.
        images_hu: for each nodule the reconstruction at the voxels; None: no factors are sought.
        thick: for each nodule whether its observed slices are averages over a thickness; None: none is.
        patients: for each nodule whose it is. The multipliers are then for the next *patient*: :func:`promised`. None:
            each nodule has the same weight in them, and they are the quantiles of these nodules.

    Returns:
        the calibration. Each nodule has the same weight in the scale; one without voxels has none.

    Raises:
        InputError: no voxels at all, shapes that differ, an error that is negative, nan or 0 throughout, or 0 where
            the reconstruction is off so often that no multiplier gives a level.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> sd = rng.uniform(0.01, 0.1, 100_000)
        >>> found = calibrate([rng.normal(0, sd)], [sd], levels=[0.9])
        >>> round(found.scale, 1), round(found.scale * found.multipliers[0], 1)  # of |N(0, 1)|: mean, 0.9 quantile
        (0.8, 1.6)
    """
    if len(residuals) != len(errors):
        raise InputError(f"there are {len(residuals)} residuals and {len(errors)} errors: give both for each nodule")
    if gaps_mm is not None and (len(gaps_mm) != len(errors) or not np.all(np.asarray(gaps_mm) > 0)):
        raise InputError(f"the gaps {list(gaps_mm)} are not one width in mm for each of {len(errors)} nodules")
    off, raw, gaps, outside, whose = [], [], [], [], []
    for i, (residual, error) in enumerate(zip(residuals, errors, strict=True)):
        if np.shape(residual) != np.shape(error):
            raise InputError(f"residuals of shape {np.shape(residual)} have errors of shape {np.shape(error)}")
        if np.size(residual):
            off.append(np.abs(np.asarray(residual, dtype=np.float64)).ravel())
            raw.append(np.asarray(error, dtype=np.float64).ravel())
            gaps.append(REFERENCE_GAP_MM if gaps_mm is None else float(gaps_mm[i]))
            outside.append(np.broadcast_to(False if beyond is None else beyond[i], np.shape(error)).ravel())
            whose.append(str(i) if patients is None else patients[i])
    if not off:
        raise InputError("there is no voxel to calibrate with: give nodules with unobserved slices")
    check_errors(np.concatenate(raw))
    if not np.isfinite(np.concatenate(off)).all():
        raise InputError("the residuals hold nan or infinite values: leave out nodules that failed")
    power = _gap_power(off, raw, gaps, outside)
    raw = [values * (gap / REFERENCE_GAP_MM) ** power for values, gap in zip(raw, gaps, strict=True)]
    further = _beyond(off, raw, outside)
    raw = [np.where(out, values * further, values) for values, out in zip(raw, outside, strict=True)]
    mean_raw = float(np.mean([values.mean() for values in raw]))
    mean_off = float(np.mean([values.mean() for values in off]))
    if not mean_raw or not mean_off:
        raise InputError("the errors or the residuals are 0 throughout: there is nothing to scale")
    scale = mean_off / mean_raw
    factors: tuple = ()
    if images_hu is not None:
        hu = [np.asarray(image, dtype=float).ravel() for image in images_hu if np.size(image)]
        kinds = [
            bool(one) for one, image in zip(thick or [False] * len(images_hu), images_hu, strict=True) if image.size
        ]
        factors = _factors(off, [scale * values for values in raw], gaps, hu, kinds)
        tables = [np.asarray(factors[kind]) for kind in kinds]
        raw = [v * group_factors(t, g, h) for v, t, g, h in zip(raw, tables, gaps, hu, strict=True)]
    times = Counter(whose)
    weights = np.concatenate([np.full(len(v), 1 / len(v) / times[who]) for v, who in zip(off, whose, strict=True)])
    ratios = _ratio(np.concatenate(off), scale * np.concatenate(raw))
    multipliers = weighted_quantile(ratios, weights, levels if patients is None else promised(levels, len(times)))
    if not np.isfinite(multipliers).all():
        part = float(weights[np.isinf(ratios)].sum() / weights.sum())
        raise InputError(
            f"the expected error is 0 in {part:.1%} of the voxels where the reconstruction is off: no multiplier makes "
            f"an interval of {max(levels):.0%}; let the method expect some error everywhere"
        )
    half_widths = tuple(float(q) for q in multipliers)
    return Calibration(scale, tuple(float(level) for level in levels), half_widths, power, further, factors)


def promised(levels: Sequence[float], patients: int) -> list[float]:
    """The part of the calibration patients' voxels to hold for a level to hold on the next patient.

    Voxels of a patient are alike, so it is patients that are counted: with the next one's voxels, of which nothing is
    known, as one part of K + 1, the others must be held at level x (K + 1) / K. More than all of them cannot be held: a
    level of K / (K + 1) or more takes the largest ratio seen, and is not promised.

    Source: Dunn, Wasserman and Ramdas, *Distribution-Free Prediction Sets for Two-Layer Hierarchical Models*, JASA 2023
    (pooling CDFs); Lee, Barber and Willett, *Distribution-free inference with hierarchical data*, 2023.

    Example:
        >>> [round(level, 3) for level in promised([0.5, 0.9, 0.95], 9)]
        [0.556, 1.0, 1.0]
    """
    return [min(1.0, round(level * (patients + 1) / patients, 9)) for level in levels]


def coverage_of(
    residuals: Sequence[np.ndarray],
    errors: Sequence[np.ndarray],
    found: Calibration,
    gaps_mm: Sequence[float] | None = None,
    beyond: Sequence[np.ndarray] | None = None,
    images_hu: Sequence[np.ndarray] | None = None,
    thick: Sequence[bool] | None = None,
) -> np.ndarray:
    """Part of the voxels that each level's intervals hold, mean over nodules.

    Args:
        residuals: as for :func:`calibrate`, best of other patients.
        errors: raw errors, as for :func:`calibrate`.
        found: the calibration to try.
        gaps_mm: as for :func:`calibrate`.
        beyond: as for :func:`calibrate`.
        images_hu: as for :func:`calibrate`.
        thick: as for :func:`calibrate`.

    Returns:
        (levels,) between 0 and 1; nan for no voxels.

    Example:
        >>> coverage_of([np.array([1.0, 3.0])], [np.ones(2)], Calibration(1.0, (0.5,), (2.0,))).tolist()
        [0.5]
    """
    gaps = [REFERENCE_GAP_MM] * len(errors) if gaps_mm is None else gaps_mm
    outside = [np.array(False)] * len(errors) if beyond is None else beyond
    hu = [None] * len(errors) if images_hu is None else images_hu
    kinds = [False] * len(errors) if thick is None else thick
    scales = [found.scale_at(*known) for known in zip(gaps, outside, hu, kinds, strict=True)]
    parts = [
        [np.mean(np.abs(residual) <= scale * q * error) for q in found.multipliers]
        for residual, error, scale in zip(residuals, errors, scales, strict=True)
        if np.size(residual)
    ]
    return np.mean(parts, axis=0) if parts else np.full(len(found.levels), np.nan)


def weighted_quantile(values: np.ndarray, weights: np.ndarray, levels: Sequence[float]) -> np.ndarray:
    """The smallest value up to which at least the given part of the weight lies.

    Args:
        values: (N,), may be infinite.
        weights: (N,) above 0.
        levels: parts of the weight, between 0 and 1.

    Example:
        >>> weighted_quantile(np.array([3.0, 1.0, 2.0]), np.array([2.0, 1.0, 1.0]), [0.5, 0.51]).tolist()
        [2.0, 3.0]
    """
    order = np.argsort(values, kind="stable")
    reached = np.cumsum(weights[order])
    # rounding must not push a level past the end
    at = np.searchsorted(reached, np.asarray(levels) * reached[-1] * (1 - 1e-12))
    return values[order][np.minimum(at, len(values) - 1)]


def _gap_power(
    off: Sequence[np.ndarray], raw: Sequence[np.ndarray], gaps: Sequence[float], outside: Sequence[np.ndarray]
) -> float:
    """Slope of log(actual over raw error) over log(gap), between observed slices, bounded; 0 where gaps are alike."""
    means = _means(off, raw, [~out for out in outside])
    kept = (means > 0).all(axis=1)  # nan is not
    if not kept.any() or np.ptp(x := np.log(np.asarray(gaps)[kept])) < SAME_GAP:
        return 0.0
    y = np.log(means[kept, 0] / means[kept, 1])
    return float(np.clip(np.polyfit(x, y, 1)[0], -MAX_POWER, MAX_POWER))


def _factors(
    off: Sequence[np.ndarray],
    expected: Sequence[np.ndarray],
    gaps: Sequence[float],
    hu: Sequence[np.ndarray],
    thick: Sequence[bool],
) -> tuple[tuple[tuple[float, ...], ...], ...]:
    """Of each group the quantile of actual over expected error, over that of all: (2, 3, 4).

    A group of few reconstructions takes what its intensity has at all gaps, and a kind without any what the other has;
    the fewer, the nearer to 1.
    """
    ratios = [_ratio(o, e) for o, e in zip(off, expected, strict=True)]
    rows = np.argmin(np.abs(np.log(gaps)[:, None] - np.log(GROUP_GAP_MM)), axis=1)
    columns = [np.argmin(np.abs(h[:, None] - np.array(GROUP_HU)), axis=1) for h in hu]

    def quantile(chosen: Callable[[int], np.ndarray]) -> tuple[float, int] | None:
        parts = [ratios[i][chosen(i)] for i in range(len(ratios))]
        parts = [part for part in parts if len(part) >= LEAST_VOXELS]
        if len(parts) < LEAST_GROUP:
            return None
        weights = np.concatenate([np.full(len(part), 1 / len(part)) for part in parts])
        return float(weighted_quantile(np.concatenate(parts), weights, [GROUP_LEVEL])[0]), len(parts)

    whole = quantile(lambda i: np.ones(len(ratios[i]), dtype=bool))
    table = np.full(GROUPS, np.nan)
    for kind, row, column in np.ndindex(GROUPS):
        found = quantile(lambda i, k=kind, r=row, c=column: (columns[i] == c) & (rows[i] == r) & (thick[i] == bool(k)))  # type: ignore[misc]
        if found is None:
            found = quantile(lambda i, k=kind, c=column: (columns[i] == c) & (thick[i] == bool(k)))  # type: ignore[misc]
        if found and whole and 0 < found[0] < np.inf and 0 < whole[0] < np.inf:
            certainty = found[1] / (found[1] + LEAST_GROUP)
            table[kind, row, column] = (found[0] / whole[0]) ** certainty
    for kind in range(2):
        table[kind] = np.where(np.isnan(table[kind]), table[1 - kind], table[kind])
    return tuple(
        tuple(tuple(round(float(f), 4) for f in row) for row in part) for part in np.nan_to_num(table, nan=1.0)
    )


def _beyond(off: Sequence[np.ndarray], raw: Sequence[np.ndarray], outside: Sequence[np.ndarray]) -> float:
    """Actual over raw error beyond the observed slices, over that between them; 1 where either is unknown."""
    within, further = (_means(off, raw, which) for which in ([~out for out in outside], outside))
    kept = np.isfinite(within).all(axis=1) & np.isfinite(further).all(axis=1)
    if not kept.any():
        return 1.0
    (actual, expected), (actual_in, expected_in) = further[kept].mean(axis=0), within[kept].mean(axis=0)
    known = min(actual, expected, actual_in, expected_in) > 0
    return float(actual / expected * expected_in / actual_in) if known else 1.0


def _means(off: Sequence[np.ndarray], raw: Sequence[np.ndarray], which: Sequence[np.ndarray]) -> np.ndarray:
    """(nodules, 2) mean actual and raw error of the chosen voxels; nan where there is none."""
    pairs = [(o[w], r[w]) for o, r, w in zip(off, raw, which, strict=True)]
    return np.array([(o.mean(), r.mean()) if o.size else (np.nan, np.nan) for o, r in pairs])


def _ratio(off: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """Residual over expected error; 0 where nothing is off, infinite where that was not expected."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(off == 0, 0.0, off / expected)
