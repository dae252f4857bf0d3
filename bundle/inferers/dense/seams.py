"""Seams between observed slices and made ones.

An observed slice has the noise of the scanner, a made one hardly any; so in a dense volume that keeps the observed
slices they stand out along z as bands. How much they do is the *seam ratio*: the mean absolute second difference along
z at observed planes over that at all others, about 1 in a volume of slices of one kind. Where observed slices are
averages over a thickness all are made, but methods bend more at their middles than between them, or less.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from bundle.inferers.consistency import averaging_weights
from bundle.slices import ObservedSlices

# passes over a column: one alone can't move a bend farther than to its neighbours
_PASSES = 3
# columns, spread over the plane, on which the strength is found
_SAMPLE = 2048


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


class Evened(NamedTuple):
    """What evening out came to: the seam ratio before and after, and by how much voxels moved (root mean square)."""

    before: float
    after: float
    moved: float

    @property
    def note(self) -> str:
        """For a volume in HU.

        Example:
            >>> Evened(1.35, 1.09, 1.2).note
            'seams of thick slices evened out by 1.2 HU (root mean square): seam ratio 1.35 before, 1.09 after'
        """
        return (
            f"seams of thick slices evened out by {self.moved:.2g} HU (root mean square): "
            f"seam ratio {self.before:.2f} before, {self.after:.2f} after"
        )


def even_bends(volume: np.ndarray, places: ObservedSlices, least: float = 0.9, most: float = 1.1) -> Evened | None:
    """Let planes bend alike at the middles of thick slices and between them, all averages as they were, in place.

    The planes that bend too much, of one kind or the other, give way: down the gradient of the sum of their absolute
    second differences, less what the averages would see of it. So each place moves by about as much, and little, where
    plain smoothing would take most from edges. Whether and how far is found by trying, on some of the columns.

    Args:
        volume: (X, Y, Z) float, any unit, at ``places.targets``, which ascend.
        places: of both, with the thickness and profile of the observed slices. An observed slice stands for the plane
            that is nearest to its middle. Where none has its profile within the targets nothing is changed.
        least: seam ratio below which the planes between are too rough.
        most: above which those at the middles are.

    Returns:
        what it came to, on the columns that the strength was found on; None: nothing was changed.

    Example:
        >>> places = ObservedSlices(None, None, np.arange(4) * 3.0 + 1, np.arange(12.0), thickness_mm=3.0)
        >>> volume = (np.arange(12.0) % 3 == 1)[None, None] * 3.0
        >>> evened = even_bends(volume, places)
        >>> volume.reshape(4, 3).mean(axis=1).tolist(), bool(np.ptp(volume) < 3)
        ([1.0, 1.0, 1.0, 1.0], True)
    """
    _, weights = averaging_weights(places)
    observed = np.zeros(volume.shape[2], dtype=bool)
    observed[np.abs(places.targets[:, None] - places.positions).argmin(axis=0)] = True
    every = max(math.isqrt(volume.shape[0] * volume.shape[1] // _SAMPLE), 1)
    sample = volume[::every, ::every].copy()
    ratio = seam_ratio(sample, observed)
    if not len(weights) or not (ratio < least or ratio > most):
        return None
    rough = observed if ratio > most else ~observed
    averages = weights.astype(volume.dtype), np.linalg.pinv(weights, rcond=1e-9).astype(volume.dtype)
    for strength in (np.nanmean(bends(sample)[rough]) * 2.0 ** np.arange(-8, 1.5, 0.5)).tolist():
        changed = _evened(sample, rough, averages, strength)
        tried = seam_ratio(changed, observed)
        if tried <= most if ratio > most else tried >= least:
            break
    # a row at a time: no second copy of the volume
    for row in volume:
        row[...] = _evened(row, rough, averages, strength)
    return Evened(ratio, tried, float(np.sqrt(np.mean((changed - sample) ** 2, dtype=np.float64))))


def _evened(
    columns: np.ndarray, rough: np.ndarray, averages: tuple[np.ndarray, np.ndarray], strength: float
) -> np.ndarray:
    """Columns (..., Z) whose ``rough`` (Z,) planes bend less; ``averages``: the weights and their inverse."""
    weights, inverse = averages
    for _ in range(_PASSES):
        # second differences of second differences are 16 times as large at most: so no bend is turned over
        pull = np.where(rough[1:-1], np.clip(np.diff(columns, 2) / (16 * strength), -1, 1), 0)
        step = np.diff(np.pad(pull, [(0, 0)] * (columns.ndim - 1) + [(2, 2)]), 2)
        columns = columns - strength * (step - step @ weights.T @ inverse.T)
    return columns
