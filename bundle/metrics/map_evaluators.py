"""Measure the texture and the error map of reconstructions: rows of ``texture.csv`` and of ``uncertainty.csv``.

Both files have the columns of ``metrics.csv``, metrics of their own in HU, and no threshold.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from bundle.errors import InputError
from bundle.metrics.radiometric import RegionMetric
from bundle.metrics.rows import Row, checked_sets, filled, region_places
from bundle.metrics.table import build_metrics
from bundle.metrics.truth import Truth
from bundle.metrics.uncertainty import ErrorMapMetric
from bundle.transforms.hu import HU_MAX, HU_MIN, HU_RANGE, exact_hu, to_hu


class TextureEvaluator:
    """Measure the texture of reconstructions: every row that one adds to ``texture.csv``.

    The rows are those of ``metrics.csv`` with metrics of its own, in HU; ``threshold_hu`` is None throughout.

    Args:
        metrics: by their name in the file, e.g. ``{"sd_hu": RegionSD(), "sd_ratio": RegionSDRatio()}``; None: those of
            :mod:`bundle.metrics.table`.
        slices: sets of slices to measure on. The published code measures on all, observed ones included: ``["all"]``.
        clip_truth: whether the truth is clipped to the HU window, as reconstructions are, so that a calcification
            brighter than the window does not count as lost texture. The published code does not clip it.
        hu_decimals: HU of a reconstruction are rounded to.

    Raises:
        InputError: an unknown set of slices.

    Example:
        >>> from bundle.metrics import RegionSDRatio
        >>> evaluator = TextureEvaluator({"sd_ratio": RegionSDRatio()}, slices=["unobserved"])
        >>> hu = np.random.default_rng(0).normal(-100, 30, (8, 8, 6))
        >>> truth = Truth(hu, np.ones_like(hu), (1.0, 1.0, 1.0), [0, 5])
        >>> [round(row["value"], 3) for row in evaluator.rows(truth, (hu + 1000) / 1400)]
        [1.0, 1.0]
    """

    def __init__(
        self,
        metrics: Mapping[str, RegionMetric] | None = None,
        slices: Sequence[str] = ("unobserved", "interpolated"),
        clip_truth: bool = True,
        hu_decimals: int = 3,
    ) -> None:
        self.metrics = build_metrics("texture") if metrics is None else dict(metrics)
        self.slices = checked_sets(slices)
        self.clip_truth = clip_truth
        self.hu_decimals = hu_decimals

    def rows(self, truth: Truth, image: np.ndarray) -> list[Row]:
        """Measure one reconstruction.

        Args:
            truth: of the nodule.
            image: (X, Y, Z) normalised to [0, 1].

        Returns:
            the rows of :meth:`expected_rows`, with values; nan where undefined: no voxels, or all alike.

        Raises:
            InputError: a shape other than the truth's, voxels that aren't finite, or intensity far outside of 0 to 1.
        """
        unit = truth.image(image)
        return self._rows(truth, exact_hu(unit, self.hu_decimals))

    def truth_rows(self, truth: Truth) -> list[Row]:
        """Measure the truth itself, as if it were a reconstruction: the row of the table to compare with.

        Returns:
            as :meth:`rows`; the sd ratio is 1.
        """
        return self._rows(truth, self.true_hu(truth.hu))

    def expected_rows(self) -> list[Row]:
        """List the rows of an image method, each with the value nan: for a method that failed.

        Example:
            >>> from bundle.metrics import RegionSD
            >>> len(TextureEvaluator({"sd_hu": RegionSD()}).expected_rows())
            4
        """
        return filled(region_places(self.slices, self.metrics))

    def true_hu(self, hu: np.ndarray) -> np.ndarray:
        """The truth as it is measured: float64, clipped to the window if ``clip_truth``."""
        exact = np.asarray(hu, dtype=np.float64)
        return np.clip(exact, HU_MIN, HU_MAX) if self.clip_truth else exact

    def _rows(self, truth: Truth, hu: np.ndarray) -> list[Row]:
        true = self.true_hu(truth.hu)
        return filled(
            region_places(self.slices, self.metrics),
            lambda slices, region, _, name: self.metrics[name].measure(hu, true, truth.region(slices, region)),
        )


class UncertaintyEvaluator:
    """Measure a method's error map: every row that one adds to ``uncertainty.csv``.

    The rows are those of ``metrics.csv`` with metrics of their own; ``threshold_hu`` is None throughout. A metric of
    intervals is measured at each level and named after it: ``coverage_90`` at 0.9. A method without a map has no
    rows, not rows of nan.

    Args:
        interval_metrics: by their name in the file, e.g. ``{"coverage": IntervalCoverage()}``; None: those of
            :mod:`bundle.metrics.table`.
        error_metrics: by their name in the file, e.g. ``{"error_ratio": ErrorRatio()}``; None: as above.
        slices: sets of slices to measure on.

    Raises:
        InputError: an unknown set of slices.

    Example:
        >>> from bundle.metrics import ErrorRatio, IntervalCoverage
        >>> evaluator = UncertaintyEvaluator({"coverage": IntervalCoverage()}, {"error_ratio": ErrorRatio()})
        >>> shape = (4, 4, 6)
        >>> truth = Truth(np.full(shape, -300.0), np.ones(shape), (1.0, 1.0, 1.0), [0, 5])
        >>> rows = evaluator.rows(truth, np.full(shape, 0.6), np.full(shape, 0.1), {0.9: 2.0})
        >>> {row["metric"]: round(row["value"], 6) for row in rows}
        {'coverage_90': 1.0, 'error_ratio': 1.0}
    """

    def __init__(
        self,
        interval_metrics: Mapping[str, ErrorMapMetric] | None = None,
        error_metrics: Mapping[str, ErrorMapMetric] | None = None,
        slices: Sequence[str] = ("unobserved", "interpolated"),
    ) -> None:
        self.interval_metrics = build_metrics("interval") if interval_metrics is None else dict(interval_metrics)
        self.error_metrics = build_metrics("error") if error_metrics is None else dict(error_metrics)
        self.slices = checked_sets(slices)

    def rows(
        self, truth: Truth, image: np.ndarray, error: np.ndarray, intervals: Mapping[float, float] | None = None
    ) -> list[Row]:
        """Measure the error map of one reconstruction.

        Args:
            truth: of the nodule; its HU are clipped to the window, as the reconstruction is.
            image: (X, Y, Z) the reconstruction, normalised to [0, 1].
            error: (X, Y, Z) its expected error, normalised, 0 or more.
            intervals: half the width of an interval in expected errors, by level; None: none is measured.

        Returns:
            a row for each set of slices, region and metric; nan where undefined: no voxels, or all alike.

        Raises:
            InputError: a shape other than the truth's, voxels that aren't finite, intensity far outside of 0 to 1, or
                a negative error.
        """
        prediction = to_hu(truth.image(image).astype(np.float64))
        expected = truth.volume("expected error", error).astype(np.float64) * HU_RANGE
        if (expected < 0).any():
            raise InputError(f"the expected error is negative in {np.count_nonzero(expected < 0)} voxels")
        true = np.clip(truth.hu.astype(np.float64), HU_MIN, HU_MAX)
        measured: dict[str, tuple[ErrorMapMetric, np.ndarray]] = {}
        for level, multiplier in (intervals or {}).items():
            half = expected * multiplier
            measured |= {f"{name}_{100 * level:g}": (m, half) for name, m in self.interval_metrics.items()}
        measured |= {name: (metric, expected) for name, metric in self.error_metrics.items()}

        def value(slices: str, region: str, _: float | None, name: str) -> float:
            metric, off = measured[name]
            return metric.of_map(prediction, true, off, truth.region(slices, region))

        return filled(region_places(self.slices, measured), value)
