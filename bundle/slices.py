"""What methods are given and what they give; where targets lie among the observed slices.

Vocabulary: the *observed slices* are the slices that were kept; *positions* (K,) are their places in mm along the
decimated axis, strictly ascending and possibly uneven; *targets* (Z,) are the places in mm where slices are wanted. A
*gap* lies between two neighbouring positions; *beyond* is before the first or after the last position.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from bundle.errors import InputError
from bundle.profile import checked_profile

# planes no farther apart are one plane: positions come from decimal text, and affines in NIfTI files have seven digits
SAME_PLANE_MM = 1e-3


def bracket(
    positions: np.ndarray, targets: np.ndarray, within_mm: float = SAME_PLANE_MM
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Find the two observed slices around each target.

    Args:
        positions: (K,) mm, strictly ascending, K >= 2.
        targets: (Z,) mm.
        within_mm: a target so near to an observed slice, or to a multiple of half a gap, is taken to be there. 0: none
            is moved, so that ``fraction`` is continuous within a gap.

    Returns:
        ``lower`` and ``upper``, (Z,) indices of neighbouring positions, and ``fraction``, (Z,) place between them, 0 at
        the lower and 1 at the upper; below 0 before the first position, above 1 after the last.

    Example:
        >>> bracket(np.array([0.0, 5.0, 7.0]), np.array([1.0, 6.0, 8.0]))
        (array([0, 1, 1]), array([1, 2, 2]), array([0.2, 0.5, 1.5]))
    """
    upper = np.clip(np.searchsorted(positions, targets, side="right"), 1, len(positions) - 1)
    lower = upper - 1
    gap = positions[upper] - positions[lower]
    fraction = (targets - positions[lower]) / gap
    half = np.rint(2 * fraction) / 2
    return lower, upper, np.where(np.abs(fraction - half) * gap <= within_mm, half, fraction)


def observed_index(positions: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """(Z,) index of the observed slice at each target, -1 where there is none.

    Example:
        >>> observed_index(np.array([0.0, 5.0]), np.array([0.0, 2.0, 5.0001]))
        array([ 0, -1,  1])
    """
    lower, upper, fraction = bracket(positions, targets)
    return np.where(fraction == 0, lower, np.where(fraction == 1, upper, -1))


def held(positions: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Move targets beyond the ends to the nearest end, where any method repeats the end slice.

    Example:
        >>> held(np.array([0.0, 5.0]), np.array([-1.0, 2.0, 7.0]))
        array([0., 2., 5.])
    """
    return np.clip(targets, positions[0], positions[-1])


@dataclass(frozen=True)
class ObservedSlices:
    """The slices that were kept, and where slices are wanted.

    Attributes:
        image: (X, Y, K) normalised intensity in [0, 1]; may be None for mask methods.
        mask: (X, Y, K) bool, or None if no mask is known.
        positions: (K,) mm along the decimated axis, strictly ascending; may be uneven.
        targets: (Z,) mm, where slices are wanted.
        spacing: in-plane spacing (x, y) in mm.
        seed: seeds whatever is random in the method.
        withheld: (X, Y, Z) the truth at the targets. None, but for the published protocol, whose fit stops by it;
            no other method looks at it.
        thickness_mm: of the observed slices, over which each is an average; 0: planes.
        profile: how a slice weighs its thickness, see :mod:`bundle.profile`.

    Raises:
        InputError: fewer than two observed slices, positions that do not ascend, shapes that disagree, an unknown
            profile or a thickness below 0.
    """

    image: np.ndarray | None
    mask: np.ndarray | None
    positions: np.ndarray
    targets: np.ndarray
    spacing: tuple[float, float] = (1.0, 1.0)
    seed: int = 0
    withheld: np.ndarray | None = None
    thickness_mm: float = 0.0
    profile: str = "box"

    def __post_init__(self) -> None:
        count = len(self.positions)
        if count < 2:
            raise InputError(
                f"only {count} observed slice(s): at least 2 are needed to fill a gap; "
                "give a crop with more slices or a smaller stride"
            )
        if not np.all(np.diff(self.positions) > SAME_PLANE_MM) or not np.all(np.isfinite(self.positions)):
            raise InputError(
                f"slice positions {np.round(self.positions, 3).tolist()} do not ascend strictly: "
                "sort the slices and remove duplicates"
            )
        if not len(self.targets) or not np.all(np.isfinite(self.targets)):
            raise InputError("the places where slices are wanted are empty or not finite: give at least one in mm")
        for name in ("image", "mask"):
            array = getattr(self, name)
            if array is not None and (array.ndim != 3 or array.shape[2] != count):
                raise InputError(
                    f"the observed {name} has shape {array.shape}, expected (X, Y, {count}): "
                    "one slice for each position"
                )
        checked_profile(self.profile)
        if not 0 <= self.thickness_mm < np.inf:
            raise InputError(f"the thickness of the observed slices is {self.thickness_mm} mm, expected 0 or more")

    @property
    def intensity(self) -> np.ndarray:
        """(X, Y, K) ``image``, of slices that have one."""
        assert self.image is not None
        return self.image

    @property
    def gap_mm(self) -> float:
        """Largest distance in mm between neighbouring observed slices."""
        return float(np.diff(self.positions).max())

    @property
    def gaps(self) -> np.ndarray:
        """(Z,) mm between the observed slices around each target; beyond the ends, of the last gap."""
        lower, upper, _ = bracket(self.positions, self.targets)
        return self.positions[upper] - self.positions[lower]

    @property
    def beyond(self) -> np.ndarray:
        """(Z,) bool: which targets lie below the first or above the last observed slice."""
        fraction = bracket(self.positions, self.targets)[2]
        return (fraction < 0) | (fraction > 1)

    @property
    def seen(self) -> np.ndarray:
        """(Z,) bool: which targets are observed slices; none where these are averages over a thickness."""
        return (observed_index(self.positions, self.targets) >= 0) & (self.thickness_mm == 0)


@dataclass
class Reconstruction:
    """What a method gives back.

    Attributes:
        image: (X, Y, Z) float32 or float64, normalised and clipped to [0, 1]; None from a mask method.
        mask: (X, Y, Z) bool; None from an image method.
        error: (X, Y, Z) expected absolute error of ``image``, normalised as it is, 0 at observed slices; None from
            methods that give none.
        notes: one sentence for each documented fallback that was taken.
        history: learning curves by name, one value an epoch.
        state: the fitted network's state dict, if there is one.
        timings: how it was computed and how fast; differs between runs and is no part of the result.
    """

    image: np.ndarray | None = None
    mask: np.ndarray | None = None
    error: np.ndarray | None = None
    notes: list[str] = field(default_factory=list)
    history: dict[str, list[float]] = field(default_factory=dict)
    state: dict[str, torch.Tensor] | None = None
    timings: dict[str, Any] = field(default_factory=dict)


def with_observed(image: np.ndarray, observed: ObservedSlices) -> np.ndarray:
    """Put the observed slices, unchanged, where their positions are among the targets.

    Args:
        image: (X, Y, Z) at ``observed.targets``.
        observed: the slices that were kept.

    Returns:
        a new (X, Y, Z) array.

    Example:
        >>> seen = ObservedSlices(np.ones((1, 1, 2)), None, np.array([0.0, 2.0]), np.arange(3.0))
        >>> with_observed(np.zeros((1, 1, 3)), seen).ravel().tolist()
        [1.0, 0.0, 1.0]
    """
    out = image.copy()
    seen, index = observed.seen, observed_index(observed.positions, observed.targets)
    out[..., seen] = observed.intensity[..., index[seen]]
    return out
