"""All HU of a scan, for methods that know the study's window alone, and padding that stays padding.

Vocabulary: *intensity* is HU scaled as in :mod:`bundle.transforms.hu`, here not clipped: what lies in the window is
from 0 to 1. *Padding* fills an image outside of the scanned circle; see :mod:`bundle.data.intensity`.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from bundle.inferers.base import SliceInferer
from bundle.inferers.consistency import agreed
from bundle.inferers.interpolation.splines import held, nearest_weights, pchip
from bundle.slices import ObservedSlices, Reconstruction
from bundle.transforms import HU_MIN, to_hu, to_unit
from bundle.transforms.hu import SCANNER_HU


def all_hu(method: SliceInferer, hu: np.ndarray, places: ObservedSlices, padding: float | None) -> Reconstruction:
    """Run a method of brightness on all HU: one that knows the window alone is completed outside of it.

    Args:
        method: of images.
        hu: (X, Y, K) float, of the observed slices.
        places: of observed slices and targets; its image is not looked at.
        padding: its value, filled before the method sees it; None for none.

    Returns:
        ``image`` (X, Y, Z) intensities, which may leave [0, 1].

    Example:
        >>> from bundle.inferers.interpolation.splines import LinearInferer
        >>> places = ObservedSlices(None, None, np.array([0.0, 2.0]), np.array([1.0]))
        >>> all_hu(LinearInferer(), np.array([[[400.0, 1800.0]]]), places, None).image.tolist()
        [[[1.5]]]
    """
    if padding is not None and (padded := hu == padding).any():
        hu = filled(hu, padded, HU_MIN)
    intensities, free = to_unit(hu, clip=False), method.unclipped()
    whole = dataclasses.replace(places, image=intensities)
    if free is not None:
        return free.complete(whole)
    result = method.reconstruct(dataclasses.replace(places, image=intensities.clip(0, 1)))
    columns, added = outside_window(intensities, places.positions, places.targets)
    if columns.any():
        assert result.image is not None
        result.image = np.array(result.image, dtype=np.float64)
        result.image[columns] += added
    return agreed(result, whole)


def outside_window(intensity: np.ndarray, positions: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What interpolation has outside of the window, to be added to what a method made of the clipped slices.

    The method's own part, its residual, stays within the window; under it lies PCHIP of all HU instead of PCHIP of the
    clipped ones. Where all slices are within the window this is 0.

    Args:
        intensity: (X, Y, K) of the observed slices, not clipped.
        positions: (K,) mm.
        targets: (Z,) mm.

    Returns:
        (X, Y) bool, the columns that leave the window, N of them; (N, Z) what to add there.

    Example:
        >>> columns, added = outside_window(np.array([[[0.5, 0.5], [1.0, 3.0]]]), np.arange(2.0), np.array([0.5]))
        >>> columns.tolist(), added.tolist()
        ([[False, True]], [[1.0]])
    """
    columns = np.asarray(((intensity < 0) | (intensity > 1)).any(axis=2))
    within, places = intensity[columns], held(positions, targets)
    # a few columns at a time: scipy keeps four coefficients for each piece of each
    added = [
        pchip(some, positions, places) - pchip(some.clip(0, 1), positions, places)
        for some in np.array_split(within, max(len(within) // 4096, 1))
    ]
    return columns, np.concatenate(added)


def filled(hu: np.ndarray, padded: np.ndarray, nothing: float) -> np.ndarray:
    """Put into padding what the nearest slice has at the same place, so that it can be interpolated.

    Args:
        hu: (X, Y, K).
        padded: (X, Y, K) bool.
        nothing: value where all slices are padding.

    Returns:
        a new array.

    Example:
        >>> filled(np.array([[[-2000.0, 5, -2000, -2000, 9]]]), np.array([[[True, False, True, True, False]]]), 0)
        array([[[5., 5., 5., 9., 9.]]])
    """
    out = hu.copy()
    columns = padded.any(axis=2)
    known, values, place = ~padded[columns], hu[columns], np.arange(hu.shape[2], dtype=np.int32)
    before = np.maximum.accumulate(np.where(known, place, -hu.shape[2]), axis=1)
    after = np.minimum.accumulate(np.where(known, place, 2 * hu.shape[2])[:, ::-1], axis=1)[:, ::-1]
    nearest = np.where(place - before <= after - place, before, after)
    made = np.take_along_axis(values, nearest.clip(0, hu.shape[2] - 1), axis=1)
    made[~known.any(axis=1)] = nothing
    out[columns] = made
    return out


def finish(
    dense: np.ndarray, observed: np.ndarray, kept: np.ndarray, places: ObservedSlices, padding: float | None
) -> None:
    """To HU in place, a row at a time, as the volume lies in memory.

    Args:
        dense: (X, Y, Z) intensities.
        observed: (X, Y, K) HU.
        kept: (Z,) index of the observed slice that is taken as it was, or -1.
        places: of both; a new slice has the padding of the nearest.
        padding: its value; None for none.

    Example:
        >>> dense, places = np.full((1, 1, 3), 0.5), ObservedSlices(None, None, np.array([0.0, 2.0]), np.arange(3.0))
        >>> finish(dense, np.array([[[7.0, 9.0]]]), np.array([0, -1, 1]), places, None)
        >>> dense.tolist()
        [[[7.0, -300.0, 9.0]]]
    """
    seen, nearest = kept >= 0, nearest_weights(places.positions, places.targets).argmax(axis=1)
    for row, hu in zip(dense, observed, strict=True):
        row[...] = to_hu(row)
        row[:, seen] = hu[:, kept[seen]]
        if padding is not None and (padded := hu == padding).any():
            row[padded[:, nearest]] = padding


def beyond_scanner(dense: np.ndarray, observed: np.ndarray) -> list[str]:
    """Whether a dense volume is brighter than its scan and than a scanner of 12 bits can be, in a sentence.

    It is not bounded: where slices have a thickness, their averages could not be those of the scan then.

    Args:
        dense: (X, Y, Z) HU.
        observed: (X, Y, K) HU.

    Example:
        >>> beyond_scanner(np.array([[[-900.0, 3500.0]]]), np.array([[[-1000.0, 3071.0]]]))
        ['values of up to 3500 HU: more than the scan and a scanner of 12 bits have, 3071 HU; they are left so']
        >>> beyond_scanner(np.array([[[3100.0]]]), np.array([[[3200.0]]]))
        []
    """
    most, highest = max(SCANNER_HU[1], observed.max()), dense.max()
    if highest <= most:
        return []
    return [
        f"values of up to {highest:.0f} HU: more than the scan and a scanner of 12 bits have, {most:.0f} HU; they are "
        "left so"
    ]
