"""Draw one of the many images that a learned method holds possible between the observed slices.

What a network gives is about the mean of what can be there, so it is smoother than any of it: runs of equal brightness
are too long, and other features of texture are off with them. A *sample* adds what a mean is short of, the grain of the
scan: Gaussian noise with a part of the expected error as its standard deviation, whose neighbours in plane and along z
are correlated. It has none of it in an observed slice (conditional simulation by kriging: Journel, Economic Geology
1974; 69:673), and where observed slices are averages over a thickness, none in the averages.

A sample is further from the truth than the mean, voxel by voxel, and what it shows in one place need not be there: it
is for measuring texture, not for reading.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping

import numpy as np

from bundle.errors import InputError
from bundle.inferers.base import SliceInferer, checked_image_method
from bundle.inferers.calibration.intervals import Calibration
from bundle.inferers.consistency import agreed, averaging_weights
from bundle.slices import ObservedSlices, Reconstruction

NOTE = "one of many possible images, for texture, not for reading"  # fits a NIfTI header with "sample 100 of 100: "
# standard deviation over expected error, where observed slices are planes, and averages over a thickness
AMPLITUDE, AMPLITUDE_THICK = 0.7, 0.5
# mm at which two voxels share 74 % of their noise, in plane and along z
RANGE_MM, RANGE_Z_MM = 0.3, 0.3
# rows in one step, so that a whole chest has no second copy
_ROWS = 16


def matern(distance: np.ndarray, range_mm: float) -> np.ndarray:
    """Correlation of two places, Matern's of smoothness 3/2.

    Example:
        >>> matern(np.array([0.0, 1.0, 2.0]), 1.0).round(2).tolist()
        [1.0, 0.74, 0.41]
    """
    scaled = np.abs(distance) / range_mm
    return (1 + scaled) * np.exp(-scaled)


def mixing_along_z(observed: ObservedSlices) -> np.ndarray:
    """Weights that make independent slices of noise correlated along z, and nothing where the body was observed.

    Args:
        observed: says where slices are, were observed, and how thick these are.

    Returns:
        (Z, Z): the product with its transpose is the correlation along z of what was not observed; rows of 0 where
        all was.

    Example:
        >>> seen = ObservedSlices(None, None, np.array([0.0, 2.0]), np.arange(3.0))
        >>> np.abs(mixing_along_z(seen)).sum(axis=1).round(6).tolist()
        [0.0, 1.0, 0.0]
    """
    targets = observed.targets
    covariance = matern(targets[:, None] - targets, RANGE_Z_MM)
    if observed.thickness_mm:
        weights = averaging_weights(observed)[1]
        known, shared = weights @ covariance @ weights.T, weights @ covariance
    else:
        known = matern(observed.positions[:, None] - observed.positions, RANGE_Z_MM)
        shared = matern(observed.positions[:, None] - targets, RANGE_Z_MM)
    covariance = covariance - shared.T @ np.linalg.pinv(known, rcond=1e-9, hermitian=True) @ shared
    deviation = np.sqrt(covariance.diagonal().clip(0))
    free = deviation > 1e-4
    deviation[~free] = np.inf
    values, vectors = np.linalg.eigh(covariance / deviation[:, None] / deviation)
    mixing = vectors * np.sqrt(values.clip(0))
    mixing[~free] = 0
    return mixing


def correlated_plane(shape: tuple[int, int], spacing: tuple[float, float], random: np.random.Generator) -> np.ndarray:
    """(X, Y) of noise of variance 1, correlated as by :func:`matern`; opposite borders are neighbours.

    By circulant embedding (Dietrich and Newsam, SIAM Journal on Scientific Computing 1997; 18:1088).

    Example:
        >>> plane = correlated_plane((256, 256), (0.3, 0.3), np.random.default_rng(0))
        >>> round(float(plane.std()), 1), round(float((plane[1:] * plane[:-1]).mean()), 1)
        (1.0, 0.7)
    """
    x, y = (np.minimum(np.arange(n), n - np.arange(n)) * step for n, step in zip(shape, spacing, strict=True))
    power = np.fft.fft2(matern(np.hypot(x[:, None], y), RANGE_MM)).real.clip(0)
    turned = np.fft.fft2(random.standard_normal(shape)) * np.sqrt(power / power.mean())
    return np.fft.ifft2(turned).real.astype(np.float32)


def sampled(image: np.ndarray, error: np.ndarray, observed: ObservedSlices, seed: int) -> np.ndarray:
    """Add to an image what it is short of, not yet in agreement with thick slices.

    Args:
        image: (X, Y, Z) at the targets, in any unit.
        error: (X, Y, Z) its expected absolute error, in the same unit.
        observed: says where slices are; its image is not looked at.
        seed: the same draws the same, whatever else is drawn.

    Returns:
        (X, Y, Z), a new array in the dtype of ``image``.

    Example:
        >>> seen = ObservedSlices(None, None, np.array([0.0, 2.0]), np.arange(3.0))
        >>> made = sampled(np.zeros((9, 9, 3)), np.ones((9, 9, 3)), seen, seed=1)
        >>> made.std(axis=(0, 1)).round(1).tolist()
        [0.0, 0.7, 0.0]
    """
    random = np.random.default_rng(seed)
    shape = (image.shape[0], image.shape[1])
    noise = np.stack([correlated_plane(shape, observed.spacing, random) for _ in observed.targets], axis=-1)
    mixing = mixing_along_z(observed).astype(np.float32) * (AMPLITUDE_THICK if observed.thickness_mm else AMPLITUDE)
    out = np.array(image)
    for first in range(0, len(out), _ROWS):
        rows = slice(first, first + _ROWS)
        out[rows] += error[rows] * (noise[rows] @ mixing.T)
    return out


class SampleInferer(SliceInferer):
    """One of the many images that a learned method holds possible: its own, and noise as large as it expects to err.

    Args:
        prior: the method that gives the mean and the expected error, or what makes it.

    There is no ``error``: that of the mean is the method's own. The seed says which sample; the mean of many is the
    method's image, but for what the window cuts.

    Raises:
        InputError: ``prior`` gives masks.

    Example:
        >>> from bundle.inferers import PriorInferer
        >>> draw = SampleInferer(PriorInferer)  # a network without weights
        >>> thick = np.random.default_rng(0).random((8, 8, 3))
        >>> one, again, other = (draw(thick, targets=[0, 0.5, 1], seed=seed) for seed in (0, 0, 1))
        >>> bool((one == again).all()), bool((one == other).all()), bool(np.allclose(one[..., 0], thick[..., 0]))
        (True, False, True)
    """

    in_plane = True
    sample = True

    def __init__(self, prior: SliceInferer | Callable[[], SliceInferer]) -> None:
        super().__init__()
        self.prior = checked_image_method(prior)

    def reconstruct(self, observed: ObservedSlices) -> Reconstruction:
        """Draw one image.

        Args:
            observed: the observed slices, and the seed.

        Returns:
            ``image`` (X, Y, Z), normalised; thin observed slices as they were.

        Raises:
            InputError: the method gives no expected error, or what it refuses.
        """
        mean = self.prior.reconstruct(observed)
        assert mean.image is not None
        return Reconstruction(image=self._drawn(mean.image, mean.error, observed), notes=[*mean.notes, NOTE])

    def drawn(self, image: np.ndarray, error: np.ndarray | None, observed: ObservedSlices) -> np.ndarray:
        """One image from what the method it draws from gave of a whole scan, in agreement with thick slices.

        Args:
            image: (X, Y, Z) intensities at the targets.
            error: (X, Y, Z) its expected absolute error.
            observed: the observed slices, and the seed.

        Raises:
            InputError: there is no error.
        """
        made = agreed(Reconstruction(image=self._drawn(image, error, observed)), observed).image
        assert made is not None
        return made

    def _drawn(self, image: np.ndarray, error: np.ndarray | None, observed: ObservedSlices) -> np.ndarray:
        if error is None:
            raise InputError(f"{type(self.prior).__name__} gives no expected error to draw a sample by: give prior")
        made = sampled(image, error, observed, observed.seed)
        within = observed.image is not None and observed.image.min() >= 0 and observed.image.max() <= 1
        return made.clip(0, 1) if within else made

    def calibrate(self, name: str, calibrations: Mapping[str, Calibration]) -> None:
        """Take the calibration of the method it draws from."""
        self.prior.calibrate("prior", calibrations)

    def unclipped(self) -> SampleInferer | None:
        """The same for intensities outside of [0, 1] too, where the method it draws from can."""
        free = copy.copy(self)
        prior = self.prior.unclipped()
        if prior is None:
            return None
        free.prior = prior
        return free

    def outside(self, observed: ObservedSlices) -> list[str]:
        """What the method it draws from says."""
        return self.prior.outside(observed)
