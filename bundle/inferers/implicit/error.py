"""The raw error of an implicit reconstruction: what it takes for its own error before any calibration.

Networks that agree may be wrong together, so their spread alone says too little. What the observed slices tell is
added: where the two slices around a place differ, or have edges, a slice between them is hard to guess, most so half
way. With f the part of the gap, the raw error is

    w(f) * (a * spread + b * |I_up - I_low| + c * edge + d),    w(f) = (4 f (1 - f)) ^ power

where the spread and the two slices are smoothed in plane, and the *edge* is the larger one of the two slices' in-plane
gradients. Beyond the last observed slice w rises to 1 over the width of the last gap.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter

from bundle.slices import ObservedSlices, bracket


@dataclass(frozen=True)
class RawError:
    """The coefficients of the raw error; the defaults were fitted to ``siren_mm``.

    They are the least-squares fit, without negative ones and relative to the error's size, to the absolute errors
    between observed slices of 20 nodules of LIDC-IDRI patients that are neither in the study's cohort nor among those
    that intervals are calibrated on (:mod:`.calibration`), at strides of 3, 5 and 8.

    Attributes:
        spread: a, of the standard deviation over the members.
        disagreement: b, of the difference of the neighbouring observed slices.
        edge: c, of the in-plane gradient, in mm.
        floor: d, normalised intensity.
        power: of 4 f (1 - f).
        smooth_mm: sd in plane of the Gaussian before the difference and in the gradient.

    Example:
        >>> seen = ObservedSlices(np.zeros((4, 4, 2)), None, np.array([0.0, 4.0]), np.arange(6.0))
        >>> RawError(floor=0.02, power=1.0)(seen, np.zeros((4, 4, 6)))[0, 0].round(4).tolist()
        [0.0, 0.015, 0.02, 0.015, 0.0, 0.005]
    """

    spread: float = 1.33
    disagreement: float = 0.084
    edge: float = 0.086
    floor: float = 0.004
    power: float = 0.25
    smooth_mm: float = 0.5

    def __call__(self, observed: ObservedSlices, spread: np.ndarray) -> np.ndarray:
        """Raw error at the targets.

        Args:
            observed: the observed slices, and the targets.
            spread: (X, Y, Z) normalised, standard deviation over the members at the targets.

        Returns:
            (X, Y, Z) float64, normalised; above 0 but at observed slices, where it is 0.
        """
        sd = (*self.smooth_mm / np.array(observed.spacing), 0)
        smooth = functools.partial(gaussian_filter, sigma=sd, mode="nearest")
        image = observed.intensity.astype(np.float64)
        slope_x, slope_y = smooth(image, order=(1, 0, 0)), smooth(image, order=(0, 1, 0))
        edge = np.sqrt(slope_x * slope_x + slope_y * slope_y) / np.mean(observed.spacing)
        level = smooth(image)
        lower, upper, fraction = bracket(observed.positions, observed.targets)
        beyond = np.maximum(-fraction, fraction - 1)
        weight = np.where(beyond > 0, np.minimum(beyond, 1), 4 * fraction * (1 - fraction))
        total = self.spread * smooth(spread) + self.disagreement * np.abs(level[..., upper] - level[..., lower])
        total += self.edge * np.maximum(edge[..., upper], edge[..., lower]) + self.floor
        return weight**self.power * total
