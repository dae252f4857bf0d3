"""Whether numbers are in the unit that a function expects, and what they look like where they are not.

A reconstruction of the wrong unit has figures like any other, only wrong ones; that is why it is refused. Only what is
far outside is: a spline may overshoot, and MONAI's own transforms leave the window by rounding.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from bundle.errors import InputError

FAR = 0.5  # beyond 0 to 1


def to_array(data: Any) -> np.ndarray:
    """The numbers of a MetaTensor, tensor or array as an array, without their affine."""
    return data.detach().cpu().numpy() if isinstance(data, torch.Tensor) else np.asarray(data)


def likely_unit(low: float, high: float) -> str:
    """What CT intensity of a range looks like, and how to get to 0 to 1 from there.

    Args:
        low: least value.
        high: greatest value.

    Example:
        >>> likely_unit(-1024, 1900)
        'HU: give bundle.transforms.to_unit of it'
        >>> likely_unit(0, 255)
        '8 bit (0 to 255): divide by 255, if 0 and 255 are -1000 and 400 HU'
    """
    if low >= -1 - FAR / 2 and high <= 1 + FAR:
        return "a range of -1 to 1: give (values + 1) / 2, if -1 and 1 are -1000 and 400 HU"
    if low >= -20 and high <= 20 and low < -FAR:
        return "standardised intensity (mean 0, sd 1): undo that, then give bundle.transforms.to_unit of HU"
    if low < -FAR:
        return "HU: give bundle.transforms.to_unit of it"
    if high <= 100:
        return "per cent (0 to 100): divide by 100, if 0 and 100 are -1000 and 400 HU"
    if high <= 255:
        return "8 bit (0 to 255): divide by 255, if 0 and 255 are -1000 and 400 HU"
    return "HU with an offset, as scanners store them: subtract it, then give bundle.transforms.to_unit of HU"


def check_unit(name: str, volume: Any) -> None:
    """Refuse intensity that is far from normalised.

    Args:
        name: of the volume, for the message.
        volume: array or tensor; nan is passed over.

    Raises:
        InputError: values below -0.5 or above 1.5; says what they look like.

    Example:
        >>> check_unit("the image", np.array([0.0, 1.02]))
    """
    low, high = _range(volume)
    if low < -FAR or high > 1 + FAR:
        raise InputError(
            f"{name} has values from {low:.4g} to {high:.4g}, expected normalised intensity, 0 to 1: "
            f"it looks like {likely_unit(low, high)}"
        )


def refuse_normalised(name: str, volume: Any) -> None:
    """Refuse normalised intensity where HU are expected.

    Args:
        name: of the volume, for the message.
        volume: array or tensor; nan is passed over.

    Raises:
        InputError: all values lie in 0 to 1, or near, and differ.

    Example:
        >>> refuse_normalised("the image", np.array([-1000.0, 40.0]))
    """
    low, high = _range(volume)
    if -FAR <= low < high <= 1 + FAR:
        raise InputError(
            f"{name} has values from {low:.4g} to {high:.4g}, expected HU: it looks like normalised intensity: give "
            "bundle.transforms.to_hu of it"
        )


def check_binary(name: str, mask: Any) -> None:
    """Refuse a mask that is soft: probabilities, or one that was resampled by interpolation.

    Args:
        name: of the mask, for the message.
        mask: array or tensor; labels of any whole numbers are fine.

    Raises:
        InputError: values that are no whole numbers, nan among them.

    Example:
        >>> check_binary("the mask", np.array([0.0, 2.0]))
    """
    values = to_array(mask)
    if values.dtype.kind != "f":
        return
    soft = values[values != np.rint(values)]
    if soft.size:
        raise InputError(
            f"{name} has {soft.size} values that are no whole numbers, such as {soft[0]:.3g}, expected 0 and 1: it "
            "looks like a soft mask; give where it is above a threshold, such as 0.5"
        )


def whole_hu(name: str, hu: np.ndarray) -> np.ndarray:
    """HU rounded to what files hold.

    Args:
        name: of the values, for the message.
        hu: any shape; what int16 can't hold is cut.

    Returns:
        int16, the same shape.

    Raises:
        InputError: nan, which would become 0 HU, water.

    Example:
        >>> whole_hu("a slice", np.array([-999.6, 1e6])).tolist()
        [-1000, 32767]
    """
    nans = int(np.isnan(hu).sum())
    if nans:
        raise InputError(f"{name} has {nans} voxels that are nan, which no whole HU stands for: give each a number")
    return np.clip(np.rint(hu), -32768, 32767).astype(np.int16)


def _range(volume: Any) -> tuple[float, float]:
    """Least and greatest finite value; nan, which compares as neither, for none."""
    values = to_array(volume)
    if not values.size or values.dtype == bool:
        return float("nan"), float("nan")
    low, high = float(values.min()), float(values.max())
    if np.isfinite([low, high]).all():
        return low, high
    finite = values[np.isfinite(values)]
    return _range(finite)
