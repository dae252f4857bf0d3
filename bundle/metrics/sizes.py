"""How large a nodule is: volume, diameters, mass; pure functions of a mask, and of the brightness under it.

Vocabulary: arrays are (X, Y, Z), axis 2 the axial one. The *outline* of a mask are the points half way between a voxel
inside and its neighbour outside, the vertices of marching squares (in a slice) or marching cubes (in 3-D), as IBSI
measures diameters. A calliper lies across dents, so that diameters are those of the outline's convex hull. Of a flat
side the outline is exact; the longest of all directions finds the voxels that stick out: at pixels of 0.7 mm and slices
of 1 mm it is 0.3 to 0.5 mm too long for spheres of 4 to 16 mm, 0.6 to 0.8 mm in 3-D.

A spacing is mm between voxel centres along each axis: a number, or, of slices that may lie unevenly, their places in
mm. A slice then stands for all that is nearer to it than to another; the first and the last one reach as far out as
half of their only gap. So the volume of observed slices alone is the sum of their areas times the gap.

Beyond the border of an array is outside. An empty mask has no size: nan throughout. One voxel has one: its own volume,
and the diameters of its middle lines.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy.spatial import ConvexHull
from scipy.spatial.distance import pdist, squareform

from bundle.errors import InputError
from bundle.transforms.dilate import dilate_mask_mm
from bundle.units import check_binary

Spacing = Sequence[Any]


class Diameters(NamedTuple):
    """In mm: the longest within one axial slice, and the longest across it, at a right angle, in the same slice."""

    longest: float
    perpendicular: float

    @property
    def mean(self) -> float:
        """Of both: what Lung-RADS and Fleischner call the diameter of a nodule."""
        return (self.longest + self.perpendicular) / 2


NO_DIAMETERS = Diameters(float("nan"), float("nan"))


def volume_mm3(mask: np.ndarray, spacing: Spacing) -> float:
    """Volume: that of all voxels inside.

    Args:
        mask: (X, Y, Z), > 0 is inside.
        spacing: see the module.

    Returns:
        mm3; nan for an empty mask.

    Raises:
        InputError: a mask of fractions or of other than three axes, or a spacing that does not fit it.

    Example:
        >>> volume_mm3(np.ones((2, 2, 3)), (0.5, 0.5, 2.0)), volume_mm3(np.ones((2, 2, 3)), (0.5, 0.5, [0, 2, 6]))
        (6.0, 9.0)
    """
    inside, axes = _geometry(mask, spacing)
    x, y, z = (np.diff(axis.edges) for axis in axes)
    volume = float(np.einsum("ijk,i,j,k->", inside, x, y, z))
    return volume if volume else float("nan")


def axial_diameters(mask: np.ndarray, spacing: Spacing) -> Diameters:
    """The longest diameter of all axial slices, and its perpendicular.

    Args:
        mask: (X, Y, Z), > 0 is inside; what is apart in a slice is measured as one.
        spacing: see the module.

    Returns:
        mm; of several slices with the same longest diameter, those of the one with the longest perpendicular; nan for
        an empty mask.

    Raises:
        InputError: as :func:`volume_mm3`.

    Example:
        >>> longest, perpendicular = axial_diameters(np.ones((4, 2, 3)), (1.0, 1.0, 5.0))
        >>> round(longest, 3)  # from the middle of one short side to that of the other: 4 along x, 1 along y
        4.123
    """
    inside, axes = _geometry(mask, spacing)
    measured = [_across(_outline(inside[..., k], axes[:2])) for k in np.flatnonzero(inside.any(axis=(0, 1)))]
    # to a nanometre, so that equal slices are not told apart by rounding
    return max(measured, key=lambda d: (round(d.longest, 6), d.perpendicular), default=NO_DIAMETERS)


def largest_diameter(mask: np.ndarray, spacing: Spacing) -> float:
    """The largest distance of two points of the outline in 3-D.

    Args:
        mask: (X, Y, Z), > 0 is inside.
        spacing: see the module.

    Returns:
        mm; nan for an empty mask.

    Raises:
        InputError: as :func:`volume_mm3`.

    Example:
        >>> largest_diameter(np.ones((1, 1, 1)), (1.0, 1.0, 2.5))
        2.5
    """
    inside, axes = _geometry(mask, spacing)
    if not inside.any():
        return float("nan")
    return float(pdist(_hull(_outline(inside, axes))).max())


def mass_mg(volume: float, mean: float) -> float:
    """Mass of tissue, whose density is that of water at 0 HU and nothing at -1000 (de Hoop, Radiology 2010; 255:199).

    Args:
        volume: mm3.
        mean: HU.

    Returns:
        mg; nan if either is.

    Example:
        >>> mass_mg(500.0, -200.0)
        400.0
    """
    return volume * (mean + 1000.0) / 1000.0


def segment(
    hu: np.ndarray, mask: np.ndarray, spacing: Sequence[float], threshold: float, margin_mm: float
) -> np.ndarray:
    """The nodule in an image, by one rule for all images: what is brighter than a threshold, near and connected.

    Args:
        hu: (X, Y, Z) HU.
        mask: (X, Y, Z), > 0 is inside: where the nodule is known to be.
        spacing: mm between voxel centres.
        threshold: HU; a voxel exactly at it is outside.
        margin_mm: how far from the mask a voxel may lie.

    Returns:
        (X, Y, Z) bool: voxels above the threshold, no farther from the mask than the margin, that are connected by
        faces, through such voxels, to one within the mask; empty where none of these is so bright.

    Example:
        >>> hu = np.array([-900.0, 10.0, -300.0, -900.0, 0.0]).reshape(5, 1, 1)
        >>> segment(hu, hu == 10, (1.0, 1.0, 1.0), -400.0, 3.0)[:, 0, 0]
        array([False,  True,  True, False, False])
    """
    from skimage.measure import label

    known = np.asarray(mask) > 0
    bright = (np.asarray(hu) > threshold) & dilate_mask_mm(known, spacing, margin_mm)
    parts = label(bright, connectivity=1)
    return np.isin(parts, np.unique(parts[known & bright])) & bright


class _Axis(NamedTuple):
    """Where voxels lie along an axis, in mm: their centres (n,), and the planes half way between them (n + 1,)."""

    centres: np.ndarray
    edges: np.ndarray


def _geometry(mask: np.ndarray, spacing: Spacing) -> tuple[np.ndarray, list[_Axis]]:
    """The mask as bool, and its axes."""
    check_binary("the mask", mask)
    inside = np.asarray(mask) > 0
    if inside.ndim != 3 or len(spacing) != 3:
        raise InputError(f"a mask of shape {inside.shape} with spacing {spacing}: expected (X, Y, Z), and mm for each")
    return inside, [_axis(n, step) for n, step in zip(inside.shape, spacing, strict=True)]


def _axis(count: int, spacing: float | Sequence[float] | np.ndarray) -> _Axis:
    even = np.ndim(spacing) == 0
    centres = np.arange(count) * float(spacing) if even else np.asarray(spacing, dtype=np.float64)  # type: ignore[arg-type]
    gaps = np.full(1, spacing, dtype=np.float64) if even else np.diff(centres)
    if len(centres) != count or not len(gaps) or not (np.isfinite(gaps) & (gaps > 0)).all():
        raise InputError(
            f"spacing {spacing} does not fit {count} voxels: give mm above 0, or the ascending place of each of at "
            "least two slices"
        )
    middles = (centres[1:] + centres[:-1]) / 2
    return _Axis(centres, np.array([centres[0] - gaps[0] / 2, *middles, centres[-1] + gaps[-1] / 2]))


def _outline(inside: np.ndarray, axes: Sequence[_Axis]) -> np.ndarray:
    """(N, axes) mm: points half way between a voxel inside and its face neighbour outside."""
    points = []
    for along, axis in enumerate(axes):
        padded = np.pad(inside, [(1, 1) if k == along else (0, 0) for k in range(inside.ndim)])
        crossing = np.argwhere(np.diff(padded, axis=along))
        points.append(
            np.stack([(axis.edges if k == along else axes[k].centres)[crossing[:, k]] for k in range(len(axes))], 1)
        )
    return np.concatenate(points)


def _hull(points: np.ndarray) -> np.ndarray:
    """Those points that are vertices of the convex hull, in the plane in its order."""
    return points[ConvexHull(points).vertices]


def _across(outline: np.ndarray) -> Diameters:
    """Of one slice's outline, (N, 2) mm: the longest distance, and the longest chord of the hull at a right angle."""
    hull = _hull(outline)
    distances = squareform(pdist(hull))
    a, b = np.unravel_index(distances.argmax(), distances.shape)
    along = (hull[b] - hull[a]) / distances[a, b]
    u, v = hull @ along, hull @ np.array([-along[1], along[0]])
    # the chord's length is piecewise linear between corners, so one of these has the longest
    above, below = (_border(u[side], v[side], u) for side in _sides(u, v, a, b))
    return Diameters(float(distances[a, b]), float(np.max(above - below)))


def _sides(u: np.ndarray, v: np.ndarray, a: int, b: int) -> tuple[np.ndarray, np.ndarray]:
    """Corners of the hull on either side of its longest diameter from a to b, both ends with each."""
    ends = np.isin(np.arange(len(u)), (a, b))
    return ends | (v >= v[a]), ends | (v <= v[a])


def _border(u: np.ndarray, v: np.ndarray, at: np.ndarray) -> np.ndarray:
    order = np.argsort(u, kind="stable")
    return np.interp(at, u[order], v[order])
