"""How far the reconstructed intensity is from the truth: MAE, RMSE, PSNR and SSIM over a region.

Vocabulary: intensity is *normalised*, so that 1 is the full range of the HU window. Errors are *pooled*:
every voxel of the region counts once, whatever slice it is in. Everything is
computed in float64.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import torch

from bundle.errors import InputError
from bundle.metrics.base import VolumeMetric
from bundle.metrics.rows import check_pair
from bundle.metrics.ssim import folded_ssim, ssim_map
from bundle.units import check_unit


def mae(prediction: np.ndarray, truth: np.ndarray, region: np.ndarray | None = None, normalised: bool = True) -> float:
    """Mean absolute error over the voxels of a region.

    Args:
        prediction: normalised intensity, any shape.
        truth: the same shape.
        region: bool, the same shape; None: every voxel.
        normalised: whether intensity far outside of 0 to 1 is refused; False: any unit, which the result then has.

    Returns:
        normalised intensity; nan if the region is empty or holds a nan voxel.

    Raises:
        InputError: shapes that differ, or another unit.

    Example:
        >>> mae(np.array([0.0, 0.5]), np.array([0.25, 0.5]))
        0.125
    """
    return _mean(np.abs(_difference(prediction, truth, region, normalised)))


def rmse(prediction: np.ndarray, truth: np.ndarray, region: np.ndarray | None = None, normalised: bool = True) -> float:
    """Root of the mean squared error over the voxels of a region.

    Args:
        prediction: normalised intensity, any shape.
        truth: the same shape.
        region: bool, the same shape; None: every voxel.
        normalised: see :func:`mae`.

    Returns:
        normalised intensity; nan if the region is empty or holds a nan voxel.

    Raises:
        InputError: as :func:`mae`.

    Example:
        >>> rmse(np.array([0.0, 0.5]), np.array([0.5, 0.0]))
        0.5
    """
    return float(np.sqrt(_mean(_difference(prediction, truth, region, normalised) ** 2)))


def psnr(
    prediction: np.ndarray,
    truth: np.ndarray,
    region: np.ndarray | None = None,
    max_value: float = 1.0,
    normalised: bool = True,
) -> float:
    """Peak signal-to-noise ratio over the voxels of a region, ``20 log10(max_value / rmse)``.

    Args:
        prediction: normalised intensity, any shape.
        truth: the same shape.
        region: bool, the same shape; None: every voxel.
        max_value: the peak: of another unit, its range.
        normalised: see :func:`mae`.

    Returns:
        dB; inf if there is no error at all, nan if the region is empty or holds a nan voxel.

    Raises:
        InputError: as :func:`mae`.

    Example:
        >>> psnr(np.array([0.1]), np.array([0.0]))
        20.0
    """
    error = rmse(prediction, truth, region, normalised)
    return float("inf") if error == 0 else float(20 * np.log10(max_value / error))


class RegionMetric(VolumeMetric):
    """Base of the radiometric metrics as MONAI metrics: ``metric(y_pred, y, region)``.

    Args:
        reduction: see :class:`VolumeMetric`.
        get_not_nans: see :class:`VolumeMetric`.
    """

    def __call__(  # type: ignore[override]
        self, y_pred: torch.Tensor, y: torch.Tensor, region: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Measure a batch and keep the values for ``aggregate()``.

        Args:
            y_pred: (B, C, X, Y, Z) normalised intensity.
            y: the same shape.
            region: (B, C or 1, X, Y, Z), > 0 is inside; None: every voxel.

        Returns:
            (B, C) float64; nan where the region is empty.
        """
        return super().__call__(y_pred, y, region=region)  # type: ignore[return-value]

    def _compute_tensor(  # type: ignore[override]
        self, y_pred: torch.Tensor, y: torch.Tensor, region: torch.Tensor | None = None
    ) -> torch.Tensor:
        return self._compute_volumes(y_pred, y, None if region is None else region > 0)


class IntensityMetric(RegionMetric):
    """Base of the metrics of normalised intensity; as a MONAI metric it refuses what is far outside of 0 to 1.

    :meth:`measure` takes any unit: the evaluator, which calls it, has looked at the volumes itself.

    Args:
        normalised: whether to refuse; False: any unit.
        kwargs: ``reduction`` and ``get_not_nans``, see :class:`VolumeMetric`.
    """

    def __init__(self, normalised: bool = True, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.normalised = normalised

    def _compute_tensor(  # type: ignore[override]
        self, y_pred: torch.Tensor, y: torch.Tensor, region: torch.Tensor | None = None
    ) -> torch.Tensor:
        if self.normalised:
            check_unit("y_pred", y_pred)
            check_unit("y", y)
        return super()._compute_tensor(y_pred, y, region)


class RegionMAE(IntensityMetric):
    """:func:`mae` as a MONAI metric.

    Example:
        >>> RegionMAE()(torch.zeros(1, 1, 2, 2, 2), torch.full((1, 1, 2, 2, 2), 0.5)).item()
        0.5
    """

    def measure(self, prediction: np.ndarray, truth: np.ndarray, option: Any) -> float:
        """MAE of one volume in the region ``option``."""
        return mae(prediction, truth, option, normalised=False)


class RegionRMSE(IntensityMetric):
    """:func:`rmse` as a MONAI metric.

    Example:
        >>> RegionRMSE()(torch.zeros(1, 1, 2, 2, 2), torch.full((1, 1, 2, 2, 2), 0.5)).item()
        0.5
    """

    def measure(self, prediction: np.ndarray, truth: np.ndarray, option: Any) -> float:
        """RMSE of one volume in the region ``option``."""
        return rmse(prediction, truth, option, normalised=False)


class RegionPSNR(IntensityMetric):
    """:func:`psnr` as a MONAI metric.

    Args:
        max_value: the peak.
        kwargs: see :class:`IntensityMetric`.

    Example:
        >>> RegionPSNR()(torch.zeros(1, 1, 2, 2, 2), torch.full((1, 1, 2, 2, 2), 1.0)).item()
        0.0
    """

    def __init__(self, max_value: float = 1.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.max_value = max_value

    def measure(self, prediction: np.ndarray, truth: np.ndarray, option: Any) -> float:
        """PSNR of one volume in the region ``option``."""
        return psnr(prediction, truth, option, self.max_value, normalised=False)


class RegionSSIM(IntensityMetric):
    """Mean of the SSIM map over a region; the map itself is made from the whole slices, see :func:`ssim_map`.

    Args:
        layout: "slices"; or "folded" (published), which is :func:`folded_ssim` and looks at ``max_value``
        alone.
        axis: the slices are stacked along, of (X, Y, Z).
        window: voxels, odd.
        sigma: of the Gaussian, in voxels.
        k1: stabilises the comparison of means.
        k2: stabilises the comparison of variances.
        max_value: the range of intensity (L).
        kwargs: see :class:`IntensityMetric`.

    Example:
        >>> RegionSSIM()(torch.ones(1, 1, 9, 9, 2), torch.ones(1, 1, 9, 9, 2)).item()
        1.0
    """

    def __init__(
        self,
        layout: Literal["slices", "folded"] = "slices",
        axis: int = 2,
        window: int = 11,
        sigma: float = 1.5,
        k1: float = 0.01,
        k2: float = 0.03,
        max_value: float = 1.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if layout not in ("slices", "folded"):
            raise InputError(f'SSIM layout "{layout}" is unknown: give "slices" or "folded"')
        self.layout = layout
        self.axis = axis
        self.constants = {"window": window, "sigma": sigma, "k1": k1, "k2": k2, "max_value": max_value}

    def measure(self, prediction: np.ndarray, truth: np.ndarray, option: Any) -> float:
        """Mean SSIM of one volume in the region ``option``."""
        if self.layout == "folded":
            return folded_ssim(prediction, truth, option, self.constants["max_value"], normalised=False)
        similarity = ssim_map(prediction, truth, self.axis, normalised=False, **self.constants)  # type: ignore[arg-type]
        return _mean(similarity if option is None else similarity[option])


def _difference(prediction: np.ndarray, truth: np.ndarray, region: np.ndarray | None, normalised: bool) -> np.ndarray:
    check_pair(prediction, truth, normalised)
    if region is not None and np.shape(region) != np.shape(truth):
        raise InputError(f"the region has shape {np.shape(region)}, expected that of the truth, {np.shape(truth)}")
    chosen = slice(None) if region is None else np.asarray(region, dtype=bool)
    return np.asarray(prediction)[chosen].astype(np.float64) - np.asarray(truth)[chosen]


def _mean(values: np.ndarray) -> float:
    """Mean, nan for none: numpy would warn."""
    return float(values.mean()) if values.size else float("nan")
