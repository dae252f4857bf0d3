"""Metrics of intensity, shape, texture and uncertainty, built on monai.metrics; nan and empty masks spelled out."""

from bundle.metrics.base import VolumeMetric
from bundle.metrics.evaluator import NoduleEvaluator
from bundle.metrics.geometric import (
    DiceScore,
    HausdorffMM,
    MaskMetric,
    VolumeError,
    dice_score,
    hausdorff_mm,
    roi_mask,
    threshold_mask,
    volume_error,
)
from bundle.metrics.map_evaluators import TextureEvaluator, UncertaintyEvaluator
from bundle.metrics.radiometric import (
    RegionMAE,
    RegionMetric,
    RegionPSNR,
    RegionRMSE,
    RegionSSIM,
    mae,
    psnr,
    rmse,
)
from bundle.metrics.radiomics.evaluator import RadiomicsEvaluator
from bundle.metrics.regions import slice_region, slice_sets
from bundle.metrics.size_evaluator import SizeEvaluator
from bundle.metrics.spectrum import Density, Spectrum, hu_density, mean_spectrum, power_spectrum
from bundle.metrics.ssim import folded_ssim, ssim_map
from bundle.metrics.table import METRICS, Metric, build_metrics, explain_undefined, metric_of, metrics_of
from bundle.metrics.texture import (
    RegionKurtosis,
    RegionMean,
    RegionSD,
    RegionSDRatio,
    kurtosis,
    mean_hu,
    sd_hu,
    sd_ratio,
)
from bundle.metrics.truth import Truth
from bundle.metrics.uncertainty import (
    ErrorMapMetric,
    ErrorRankCorrelation,
    ErrorRatio,
    IntervalCoverage,
    IntervalWidth,
    coverage,
    error_rank_correlation,
    error_ratio,
    interval_width,
)

__all__ = [
    "METRICS",
    "Density",
    "DiceScore",
    "ErrorMapMetric",
    "ErrorRankCorrelation",
    "ErrorRatio",
    "HausdorffMM",
    "IntervalCoverage",
    "IntervalWidth",
    "MaskMetric",
    "Metric",
    "NoduleEvaluator",
    "RadiomicsEvaluator",
    "RegionKurtosis",
    "RegionMAE",
    "RegionMean",
    "RegionMetric",
    "RegionPSNR",
    "RegionRMSE",
    "RegionSD",
    "RegionSDRatio",
    "RegionSSIM",
    "SizeEvaluator",
    "Spectrum",
    "TextureEvaluator",
    "Truth",
    "UncertaintyEvaluator",
    "VolumeError",
    "VolumeMetric",
    "build_metrics",
    "coverage",
    "dice_score",
    "error_rank_correlation",
    "error_ratio",
    "explain_undefined",
    "folded_ssim",
    "hausdorff_mm",
    "hu_density",
    "interval_width",
    "kurtosis",
    "mae",
    "mean_hu",
    "mean_spectrum",
    "metric_of",
    "metrics_of",
    "power_spectrum",
    "psnr",
    "rmse",
    "roi_mask",
    "sd_hu",
    "sd_ratio",
    "slice_region",
    "slice_sets",
    "ssim_map",
    "threshold_mask",
    "volume_error",
]
