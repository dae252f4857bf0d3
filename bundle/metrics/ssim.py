"""Structural similarity (SSIM): a map of the similarity around each voxel, within its own slice.

Vocabulary: the *map* has the size of the volume; a region's SSIM is the mean of the map over it. Everything
is computed in float64.

MONAI's ``compute_ssim_and_cs`` is not used: it computes in float32, where the variance of flat tissue is lost
in rounding (up to 1e-3 off on intensity 0.9 with noise 1e-3), and has no value for the 5 voxels along each
border.
"""

from __future__ import annotations

import math

import numpy as np
from scipy.ndimage import gaussian_filter1d
from skimage.metrics import structural_similarity

from bundle.errors import InputError
from bundle.metrics.rows import check_pair


def ssim_map(
    prediction: np.ndarray,
    truth: np.ndarray,
    axis: int = 2,
    window: int = 11,
    sigma: float = 1.5,
    k1: float = 0.01,
    k2: float = 0.03,
    max_value: float = 1.0,
    normalised: bool = True,
) -> np.ndarray:
    """Structural similarity around each voxel, slice by slice in 2-D (Wang et al. 2004).

    Local means and variances are weighted by a Gaussian of ``window`` x ``window`` voxels. At the border the
    slice is reflected (... b a | a b ...), so that the map has the size of the volume, and a slice may be as
    small as one voxel. Equals scikit-image's ``structural_similarity(gaussian_weights=True, sigma=1.5,
    use_sample_covariance=False, full=True)``, which needs 11 voxels.

    Args:
        prediction: normalised intensity (X, Y, Z), or one slice (X, Y).
        truth: the same shape.
        axis: the slices are stacked along; not looked at for one slice.
        window: voxels, odd.
        sigma: of the Gaussian, in voxels.
        k1: stabilises the comparison of means.
        k2: stabilises the comparison of variances.
        max_value: the range of intensity (L).
        normalised: whether intensity far outside of 0 to 1 is refused; False: any unit of range ``max_value``.

    Returns:
        float64 array of the input's shape, in [-1, 1]; nan only where a voxel within the window is nan.

    Raises:
        InputError: an even window, shapes that differ, or another unit.

    Example:
        >>> volume = np.random.default_rng(0).random((6, 5, 2))
        >>> bool(np.allclose(ssim_map(volume, volume), 1))
        True
    """
    if window % 2 == 0 or window < 1:
        raise InputError(f"an SSIM window of {window} voxels has no middle: give an odd number")
    check_pair(prediction, truth, normalised)
    x, y = np.asarray(prediction, dtype=np.float64), np.asarray(truth, dtype=np.float64)
    in_plane = [k for k in range(x.ndim) if x.ndim == 2 or k != axis % x.ndim]

    def local_mean(values: np.ndarray) -> np.ndarray:
        for k in in_plane:
            values = gaussian_filter1d(values, sigma, axis=k, mode="reflect", radius=window // 2)
        return values

    mean_x, mean_y = local_mean(x), local_mean(y)
    variances = local_mean(x * x) + local_mean(y * y) - mean_x**2 - mean_y**2
    covariance = local_mean(x * y) - mean_x * mean_y
    c1, c2 = (k1 * max_value) ** 2, (k2 * max_value) ** 2
    means_alike = (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
    return means_alike * (2 * covariance + c2) / (variances + c2)


def folded_ssim(
    prediction: np.ndarray,
    truth: np.ndarray,
    region: np.ndarray | None = None,
    max_value: float = 1.0,
    normalised: bool = True,
) -> float:
    """Structural similarity of a list of voxels folded into a near-square image: the published computation.

    The voxels of the region are listed slice by slice, row by row, folded into ``isqrt(n)`` lines (what is
    over is cut off) and compared by scikit-image's default SSIM, with a uniform window of 7. Neighbours in
    that image are hardly neighbours in the body; kept so that the paper's SSIM columns can be recomputed.

    Args:
        prediction: normalised intensity (X, Y, Z).
        truth: the same shape.
        region: bool, the same shape; None: every voxel.
        max_value: the range of intensity (L).
        normalised: see :func:`ssim_map`.

    Returns:
        -1 to 1; nan for fewer than 9 voxels, which fill no window of 3, and where a voxel is nan.

    Example:
        >>> volume = np.random.default_rng(0).random((6, 5, 4))
        >>> round(folded_ssim(volume, volume), 6)
        1.0
    """
    check_pair(prediction, truth, normalised)
    chosen = np.ones(np.shape(truth), dtype=bool) if region is None else np.asarray(region, dtype=bool)
    # (X, Y, Z) reversed is slice by slice, row by row
    lists = [np.asarray(v, dtype=np.float64).T[chosen.T] for v in (prediction, truth)]
    count = len(lists[0])
    lines = math.isqrt(count)
    if lines < 3:
        return float("nan")
    columns = count // lines
    images = [values[: lines * columns].reshape(lines, columns) for values in lists]
    window = min(7, lines)
    return float(structural_similarity(*images, data_range=max_value, win_size=window - (window % 2 == 0)))
