"""How sure a reconstruction is: expected errors that hold on patients they were not made on, and intervals from them.

Vocabulary: a method's *raw error* is what it takes for its own error at a voxel, such as the spread of several fits.
Its *expected error* is the raw error times a *scale*, by which its mean becomes the mean absolute error on the
calibration nodules. The scale follows a power of the *gap*, the mm between the observed slices around the voxel, as
raw errors seldom grow with the gap like actual ones, and is another *beyond* the observed slices, where nothing is
interpolated; and it has a *factor* for each group of voxels that a method is surer or less sure of than it should be:
by the reconstructed intensity, which tells lung from tumour, by the gap, and by whether observed slices are planes or
averages over a thickness (Mondrian conformal prediction, Vovk et al. 2003; by groups known before the truth is). The
*interval* of a *level*, say 0.9, is the reconstructed value
plus and minus the expected error times a *multiplier*: the quantile, on the calibration nodules, of the absolute
residual over the expected error. That is split-conformal prediction with a normalised residual (Lei et al. 2018,
Journal of the American Statistical Association 113:1094), by patients: voxels of one patient are alike, so each patient
has the same weight, and the quantile is above the level by as much as one patient more could take from it
(:func:`bundle.inferers.calibration.fit.promised`). A level holds on average over patients, not in each, and for CT like
the calibration nodules'.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.ndimage import map_coordinates

from bundle.errors import InputError

_PACKAGE = Path(__file__).parents[2]
# in an installed wheel configs/ is inside of the package, in the bundle's own folder beside it
UNCERTAINTY_FILE = (_PACKAGE if (_PACKAGE / "configs").is_dir() else _PACKAGE.parent) / "configs" / "uncertainty.json"
LEVELS = (0.5, 0.8, 0.9, 0.95)
REFERENCE_GAP_MM = 3.0
MAX_POWER = 2.0
# middles of the groups, between which factors are interpolated: lung, its vessels and margins, partial volume, tissue
GROUP_HU = (-875.0, -625.0, -350.0, -50.0)
GROUP_GAP_MM = (2.0, 3.5, 6.0)
GROUPS = (2, len(GROUP_GAP_MM), len(GROUP_HU))


@dataclass(frozen=True)
class Calibration:
    """What makes a method's raw error an expected error, and that an interval.

    Attributes:
        scale: expected error over raw error, at a gap of 3 mm.
        levels: parts of the voxels that intervals are to hold, ascending, between 0 and 1.
        multipliers: half the width of the interval of each level, in expected errors.
        gap_power: the scale is proportional to this power of the gap.
        beyond: the scale beyond the observed slices over that between them.
        factors: (2, 3, 4) of the scale, for planes and for averages over a thickness, by gap and by intensity; (): 1.
        not_promised: levels that too few patients were there for: their multiplier is the largest seen.

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
    beyond: float = 1.0
    factors: tuple[tuple[tuple[float, ...], ...], ...] = ()
    not_promised: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        table = np.asarray(self.factors, dtype=float)
        if self.factors and (table.shape != GROUPS or not np.all(np.isfinite(table) & (table > 0))):
            raise InputError(f"the factors have shape {table.shape}, expected {GROUPS}, all above 0")
        for words, value in (("of expected errors", self.scale), ("beyond the observed slices", self.beyond)):
            if not (np.isfinite(value) and value > 0):
                raise InputError(f"the scale {words} is {value}, expected a number above 0")
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

    def scale_at(
        self,
        gaps_mm: np.ndarray | float,
        beyond: np.ndarray | bool = False,
        image_hu: np.ndarray | float | None = None,
        thick: bool = False,
    ) -> np.ndarray:
        """The scale at gaps of a width, between the observed slices or beyond them.

        Args:
            gaps_mm: around each voxel; as all that follow, of shapes that go together.
            beyond: which voxels lie beyond the observed slices.
            image_hu: the reconstruction there; None: factors are left out.
            thick: whether observed slices are averages over a thickness.

        Example:
            >>> float(Calibration(2.0, (0.9,), (2.1,), gap_power=0.5).scale_at(12.0))
            4.0
        """
        relative = (np.asarray(gaps_mm, dtype=np.float64) / REFERENCE_GAP_MM) ** self.gap_power
        scale = self.scale * relative * np.where(beyond, self.beyond, 1.0)
        if self.factors and image_hu is not None:
            scale = scale * group_factors(np.asarray(self.factors[int(thick)]), gaps_mm, image_hu)
        return scale


def group_factors(table: np.ndarray, gaps_mm: np.ndarray | float, image_hu: np.ndarray | float) -> np.ndarray:
    """Factors at gaps and intensities, interpolated between the middles of the groups and held beyond them.

    Args:
        table: (3, 4) by gap and intensity.
        gaps_mm: of shape that goes together with that of ``image_hu``.
        image_hu: HU.

    Example:
        >>> float(group_factors(np.outer([1, 1, 1], [1.0, 1.0, 1.0, 2.0]), 3.0, -200.0))
        1.5
    """
    gap, hu = np.broadcast_arrays(np.asarray(gaps_mm, dtype=float), np.asarray(image_hu, dtype=float))
    row = np.interp(np.log(gap), np.log(GROUP_GAP_MM), np.arange(len(GROUP_GAP_MM)))
    column = np.interp(hu, GROUP_HU, np.arange(len(GROUP_HU)))
    where = np.stack([np.ravel(row), np.ravel(column)])
    return map_coordinates(table, where, order=1, mode="nearest").reshape(hu.shape)


def read_calibrations(path: str | Path = UNCERTAINTY_FILE) -> dict[str, Calibration]:
    """Read the calibration of every method that has one.

    Args:
        path: a file as ``configs/calibrate.json`` writes it.

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
        raise InputError(f"{file} does not exist: make it by configs/calibrate.json") from None
    except InputError as fault:
        raise InputError(f"{file} is no calibration: {fault}") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as fault:
        raise InputError(
            f"{file} is no calibration as configs/calibrate.json writes it ({type(fault).__name__}: {fault})"
        ) from fault


def check_errors(errors: np.ndarray) -> None:
    """Refuse errors that are negative, nan or infinite.

    Raises:
        InputError: says how many are.
    """
    wrong = int(np.count_nonzero(~(np.isfinite(errors) & (errors >= 0))))
    if wrong:
        raise InputError(f"the expected error is negative or not finite in {wrong} voxels: expected 0 or more")


def _read(entry: Mapping[str, Any]) -> Calibration:
    power, beyond = float(entry.get("gap_power", 0.0)), float(entry.get("beyond", 1.0))
    pairs = sorted((float(level), float(q)) for level, q in entry["multipliers"].items())
    factors = tuple(tuple(tuple(float(f) for f in row) for row in part) for part in entry.get("factors", ()))
    levels, multipliers = tuple(p for p, _ in pairs), tuple(q for _, q in pairs)
    short = tuple(float(level) for level in entry.get("calibrated_on", {}).get("not_promised", ()))
    return Calibration(float(entry["scale"]), levels, multipliers, power, beyond, factors, short)
