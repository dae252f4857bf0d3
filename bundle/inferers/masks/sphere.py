"""Interpolate masks so that their area changes along z as the area of a sphere's sections does.

Vocabulary: a *section* is the nodule's mask in one slice; its *square* is its area over pi in mm^2, the squared radius
of the disc of that area. Along the axis of a sphere the squares are a parabola ``-z^2 + ...``, of *curvature* 1, so
that two sections make a whole sphere: one that bulges between them, and ends at a known *depth* beyond them. Three
sections tell the curvature; that of a pillar is 0. A *level* is where a section's outline is drawn in a field of signed
distances.

Signed distances alone (:func:`bundle.inferers.signed_distance`) tell how one outline passes over into the next, but
not how large the section is, and nothing about where the nodule ends: a half-way section of two discs that do not
overlap is empty, between two sections of a sphere it is too small, and next to a slice without mask any end is as good
as another. Here the outline is the level of the interpolated distances that has the sphere's area.

Where the constants come from: masks of LIDC-IDRI's readers (50 % consensus) in thin slices, of patients that are not in
the study's cohort, at gaps of 1 to 8 mm and any first slice (``scripts/compare_shape.py`` measures the methods on
them, and ends). There a sphere's depth, up to the limits below, is nearer to the true end than half a gap is, as near
as a small network came that saw the areas and depths of all sections. Between sections that have others on both sides
nodules bulge half as much as spheres, by the curvature that those tell (0.6, 0.4; right 0.55, 0.4); between two
sections alone 0.8 as much. The end is blunt, a cubic and not the sphere's own parabola, because where it
lies is uncertain: a section that exists there is larger than the mean of those that do and those that do not. That
costs no overlap and makes the Hausdorff distance smaller.
"""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter

from bundle.inferers.masks.distance import Beyond, MaskInferer, signed_depth
from bundle.slices import ObservedSlices, bracket, held

# an end reaches this part of the gap towards a slice without mask at most, and this part beyond the observed slices
END, END_BEYOND = 2 / 3, 1 / 2
# the square falls as 1 - x^BLUNT from the last section at 0 to the end at 1
BLUNT = 3
# curvature between two sections that have no others beside them
ALONE = 0.8
# voxels as deep as the level up to rounding are at it
_TIE_MM = 1e-9
# of the smoothed distances: of voxels as deep as each other, those first that have more of the mask around them
_SMOOTHED = 1e-3


def sphere_depth(square: float, behind: float, distance: float) -> float:
    """Depth in mm from the last section of a sphere to its end.

    Args:
        square: of the last section, mm^2.
        behind: square of the section before it, mm^2. If the last is larger than that, it is taken for the sphere's
            largest. 0 if there is none: then the sphere is cut anywhere within half a distance of its middle, and its
            squared radius is larger than the square by a twelfth of the distance's in the mean.
        distance: mm between the two.

    Returns:
        mm, above 0 for a square above 0.

    Example:
        >>> sphere_depth(5.0**2 - 3.0**2, 5.0**2 - 1.0**2, 2.0)  # a sphere of radius 5, cut 3 from its centre
        2.0
    """
    if not behind:
        return float(np.sqrt(square + distance**2 / 12))
    slope = min((square - behind) / distance - distance, 0.0)
    return float(slope + np.sqrt(slope**2 + 4 * square)) / 2


def curvatures(squares: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """How the squares bend at each section, from the sections on both sides.

    Args:
        squares: (K,) of the observed sections, mm^2, 0 where there is none.
        positions: (K,) mm, strictly ascending.

    Returns:
        (K,) from 0, a pillar, a cone or what is waisted, to 1, a sphere; nan without a section on each side.

    Example:
        >>> z = np.array([-4.0, 0, 3, 4])
        >>> curvatures(25 - z**2, z).round(6)
        array([nan,  1.,  1., nan])
    """
    bent = np.full(len(squares), np.nan)
    slopes, gaps = np.diff(squares) / np.diff(positions), np.diff(positions)
    met = squares > 0
    inner = met[:-2] & met[1:-1] & met[2:]
    bent[1:-1][inner] = (-np.diff(slopes) / (gaps[:-1] + gaps[1:])).clip(0, 1)[inner]
    return bent


def sphere_squares(
    squares: np.ndarray, positions: np.ndarray, targets: np.ndarray, beyond: Beyond = "half"
) -> np.ndarray:
    """Square of the section at each target.

    Between two sections it is the parabola through both, with the mean of their :func:`curvatures`, or 0.8 where they
    have none, but at most twice the line in the middle of the gap. Next to a slice without mask it falls to 0 at the
    sphere's depth, or where two thirds of the gap are over; beyond the ends where half of the last gap is.

    Args:
        squares: (K,) of the observed sections, mm^2, 0 where there is none.
        positions: (K,) mm, strictly ascending.
        targets: (Z,) mm.
        beyond: before the first and after the last position: "hold" the square, end it within "half" a gap, or "empty".

    Returns:
        (Z,) mm^2, 0 where there is no section.

    Example:
        >>> z = np.array([-4.0, 0, 4])  # a sphere of radius 5 around 0
        >>> sphere_squares(25 - z**2, z, np.arange(-4.0, 5)).round(6)
        array([ 9., 16., 21., 24., 25., 24., 21., 16.,  9.])
    """
    targets = held(positions, targets) if beyond == "hold" else targets
    lower, upper, fraction = bracket(positions, targets)
    out, curved = np.zeros(len(targets)), curvatures(squares, positions)
    for z, (low, up, a) in enumerate(zip(lower, upper, fraction, strict=True)):
        gap = positions[up] - positions[low]
        if a in (0, 1) or (0 < a < 1 and squares[low] > 0 and squares[up] > 0):
            line = (1 - a) * squares[low] + a * squares[up]
            known = [c for c in (curved[low], curved[up]) if np.isfinite(c)]
            out[z] = line + a * (1 - a) * min(np.mean(known or [ALONE]) * gap**2, 4 * line)
            continue
        # the last section, and the place of the one behind it
        if 0 < a < 1:
            last, behind, reach = (low, low - 1, END) if squares[low] > 0 else (up, up + 1, END)
        else:
            last, behind, reach = (low, up, END_BEYOND) if a < 0 else (up, low, END_BEYOND)
        if squares[last] > 0 and (0 < a < 1 or beyond == "half"):
            there = 0 <= behind < len(positions)
            distance = abs(positions[last] - positions[behind]) if there else gap
            depth = min(sphere_depth(squares[last], squares[behind] if there else 0.0, distance), reach * gap)
            out[z] = squares[last] * max(0.0, 1 - (abs(targets[z] - positions[last]) / depth) ** BLUNT)
    return out


def sphere_distance(
    masks: np.ndarray,
    positions: np.ndarray,
    targets: np.ndarray,
    spacing: tuple[float, float] = (1.0, 1.0),
    beyond: Beyond = "half",
    shift: np.ndarray | None = None,
) -> np.ndarray:
    """Interpolate masks by their in-plane signed distance, at the level that has a sphere's area.

    The distances (:func:`signed_depth`) are interpolated linearly along z; next to a slice without mask, and beyond the
    ends, they are the nearest section's. The mask is the smallest level set that has at least the area of
    :func:`sphere_squares`, to the nearest number of voxels.

    Args:
        masks: (X, Y, K) bool, K >= 2.
        positions: (K,) mm, strictly ascending.
        targets: (Z,) mm.
        spacing: in-plane spacing (x, y) in mm.
        beyond: before the first and after the last position: "hold" the nearest mask, go on for less than "half" a gap,
            or leave it "empty".
        shift: (X, Y, Z) mm by which the outline is moved outwards at each voxel, where there is a section; None: not.

    Returns:
        (X, Y, Z) bool; at an observed position that mask exactly.

    Example:
        >>> masks = np.zeros((9, 9, 2), bool)
        >>> masks[2:7, 2:7, 0] = masks[4:5, 4:5, 1] = True
        >>> sphere_distance(masks, np.array([0.0, 2.0]), np.arange(3.0)).sum(axis=(0, 1))
        array([25, 21,  1])
    """
    targets = held(positions, targets) if beyond == "hold" else targets
    lower, upper, fraction = bracket(positions, targets)
    pixel = spacing[0] * spacing[1]
    squares = masks.sum(axis=(0, 1)) * pixel / np.pi
    counts = np.rint(sphere_squares(squares, positions, targets, beyond) * np.pi / pixel).astype(int)
    depth = [_to_outline(signed_depth(masks[..., k], spacing), spacing) for k in range(masks.shape[-1])]
    out = np.zeros((*masks.shape[:2], len(targets)), dtype=bool)
    for z, (low, up, a) in enumerate(zip(lower, upper, fraction, strict=True)):
        if a in (0, 1):
            out[..., z] = masks[..., up if a else low]
        elif counts[z]:
            field = _between(depth[low], depth[up], float(a))
            out[..., z] = _largest(field if shift is None else field + shift[..., z], int(counts[z]))
    return out


def _to_outline(depth: np.ndarray | None, spacing: tuple[float, float]) -> np.ndarray | None:
    """Distances to the outline, half a pixel nearer than the first voxel on its other side."""
    return None if depth is None else depth - np.sign(depth) * (spacing[0] + spacing[1]) / 4


def _between(below: np.ndarray | None, above: np.ndarray | None, a: float) -> np.ndarray:
    """Distances at the fraction ``a`` of the gap; of the one section, if there is but one or the target is beyond."""
    if below is None or a > 1:
        assert above is not None
        return above
    if above is None or a < 0:
        return below
    return (1 - a) * below + a * above


def _largest(field: np.ndarray, count: int) -> np.ndarray:
    """The ``count`` deepest voxels, and those as deep as the last of them, as bool.

    Whole rings of voxels are as deep as each other; of these the smoothed field decides, or one voxel too few would
    add a ring.
    """
    field = field + _SMOOTHED * gaussian_filter(field, 1.0)
    nth = max(field.size - count, 0)
    return np.asarray(field >= np.partition(field.ravel(), nth)[nth] - _TIE_MM)


class SphereDistanceInferer(MaskInferer):
    """Shape-based interpolation whose sections are as large as a sphere's; see :func:`sphere_distance`.

    Args:
        beyond: see :func:`sphere_distance`.

    Example:
        >>> masks = np.ones((4, 4, 2), bool)
        >>> SphereDistanceInferer()(masks, positions=[0, 5], targets=range(7)).shape
        (4, 4, 7)
    """

    def _fill(self, masks: np.ndarray, observed: ObservedSlices) -> np.ndarray:
        return sphere_distance(masks, observed.positions, observed.targets, observed.spacing, self.beyond)
