"""Agreement with what was measured: a dense volume whose averages over the observed thick slices are those slices.

A thick slice is ``y = A x``, with the thin slices ``x`` of the body and a row of weights in ``A`` for each slice
(:mod:`bundle.profile`). A method gives some ``x`` for which that does not hold. The smallest change that makes it hold,
small in the sense of the covariance ``C`` along z of what a method misses, is

    x + C A' (A C A')^-1 (y - A x)

the conditional mean of a Gaussian field, the simple kriging of what is missing in the averages (Tarantola, *Inverse
Problem Theory*, 2005, section 3.2; here without noise, so that the agreement is exact).
"""

from __future__ import annotations

import numpy as np

from bundle.profile import profile_share, slice_profile
from bundle.slices import ObservedSlices, Reconstruction

# of a slice's profile must lie within the dense volume, or the volume does not say what its average is
LEAST_SHARE = 0.75
# standard deviation of what a method misses beyond the first and last observed slice, where it has nothing to go by on
# one side, over that between them; else a rest that belongs there spoils the slices within (2 to 10 do as well)
_BEYOND = 4.0
# with a window's limits values that are cut leave a rest in the averages, that is spread over the others again: first
# as said, then over all alike, since beyond the ends there may be nothing left to cut from; a rest of 0.1 HU is none
_ROUNDS = (True, *[False] * 11)


def averaging_weights(observed: ObservedSlices) -> tuple[np.ndarray, np.ndarray]:
    """Which slices the targets can be averaged to, and by what weights.

    Args:
        observed: with a thickness above 0.

    Returns:
        which: (J,) indices of the observed slices of whose profile at least three quarters lie within the targets.
        weights: (J, Z), each row of sum 1.

    Example:
        >>> seen = ObservedSlices(np.zeros((1, 1, 2)), None, np.array([0.5, 2.5]), np.arange(4.0), thickness_mm=2.0)
        >>> averaging_weights(seen)[1].tolist()
        [[0.5, 0.5, 0.0, 0.0], [0.0, 0.0, 0.5, 0.5]]
    """
    order = np.argsort(observed.targets)
    targets = observed.targets[order]
    which, rows = [], []
    for k, centre in enumerate(observed.positions):
        offsets = targets - centre
        if profile_share(offsets, observed.thickness_mm, observed.profile) >= LEAST_SHARE:
            row = np.zeros(len(targets))
            row[order] = slice_profile(offsets, observed.thickness_mm, observed.profile)
            which.append(k)
            rows.append(row)
    return np.array(which, dtype=int), np.array(rows).reshape(-1, len(targets))


def back_projection(
    weights: np.ndarray,
    targets: np.ndarray,
    beyond: np.ndarray | None = None,
    range_mm: float = 6.0,
    nugget: float = 0.02,
) -> np.ndarray:
    """What a rest in each average adds to each thin slice: ``C A' (A C A')^-1``.

    Args:
        weights: (J, Z), of :func:`averaging_weights`.
        targets: (Z,) mm.
        beyond: (Z,) bool, which of them lie below the first or above the last observed slice; None: none does.
        range_mm: at which the covariance along z has fallen to 37 %.
        nugget: part of the variance that neighbours do not share.

    Returns:
        (Z, J). Averages that follow from others, as where slices are nearer than targets, share what they have alike.

    Example:
        >>> back_projection(np.array([[0.5, 0.5]]), np.array([0.0, 1.0])).tolist()
        [[1.0], [1.0]]
    """
    apart = np.abs(targets[:, None] - targets)
    deviation = np.ones(len(targets)) if beyond is None else np.where(beyond, _BEYOND, 1.0)
    covariance = (np.exp(-apart / range_mm) + nugget * (apart == 0)) * deviation[:, None] * deviation
    spread = covariance @ weights.T
    return spread @ np.linalg.pinv(weights @ spread, rcond=1e-9, hermitian=True)


def agree_with_observed(
    image: np.ndarray, observed: ObservedSlices, limits: tuple[float, float] | None = (0.0, 1.0)
) -> np.ndarray:
    """Change a dense volume as little as makes its averages those of the observed thick slices.

    Args:
        image: (X, Y, Z) at ``observed.targets``, in the unit of ``observed.image``.
        observed: what was measured. Without a thickness, or where no slice lies within the targets, nothing is changed.
        limits: of the values; where they cut, the averages differ by what can't be put elsewhere. None: none.

    Returns:
        (X, Y, Z) in the dtype of ``image``.

    Example:
        >>> seen = ObservedSlices(np.full((1, 1, 2), 0.5), None, np.array([0.5, 2.5]), np.arange(4.0), thickness_mm=2.0)
        >>> made = agree_with_observed(np.zeros((1, 1, 4)), seen)
        >>> np.round([made[..., :2].mean(), made[..., 2:].mean()], 6).tolist()
        [0.5, 0.5]
    """
    if not observed.thickness_mm or observed.image is None:
        return image
    which, weights = averaging_weights(observed)
    if not len(which):
        return image
    backs = {first: back_projection(weights, observed.targets, observed.beyond if first else None) for first in _ROUNDS}
    out = image
    for first in _ROUNDS:
        rest = observed.image[..., which] - out @ weights.T
        if np.abs(rest).max(initial=0.0) < 1e-4:
            break
        out = out + rest @ backs[first].T
        if limits is None:
            break
        out = out.clip(*limits)
    return out.astype(image.dtype, copy=False)


def agreed(result: Reconstruction, observed: ObservedSlices) -> Reconstruction:
    """A reconstruction whose image agrees with the observed thick slices; one without an image as it is.

    Args:
        result: of a method; changed in place.
        observed: it was made from. Where its image leaves [0, 1], as bone does, the result has no limits.
    """
    if result.image is not None and observed.image is not None:
        within = observed.image.min() >= 0 and observed.image.max() <= 1
        result.image = agree_with_observed(result.image, observed, (0.0, 1.0) if within else None)
    return result
