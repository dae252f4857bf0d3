"""The chest wall of a phantom: pleura, muscle, ribs and fat behind a curved surface.

Vocabulary: the *depth* of a point is its distance in mm behind the pleural surface, negative in the lung.
*Outward* is the unit vector in the axial plane along which the wall lies from the nodule.
"""

from __future__ import annotations

import numpy as np

from bundle.data.phantom.grid import FineGrid, correlated_field

MUSCLE_HU, FAT_HU, MARROW_HU, CORTEX_HU = 50.0, -100.0, 180.0, 750.0
RIB_DISTANCE_MM = 24.0


def wall_depth(
    grid: FineGrid, outward: np.ndarray, keep_out: np.ndarray, gap_mm: float, rng: np.random.Generator
) -> np.ndarray:
    """Depth behind a pleural surface that is curved, leans in z and keeps its distance from the nodule.

    The surface is a cylinder about the lung of 60 to 110 mm radius, tilted by up to 15 degrees and bowed in z.

    Args:
        grid: where depth is wanted.
        outward: (3,), z component 0.
        keep_out: bool of ``grid.shape``, the nodule; it stays at least ``gap_mm`` in front of the surface.
        gap_mm: distance between the nodule and the surface at their closest, in mm.
        rng: source of curvature and tilt.

    Returns:
        mm, float32 of ``grid.shape``.

    Raises:
        ValueError: ``keep_out`` is empty.

    Example:
        >>> grid = FineGrid.around((20, 20, 20), (0.7, 0.7, 1.0))
        >>> nodule = np.zeros(grid.shape, bool)
        >>> nodule[25:30, 25:30, 30:40] = True
        >>> depth = wall_depth(grid, np.array([1.0, 0, 0]), nodule, 2.0, np.random.default_rng(0))
        >>> round(float(depth[nodule].max()), 3)
        -2.0
    """
    if not keep_out.any():
        raise ValueError("wall_depth needs a nodule to keep its distance from; keep_out is empty")
    radius = rng.uniform(60, 110)
    tilt = np.tan(np.radians(rng.uniform(-15, 15)))
    middle = grid.size_mm / 2
    x, y, z = (grid.axis(i) - np.float32(middle[i]) for i in range(3))
    along = x * outward[0] + y * outward[1] + radius
    across = -x * outward[1] + y * outward[0]
    depth = np.sqrt(along**2 + across**2) - radius + tilt * z + z**2 / (2 * rng.uniform(80, 200))
    depth = depth + 0.3 * correlated_field(grid, 12.0, rng)
    return (depth - depth[keep_out].max() - gap_mm).astype(np.float32)


def wall_hu(grid: FineGrid, outward: np.ndarray, depth: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Density behind the pleura: a soft lining, fat and muscle in layers, ribs with cortex and marrow.

    Args:
        grid: where it is drawn.
        outward: as for :func:`wall_depth`.
        depth: mm, from :func:`wall_depth`.
        rng: source of the layers and of where the ribs run.

    Returns:
        HU, float32 of ``grid.shape``; meaningful where ``depth`` is positive.

    Example:
        >>> grid = FineGrid.around((20, 20, 30), (0.7, 0.7, 1.0))
        >>> depth = np.broadcast_to(grid.axis(0), grid.shape)
        >>> hu = wall_hu(grid, np.array([1.0, 0, 0]), depth, np.random.default_rng(0))
        >>> bool(hu.min() > -200), bool(hu.max() > 500)
        (True, True)
    """
    layers = correlated_field(grid, 9.0, rng)
    # muscle near the pleura, then strands of fat, more of them the deeper
    fat = np.clip((layers + 0.12 * (depth - 9.0)) / 0.4 + 0.5, 0, 1)
    lining = rng.uniform(0.0, 1.5)  # extrapleural fat, in mm
    fat = np.maximum(fat, np.clip(1.0 - np.abs(depth - 2.2) / max(lining, 1e-3), 0, 1))
    hu = MUSCLE_HU + (FAT_HU - MUSCLE_HU) * fat + 6.0 * correlated_field(grid, 2.5, rng)

    x, y, z = (grid.axis(i) - np.float32(grid.size_mm[i] / 2) for i in range(3))
    across = -x * outward[1] + y * outward[0]
    # ribs slope down towards the front: in one axial slice a rib is seen cut obliquely
    height = z + across * np.tan(np.radians(rng.uniform(15, 40))) * rng.choice([-1, 1])
    phase = rng.uniform(0, RIB_DISTANCE_MM)
    from_rib = (height - phase + RIB_DISTANCE_MM / 2) % RIB_DISTANCE_MM - RIB_DISTANCE_MM / 2
    half_height, half_depth = rng.uniform(5.0, 6.5), rng.uniform(3.2, 4.2)
    rho = np.sqrt((from_rib / half_height) ** 2 + ((depth - 2.0 - half_depth) / half_depth) ** 2)
    inside = (1 - rho) * half_depth  # about mm below the rib's surface
    bone = np.clip(inside / 0.4 + 0.5, 0, 1)
    marrow = np.clip((inside - rng.uniform(0.8, 1.3)) / 0.5 + 0.5, 0, 1)
    rib = CORTEX_HU + (MARROW_HU - CORTEX_HU + 60 * correlated_field(grid, 1.5, rng)) * marrow
    return (hu + (rib - hu) * bone).astype(np.float32)
