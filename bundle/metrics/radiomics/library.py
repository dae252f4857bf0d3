"""The library that computes features, behind one function, so that it can be changed.

It is fastrad 1.0.0, which has pyradiomics' definitions in torch (https://pypi.org/project/fastrad; pyradiomics itself
cannot be installed from its index). Two things differ from a plain call. Gray levels are handed over as they are
numbered by the caller: the library would count from the darkest voxel of each region. And the median of an even number
of voxels is the mean of the middle two, as in pyradiomics; the library takes the lower one.
"""

from __future__ import annotations

import math
import types
import warnings
from collections.abc import Callable, Sequence
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version

import numpy as np
import torch
from monai.utils import optional_import
from scipy.ndimage import convolve

from bundle.errors import InputError
from bundle.metrics.radiomics.features import CLASSES, FEATURES, Feature

LIBRARY, VERSION, DEFINITIONS = "fastrad", "1.0.0", "pyradiomics"
AGGREGATION = "GLCM, GLRLM: mean of the features of 13 directions; GLSZM, GLDM, NGTDM: one matrix in 3-D; distance 1"
ALIKE = "all voxels have one gray level"
Computed = dict[Feature, float | str]


def compute_features(
    hu: np.ndarray, levels: np.ndarray, mask: np.ndarray, spacing: Sequence[float], bin_width: float
) -> Computed:
    """All features of a region.

    Args:
        hu: (X, Y, Z) float64, HU.
        levels: (X, Y, Z) whole numbers from 1: the gray level of each voxel.
        mask: (X, Y, Z) bool, not empty.
        spacing: mm between voxel centres.
        bin_width: HU of a gray level.

    Returns:
        for each of ``FEATURES`` its value, or in words why it has none.

    Raises:
        InputError: the library is not installed, or is of another version.

    Example:
        >>> hu = np.array([-30.0, 30.0, -30.0, 30.0]).reshape(2, 2, 1)
        >>> found = compute_features(hu, 1 + (hu > 0), hu > -99, (1.0, 1.0, 1.0), 25.0)
        >>> round(found["firstorder", "entropy"], 6)
        1.0
    """
    compute = load_library()
    box = tuple(slice(found.min(), found.max() + 1) for found in np.nonzero(mask))
    hu, levels, mask = hu[box], levels[box], mask[box]
    alone = mask & (convolve(mask.astype(np.uint8), np.ones((3, 3, 3)), mode="constant") < 2)
    found: Computed = {}
    for group in CLASSES:
        # a voxel without a neighbour has none to differ from
        region = mask & ~alone if group == "ngtdm" else mask
        if group != "firstorder" and len(np.unique(levels[region])) < 2:
            values: dict[str, float] | str = ALIKE
        else:
            volume = hu if group == "firstorder" else levels
            values = _one_class(compute[group], volume, region, spacing, bin_width)
        for name in (name for where, name in FEATURES if where == group):
            found[group, name] = values if isinstance(values, str) else _checked(values.get(f"{group}:{name}"))
    inside = hu[mask]
    found["firstorder", "median"] = float(np.median(inside))
    if np.ptp(inside) == 0:
        found |= {("firstorder", name): ALIKE for name in ("skewness", "kurtosis")}
    return found


@lru_cache(maxsize=1)
def load_library() -> dict[str, Callable]:
    """What computes each class of features.

    Raises:
        InputError: the library is not installed, or is of another version.
    """
    how = "pip install -e '.[radiomics]'"
    try:
        installed = version(LIBRARY)
    except PackageNotFoundError as fault:
        raise InputError(f"--radiomics true needs {LIBRARY}, which is not installed: {how}") from fault
    if installed != VERSION:
        raise InputError(f"{LIBRARY} {installed} is installed, expected {VERSION}: {how}")
    made: dict[str, Callable] = {}
    for group in CLASSES:
        module, _ = optional_import(f"{LIBRARY}.features.{group}")
        # the function with our numbering of gray levels in place of its own; the library itself stays as it is
        names = module.compute.__globals__ | {"get_binned_image": _numbered}
        made[group] = types.FunctionType(module.compute.__code__, names)
    return made


def _numbered(levels: torch.Tensor, mask: torch.Tensor, bin_width: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Levels as they are, and those that occur."""
    return levels, torch.unique(levels[mask > 0.5])


def _one_class(
    compute: Callable, volume: np.ndarray, mask: np.ndarray, spacing: Sequence[float], bin_width: float
) -> dict[str, float] | str:
    settings = types.SimpleNamespace(bin_width=bin_width, spacing=tuple(spacing))
    tensors = (torch.from_numpy(np.ascontiguousarray(v, dtype=np.float64)) for v in (volume, mask))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found: dict[str, float] = compute(*tensors, settings)
            return found or "no two voxels are neighbours"
    except (RuntimeError, ValueError, IndexError) as fault:
        return f"{LIBRARY} {VERSION} fails: {' '.join(str(fault).split())}"


def _checked(value: float | None) -> float | str:
    return float(value) if value is not None and math.isfinite(value) else "undefined"
