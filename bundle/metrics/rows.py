"""Rows of the tidy file, and the one loop that fills them.

Vocabulary: a *row* is a dictionary with ``slices``, ``region``, ``threshold_hu``, ``metric`` and ``value``: what
``metrics.csv`` has beside the nodule and the method. A row without its value is a *place*. The evaluators list the
places that they measure; the same list filled with nan stands for a method that failed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from bundle.errors import InputError
from bundle.metrics.regions import SLICE_SETS
from bundle.units import check_unit

Row = dict[str, Any]
Place = tuple[str, str, float | None, str]
REGIONS = ("global", "tumour")


def region_places(slices: Iterable[str], metrics: Iterable[str]) -> list[Place]:
    """Places of metrics that are taken over voxels: every set of slices, region and metric.

    Example:
        >>> region_places(["all"], ["mae"])
        [('all', 'global', None, 'mae'), ('all', 'tumour', None, 'mae')]
    """
    names = list(metrics)
    return [(chosen, region, None, name) for chosen in slices for region in REGIONS for name in names]


def filled(places: Iterable[Place], value: Callable[[str, str, float | None, str], float] | None = None) -> list[Row]:
    """The rows of places.

    Args:
        places: in the order of the rows.
        value: of a place; None: nan, as of a method that failed.

    Example:
        >>> filled([("all", "roi", None, "dsc")], lambda slices, region, threshold, metric: 0.5)
        [{'slices': 'all', 'region': 'roi', 'threshold_hu': None, 'metric': 'dsc', 'value': 0.5}]
    """
    return [
        {
            "slices": place[0],
            "region": place[1],
            "threshold_hu": place[2],
            "metric": place[3],
            "value": float("nan") if value is None else value(*place),
        }
        for place in places
    ]


def checked_sets(slices: Sequence[str]) -> tuple[str, ...]:
    """Names of sets of slices.

    Raises:
        InputError: one of them is none.
    """
    unknown = [name for name in slices if name not in SLICE_SETS]
    if unknown:
        raise InputError(f"slices {unknown} are unknown: give some of {', '.join(SLICE_SETS)}")
    return tuple(slices)


def checked_volume(name: str, volume: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Give the volume as an array.

    Raises:
        InputError: the volume isn't 3-D, has another shape, or voxels that are nan or infinite.
    """
    array = np.asarray(volume)
    if array.ndim != 3 or array.shape != shape:
        wanted = shape if len(shape) == 3 else "(X, Y, Z)"
        raise InputError(f"{name} has shape {array.shape}, expected {wanted}: give one of the truth's grid")
    broken = array.size - int(np.isfinite(array).sum())
    if broken:
        raise InputError(f"{name} has {broken} voxels that are nan or infinite, expected none")
    return array


def check_pair(prediction: np.ndarray, truth: np.ndarray, normalised: bool) -> None:
    """Refuse a pair of volumes that can't be compared.

    Raises:
        InputError: the shapes differ; one is not ``normalised`` though it should be.
    """
    if np.shape(prediction) != np.shape(truth):
        raise InputError(
            f"the reconstruction has shape {np.shape(prediction)}, expected that of the truth, {np.shape(truth)}"
        )
    if normalised:
        check_unit("the reconstruction", prediction)
        check_unit("the truth", truth)
