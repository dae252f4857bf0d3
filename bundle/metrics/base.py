"""What the metrics have in common as MONAI metrics: one number a volume, and nan that stays nan.

Vocabulary: a value is *undefined* (nan) where the formula has nothing to work on, for instance an error over
no voxels. MONAI's own ``aggregate()`` turns a buffer that is nan throughout into 0.0, the best of all errors;
here such a buffer aggregates to nan.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import numpy as np
import torch
from monai.metrics import CumulativeIterationMetric
from monai.metrics.utils import do_metric_reduction
from monai.utils import MetricReduction

from bundle.units import to_array


class VolumeMetric(CumulativeIterationMetric):
    """Base of all metrics here: measure each volume of a batch in float64, keep the values, reduce them.

    Args:
        reduction: how ``aggregate()`` reduces, over values that are not nan: MONAI's "mean", "sum",
            "mean_batch", "none", ...
        get_not_nans: whether ``aggregate()`` gives (value, number of values that are not nan).

    Example:
        >>> from bundle.metrics import RegionMAE
        >>> metric = RegionMAE()
        >>> _ = metric(torch.zeros(1, 1, 4, 4, 4), torch.ones(1, 1, 4, 4, 4), torch.zeros(1, 1, 4, 4, 4))
        >>> metric.aggregate().item()  # no voxel in the region: undefined
        nan
    """

    def __init__(self, reduction: MetricReduction | str = MetricReduction.MEAN, get_not_nans: bool = False) -> None:
        super().__init__()
        self.reduction = reduction
        self.get_not_nans = get_not_nans

    @abstractmethod
    def measure(self, prediction: np.ndarray, truth: np.ndarray, option: Any) -> float:
        """Value of one volume (X, Y, Z); ``option`` is what the metric needs beside the two volumes."""

    def _compute_volumes(self, y_pred: torch.Tensor, y: torch.Tensor, options: Any) -> torch.Tensor:
        """(B, C) float64, one value a volume; ``options`` is a (B, C, ...) array, or one for all."""
        predictions, truths = to_array(y_pred), to_array(y)
        if predictions.shape != truths.shape or predictions.ndim < 3:
            raise ValueError(
                f"y_pred has shape {predictions.shape} and y {truths.shape}: "
                "expected the same (B, C, spatial...) for both"
            )
        values = [
            [self.measure(predictions[b, c], truths[b, c], _option(options, b, c)) for c in range(truths.shape[1])]
            for b in range(len(truths))
        ]
        return torch.tensor(values, dtype=torch.float64).reshape(truths.shape[:2])

    def aggregate(
        self, reduction: MetricReduction | str | None = None
    ) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
        """Reduce the values kept since the last ``reset()``.

        Args:
            reduction: instead of the constructor's.

        Returns:
            value, or (value, number that is not nan); nan, not 0.0, where every value is nan. MONAI reduces
            in float32.
        """
        data = self.get_buffer()
        if not isinstance(data, torch.Tensor):
            raise ValueError("nothing to aggregate: call the metric first")
        value, not_nans = do_metric_reduction(data, reduction or self.reduction)
        value = torch.where(not_nans.reshape(value.shape) > 0, value, torch.nan)
        return (value, not_nans) if self.get_not_nans else value


def _option(options: Any, b: int, c: int) -> Any:
    if isinstance(options, torch.Tensor) or (isinstance(options, np.ndarray) and options.ndim > 2):
        array = to_array(options)
        return array[b, c if array.shape[1] > 1 else 0]
    return options
