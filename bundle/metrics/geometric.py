"""How far the reconstructed shape is from the truth: Dice score, Hausdorff distance, volume error.

Vocabulary: the *prediction* is the mask to be judged, the *truth* the readers' consensus. Policy for empty
masks, the same wherever a mask is judged (nan is *undefined*, counted as failed, never averaged):

====================  =====  =======  ======
mask                  DSC    HD (mm)  ARVE
====================  =====  =======  ======
both empty            nan    nan      nan
only truth empty      0      nan      nan
only prediction empty 0      nan      1
====================  =====  =======  ======

MONAI would give inf for a Hausdorff distance to an empty mask, and 1 for the Dice score of two empty ones. The mean of
a distance that is undefined is over the nodules that were found, and tables say how many ("of 1"). The worst-case
policy of challenges such as BraTS instead gives a missed nodule the largest distance there can be:
``HausdorffMM(missed="diagonal")``, the diagonal of the volume.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import Any, Literal, get_args

import numpy as np
import torch
from monai.metrics import compute_dice, compute_hausdorff_distance

from bundle.errors import InputError
from bundle.metrics.base import VolumeMetric
from bundle.transforms.dilate import dilate_mask_mm
from bundle.units import check_binary

Missed = Literal["undefined", "diagonal"]


def dice_score(prediction: np.ndarray, truth: np.ndarray) -> float:
    """Dice similarity of two masks, twice the common volume by the sum of the volumes.

    Args:
        prediction: bool, any shape of at least one axis.
        truth: the same shape.

    Returns:
        0 to 1; empty masks as in the table above.

    Example:
        >>> dice_score(np.array([True, True]), np.array([True, False]))  # doctest: +ELLIPSIS
        0.6666...
    """
    predicted, true = _masks(prediction, truth)
    if not (predicted.any() or true.any()):
        return float("nan")
    return float(compute_dice(_batch(predicted), _batch(true), ignore_empty=False))


def hausdorff_mm(
    prediction: np.ndarray, truth: np.ndarray, spacing: Sequence[float], missed: Missed = "undefined"
) -> float:
    """Symmetric Hausdorff distance between the surfaces of two masks.

    The surface of a mask are its voxels with a face neighbour outside (6-connected in 3-D); beyond the border
    of the volume is outside. Distances are between voxel centres; the result is the largest distance of a
    surface voxel of either mask to the other surface.

    Args:
        prediction: bool, the whole volume: leaving slices out would change the distances.
        truth: the same shape.
        spacing: mm between voxel centres, one number for each axis.
        missed: what one empty mask gives: "undefined", nan, or "diagonal", the largest distance of two voxels of the
            volume.

    Returns:
        mm; nan if both masks are empty.

    Raises:
        InputError: masks of different shapes or of fractions, or a spacing of other than one number for each axis.

    Example:
        >>> a, b = np.zeros((5, 5, 5), bool), np.zeros((5, 5, 5), bool)
        >>> a[2, 2, 2] = b[2, 2, 4] = True
        >>> hausdorff_mm(a, b, (1.0, 1.0, 2.5))
        5.0
    """
    predicted, true = _masks(prediction, truth)
    if len(spacing) != true.ndim:
        raise InputError(f"spacing {tuple(spacing)} does not fit masks of {true.ndim} axes: give mm for each")
    if not (predicted.any() and true.any()):
        undefined = missed == "undefined" or not (predicted.any() or true.any())
        return (
            float("nan") if undefined else math.hypot(*((n - 1) * s for n, s in zip(true.shape, spacing, strict=True)))
        )
    with warnings.catch_warnings():
        # MONAI 1.6 warns of a deprecated argument that it passes to itself
        warnings.simplefilter("ignore", FutureWarning)
        distance = compute_hausdorff_distance(
            _batch(predicted), _batch(true), include_background=True, spacing=[float(s) for s in spacing]
        )
    return float(distance)


def volume_error(prediction: np.ndarray, truth: np.ndarray) -> float:
    """Absolute relative volume error (ARVE), ``|V_prediction - V_truth| / V_truth``.

    Args:
        prediction: bool.
        truth: the same shape.

    Returns:
        0 or more, 1 for an empty prediction; nan if the truth is empty.

    Example:
        >>> volume_error(np.array([True, True, True]), np.array([True, True, False]))
        0.5
    """
    predicted, true = _masks(prediction, truth)
    volume = int(true.sum())
    return abs(int(predicted.sum()) - volume) / volume if volume else float("nan")


def roi_mask(truth: np.ndarray, spacing: Sequence[float], margin_mm: float = 3.0) -> np.ndarray:
    """Region of interest that thresholds are applied in: the true mask dilated by a ball.

    Args:
        truth: bool (X, Y, Z).
        spacing: mm between voxel centres.
        margin_mm: radius of the ball.

    Returns:
        bool (X, Y, Z); empty for an empty mask.

    Example:
        >>> int(roi_mask(np.eye(7, dtype=bool)[3:4], (1.0, 1.0), 2.0).sum())
        5
    """
    return dilate_mask_mm(truth, spacing, margin_mm)


def threshold_mask(hu: np.ndarray, threshold: float, roi: np.ndarray) -> np.ndarray:
    """Voxels of the region of interest that are brighter than a threshold.

    Args:
        hu: intensity in HU.
        threshold: HU; a voxel exactly at it is outside.
        roi: bool, the same shape.

    Returns:
        bool, the same shape.

    Example:
        >>> threshold_mask(np.array([-400.0, -399.0, 0.0]), -400, np.array([True, True, False]))
        array([False,  True, False])
    """
    return (hu > threshold) & roi


class MaskMetric(VolumeMetric):
    """Base of the geometric metrics as MONAI metrics: ``metric(y_pred, y, spacing)``.

    Attributes:
        whole_volume: whether the metric makes sense only on the volume with no slice left out.

    Args:
        reduction: see :class:`VolumeMetric`.
        get_not_nans: see :class:`VolumeMetric`.
    """

    whole_volume = False

    def __call__(  # type: ignore[override]
        self, y_pred: torch.Tensor, y: torch.Tensor, spacing: Sequence[float] | None = None
    ) -> torch.Tensor:
        """Measure a batch and keep the values for ``aggregate()``.

        Args:
            y_pred: (B, C, X, Y, Z) masks, > 0 is inside.
            y: the same shape.
            spacing: mm between voxel centres, for the metrics that are in mm; None: 1 mm.

        Returns:
            (B, C) float64; nan where undefined.
        """
        return super().__call__(y_pred, y, spacing=spacing)  # type: ignore[return-value]

    def _compute_tensor(  # type: ignore[override]
        self, y_pred: torch.Tensor, y: torch.Tensor, spacing: Sequence[float] | None = None
    ) -> torch.Tensor:
        check_binary("y_pred", y_pred)
        check_binary("y", y)
        return self._compute_volumes(y_pred > 0, y > 0, tuple(spacing) if spacing is not None else None)


class DiceScore(MaskMetric):
    """:func:`dice_score` as a MONAI metric.

    Example:
        >>> DiceScore()(torch.ones(1, 1, 2, 2, 2), torch.ones(1, 1, 2, 2, 2)).item()
        1.0
    """

    def measure(self, prediction: np.ndarray, truth: np.ndarray, option: Any) -> float:
        """DSC of one volume."""
        return dice_score(prediction, truth)


class HausdorffMM(MaskMetric):
    """:func:`hausdorff_mm` as a MONAI metric.

    Args:
        missed: what one empty mask gives, see :func:`hausdorff_mm`.
        kwargs: ``reduction`` and ``get_not_nans``, see :class:`VolumeMetric`.

    Raises:
        InputError: ``missed`` is unknown.

    Example:
        >>> HausdorffMM()(torch.ones(1, 1, 2, 2, 2), torch.ones(1, 1, 2, 2, 2), (1.0, 1.0, 2.5)).item()
        0.0
    """

    whole_volume = True

    def __init__(self, missed: Missed = "undefined", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if missed not in get_args(Missed):
            raise InputError(f'missed="{missed}" is unknown: give one of {", ".join(get_args(Missed))}')
        self.missed = missed

    def measure(self, prediction: np.ndarray, truth: np.ndarray, option: Any) -> float:
        """Hausdorff distance of one volume with the spacing ``option``."""
        return hausdorff_mm(prediction, truth, option or (1.0,) * truth.ndim, self.missed)


class VolumeError(MaskMetric):
    """:func:`volume_error` as a MONAI metric.

    Example:
        >>> VolumeError()(torch.zeros(1, 1, 2, 2, 2), torch.ones(1, 1, 2, 2, 2)).item()
        1.0
    """

    def measure(self, prediction: np.ndarray, truth: np.ndarray, option: Any) -> float:
        """ARVE of one volume."""
        return volume_error(prediction, truth)


def _masks(prediction: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    check_binary("the reconstructed mask", prediction)
    check_binary("the true mask", truth)
    predicted, true = np.asarray(prediction) > 0, np.asarray(truth) > 0
    if predicted.shape != true.shape:
        raise InputError(
            f"the reconstructed mask has shape {predicted.shape}, expected that of the truth, {true.shape}"
        )
    return predicted, true


def _batch(mask: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(mask))[None, None]
