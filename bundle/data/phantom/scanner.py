"""A CT scanner for the phantom: in-plane blur, slice profile, noise.

Vocabulary: the *point spread* is the in-plane blur of the reconstruction kernel, given by its full width at half
maximum (FWHM) and an edge enhancement; the *slice profile* is the sensitivity along z, here a triangle whose FWHM
is the nominal slice thickness, as linear interpolation between turns of a spiral scan gives it (Kalender and
Polacin, Medical Physics 18, 1991). Noise of filtered back-projection has the power spectrum |f| times the square
of the kernel's transfer function (Riederer et al., Physics in Medicine and Biology 23, 1978); along z it is
white before the slice profile, so overlapping slices share noise and others hardly do.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import fft, ndimage

from bundle.data.phantom.grid import FineGrid
from bundle.transforms.hu import SCANNER_HU

FWHM_PER_SD = 2.3548


@dataclass(frozen=True)
class Scanner:
    """What a scan's kernel and dose do to an image.

    Attributes:
        fwhm_mm: in-plane point spread.
        enhancement: edge enhancement; 0 for a soft kernel, 0.5 overshoots visibly.
        noise_hu: sd of the noise in the image.

    Example:
        >>> scanner = Scanner.draw(1.0, np.random.default_rng(0))
        >>> bool(0.8 <= scanner.fwhm_mm <= 1.3)
        True
    """

    fwhm_mm: float
    enhancement: float
    noise_hu: float

    @classmethod
    def draw(cls, slice_thickness: float, rng: np.random.Generator) -> Scanner:
        """A plausible scanner: sharper kernels and thinner slices are noisier."""
        sharp = float(rng.beta(1.5, 2.5))
        noise = (15 + 30 * sharp) * rng.uniform(0.8, 1.2) * np.sqrt(1.0 / max(slice_thickness, 0.3))
        return cls(1.3 - 0.5 * sharp, 0.5 * sharp, float(np.clip(noise, 12, 60)))

    def transfer(self, frequency: np.ndarray) -> np.ndarray:
        """Transfer function at spatial frequencies in cycles per mm; 1 at 0.

        Example:
            >>> float(Scanner(1.0, 0.3, 20.0).transfer(np.array(0.0)))
            1.0
        """
        narrow = np.exp(-2 * (np.pi * frequency * self.fwhm_mm / FWHM_PER_SD) ** 2)
        wide = np.exp(-2 * (np.pi * frequency * 2 * self.fwhm_mm / FWHM_PER_SD) ** 2)
        return narrow + self.enhancement * (narrow - wide)


def slice_profile(distance: np.ndarray, thickness: float) -> np.ndarray:
    """Sensitivity at a distance along z from a slice's centre: a triangle of FWHM ``thickness``, 1 at 0.

    Example:
        >>> slice_profile(np.array([0.0, 0.5, 1.0, 2.0]), 1.0).tolist()
        [1.0, 0.5, 0.0, 0.0]
    """
    return np.clip(1 - np.abs(distance) / thickness, 0, None)


def scan(
    anatomy: np.ndarray,
    grid: FineGrid,
    thickness: float,
    scanner: Scanner,
    rng: np.random.Generator,
) -> np.ndarray:
    """Image the anatomy: blur in plane, sample the pixels, add noise, average over the slice profile.

    Args:
        anatomy: HU of ``grid.shape``.
        grid: tells the image's voxels and the guard that is dropped.
        thickness: nominal slice thickness in mm; the spacing of slices is the grid's.
        scanner: kernel and noise.
        rng: source of the noise.

    Returns:
        float32 (X, Y, Z), whole HU clipped to a 12-bit scanner's range, -1024 to 3071.

    Example:
        >>> grid = FineGrid.around((16, 16, 8), (0.7, 0.7, 1.0))
        >>> water = scan(np.zeros(grid.shape), grid, 1.0, Scanner(0.9, 0.0, 20.0), np.random.default_rng(0))
        >>> water.shape, bool(15 < water.std() < 25)
        ((16, 16, 8), True)
    """
    sigmas = [scanner.fwhm_mm / FWHM_PER_SD / s for s in grid.spacing[:2]]
    image = ndimage.gaussian_filter(anatomy.astype(np.float32), [*sigmas, 0], mode="nearest", truncate=3.5)
    if scanner.enhancement > 0:
        # exp(-2 (pi f 2s)^2) is the narrow kernel's transfer to the power 4: blur on by sqrt(3) s
        wide = ndimage.gaussian_filter(image, [*(s * np.sqrt(3) for s in sigmas), 0], mode="nearest", truncate=3.5)
        image += np.float32(scanner.enhancement) * (image - wide)
    fx, fy, _ = grid.factors
    nx, ny, nz = (n // f for n, f in zip(grid.shape, grid.factors, strict=True))
    image = image.reshape(nx, fx, ny, fy, -1).mean(axis=(1, 3))

    step = grid.spacing[2]
    centres = (np.arange(grid.guard[2], nz - grid.guard[2]) + 0.5) * step * grid.factors[2]
    # a slice thinner than two fine ones still needs a profile that they can carry
    weights = slice_profile((np.arange(grid.shape[2]) + 0.5) * step - centres[:, None], max(thickness, 2 * step))
    weights /= weights.sum(axis=1, keepdims=True)
    if scanner.noise_hu > 0:
        pixel = tuple(s * f for s, f in zip(grid.spacing[:2], (fx, fy), strict=True))
        image += _noise(image.shape, pixel, scanner, rng) * (
            scanner.noise_hu / np.float32(np.sqrt((weights**2).sum(axis=1).mean()))
        )
    gx, gy, _ = grid.guard
    image = image[gx : nx - gx, gy : ny - gy]
    out = np.empty((*image.shape[:2], len(centres)), np.float32)
    for k, row in enumerate(weights):
        used = np.flatnonzero(row)
        out[:, :, k] = (image[:, :, used[0] : used[-1] + 1] * row[used[0] : used[-1] + 1].astype(np.float32)).sum(-1)
    return np.rint(out).clip(*SCANNER_HU)


def _noise(shape: tuple[int, ...], pixel: tuple[float, ...], scanner: Scanner, rng: np.random.Generator) -> np.ndarray:
    """Unit-variance noise, each z independent, of the spectrum |f| T(f)^2 in plane."""
    fx = fft.fftfreq(shape[0], pixel[0])[:, None]
    fy = fft.rfftfreq(shape[1], pixel[1])[None, :]
    frequency = np.hypot(fx, fy)
    amplitude = np.sqrt(frequency) * scanner.transfer(frequency)
    # energy of the filter over the full plane: columns that rfft leaves out count twice
    twice = np.full(fy.shape, 2.0)
    twice[0, 0] = 1.0
    if shape[1] % 2 == 0:
        twice[0, -1] = 1.0
    amplitude /= np.sqrt((amplitude**2 * twice).sum() / (shape[0] * shape[1]))
    white = rng.standard_normal(shape, dtype=np.float32)
    spectrum = fft.rfft2(white, axes=(0, 1)) * amplitude[:, :, None].astype(np.float32)
    return fft.irfft2(spectrum, s=shape[:2], axes=(0, 1)).astype(np.float32)
