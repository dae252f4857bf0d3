"""The table of metrics: all that is said of a metric beside how it is computed, once.

A new metric is its class, one line here, and its test. Its *family* says which evaluator measures it and in which of
the paper's tables it stands: ``radiometric`` (Table 1), ``texture`` (Table 2), ``geometric`` (Table 3),
``interval`` and ``error`` (of uncertainty); ``size`` are quantities of one volume, no comparison of two, and stand in
:mod:`bundle.metrics.size_evaluator`. A metric of intervals is measured at several levels, and named in files after
each: ``coverage_90`` is ``coverage`` at 90 %.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import numpy as np

from bundle.errors import InputError
from bundle.metrics.base import VolumeMetric
from bundle.metrics.geometric import DiceScore, HausdorffMM, MaskMetric, VolumeError
from bundle.metrics.radiometric import RegionMAE, RegionPSNR, RegionRMSE, RegionSSIM
from bundle.metrics.rows import Row
from bundle.metrics.texture import RegionKurtosis, RegionMean, RegionSD, RegionSDRatio
from bundle.metrics.uncertainty import ErrorRankCorrelation, ErrorRatio, IntervalCoverage, IntervalWidth

Family = Literal["radiometric", "texture", "geometric", "interval", "error", "size"]
Better = Literal["higher", "lower"]
NOTHING_THERE = "no voxel is there, or the truth is all alike"


@dataclass(frozen=True)
class Metric:
    """What there is to say of a metric.

    Attributes:
        name: in files.
        measure: its class; None of a name that is not in the table.
        family: see the module.
        label: in tables and figures; ``{level}`` stands for the per cent of an interval.
        unit: behind the label; "" where there is none.
        decimals: of its values in tables.
        better: which values are; None where the truth's value, or 1, is best.
        undefined: why a value is nan.
    """

    name: str
    measure: type[VolumeMetric] | None
    family: Family
    label: str
    unit: str = ""
    decimals: int = 3
    better: Better | None = None
    undefined: str = NOTHING_THERE

    @property
    def whole_volume(self) -> bool:
        """Whether it makes sense only with no slice left out."""
        return self.measure is not None and issubclass(self.measure, MaskMetric) and self.measure.whole_volume

    def heading(self, where: str = "") -> str:
        """Label of a column or an axis: what is measured, where if that is to be said, and the unit.

        Example:
            >>> metric_of("psnr").heading(), metric_of("psnr").heading("tumour"), metric_of("dsc").heading()
            ('PSNR, dB', 'PSNR tumour, dB', 'DSC')
        """
        words = f"{self.label} {where}".rstrip()
        return f"{words}, {self.unit}" if self.unit else words


METRICS = (
    Metric("mae", RegionMAE, "radiometric", "MAE", better="lower"),
    Metric("rmse", RegionRMSE, "radiometric", "RMSE", better="lower"),
    Metric("psnr", RegionPSNR, "radiometric", "PSNR", "dB", 2, "higher"),
    Metric("ssim", RegionSSIM, "radiometric", "SSIM", better="higher"),
    Metric("mean_hu", RegionMean, "texture", "mean", "HU", 0),
    Metric("sd_hu", RegionSD, "texture", "sd", "HU", 0),
    Metric("sd_ratio", RegionSDRatio, "texture", "sd ratio", decimals=2),
    Metric("kurtosis", RegionKurtosis, "texture", "kurtosis", decimals=2),
    Metric("dsc", DiceScore, "geometric", "DSC", "", 3, "higher", "both masks are empty there"),
    Metric("hd_mm", HausdorffMM, "geometric", "HD", "mm", 2, "lower", "at least one of the masks is empty there"),
    Metric("arve", VolumeError, "geometric", "ARVE", "", 3, "lower", "the true mask is empty there"),
    Metric("coverage", IntervalCoverage, "interval", "within {level} % interval"),
    Metric("width_hu", IntervalWidth, "interval", "width of {level} %", "HU", 0),
    Metric("error_ratio", ErrorRatio, "error", "expected / actual error", decimals=2),
    Metric("rank_correlation", ErrorRankCorrelation, "error", "rank correlation", decimals=2),
)
_BY_NAME = {metric.name: metric for metric in METRICS}


def metrics_of(family: Family) -> tuple[Metric, ...]:
    """The metrics of a family, in the order of its table.

    Example:
        >>> [metric.name for metric in metrics_of("geometric")]
        ['dsc', 'hd_mm', 'arve']
    """
    return tuple(metric for metric in METRICS if metric.family == family)


def build_metrics(family: Family, **options: Mapping[str, Any]) -> dict[str, Any]:
    """The metrics of a family by name.

    Args:
        family: see the module.
        options: arguments of a metric, by its name; the others are made with their defaults.

    Raises:
        InputError: an unknown family, or options of a metric that it lacks.

    Example:
        >>> list(build_metrics("error"))
        ['error_ratio', 'rank_correlation']
        >>> build_metrics("radiometric", ssim={"layout": "folded"})["ssim"].layout
        'folded'
    """
    known = [name for name in get_args(Family) if name != "size"]
    if family not in known:
        raise InputError(f'there are no metrics of family "{family}": give one of {", ".join(known)}')
    names = [metric.name for metric in metrics_of(family)]
    unknown = [name for name in options if name not in names]
    if unknown:
        raise InputError(f"{family} metrics {unknown} are unknown: give options of some of {', '.join(names)}")
    return {m.name: m.measure(**options.get(m.name, {})) for m in metrics_of(family) if m.measure}


def metric_of(name: str) -> Metric:
    """What there is to say of a metric by its name in files, at a level or without one.

    Args:
        name: as in a tidy file; one that the table lacks, such as that of a user's own metric, is shown as it is.

    Example:
        >>> metric_of("coverage_90").label, metric_of("mine").label
        ('within 90 % interval', 'mine')
    """
    if name in _BY_NAME:
        return _BY_NAME[name]
    base, _, level = name.rpartition("_")
    metric = _BY_NAME.get(base)
    if metric is None or metric.family != "interval":
        return Metric(name, None, "radiometric", name)
    return replace(metric, name=name, label=metric.label.format(level=level))


def explain_undefined(rows: Sequence[Row]) -> list[str]:
    """Say in words why rows of one reconstruction are undefined.

    Args:
        rows: from :meth:`NoduleEvaluator.rows`, not of a method that failed altogether.

    Returns:
        one sentence for each row that is nan; none if all are defined.

    Example:
        >>> place = dict(slices="unobserved", region="tumour", threshold_hu=None)
        >>> explain_undefined([place | dict(metric="mae", value=float("nan"))])
        ['mae of tumour on the unobserved slices is undefined: no voxel is there, or the truth is all alike']
    """
    sentences = []
    for entry in rows:
        if not np.isnan(entry["value"]):
            continue
        at = "" if entry["threshold_hu"] is None else f" at {entry['threshold_hu']:g} HU"
        where = f"{entry['metric']} of {entry['region']}{at} on the {entry['slices']} slices"
        sentences.append(f"{where} is undefined: {metric_of(entry['metric']).undefined}")
    return sentences
