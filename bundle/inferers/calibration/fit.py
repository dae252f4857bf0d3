"""Find a calibration, as :mod:`.calibration` has it, from reconstructions whose truth is known; try it on others."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bundle.errors import InputError
from bundle.inferers.calibration.intervals import LEVELS, MAX_POWER, REFERENCE_GAP_MM, Calibration, check_errors

SAME_GAP = 1e-3  # of the logarithm


def calibrate(
    residuals: Sequence[np.ndarray],
    errors: Sequence[np.ndarray],
    levels: Sequence[float] = LEVELS,
    gaps_mm: Sequence[float] | None = None,
    beyond: Sequence[np.ndarray] | None = None,
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

    Returns:
        the calibration. Each nodule has the same weight; one without voxels has none.

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
    off, raw, gaps, outside = [], [], [], []
    for i, (residual, error) in enumerate(zip(residuals, errors, strict=True)):
        if np.shape(residual) != np.shape(error):
            raise InputError(f"residuals of shape {np.shape(residual)} have errors of shape {np.shape(error)}")
        if np.size(residual):
            off.append(np.abs(np.asarray(residual, dtype=np.float64)).ravel())
            raw.append(np.asarray(error, dtype=np.float64).ravel())
            gaps.append(REFERENCE_GAP_MM if gaps_mm is None else float(gaps_mm[i]))
            outside.append(np.broadcast_to(False if beyond is None else beyond[i], np.shape(error)).ravel())
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
    weights = np.concatenate([np.full(len(values), 1 / len(values)) for values in off])
    ratios = _ratio(np.concatenate(off), scale * np.concatenate(raw))
    multipliers = weighted_quantile(ratios, weights, levels)
    if not np.isfinite(multipliers).all():
        part = float(weights[np.isinf(ratios)].sum() / weights.sum())
        raise InputError(
            f"the expected error is 0 in {part:.1%} of the voxels where the reconstruction is off: no multiplier makes "
            f"an interval of {max(levels):.0%}; let the method expect some error everywhere"
        )
    half_widths = tuple(float(q) for q in multipliers)
    return Calibration(scale, tuple(float(level) for level in levels), half_widths, power, further)


def coverage_of(
    residuals: Sequence[np.ndarray],
    errors: Sequence[np.ndarray],
    found: Calibration,
    gaps_mm: Sequence[float] | None = None,
    beyond: Sequence[np.ndarray] | None = None,
) -> np.ndarray:
    """Part of the voxels that each level's intervals hold, mean over nodules.

    Args:
        residuals: as for :func:`calibrate`, best of other patients.
        errors: raw errors, as for :func:`calibrate`.
        found: the calibration to try.
        gaps_mm: as for :func:`calibrate`.
        beyond: as for :func:`calibrate`.

    Returns:
        (levels,) between 0 and 1; nan for no voxels.

    Example:
        >>> coverage_of([np.array([1.0, 3.0])], [np.ones(2)], Calibration(1.0, (0.5,), (2.0,))).tolist()
        [0.5]
    """
    gaps = [REFERENCE_GAP_MM] * len(errors) if gaps_mm is None else gaps_mm
    outside = [np.array(False)] * len(errors) if beyond is None else beyond
    scales = [found.scale_at(gap, out) for gap, out in zip(gaps, outside, strict=True)]
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
