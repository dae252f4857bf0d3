"""Metrics of brightness, shape and texture, built on monai.metrics, with nan and empty masks spelled out."""

from bundle.metrics.base import VolumeMetric
from bundle.metrics.evaluator import NoduleEvaluator, explain_undefined
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
from bundle.metrics.regions import slice_region, slice_sets
from bundle.metrics.spectrum import Density, Spectrum, hu_density, mean_spectrum, power_spectrum
from bundle.metrics.ssim import folded_ssim, ssim_map
from bundle.metrics.texture import (
    RegionKurtosis,
    RegionMean,
    RegionSD,
    RegionSDRatio,
    TextureEvaluator,
    kurtosis,
    mean_hu,
    sd_hu,
    sd_ratio,
)

__all__ = [
    "Density",
    "DiceScore",
    "HausdorffMM",
    "MaskMetric",
    "NoduleEvaluator",
    "RegionKurtosis",
    "RegionMAE",
    "RegionMean",
    "RegionMetric",
    "RegionPSNR",
    "RegionRMSE",
    "RegionSD",
    "RegionSDRatio",
    "RegionSSIM",
    "Spectrum",
    "TextureEvaluator",
    "VolumeError",
    "VolumeMetric",
    "dice_score",
    "explain_undefined",
    "folded_ssim",
    "hausdorff_mm",
    "hu_density",
    "kurtosis",
    "mae",
    "mean_hu",
    "mean_spectrum",
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
