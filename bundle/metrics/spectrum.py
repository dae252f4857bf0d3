"""What the paper's Figure 3 shows: the density of HU inside the nodule, and the power spectrum of its slices.

Vocabulary: the *density* is a kernel density estimate (KDE) over HU; the *spectrum* is the squared magnitude of the
2-D Fourier transform of masked slices (0 HU outside of the mask), averaged over circles of equal spatial frequency
and over slices. Where there is too little to estimate from, the curve is empty and its ``reason`` says why.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy.stats import gaussian_kde

from bundle.errors import InputError

MIN_VOXELS = 8


def _empty() -> np.ndarray:
    return np.zeros(0)


@dataclass(frozen=True)
class Density:
    """Probability density over HU.

    Attributes:
        hu: (N,) where the density is given.
        density: (N,) per HU; empty if there is none.
        n_voxels: it was estimated from.
        reason: why there is none; "" if there is one.
    """

    hu: np.ndarray
    density: np.ndarray
    n_voxels: int
    reason: str = ""


@dataclass(frozen=True)
class Spectrum:
    """Radially averaged power spectrum.

    Attributes:
        index: (N,) ring number, 0, 1, 2, ...: whole cycles across the field of view, rounded down.
        frequency: (N,) cycles per mm, at the lower edge of each ring.
        power: (N,) mean squared magnitude in HU^2; empty if there is none.
        n_slices: it was averaged over.
        reason: why there is none; "" if there is one.
    """

    index: np.ndarray = field(default_factory=_empty)
    frequency: np.ndarray = field(default_factory=_empty)
    power: np.ndarray = field(default_factory=_empty)
    n_slices: int = 0
    reason: str = ""


def hu_density(
    values: np.ndarray, hu: np.ndarray | None = None, min_voxels: int = MIN_VOXELS, max_voxels: int = 20_000
) -> Density:
    """Estimate the density of HU by Gaussian kernels of Scott's width (``scipy.stats.gaussian_kde``).

    Args:
        values: HU of the voxels inside a mask, any shape; pool nodules by concatenating them.
        hu: (N,) where to give the density; None: -1000, -995, ..., 400.
        min_voxels: fewer have no density.
        max_voxels: of more voxels, evenly spaced ones of the sorted values are taken, which leaves the distribution
            as it is and the time bounded.

    Returns:
        the density; none, with a reason, for too few voxels or where all are alike.

    Example:
        >>> hu_density(np.array([1.0, 2.0])).reason
        'only 2 voxels in the masked region: at least 8 are needed for a density'
    """
    grid = np.arange(-1000.0, 401.0, 5.0) if hu is None else np.asarray(hu, dtype=np.float64)
    flat = np.sort(np.asarray(values, dtype=np.float64), axis=None)
    count = len(flat)
    if count < min_voxels:
        reason = f"only {count} voxels in the masked region: at least {min_voxels} are needed for a density"
        return Density(grid, _empty(), count, reason)
    if flat[0] == flat[-1]:
        reason = f"all {count} voxels in the masked region have {flat[0]:g} HU: a density needs a spread"
        return Density(grid, _empty(), count, reason)
    # the width is that of all voxels, whichever of them the kernels stand on
    factor = count ** (-1 / 5)
    if count > max_voxels:
        flat = flat[np.linspace(0, count - 1, max_voxels).round().astype(int)]
    return Density(grid, gaussian_kde(flat, bw_method=factor)(grid), count)


def power_spectrum(
    hu: np.ndarray,
    mask: np.ndarray,
    spacing: Sequence[float],
    slices: np.ndarray | None = None,
    axis: int = 2,
    size: int | None = None,
) -> Spectrum:
    """Power spectrum of masked slices, averaged over rings of equal frequency and over slices.

    Each slice is set to 0 outside of the mask and padded with zeros to a square, which a mask does not notice, so
    that a ring is a circle in cycles per mm. Ring k holds the frequencies from k to k + 1 cycles across that
    square; rings end at the Nyquist frequency.

    Args:
        hu: (X, Y, Z) in HU.
        mask: (X, Y, Z), > 0 is inside; slices without any are left out.
        spacing: mm between voxel centres (x, y, z).
        slices: bool, one for each slice along ``axis``: which to use, e.g. the unobserved; None: all.
        axis: the slices are stacked along.
        size: voxels of the square; the same for several nodules gives them the same rings. None: the longer side.

    Returns:
        the spectrum; none, with a reason, where no chosen slice meets the mask or slices are smaller than 2 voxels.

    Raises:
        InputError: shapes that differ, or a size smaller than the slices.

    Example:
        >>> volume, mask = np.zeros((8, 8, 1)), np.ones((8, 8, 1), bool)
        >>> volume[...] = np.cos(2 * np.pi * np.arange(8) / 4)[:, None, None]  # 1 cycle in 4 voxels of 0.5 mm
        >>> found = power_spectrum(volume, mask, (0.5, 0.5, 1.0))
        >>> float(found.frequency[found.power.argmax()])
        0.5
    """
    inside = np.asarray(mask) > 0
    if inside.shape != np.shape(hu):
        raise InputError(f"the mask has shape {inside.shape}, expected that of the image, {np.shape(hu)}")
    planes = np.moveaxis(np.where(inside, hu, 0.0), axis, 0)
    chosen = np.moveaxis(inside, axis, 0).any(axis=(1, 2))
    if slices is not None:
        chosen &= np.asarray(slices, dtype=bool)
    if not chosen.any():
        return Spectrum(reason="no chosen slice meets the mask: there is nothing to take a spectrum of")
    steps = [float(step) for k, step in enumerate(spacing) if k != axis % 3]
    side = max(planes.shape[1:]) if size is None else int(size)
    if side < max(planes.shape[1:]):
        raise InputError(f"size {side} is smaller than the slices, {planes.shape[1:]}: give at least the longer side")
    width = 1 / (side * min(steps))
    radius = np.hypot(*np.meshgrid(*(np.fft.fftfreq(side, step) for step in steps), indexing="ij"))
    # a frequency on the edge of a ring belongs to it, also after rounding
    ring = np.floor(radius / width + 1e-9).astype(int).ravel()
    count = int(np.floor(1 / (2 * max(steps)) / width + 1e-9))
    if count == 0:
        return Spectrum(reason=f"slices of {planes.shape[1:]} voxels are too small for a spectrum: 2 are needed")
    power = (np.abs(np.fft.fft2(planes[chosen], s=(side, side))) ** 2).mean(axis=0).ravel()
    index = np.arange(count)
    # unequal spacings can leave a ring without a frequency
    members = np.bincount(ring)[:count]
    mean = np.bincount(ring, power)[:count] / np.where(members, members, np.nan)
    return Spectrum(index, index * width, mean, int(chosen.sum()))


def mean_spectrum(spectra: Sequence[Spectrum], frequency: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Average the spectra of several nodules, whatever their spacing and size, at given frequencies.

    Args:
        spectra: of the nodules; those without one are passed over.
        frequency: (N,) cycles per mm, ascending.

    Returns:
        power: (N,) mean over the nodules that reach a frequency; nan where none does.
        count: (N,) number of nodules that reach it.

    Example:
        >>> one = Spectrum(np.arange(3), np.array([0.0, 0.5, 1.0]), np.array([4.0, 2.0, 0.0]), 1)
        >>> mean_spectrum([one, Spectrum(reason="no mask")], np.array([0.25, 2.0]))
        (array([ 3., nan]), array([1, 0]))
    """
    reached = [
        np.interp(frequency, spectrum.frequency, spectrum.power, left=np.nan, right=np.nan)
        for spectrum in spectra
        if not spectrum.reason
    ]
    stack = np.array(reached).reshape(-1, len(frequency))
    count = np.isfinite(stack).sum(axis=0)
    power = np.nansum(stack, axis=0) / np.where(count, count, np.nan)
    return power, count
