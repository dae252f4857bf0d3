"""A phantom nodule: its smooth shape from the readers' mask, its density from the readers' ratings.

Vocabulary: *LIDC's ratings* are means over the readers. Texture: 1 ground glass, 3 part solid, 5 solid. Margin:
1 poorly defined, 5 sharp. Spiculation: 1 none, 5 marked. Calcification is a code, 1 popcorn, 2 laminated, 3 solid,
4 non-central, 5 central, 6 absent; a mean above 5 says that most readers saw none and is taken as absent, another
as the nearest code. *Depth* is the distance inside the surface in mm, negative outside. The ratings: McNitt-Gray et
al., Academic Radiology 14 (2007).
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage, special

from bundle.data.phantom.grid import FineGrid, correlated_field, resample

DEFAULT_RATINGS = {"texture": 5.0, "margin": 4.0, "spiculation": 1.0, "calcification": 6.0}


def smooth_depth(
    mask: np.ndarray,
    spacing: tuple[float, float, float],
    grid: FineGrid,
    smooth_mm: tuple[float, float, float] = (0.45, 0.45, 0.8),
) -> np.ndarray:
    """Depth inside the smooth body that the readers' staircase of slices stands for.

    The signed distance of the mask is smoothed by a Gaussian, moved so that the body keeps the mask's number of
    voxels (smoothing alone would shrink it), and interpolated between the slices.

    Args:
        mask: bool (X, Y, Z), the image's voxels, at least one set.
        spacing: mm.
        grid: the fine grid around that image.
        smooth_mm: sd of the Gaussian; more along z, where outlines drawn slice by slice jump.

    Returns:
        mm, float32 of ``grid.shape``; positive inside.

    Example:
        >>> mask = np.zeros((12, 12, 8), bool)
        >>> mask[3:9, 3:9, 2:6] = True
        >>> grid = FineGrid.around(mask.shape, (1.0, 1.0, 1.0))
        >>> depth = smooth_depth(mask, (1.0, 1.0, 1.0), grid)
        >>> depth.shape == grid.shape, bool(1 < depth.max() < 2.5)
        (True, True)
    """
    padded = np.pad(mask, [(g, g) for g in grid.guard])
    inner = ndimage.distance_transform_edt(padded, sampling=spacing)
    outer = ndimage.distance_transform_edt(~padded, sampling=spacing)
    # between the centres of a voxel inside and its neighbour outside lies the surface: take half a voxel off each
    signed = np.where(padded, inner - min(spacing) / 2, min(spacing) / 2 - outer)
    signed = ndimage.gaussian_filter(signed, [sd / s for sd, s in zip(smooth_mm, spacing, strict=True)], mode="nearest")
    signed -= np.partition(signed.ravel(), -int(mask.sum()))[-int(mask.sum())]
    return resample(
        signed, tuple((np.arange(n) + 0.5) / f - 0.5 for n, f in zip(grid.shape, grid.factors, strict=True))
    )


def nodule_occupancy(depth: np.ndarray, margin: float, grid: FineGrid, rng: np.random.Generator) -> np.ndarray:
    """Share of the nodule in each voxel: a step blurred, and roughened, the more the poorer the margin.

    Args:
        depth: mm, from :func:`smooth_depth`.
        margin: LIDC rating, 1 to 5; the edge's sd goes from 1.35 to 0.15 mm.
        grid: the grid of ``depth``.
        rng: source of the roughness.

    Returns:
        float32, 0 to 1.

    Example:
        >>> grid = FineGrid.around((20, 20, 20), (1.0, 1.0, 1.0))
        >>> depth = np.broadcast_to(grid.axis(0) - 10, grid.shape)
        >>> edge = lambda m: ((o := nodule_occupancy(depth, m, grid, np.random.default_rng(0))) * (1 - o)).sum()
        >>> bool(edge(1) > 3 * edge(5))
        True
    """
    poor = (5.0 - float(np.clip(margin, 1, 5))) / 4.0
    rough = (0.35 + 0.5 * poor) * correlated_field(grid, 1.8, rng)
    width = 0.15 + 1.2 * poor**2
    return special.ndtr((depth + rough) / width).astype(np.float32)


def solid_share(texture: float) -> float:
    """Share of the nodule's volume that is solid, from its texture rating: 0 up to 1.5, 1 from 4.5.

    Example:
        >>> solid_share(1), solid_share(3), solid_share(5)
        (0.0, 0.5, 1.0)
    """
    return float(np.clip((texture - 1.5) / 3.0, 0, 1))


def nodule_hu(
    depth: np.ndarray, ratings: dict[str, float], enhancement: float, grid: FineGrid, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Density inside the nodule: ground glass, a solid core of the rated size, calcium of the rated pattern.

    Args:
        depth: mm, from :func:`smooth_depth`, positive somewhere.
        ratings: LIDC's means; those absent are taken from ``DEFAULT_RATINGS``.
        enhancement: HU that contrast medium adds to solid tissue.
        grid: the grid of ``depth``.
        rng: source of densities and patterns.

    Returns:
        hu: float32 of ``grid.shape``, what the nodule has where it is whole.
        solid: float32 0 to 1, the solid part.

    Example:
        >>> grid = FineGrid.around((20, 20, 20), (1.0, 1.0, 1.0))
        >>> depth = 6 - np.sqrt(sum((grid.axis(i) - 13) ** 2 for i in range(3)))
        >>> glass = nodule_hu(depth, {"texture": 1.0}, 0.0, grid, np.random.default_rng(0))[0]
        >>> bool(-700 < glass[depth > 0].mean() < -450)
        True
    """
    rated = {**DEFAULT_RATINGS, **ratings}
    inside = depth > 0
    deepest = float(depth.max())
    texture = float(np.clip(rated["texture"], 1, 5))
    glass = rng.uniform(-620, -540) + 60 * np.clip(texture - 1, 0, 2)
    hu = glass + 70 * correlated_field(grid, 2.0, rng)

    share = solid_share(texture)
    solid = np.ones(grid.shape, np.float32)
    patchy = correlated_field(grid, 3.0, rng)
    if share < 1:
        # the deepest part is solid, unevenly: a core with offshoots rather than a ball
        score = depth / deepest + 0.45 * patchy
        at = np.quantile(score[inside], 1 - share)
        solid = special.ndtr((score - at) * deepest / 0.7).astype(np.float32) if share > 0 else 0 * solid
    # a core among ground glass is loose tissue: less dense than a solid nodule
    dense = rng.uniform(20, 60) + enhancement - 220 * (1 - share) + 15 * correlated_field(grid, 2.5, rng) + 12 * patchy
    hu = hu + (dense - hu) * solid

    if rated["calcification"] <= 5:
        calcium = _calcium(max(1, round(rated["calcification"])), depth, grid, rng)
        hu = hu + (rng.uniform(550, 900) - hu) * calcium
        solid = np.maximum(solid, calcium)
    return hu.astype(np.float32), solid


def _calcium(code: int, depth: np.ndarray, grid: FineGrid, rng: np.random.Generator) -> np.ndarray:
    """Occupancy of calcium after LIDC's code (1 to 5), inside the nodule only."""
    deepest = float(depth.max())
    within = np.clip((depth - 0.4) / 0.5 + 0.5, 0, 1)
    if code == 3:
        return within.astype(np.float32)
    if code == 2:
        # rings of calcium, about three from the surface to the centre
        period = max(deepest / 2.5, 1.6)
        return (within * np.clip(0.5 + 1.6 * np.cos(2 * np.pi * (deepest - depth) / period), 0, 1)).astype(np.float32)
    if code == 1:
        blobs = correlated_field(grid, max(1.5, deepest / 2.5), rng)
        at = np.quantile(blobs[depth > 0.5 * min(deepest, 1.0)], 0.55)
        return (within * np.clip((blobs - at) / 0.5 + 0.5, 0, 1)).astype(np.float32)
    # one lump: at the deepest point, or halfway to the surface
    level = 0.95 if code == 5 else 0.5
    candidates = np.argwhere(np.abs(depth - level * deepest) < 0.08 * deepest + np.mean(grid.spacing) / 2)
    centre = (candidates[rng.integers(len(candidates))] + 0.5) * np.array(grid.spacing)
    if code == 5:
        centre = (np.array(np.unravel_index(depth.argmax(), depth.shape)) + 0.5) * np.array(grid.spacing)
    distance = np.sqrt(sum((grid.axis(i) - centre[i]) ** 2 for i in range(3)))
    radius = max(1.2, (0.45 if code == 5 else 0.35) * deepest) * (1 + 0.2 * correlated_field(grid, 2.0, rng))
    return (within * np.clip((radius - distance) / 0.5 + 0.5, 0, 1)).astype(np.float32)


def spicules(depth: np.ndarray, spiculation: float, grid: FineGrid, rng: np.random.Generator) -> np.ndarray:
    """Thin lines that leave the nodule's surface, more and longer the higher the rating.

    Args:
        depth: mm, from :func:`smooth_depth`.
        spiculation: LIDC rating; 1 gives none, 5 about one for every 25 mm^2 of surface (60 at most).
        grid: the grid of ``depth``.
        rng: source of where and whither.

    Returns:
        tubes (N, 8), their first ends inside of the surface.

    Example:
        >>> grid = FineGrid.around((30, 30, 30), (1.0, 1.0, 1.0))
        >>> depth = 6 - np.sqrt(sum((grid.axis(i) - 18) ** 2 for i in range(3)))
        >>> len(spicules(depth, 1, grid, np.random.default_rng(0)))
        0
        >>> len(spicules(depth, 5, grid, np.random.default_rng(0))) > 20
        True
    """
    marked = (float(np.clip(spiculation, 1, 5)) - 1) / 4
    spacing = np.array(grid.spacing)
    surface = np.argwhere(np.abs(depth) < spacing.mean() / 2)
    area = len(surface) * float(np.prod(spacing)) / float(spacing.mean())
    count = int(min(60, round(marked * area / 25)))
    if count == 0 or len(surface) == 0:
        return np.zeros((0, 8))
    tubes = []
    for i in rng.integers(len(surface), size=count):
        at = surface[i]
        low, high = np.maximum(at - 3, 0), np.minimum(at + 3, np.array(depth.shape) - 1)
        slope = [
            (depth[tuple(np.where(np.arange(3) == j, high, at))] - depth[tuple(np.where(np.arange(3) == j, low, at))])
            / ((high[j] - low[j]) * spacing[j])
            for j in range(3)
        ]
        heading = -np.array(slope, float) + rng.normal(0, 0.35, 3)
        heading /= max(float(np.linalg.norm(heading)), 1e-9)
        here = (at + 0.5) * spacing - heading
        radius = rng.uniform(0.4, 0.9)
        pieces = max(2, round((rng.uniform(3, 6) + 6 * marked * rng.random()) / 1.5))
        for piece in range(pieces):
            heading = heading + rng.normal(0, 0.12, 3)
            heading /= float(np.linalg.norm(heading))
            there = here + 1.5 * heading
            ends = [radius * (1 - 0.8 * (piece + k) / pieces) for k in (0, 1)]
            tubes.append(np.concatenate([here, there, ends]))
            here = there
    return np.array(tubes)
