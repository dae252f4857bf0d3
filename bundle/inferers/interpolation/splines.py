"""Fill the gap by interpolating along the decimated axis, voxel column by voxel column.

Vocabulary, beside that of :mod:`bundle.slices`: beyond the observed slices a method either *extrapolates* or *holds*
the nearest of them.

Nearest, linear and cubic interpolation are linear in the data: each is a (Z, K) matrix of weights that
depends on the positions alone (:func:`nearest_weights`, :func:`linear_weights`, :func:`cubic_weights`), so
that a whole volume is one matrix product. PCHIP chooses its slopes from the data and is evaluated row by
row.
"""

from __future__ import annotations

import copy
from typing import Literal, get_args

import numpy as np
from scipy.interpolate import CubicSpline, PchipInterpolator

from bundle.errors import InputError
from bundle.inferers.base import SliceInferer, checked_image
from bundle.slices import SAME_PLANE_MM, ObservedSlices, Reconstruction, bracket, held, observed_index

Beyond = Literal["extrapolate", "hold"]


def nearest_weights(positions: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """(Z, K) weights that copy the nearest observed slice; the lower one in the middle of a gap.

    Example:
        >>> nearest_weights(np.array([0.0, 4.0]), np.array([1.0, 2.0, 3.0, 9.0]))[:, 1]
        array([0., 0., 1., 1.])
    """
    lower, upper, fraction = bracket(positions, targets)
    return np.eye(len(positions))[np.where(fraction <= 0.5, lower, upper)]


def linear_weights(positions: np.ndarray, targets: np.ndarray, within_mm: float = SAME_PLANE_MM) -> np.ndarray:
    """(Z, K) weights of the line through the two observed slices around a target; ``within_mm`` as :func:`bracket`.

    Beyond the ends the line goes on; hold the targets (:func:`held`) to repeat the end slices instead.

    Example:
        >>> linear_weights(np.array([0.0, 4.0]), np.array([1.0, 6.0]))
        array([[ 0.75,  0.25],
               [-0.5 ,  1.5 ]])
    """
    lower, upper, fraction = bracket(positions, targets, within_mm)
    weights = np.zeros((len(targets), len(positions)))
    rows = np.arange(len(targets))
    weights[rows, lower] = 1 - fraction
    weights[rows, upper] = fraction
    return weights


def cubic_weights(positions: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """(Z, K) weights of the cubic spline through all observed slices, with not-a-knot ends.

    It is ``scipy.interpolate.CubicSpline``, which through 3 slices puts a parabola and through 2 a line.
    Beyond the ends the outermost piece goes on; hold the targets (:func:`held`) to repeat the end slices
    instead.

    Example:
        >>> cubic_weights(np.arange(3.0), np.array([0.5])).round(6)
        array([[ 0.375,  0.75 , -0.125]])
    """
    weights = CubicSpline(positions, np.eye(len(positions)))(targets)
    # at an observed slice the spline is that slice, but for rounding
    return np.where((observed_index(positions, targets) >= 0)[:, None], linear_weights(positions, targets), weights)


def pchip(values: np.ndarray, positions: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Interpolate by a monotone cubic, which never leaves the range of the two slices around a target.

    It is ``scipy.interpolate.PchipInterpolator`` (Fritsch and Butland 1984), a line through 2 slices.

    Args:
        values: (..., K) observed, any unit.
        positions: (K,) mm, strictly ascending.
        targets: (Z,) mm; beyond the ends the outermost piece goes on.

    Returns:
        (..., Z) float64.

    Example:
        >>> pchip(np.array([[0.0, 0.0, 1.0]]), np.arange(3.0), np.array([0.5, 1.5]))
        array([[0.    , 0.3125]])
    """
    out = np.empty((*values.shape[:-1], len(targets)))
    index = observed_index(positions, targets)
    seen = index >= 0
    # one row of the volume at a time: scipy keeps four coefficients for each piece of each column
    for row, filled in zip(_rows(values), _rows(out), strict=True):
        filled[...] = PchipInterpolator(positions, row, axis=-1)(targets)
        filled[..., seen] = row[..., index[seen]]
    return out


def _rows(array: np.ndarray) -> np.ndarray:
    """The array as a stack of rows (views), so that a volume is worked through a row at a time."""
    return array if array.ndim > 1 else array[None]


class _InterpolationInferer(SliceInferer):
    """What the interpolations share: the checks, the ends, the clipping, the note on a lower order."""

    def __init__(self, beyond: Beyond, clip: bool = True) -> None:
        super().__init__()
        if beyond not in get_args(Beyond):
            raise InputError(f'beyond="{beyond}" is unknown to {type(self).__name__}: give "extrapolate" or "hold"')
        self.beyond = beyond
        self.clip = clip

    def unclipped(self) -> SliceInferer:
        """The same interpolation without its clipping."""
        free = copy.copy(self)
        free.clip = False
        return free

    def reconstruct(self, observed: ObservedSlices) -> Reconstruction:
        """Interpolate the image at every target.

        Args:
            observed: the observed slices; a mask is not looked at.

        Returns:
            ``image`` (X, Y, Z) float64; a slice at an observed position is that slice exactly. A note says
            where a lower order was used for want of slices.

        Raises:
            InputError: there is no image, or it holds nan or infinite values.
        """
        observed_image, positions = checked_image(observed, type(self).__name__, self.clip), observed.positions
        targets = held(positions, observed.targets) if self.beyond == "hold" else observed.targets
        image = self._fill(observed_image, positions, targets)
        if self.clip:
            np.clip(image, 0, 1, out=image)
        return Reconstruction(image=image, notes=self._notes(len(positions)))

    def _weights(self, positions: np.ndarray, targets: np.ndarray) -> np.ndarray:
        """(Z, K); a method that is not linear in the data overrides ``_fill`` instead."""
        raise NotImplementedError

    def _fill(self, image: np.ndarray, positions: np.ndarray, targets: np.ndarray) -> np.ndarray:
        """(X, Y, Z) float64."""
        return image @ self._weights(positions, targets).T

    def _notes(self, n_slices: int) -> list[str]:
        """One sentence if the slices are too few for the method's order."""
        return []


class NearestInferer(_InterpolationInferer):
    """Copy the nearest observed slice; in the middle of a gap the lower one. Beyond the ends this holds.

    Args:
        clip: whether to clip the result to [0, 1].

    Example:
        >>> NearestInferer()(np.array([[[0.2, 0.8]]]), positions=[0, 2], targets=[0, 1, 2, 3])[0, 0]
        array([0.2, 0.2, 0.8, 0.8], dtype=float32)
    """

    def __init__(self, clip: bool = True) -> None:
        super().__init__("hold", clip)

    def _weights(self, positions: np.ndarray, targets: np.ndarray) -> np.ndarray:
        return nearest_weights(positions, targets)


class LinearInferer(_InterpolationInferer):
    """Draw a line between the two observed slices around a target.

    Args:
        beyond: before the first and after the last observed slice: "hold" that slice (as ``numpy.interp``
            does), or "extrapolate" the line.
        clip: whether to clip the result to [0, 1].

    Example:
        >>> LinearInferer()(np.array([[[0.25, 0.75]]]), positions=[0, 2], targets=[0, 1, 2, 3])[0, 0]
        array([0.25, 0.5 , 0.75, 0.75], dtype=float32)
    """

    def __init__(self, beyond: Beyond = "hold", clip: bool = True) -> None:
        super().__init__(beyond, clip)

    def _weights(self, positions: np.ndarray, targets: np.ndarray) -> np.ndarray:
        return linear_weights(positions, targets)


class CubicInferer(_InterpolationInferer):
    """The paper's density baseline: a cubic spline along z through all observed slices, not-a-knot ends.

    3 observed slices give a parabola and 2 a line, with a note.

    Args:
        beyond: before the first and after the last observed slice: "extrapolate" the spline (as the paper
            does), or "hold" the end slice.
        clip: whether to clip the result to [0, 1]; a spline overshoots at edges.

    Example:
        >>> volume = np.linspace(0, 1, 5)[None, None] ** 3
        >>> CubicInferer()(volume, targets=[0.5, 3.5])[0, 0].round(4)
        array([0.002 , 0.6699], dtype=float32)
    """

    def __init__(self, beyond: Beyond = "extrapolate", clip: bool = True) -> None:
        super().__init__(beyond, clip)

    def _weights(self, positions: np.ndarray, targets: np.ndarray) -> np.ndarray:
        return cubic_weights(positions, targets)

    def _notes(self, n_slices: int) -> list[str]:
        if n_slices > 3:
            return []
        lower = "a line" if n_slices == 2 else "a parabola"
        return [f"{n_slices} observed slices are too few for a cubic spline: {lower} was used"]


class PchipInferer(_InterpolationInferer):
    """Interpolate by a monotone cubic (PCHIP), which does not overshoot; 2 slices give a line, with a note.

    Args:
        beyond: before the first and after the last observed slice: "hold" that slice, which keeps within
            the range of the data as the method does elsewhere, or "extrapolate" the outermost cubic.
        clip: whether to clip the result to [0, 1].

    Example:
        >>> PchipInferer()(np.array([[[0.0, 0.0, 1.0]]]), targets=[0.5, 1.5, 2.5])[0, 0]
        array([0.    , 0.3125, 1.    ], dtype=float32)
    """

    def __init__(self, beyond: Beyond = "hold", clip: bool = True) -> None:
        super().__init__(beyond, clip)

    def _fill(self, image: np.ndarray, positions: np.ndarray, targets: np.ndarray) -> np.ndarray:
        return pchip(image, positions, targets)

    def _notes(self, n_slices: int) -> list[str]:
        return ["2 observed slices are too few for PCHIP: a line was used"] if n_slices == 2 else []
