"""Slice profiles: how much each place along z counts in an observed slice.

An observed slice is an average of the body along z. Its *profile* is the weight of each place in that average, and
its *thickness* the full width of the profile at half of its maximum (FWHM), in mm: what DICOM calls slice thickness.
A *box* weighs alike over its thickness; a *trapezoid* falls on either side over half of the thickness; a *bell* is a
Gaussian, which is what scanners come nearest to. A thickness of 0 is a plane.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy.special import erf, erfinv

from bundle.errors import InputError

PROFILES = ("box", "trapezoid", "bell")
# standard deviation of a Gaussian of FWHM 1
_BELL_SD = 1 / math.sqrt(8 * math.log(2))


def checked_profile(kind: str) -> str:
    """The name of a profile, if there is such a one.

    Raises:
        InputError: another name than ``box``, ``trapezoid`` or ``bell``.

    Example:
        >>> checked_profile("bell")
        'bell'
    """
    if kind not in PROFILES:
        raise InputError(f"slice profile {kind!r}: expected one of {', '.join(PROFILES)}")
    return kind


def slice_profile(offsets_mm: np.ndarray | Sequence[float], thickness_mm: float, kind: str = "box") -> np.ndarray:
    """Weights of thin slices in the thick slice that is their average.

    A thin slice stands for its cell, from half-way to its lower neighbour to half-way to its upper one, and weighs as
    much as the profile does over the cell.

    Args:
        offsets_mm: (N,) ascending places of the thin slices, in mm from the centre of the thick one.
        thickness_mm: FWHM of the profile; 0 is the plane at the centre.
        kind: ``"box"``, ``"trapezoid"`` or ``"bell"``.

    Returns:
        (N,) weights, 0 or more, of sum 1.

    Raises:
        InputError: another kind, a thickness below 0, or no thin slice within the profile.

    Example:
        >>> slice_profile([-2.0, -1.0, 0.0, 1.0, 2.0], 3.0).round(3).tolist()
        [0.0, 0.333, 0.333, 0.333, 0.0]
        >>> slice_profile([-2.0, -1.0, 0.0, 1.0, 2.0], 2.0, "bell").round(3).tolist()
        [0.037, 0.24, 0.445, 0.24, 0.037]
    """
    weights = _shares(offsets_mm, thickness_mm, kind)
    total = weights.sum()
    if not total > 0:
        raise InputError(f"no thin slice lies within {thickness_mm} mm around the centre: give some that do")
    return weights / total


def profile_share(offsets_mm: np.ndarray | Sequence[float], thickness_mm: float, kind: str = "box") -> float:
    """How much of a profile thin slices cover, 0 to 1: arguments as those of :func:`slice_profile`.

    Example:
        >>> profile_share([0.5, 1.5, 2.5], 4.0)
        0.5
    """
    return float(_shares(offsets_mm, thickness_mm, kind).sum())


def profile_nodes(thickness_mm: float | np.ndarray, kind: str = "box", count: int = 8) -> np.ndarray:
    """Places whose plain mean stands for the average over a profile: the middles of parts of equal weight.

    Args:
        thickness_mm: (...) FWHM.
        kind: ``"box"``, ``"trapezoid"`` or ``"bell"``.
        count: number of places.

    Returns:
        (..., count) mm from the centre, ascending.

    Example:
        >>> profile_nodes(4.0, "box", 4).tolist()
        [-1.5, -0.5, 0.5, 1.5]
    """
    part = (np.arange(count) + 0.5) / count
    if checked_profile(kind) == "box":
        places = part - 0.5
    elif kind == "bell":
        places = _BELL_SD * math.sqrt(2) * erfinv(2 * part - 1)
    else:
        # a density of 1 up to a quarter, then falling to 0 at three quarters
        tail = 0.5 - abs(part - 0.5)
        inner, sides = 0.5 - tail, 0.75 - np.sqrt(np.minimum(tail, 0.25))
        places = np.sign(part - 0.5) * np.where(tail > 0.25, inner, sides)
    return np.multiply.outer(np.asarray(thickness_mm, dtype=float), places)


def block_average(volume: np.ndarray, places: np.ndarray, centres: np.ndarray, thickness_mm: float, kind: str = "box"
) -> np.ndarray:  # fmt: skip
    """Thick slices made of thin ones.

    Args:
        volume: (..., N) thin slices along the last axis, any unit.
        places: (N,) their places in mm, ascending.
        centres: (K,) places of the thick slices in mm.
        thickness_mm: FWHM of their profile.
        kind: ``"box"``, ``"trapezoid"`` or ``"bell"``.

    Returns:
        (..., K), float64.

    Example:
        >>> block_average(np.arange(6.0), np.arange(6.0), np.array([1.0, 3.5]), 2.0).tolist()
        [1.0, 3.5]
    """
    places = np.asarray(places, dtype=float)
    weights = [slice_profile(places - centre, thickness_mm, kind) for centre in centres]
    return np.asarray(volume, dtype=float) @ np.stack(weights, axis=1)


def block_kriging_weights(
    offsets_mm: np.ndarray,
    valid: np.ndarray,
    nodes_mm: np.ndarray,
    range_mm: float = 6.0,
    nugget: float = 0.02,
) -> np.ndarray:
    """Weights of ordinary kriging of a plane from slices that are averages over a profile.

    The brightness along z has the covariance ``exp(-h / range_mm)`` and noise of variance ``nugget``; weights of sum 1
    minimise the expected squared error (Matheron 1963; blocks as in Chiles and Delfiner 2012, section 3.5).

    Args:
        offsets_mm: (..., S) places of the slices from the wanted plane.
        valid: (..., S) whether each slice exists; one must.
        nodes_mm: (..., Q) places within a slice whose mean the slice is (:func:`profile_nodes`).
        range_mm: at which the covariance has fallen to 37 %.
        nugget: in parts of the variance.

    Returns:
        (..., S) weights of sum 1, 0 where a slice does not exist.

    Example:
        >>> block_kriging_weights(np.array([-2.0, 2.0, 9.0]), np.array([True, True, False]), np.zeros(1)).round(6)
        array([0.5, 0.5, 0. ])
    """
    offsets, there = np.asarray(offsets_mm, dtype=float), np.asarray(valid) > 0.5
    places = offsets[..., :, None] + np.asarray(nodes_mm)[..., None, :]
    target = np.exp(-abs(places) / range_mm).mean(-1)
    apart = abs(places[..., :, None, :, None] - places[..., None, :, None, :])
    between = np.exp(-apart / range_mm).mean((-2, -1))
    count = offsets.shape[-1]
    both = there[..., :, None] & there[..., None, :]
    system = np.zeros((*between.shape[:-2], count + 1, count + 1))
    # a slice that does not exist has a row of the identity, and so no weight
    system[..., :count, :count] = np.where(both, between, 0.0) + np.eye(count) * np.where(there, nugget, 1.0)[..., None]
    system[..., count, :count] = system[..., :count, count] = there
    right = np.concatenate([np.where(there, target, 0.0), np.ones((*offsets.shape[:-1], 1))], axis=-1)
    return np.linalg.solve(system, right[..., None])[..., :count, 0]


def _shares(offsets_mm: np.ndarray | Sequence[float], thickness_mm: float, kind: str) -> np.ndarray:
    """(N,) share of a profile over the cell of each thin slice."""
    offsets = np.asarray(offsets_mm, dtype=float)
    if not thickness_mm >= 0:
        raise InputError(f"slice thickness is {thickness_mm} mm, expected 0 or more")
    middle = (offsets[1:] + offsets[:-1]) / 2
    half = (offsets[1:] - offsets[:-1])[[0, -1]] / 2 if len(offsets) > 1 else np.full(2, np.inf)
    edges = np.concatenate([[offsets[0] - half[0]], middle, [offsets[-1] + half[1]]])
    return np.diff(_share_below(edges, thickness_mm, checked_profile(kind)))


def _share_below(places: np.ndarray, thickness_mm: float, kind: str) -> np.ndarray:
    """Share of a profile that lies below places (N,) in mm from its centre."""
    if thickness_mm < 1e-6:
        return 0.5 * (1 + np.sign(places))
    u = places / thickness_mm
    if kind == "box":
        return np.clip(u + 0.5, 0, 1)
    if kind == "bell":
        return 0.5 * (1 + erf(u / (_BELL_SD * math.sqrt(2))))
    inner = np.clip(abs(u), 0, 0.25)
    tail = np.clip(abs(u), 0.25, 0.75)
    return 0.5 + np.sign(u) * (inner + 0.25 - (0.75 - tail) ** 2)
