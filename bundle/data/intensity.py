"""Whether voxels are HU, and which of them are padding.

Vocabulary: *padding* is what fills an image outside of the scanned circle: one value below that of air, which stays as
it is and is never interpolated.
"""

from __future__ import annotations

import numpy as np

from bundle.errors import InputError

AIR_HU = -1024.0  # nothing in a scan is darker
PADDING_HU = -2048.0  # where the file's own padding is no number below air that 16 bits hold
_INT16 = (-32768.0, 32767.0)
# the share of voxels that one value has to fill to be padding: noise has no such value
_PADDING_SHARE = 1e-3


def padding_of(hu: np.ndarray) -> float | None:
    """The value of padding, where many voxels have one value below that of air; None where none have.

    Args:
        hu: any shape, HU.

    Example:
        >>> padding_of(np.array([-2000.0, -2000, -900, 40])), padding_of(np.array([-1024.0, -1024, 40]))
        (-2000.0, None)
    """
    lowest = float(hu.min())
    return lowest if lowest < AIR_HU and np.mean(hu == lowest) >= _PADDING_SHARE else None


def check_hu(hu: np.ndarray, what: str, padding_hu: float | None = None) -> None:
    """Refuse voxels that are no HU, and say what they look like.

    Args:
        hu: any shape, finite.
        what: named in the error.
        padding_hu: value of voxels that are padding, which are left out.

    Raises:
        InputError: nothing is below 0, as in values of 0 to 1, 8 bits, or stored values without their intercept; or
            what is beyond 16 bits.

    Example:
        >>> check_hu(np.array([-1000.0, 40]), "scan.nii")
        >>> check_hu(np.array([0.2, 0.7]), "scan.nii")
        Traceback (most recent call last):
            ...
        bundle.errors.InputError: scan.nii has values from 0.2 to 0.7, which look normalised to 0 to 1: give a CT in HU
    """
    low, high, beyond = np.inf, -np.inf, 0
    # a part at a time, in the order of memory: a volume without its padding would be a second one
    for part in np.moveaxis(hu, int(np.argmax(hu.strides)), 0):
        kept = part if padding_hu is None else part[part != padding_hu]
        if kept.size:
            low, high = min(low, float(kept.min())), max(high, float(kept.max()))
            beyond += int(((kept < _INT16[0]) | (kept > _INT16[1])).sum())
    if high < low:
        raise InputError(f"{what} holds nothing but padding: give a CT in HU")
    looks = ""
    if beyond:
        looks = f"no CT has and 16 bits don't hold ({beyond} voxels)"
    elif low >= 0 and high <= 1:
        looks = "look normalised to 0 to 1" if high > 0 else "are all alike"
    elif low >= -1 and high <= 1:
        looks = "look normalised to -1 to 1"
    elif low >= 0 and high <= 20:
        looks = "look scaled to a range of their own"
    elif low >= 0 and high <= 255:
        looks = "look like 8-bit grey values"
    elif low >= 0:
        looks = "look like stored values to which the intercept, often -1024, was not added"
    if looks:
        raise InputError(f"{what} has values from {low:.6g} to {high:.6g}, which {looks}: give a CT in HU")
