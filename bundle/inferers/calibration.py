"""How sure a reconstruction is: expected errors that hold on patients they were not made on, and intervals from them.

Vocabulary: a method's *raw error* is what it takes for its own error at a voxel, such as the spread of several fits.
Its *expected error* is the raw error times a *scale*, by which its mean becomes the mean absolute error on the
calibration nodules. The scale follows a power of the *gap*, the mm between the observed slices around the voxel, as
raw errors seldom grow with the gap like actual ones. The *interval* of a *level*, say 0.9, is the reconstructed value
plus and minus the expected error times a *multiplier*: the 0.9 quantile, on the calibration nodules, of the absolute
residual over the expected error. That is split-conformal prediction with a normalised residual (Lei et al. 2018,
Journal of the American Statistical Association 113:1094) in which each nodule has the same weight, whatever its size.
Patients
differ more than voxels do, so a level holds on average over nodules, not in each nodule, and for CT like the
calibration nodules'.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bundle.errors import InputError

_PACKAGE = Path(__file__).parents[1]
# in an installed wheel configs/ is inside of the package, in the bundle's own folder beside it
UNCERTAINTY_FILE = (_PACKAGE if (_PACKAGE / "configs").is_dir() else _PACKAGE.parent) / "configs" / "uncertainty.json"
LEVELS = (0.5, 0.8, 0.9, 0.95)
REFERENCE_GAP_MM = 3.0
MAX_POWER = 2.0
SAME_GAP = 1e-3  # of the logarithm


@dataclass(frozen=True)
class Calibration:
    """What makes a method's raw error an expected error, and that an interval.

    Attributes:
        scale: expected error over raw error, at a gap of 3 mm.
        levels: parts of the voxels that intervals are to hold, ascending, between 0 and 1.
        multipliers: half the width of the interval of each level, in expected errors.
        gap_power: the scale is proportional to this power of the gap.

    Raises:
        InputError: numbers that are no scale, no levels, or multipliers that shrink while the level grows.

    Example:
        >>> Calibration(2.0, (0.5, 0.9), (0.8, 2.1)).intervals
        {0.5: 0.8, 0.9: 2.1}
    """

    scale: float
    levels: tuple[float, ...]
    multipliers: tuple[float, ...]
    gap_power: float = 0.0

    def __post_init__(self) -> None:
        if not (np.isfinite(self.scale) and self.scale > 0):
            raise InputError(f"the scale of expected errors is {self.scale}, expected a number above 0")
        if not abs(self.gap_power) <= MAX_POWER:
            raise InputError(f"the power of the gap is {self.gap_power}, expected a number from -2 to 2")
        levels, multipliers = np.asarray(self.levels), np.asarray(self.multipliers)
        if not len(levels) or np.any(np.diff(levels) <= 0) or not np.all((levels > 0) & (levels < 1)):
            raise InputError(f"the levels {list(self.levels)} are not ascending parts of 1, such as 0.5 and 0.9")
        right = np.all(np.isfinite(multipliers)) and np.all(np.diff(multipliers, prepend=0) >= 0)
        if len(multipliers) != len(levels) or not right:
            raise InputError(
                f"the multipliers {list(self.multipliers)} do not fit the levels {list(self.levels)}: "
                "expected one for each, 0 or more, that do not shrink while the level grows"
            )

    @property
    def intervals(self) -> dict[float, float]:
        """Multiplier by level."""
        return dict(zip(self.levels, self.multipliers, strict=True))

    def scale_at(self, gaps_mm: np.ndarray | float) -> np.ndarray:
        """The scale at gaps of a width.

        Example:
            >>> float(Calibration(2.0, (0.9,), (2.1,), gap_power=0.5).scale_at(12.0))
            4.0
        """
        return self.scale * (np.asarray(gaps_mm, dtype=np.float64) / REFERENCE_GAP_MM) ** self.gap_power


def calibrate(
    residuals: Sequence[np.ndarray],
    errors: Sequence[np.ndarray],
    levels: Sequence[float] = LEVELS,
    gaps_mm: Sequence[float] | None = None,
) -> Calibration:
    """Find the scale and the multipliers from reconstructions whose truth is known.

    Args:
        residuals: for each nodule, reconstruction minus truth at voxels that the method was not given; any shape.
        errors: for each nodule the raw error at the same voxels.
        levels: see :class:`Calibration`.
        gaps_mm: for each nodule the gap between its observed slices; give a nodule several times, with other gaps,
            and the power is found by which actual over raw error grows with the gap (least squares of the logarithms).
            None, or all alike: the power is 0.

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
    off, raw, gaps = [], [], []
    for i, (residual, error) in enumerate(zip(residuals, errors, strict=True)):
        if np.shape(residual) != np.shape(error):
            raise InputError(f"residuals of shape {np.shape(residual)} have errors of shape {np.shape(error)}")
        if np.size(residual):
            off.append(np.abs(np.asarray(residual, dtype=np.float64)).ravel())
            raw.append(np.asarray(error, dtype=np.float64).ravel())
            gaps.append(REFERENCE_GAP_MM if gaps_mm is None else float(gaps_mm[i]))
    if not off:
        raise InputError("there is no voxel to calibrate with: give nodules with unobserved slices")
    check_errors(np.concatenate(raw))
    if not np.isfinite(np.concatenate(off)).all():
        raise InputError("the residuals hold nan or infinite values: leave out nodules that failed")
    power = _gap_power(off, raw, gaps)
    raw = [values * (gap / REFERENCE_GAP_MM) ** power for values, gap in zip(raw, gaps, strict=True)]
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
    return Calibration(scale, tuple(float(level) for level in levels), tuple(float(q) for q in multipliers), power)


def coverage_of(
    residuals: Sequence[np.ndarray],
    errors: Sequence[np.ndarray],
    found: Calibration,
    gaps_mm: Sequence[float] | None = None,
) -> np.ndarray:
    """Part of the voxels that each level's intervals hold, mean over nodules.

    Args:
        residuals: as for :func:`calibrate`, best of other patients.
        errors: raw errors, as for :func:`calibrate`.
        found: the calibration to try.
        gaps_mm: as for :func:`calibrate`.

    Returns:
        (levels,) between 0 and 1; nan for no voxels.

    Example:
        >>> coverage_of([np.array([1.0, 3.0])], [np.ones(2)], Calibration(1.0, (0.5,), (2.0,))).tolist()
        [0.5]
    """
    scales = found.scale_at(np.full(len(errors), REFERENCE_GAP_MM) if gaps_mm is None else np.asarray(gaps_mm))
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


def read_calibrations(path: str | Path = UNCERTAINTY_FILE) -> dict[str, Calibration]:
    """Read the calibration of every method that has one.

    Args:
        path: a file as ``scripts/calibrate_uncertainty.py`` writes it.

    Raises:
        InputError: no such file, or one of another form.

    Example:
        >>> all(calibration.scale > 0 for calibration in read_calibrations().values())
        True
    """
    file = Path(path).expanduser()
    try:
        methods = json.loads(file.read_text(encoding="utf-8"))["methods"]
        return {name: _read(entry) for name, entry in methods.items()}
    except FileNotFoundError:
        raise InputError(f"{file} does not exist: make it by scripts/calibrate_uncertainty.py") from None
    except InputError as fault:
        raise InputError(f"{file} is no calibration: {fault}") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as fault:
        raise InputError(
            f"{file} is no calibration as scripts/calibrate_uncertainty.py writes it ({type(fault).__name__}: {fault})"
        ) from fault


def load_calibration(method: str, path: str | Path = UNCERTAINTY_FILE) -> Calibration:
    """The calibration of one method, to give to an inferer as ``inferer.calibration``.

    Args:
        method: its name.
        path: as for :func:`read_calibrations`.

    Raises:
        InputError: as :func:`read_calibrations`, or the file has none of this method.
    """
    known = read_calibrations(path)
    if method not in known:
        raise InputError(
            f"{path} has no calibration of {method} (it has those of {', '.join(known) or 'no method'}): "
            "make it by scripts/calibrate_uncertainty.py"
        )
    return known[method]


def check_errors(errors: np.ndarray) -> None:
    """Refuse errors that are negative, nan or infinite.

    Raises:
        InputError: says how many are.
    """
    wrong = int(np.count_nonzero(~(np.isfinite(errors) & (errors >= 0))))
    if wrong:
        raise InputError(f"the expected error is negative or not finite in {wrong} voxels: expected 0 or more")


def _read(entry: Mapping[str, Any]) -> Calibration:
    power = float(entry.get("gap_power", 0.0))
    pairs = sorted((float(level), float(q)) for level, q in entry["multipliers"].items())
    return Calibration(float(entry["scale"]), tuple(p for p, _ in pairs), tuple(q for _, q in pairs), power)


def _gap_power(off: Sequence[np.ndarray], raw: Sequence[np.ndarray], gaps: Sequence[float]) -> float:
    """Slope of log(actual over raw error) over log(gap), bounded; 0 where gaps are alike."""
    means = np.array([[o.mean(), r.mean(), gap] for o, r, gap in zip(off, raw, gaps, strict=True)])
    means = means[(means > 0).all(axis=1)]
    x, y = np.log(means[:, 2]), np.log(means[:, 0] / means[:, 1])
    if not len(x) or np.ptp(x) < SAME_GAP:
        return 0.0
    return float(np.clip(np.polyfit(x, y, 1)[0], -MAX_POWER, MAX_POWER))


def _ratio(off: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """Residual over expected error; 0 where nothing is off, infinite where that was not expected."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(off == 0, 0.0, off / expected)
