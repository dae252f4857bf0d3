"""Metrics of brightness and of shape, built on monai.metrics, with nan and empty masks spelled out."""

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
from bundle.metrics.ssim import folded_ssim, ssim_map

__all__ = [
    "DiceScore",
    "HausdorffMM",
    "MaskMetric",
    "NoduleEvaluator",
    "RegionMAE",
    "RegionMetric",
    "RegionPSNR",
    "RegionRMSE",
    "RegionSSIM",
    "VolumeError",
    "VolumeMetric",
    "dice_score",
    "explain_undefined",
    "folded_ssim",
    "hausdorff_mm",
    "mae",
    "psnr",
    "rmse",
    "roi_mask",
    "slice_region",
    "slice_sets",
    "ssim_map",
    "threshold_mask",
    "volume_error",
]
