"""Seams between observed slices and made ones.

An observed slice has the noise of the scanner, a made one hardly any; so in a dense volume that keeps the observed
slices they stand out along z as bands. How much they do is the *seam ratio*: the mean absolute second difference along
z at observed planes over that at all others, about 1 in a volume of slices of one kind.
"""

from __future__ import annotations

import numpy as np


def bends(volume: np.ndarray) -> np.ndarray:
    """(Z,) mean absolute second difference along z at each plane of a volume (X, Y, Z); nan at the first and last.

    Example:
        >>> bends(np.array([[[0.0, 0.0, 1.0, 0.0, 0.0]]]))
        array([nan,  1.,  2.,  1., nan])
    """
    bent = np.full(volume.shape[2], np.nan)
    # a slice at a time: no second copy of the volume
    for z in range(1, volume.shape[2] - 1):
        bent[z] = np.abs(volume[..., z - 1] - 2 * volume[..., z] + volume[..., z + 1]).mean()
    return bent


def seam_ratio(volume: np.ndarray, observed: np.ndarray) -> float:
    """Mean absolute second difference along z at observed planes over that at the others.

    Args:
        volume: (X, Y, Z), any unit.
        observed: (Z,) bool.

    Returns:
        the ratio; nan where there are no planes of either kind within the volume, or no bends at all.

    Example:
        >>> seam_ratio(np.array([[[0.0, 0.0, 1.0, 0.0, 0.0]]]), np.arange(5) == 2)
        2.0
    """
    bent = bends(volume)
    inner = np.isfinite(bent)
    at, elsewhere = bent[observed & inner], bent[~observed & inner]
    return float(at.mean() / elsewhere.mean()) if at.size and elsewhere.size and elsewhere.any() else float("nan")


def without_seams(volume: np.ndarray, observed: np.ndarray, most: float = 1.1, rounds: int = 8) -> None:
    """Smooth the observed planes of a volume along z until they bend about as the others do, in place.

    An observed plane becomes a mean of itself and of the two next to it, which have less noise. What weight these have
    follows from the ratio of all observed planes and is the same for each: the second difference at a plane shrinks by
    one less the weight. Its neighbours bend less then too, so that it takes a few rounds. Planes that stand out no more
    than others are left alone, and so are the first and the last.

    Args:
        volume: (X, Y, Z) float, any unit.
        observed: (Z,) bool.
        most: ratio that is good enough.
        rounds: after which it ends in any case.

    Example:
        >>> volume = np.array([[[0.0, 0.0, 1.0, 0.0, 0.0, -1.0, 0.0]]])
        >>> without_seams(volume, np.arange(7) == 2)
        >>> volume.round(2).tolist()
        [[[0.0, 0.0, 0.53, 0.0, 0.0, -1.0, 0.0]]]
    """
    for _ in range(rounds):
        ratio = seam_ratio(volume, observed)
        if not ratio > most:
            return
        weight = 1 - 1 / ratio
        before = volume[..., 0].copy()
        for z in range(1, volume.shape[2] - 1):
            plane = volume[..., z].copy()
            if observed[z]:
                volume[..., z] = (1 - weight) * plane + weight / 2 * (before + volume[..., z + 1])
            before = plane
