"""Whether a reconstruction from elsewhere agrees with the observed slices, where every method is told the answer.

Another unit, a flip or a shift by a slice give figures like any other, only wrong ones. So what is given is compared
with the observed slices as it is, and as it would be if it were one of these. Where one of them fits at least twice as
well, it is refused (units, flips, shifts along the slices) or noted (shifts in plane, other factors). A method that is
merely bad fits no better any other way.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np

from bundle.errors import InputError
from bundle.inferers.consistency import averaging_weights
from bundle.slices import ObservedSlices, observed_index
from bundle.transforms.hu import HU_MAX, HU_MIN, HU_RANGE, to_hu

FITS = 0.5  # of the error as it is: what fits that well is taken for the reason
NEAR_HU = 10.0  # RMS that needs no explanation
FAR_HU = 100.0  # RMS that is told even without one
NEAR_MASK = 0.05  # 1 - Dice that needs no explanation
LEAST_VOXELS = 20  # of a mask on the observed slices, to compare by
MOST_VOXELS = 200_000  # of each slice set, to compare by
SHIFTS = (-2, -1, 1, 2)
PLAUSIBLE_HU = (-1200.0, 3200.0)
UNITS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "normalised intensity (0 to 1)": to_hu,
    "8 bit (0 to 255)": lambda v: to_hu(v / 255),
    "per cent (0 to 100)": lambda v: to_hu(v / 100),
    "a range of -1 to 1": lambda v: to_hu((v + 1) / 2),
    "HU with an offset of 1000": lambda v: v - 1000,
    "HU with an offset of 1024": lambda v: v - 1024,
}


@dataclass(frozen=True)
class _Guess:
    """What the volume may look like, how it is made right, and whether it is refused if that fits."""

    words: str
    mend: Callable[[np.ndarray], np.ndarray]
    refused: bool = True


def compare_image(hu: np.ndarray, observed: ObservedSlices, name: str, axes: str = "xyz") -> list[str]:
    """Compare an image with the observed slices.

    Args:
        hu: (X, Y, Z) values of the file at the targets, HU if all is well.
        observed: with an image.
        name: of the file, for messages.
        axes: what the axes of ``hu`` are called in messages.

    Returns:
        notes, one sentence each; none where all is well.

    Raises:
        InputError: it looks like another unit, a mask, flipped, or shifted along the slices.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> seen = ObservedSlices(rng.random((6, 6, 2)), None, np.array([0.0, 5.0]), np.arange(6.0))
        >>> truth = np.repeat(to_hu(seen.image), 3, axis=2)
        >>> compare_image(truth, seen, "ours.nii.gz")
        []
    """
    if np.isin(hu, (0, 1)).all() and hu.any():
        raise InputError(f"{name} has no values but 0 and 1: it looks like a mask; end its name in _mask.nii.gz")
    given, sample = to_hu(np.asarray(observed.intensity, dtype=np.float64)), _Sampler(observed)

    def off(volume: np.ndarray) -> float:
        made, there = sample(volume, given)
        return float(np.sqrt(np.mean((made.clip(HU_MIN, HU_MAX) - there) ** 2)))

    as_it_is = off(hu)
    if as_it_is <= NEAR_HU:
        return []
    guesses = [_Guess(f"like {unit}: save HU", partial(_plausible, mend)) for unit, mend in UNITS.items()]
    guesses += [*_moved(hu.shape, axes), *_factor(*sample(hu, given))]
    told = f"{name} differs by {as_it_is:.0f} HU (RMS) from the observed slices, which every method is given"
    notes = _explained(hu, off, as_it_is, guesses, told, NEAR_HU)
    return notes or ([told] if as_it_is > FAR_HU else [])


def compare_mask(mask: np.ndarray, observed: ObservedSlices, name: str, axes: str = "xyz") -> list[str]:
    """Compare a mask with the observed slices; see :func:`compare_image`.

    Args:
        mask: (X, Y, Z) bool at the targets.
        observed: with a mask.
        name: of the file, for messages.
        axes: what the axes of ``mask`` are called in messages.

    Example:
        >>> drawn = np.zeros((8, 8, 2), bool); drawn[1:4, 1:5] = True
        >>> seen = ObservedSlices(None, drawn, np.array([0.0, 5.0]), np.arange(6.0))
        >>> compare_mask(np.repeat(drawn, 3, axis=2)[::-1], seen, "a_mask.nii.gz")
        Traceback (most recent call last):
            ...
        bundle.errors.InputError: a_mask.nii.gz has a Dice score of 0.00 ...: it looks flipped along x
    """
    assert observed.mask is not None
    given, sample = observed.mask.astype(np.float64), _Sampler(observed)

    def off(volume: np.ndarray) -> float:
        made, there = sample(volume.astype(np.float64), given)
        inside, wanted = made >= 0.5, there >= 0.5
        both = int(inside.sum()) + int(wanted.sum())
        return 1 - 2 * int((inside & wanted).sum()) / both if both else 0.0

    as_it_is = off(mask)
    if as_it_is <= NEAR_MASK or min(mask.sum(), given.sum()) < LEAST_VOXELS:
        return []
    guesses = [_Guess("inverted, 1 outside of the nodule", np.logical_not), *_moved(mask.shape, axes)]
    told = f"{name} has a Dice score of {1 - as_it_is:.2f} on the observed slices, which every method is given"
    return _explained(mask, off, as_it_is, guesses, told, NEAR_MASK / 5)


class _Sampler:
    """Takes out of a volume at the targets what was observed; in plane not every voxel of a large one."""

    def __init__(self, observed: ObservedSlices) -> None:
        self.averaged = observed.thickness_mm > 0
        if self.averaged:
            self.which, self.weights = averaging_weights(observed)
        else:
            index = observed_index(observed.positions, observed.targets)
            self.at = np.flatnonzero(index >= 0)
            self.which = index[self.at]

    def __call__(self, volume: np.ndarray, given: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Pairs of values, of the volume and of the observed slices; both (N,), without nan."""
        step = max(1, int(np.sqrt(given[..., 0].size * len(self.which) / MOST_VOXELS)))
        thin = volume[::step, ::step].astype(np.float64)
        made = thin @ self.weights.T if self.averaged else thin[..., self.at]
        there = given[::step, ::step, self.which]
        known = np.isfinite(made)
        return made[known], there[known]


def _factor(made: np.ndarray, there: np.ndarray) -> Iterator[_Guess]:
    """Any other unit: the line through the pairs, leaving out what either scale cuts off."""
    inner = (there > HU_MIN) & (there < HU_MAX) & (made > made.min(initial=0)) & (made < made.max(initial=0))
    if inner.sum() < LEAST_VOXELS or np.ptp(made[inner]) == 0:
        return
    factor, offset = np.polyfit(made[inner], there[inner], 1)
    middle = float(np.median(made[inner]))
    small = 0.5 < factor < 2 and abs(factor * middle + offset - middle) < HU_RANGE / 5
    words = f"like another unit: {factor:.4g} x value {offset:+.4g} would be HU"
    yield _Guess(words, lambda volume: factor * volume + offset, refused=not small)


def _plausible(mend: Callable[[np.ndarray], np.ndarray], volume: np.ndarray) -> np.ndarray:
    """HU, with what no scanner gives made so large that it never fits."""
    hu, (low, high) = mend(volume), PLAUSIBLE_HU
    return np.where((hu < low) | (hu > high), 1e6, hu)


def _moved(shape: tuple[int, ...], names: str) -> Iterator[_Guess]:
    """Flips, exchanged axes and shifts of a volume (X, Y, Z)."""
    axes = [axes for count in (1, 2, 3) for axes in itertools.combinations(range(3), count)]
    square = shape[0] == shape[1]
    if square:
        exchanged = f"turned, with {names[0]} and {names[1]} exchanged"
        yield _Guess(exchanged, partial(_flipped, exchanged=True))
    for flipped in axes:
        words = f"flipped along {' and '.join(names[axis] for axis in flipped)}"
        yield _Guess(words, partial(_flipped, axes=flipped))
        if square:
            turned = f"{exchanged} and {words}"
            yield _Guess(turned, partial(_flipped, axes=flipped, exchanged=True))
    for axis, by in itertools.product(range(3), SHIFTS):
        step = f"{abs(by)} {'slice' if axis == 2 else 'voxel'}{'s' if abs(by) > 1 else ''}"
        words = f"shifted by {step} along {names[axis]}"
        yield _Guess(words, partial(_shifted, by=by, axis=axis), refused=axis == 2)


def _flipped(volume: np.ndarray, axes: tuple[int, ...] = (), exchanged: bool = False) -> np.ndarray:
    return np.flip(volume.swapaxes(0, 1) if exchanged else volume, axes)


def _shifted(volume: np.ndarray, by: int, axis: int) -> np.ndarray:
    """Moved back by so many voxels; nan, which is not compared, comes in at the end."""
    moved = np.roll(volume.astype(np.float64), -by, axis)
    np.moveaxis(moved, axis, 0)[slice(-by, None) if by > 0 else slice(None, -by)] = np.nan
    return moved


def _explained(
    volume: np.ndarray,
    off: Callable[[np.ndarray], float],
    as_it_is: float,
    guesses: list[_Guess],
    told: str,
    alike: float,
) -> list[str]:
    """The first guess that is ``alike`` as good as the best, if that is good: raised or noted."""
    errors = [off(guess.mend(volume)) for guess in guesses]
    if not min(errors) <= FITS * as_it_is:
        return []
    best = next(guess for guess, error in zip(guesses, errors, strict=True) if error <= min(errors) + alike)
    sentence = f"{told}: it looks {best.words}"
    if best.refused:
        raise InputError(sentence)
    return [sentence]
