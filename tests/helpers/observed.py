"""Observed slices of a small nodule and of known functions."""

from __future__ import annotations

import numpy as np
from helpers.nodules import small_nodule

from bundle.inferers import ObservedSlices
from bundle.slices import SAME_PLANE_MM


def observed(seed=0, shape=(20, 18, 14), step=5, **changes):
    hu, _ = small_nodule(shape, seed)
    image = np.clip((hu + 1000) / 1400, 0, 1)
    parts = {
        "image": image[..., ::step], "mask": None, "positions": np.arange(0, shape[2], step) * 1.5,
        "targets": np.arange(shape[2]) * 1.5, "spacing": (0.7, 0.8), "seed": seed,
    }  # fmt: skip
    return ObservedSlices(**(parts | changes))


def waves(x, y, z):
    """Waves of at most 0.9 rad/mm in plane and 0.35 rad/mm along z, oblique, so that slices shift along z."""
    return 0.5 + 0.2 * np.sin(0.9 * x + 0.35 * z) + 0.15 * np.cos(0.6 * y - 0.3 * z) + 0.1 * np.sin(0.4 * (x + y))


def sampled(function, spacing, extent=20.0, gap=3.0, targets=None):
    x, y = (np.arange(0, extent + 1e-9, s) for s in spacing)
    z = np.arange(0, extent, gap)
    image = function(*np.meshgrid(x, y, z, indexing="ij"))
    return ObservedSlices(image, None, z, z if targets is None else targets, spacing)


def voxel_places(shape, spacing, z):
    """Places in mm of every voxel of slices, as ``volume.reshape(-1)``: (N, 3)."""
    axes = (np.arange(shape[0]) * spacing[0], np.arange(shape[1]) * spacing[1], np.asarray(z, dtype=float))
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)


def clear_of_ties(positions, targets):
    """Whether no target lies so near a plane, or the middle of a gap, that it is taken for it, unless it is it."""
    ends = [1.5 * positions[0] - positions[1] / 2, 1.5 * positions[-1] - positions[-2] / 2]
    apart = np.abs(targets[:, None] - np.concatenate([positions, (positions[1:] + positions[:-1]) / 2, ends]))
    return bool(np.all((apart == 0) | (apart > SAME_PLANE_MM)))
