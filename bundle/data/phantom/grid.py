"""The fine grid on which a phantom's anatomy is drawn, before the scanner sees it.

Vocabulary: a *fine grid* covers the image and a guard around it with voxels smaller than the image's, so that
thin vessels and partial volume come out right; positions are mm from the outer corner of its first voxel, in
(x, y, z) order. An *occupancy* is the share of a voxel that a structure fills, 0 to 1. A *tube* is a straight
piece of a cone: (x0, y0, z0, x1, y1, z1, r0, r1) in mm, its ends rounded.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

GUARD_MM = 3.0
FINE_Z_MM = 0.35


@dataclass(frozen=True)
class FineGrid:
    """Voxels of a fine grid and how they nest in the image's.

    Attributes:
        shape: fine voxels along x, y, z, guard included.
        spacing: their size in mm.
        factors: fine voxels a voxel of the image, per axis.
        guard: voxels of the image on each side, per axis, that the image itself does not have.

    Example:
        >>> grid = FineGrid.around((40, 40, 20), (0.7, 0.7, 1.0))
        >>> grid.factors, grid.guard
        ((2, 2, 3), (5, 5, 3))
    """

    shape: tuple[int, int, int]
    spacing: tuple[float, float, float]
    factors: tuple[int, int, int]
    guard: tuple[int, int, int]

    @classmethod
    def around(
        cls, image_shape: tuple[int, ...], spacing: tuple[float, float, float], guard_mm: float = GUARD_MM
    ) -> FineGrid:
        """The grid for an image of ``image_shape`` voxels of ``spacing`` mm."""
        factors = (2, 2, max(2, round(spacing[2] / FINE_Z_MM)))
        guard = tuple(int(np.ceil(guard_mm / s)) for s in spacing)
        shape = tuple((n + 2 * g) * f for n, g, f in zip(image_shape, guard, factors, strict=True))
        fine = tuple(s / f for s, f in zip(spacing, factors, strict=True))
        return cls(shape, fine, factors, guard)  # type: ignore[arg-type]

    @property
    def size_mm(self) -> np.ndarray:
        """Extent along x, y, z in mm."""
        return np.multiply(self.shape, self.spacing)

    def axis(self, i: int) -> np.ndarray:
        """Centres of the voxels along axis ``i`` in mm, shaped to broadcast over a volume."""
        centres = (np.arange(self.shape[i], dtype=np.float32) + 0.5) * np.float32(self.spacing[i])
        return centres.reshape([-1 if j == i else 1 for j in range(3)])


def resample(volume: np.ndarray, positions: tuple[np.ndarray, ...]) -> np.ndarray:
    """Interpolate a volume linearly at a rectilinear set of positions, the border value held outside.

    Args:
        volume: (X, Y, Z).
        positions: for each axis the wanted positions, in voxels of ``volume`` (its first voxel is at 0).

    Returns:
        float32 of shape ``(len(positions[0]), len(positions[1]), len(positions[2]))``.

    Example:
        >>> resample(np.arange(8.0).reshape(2, 2, 2), (np.array([0.5]),) * 3).item()
        3.5
    """
    out = volume.astype(np.float32, copy=False)
    for i, wanted in enumerate(positions):
        wanted = np.clip(wanted, 0, out.shape[i] - 1)
        low = np.minimum(wanted.astype(int), max(out.shape[i] - 2, 0))
        high = np.minimum(low + 1, out.shape[i] - 1)
        share = (wanted - low).astype(np.float32).reshape([-1 if j == i else 1 for j in range(3)])
        first = np.take(out, low, axis=i)
        out = first + share * (np.take(out, high, axis=i) - first)
    return out


def correlated_field(grid: FineGrid, length_mm: float, rng: np.random.Generator) -> np.ndarray:
    """A random field of zero mean, unit variance and Gaussian autocorrelation, the same in every direction.

    White noise on a grid of the field's own scale, smoothed there and interpolated: cheap at any length.

    Args:
        grid: where the field is wanted.
        length_mm: lag at which the autocorrelation has fallen to about 1/e.
        rng: source of the noise.

    Returns:
        float32 of ``grid.shape``.

    Example:
        >>> grid = FineGrid.around((30, 30, 20), (0.7, 0.7, 1.0))
        >>> bool(abs(correlated_field(grid, 1.5, np.random.default_rng(0)).std() - 1) < 0.1)
        True
    """
    # smoothing by a Gaussian of sd s gives the autocorrelation exp(-lag^2 / 4 s^2): 1/e at 2 s
    steps = [max(s, length_mm / 4) for s in grid.spacing]
    sigmas = [length_mm / 2 / step for step in steps]
    counts = [int(np.ceil(n * s / step)) + 2 for n, s, step in zip(grid.shape, grid.spacing, steps, strict=True)]
    noise = rng.standard_normal(counts, dtype=np.float32)
    field = ndimage.gaussian_filter(noise, sigmas, mode="wrap", truncate=3.0)
    for count, sigma in zip(counts, sigmas, strict=True):
        taps = np.zeros(count)
        taps[count // 2] = 1.0
        field /= np.sqrt((ndimage.gaussian_filter1d(taps, sigma, mode="wrap", truncate=3.0) ** 2).sum())
    return resample(
        field,
        tuple(np.arange(n) * s / step for n, s, step in zip(grid.shape, grid.spacing, steps, strict=True)),
    )


def paint_tubes(grid: FineGrid, tubes: np.ndarray, into: np.ndarray | None = None) -> np.ndarray:
    """Occupancy of a set of tubes, antialiased over one fine voxel; where tubes meet the fuller one counts.

    Args:
        grid: where to paint.
        tubes: (N, 8), see the module's vocabulary; parts outside of the grid are left out.
        into: an occupancy to paint on (changed in place); None for an empty one.

    Returns:
        float32 occupancy of ``grid.shape``.

    Example:
        >>> grid = FineGrid.around((10, 10, 10), (1.0, 1.0, 1.0))
        >>> tube = np.array([[8.0, 8.0, 4.0, 8.0, 8.0, 12.0, 1.5, 1.5]])
        >>> volume = paint_tubes(grid, tube).sum() * np.prod(grid.spacing)
        >>> bool(abs(volume - np.pi * 1.5**2 * (8 + 4 / 3 * 1.5)) < 2)  # cylinder and two half balls, mm^3
        True
    """
    out = np.zeros(grid.shape, np.float32) if into is None else into
    spacing = np.array(grid.spacing)
    soft = float(spacing.mean())
    axes = [np.ravel(grid.axis(i)) for i in range(3)]
    tubes = np.asarray(tubes, float).reshape(-1, 8)
    reach = tubes[:, 6:].max(axis=1, keepdims=True) + soft
    lows = np.floor((np.minimum(tubes[:, :3], tubes[:, 3:6]) - reach) / spacing).astype(int).clip(0)
    highs = np.ceil((np.maximum(tubes[:, :3], tubes[:, 3:6]) + reach) / spacing).astype(int)
    highs = np.minimum(highs, grid.shape)
    for tube, low, high in zip(tubes, lows, highs, strict=True):
        if (low >= high).any():
            continue
        along = tube[3:6] - tube[:3]
        x, y, z = (
            axes[i][low[i] : high[i]].reshape([-1 if j == i else 1 for j in range(3)]) - np.float32(tube[i])
            for i in range(3)
        )
        share = (x * along[0] + y * along[1] + z * along[2]) / max(float(along @ along), 1e-9)
        share = np.clip(share, 0, 1)
        distance = np.sqrt((x - share * along[0]) ** 2 + (y - share * along[1]) ** 2 + (z - share * along[2]) ** 2)
        filled = np.clip(0.5 + (tube[6] + share * (tube[7] - tube[6]) - distance) / soft, 0, 1)
        patch = out[low[0] : high[0], low[1] : high[1], low[2] : high[2]]
        np.maximum(patch, filled, out=patch, casting="same_kind")
    return out
