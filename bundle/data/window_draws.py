"""Where the slices of a training example lie: observed slices and targets, drawn at random from a volume.

Vocabulary: a *window* and its *targets* are those of :mod:`bundle.networks.slice_window`. The observed slices are thin
ones, or *thick*: averages of thin ones over a slice profile (:mod:`bundle.profile`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bundle.profile import PROFILES, slice_profile


@dataclass(frozen=True)
class WindowOptions:
    """Which windows are drawn.

    Attributes:
        patch: pixels along x and y; smaller planes are used whole, mirrored at their border.
        targets: at most so many in one window.
        strides: smallest and largest number of slices from one thin observed slice to the next.
        gaps_mm: smallest and largest distance between the observed slices around the targets.
        thick: share of windows whose observed slices are thick, of ``thickness_mm`` at most; a third of these touch, a
            third and more overlap (a step of .35 to .85 of the thickness), the others leave gaps.
        whole: share of thick windows whose thickness and step are whole numbers of thin slices.
        misstated: sd of the relative error of the thickness that the network is told.
        uneven: share of windows whose observed slices are unevenly spaced.
        beyond: share of windows whose targets lie beyond the last observed slice.
        drop_outer: share of windows that lose outer slices they could have, on each side.
        across: share of windows whose slices are cut across x or y instead of z, where pixels are as near to each
            other as thin slices are.
        zoom: all lengths are taken for up to so many times longer or shorter.
        noisy: share of windows whose observed slices get more noise, of a normalised sd up to ``noise``.
        kernel: share of windows that are blurred or sharpened in plane.
        gain: sd of the factor, and ``shift`` the sd of the offset, of the jitter of normalised brightness.
    """

    patch: int = 40
    targets: int = 4
    strides: tuple[int, int] = (2, 8)
    gaps_mm: tuple[float, float] = (1.0, 8.0)
    thick: float = 0.5
    thickness_mm: float = 8.0
    whole: float = 0.5
    misstated: float = 0.05
    uneven: float = 0.2
    beyond: float = 0.08
    drop_outer: float = 0.1
    across: float = 0.25
    zoom: float = 1.15
    noisy: float = 0.25
    noise: float = 0.03
    kernel: float = 0.25
    gain: float = 0.05
    shift: float = 0.02


@dataclass(frozen=True)
class Draw:
    """A window drawn from a volume of thin slices.

    Attributes:
        weights: (N, 6) of the thin slices in each observed one.
        places: (6,) of the observed slices, in thin slices from the first; a missing one is a copy of its neighbour.
        valid: (6,) bool.
        targets: (T,) indices of thin slices.
        thickness: FWHM in thin slices.
        profile: its name.
    """

    weights: np.ndarray
    places: np.ndarray
    valid: np.ndarray
    targets: np.ndarray
    thickness: float = 0.0
    profile: str = "box"


def stride_choices(slices: int, spacing_mm: float, options: WindowOptions) -> list[int]:
    """Strides that a volume allows: within the limits in slices and in mm, and a target and two ends to spare.

    Example:
        >>> stride_choices(30, 1.25, WindowOptions())
        [2, 3, 4, 5, 6]
    """
    low, high = options.strides
    least, most = options.gaps_mm
    return [s for s in range(low, high + 1) if least <= s * spacing_mm <= most + 1e-6 and s < slices]


def draw_window(slices: int, spacing_mm: float, options: WindowOptions, rng: np.random.Generator) -> Draw:
    """Draw observed slices, thin or thick, and targets between or beyond them.

    Args:
        slices: of the volume; it must allow a stride (:func:`stride_choices`).
        spacing_mm: from one thin slice to the next.
        options: which windows.
        rng: of the draw.
    """
    if rng.random() < options.thick:
        # not every volume is long enough for every thickness
        for _ in range(5):
            drawn = _draw_thick(slices, spacing_mm, options, rng)
            if drawn is not None:
                return drawn
    return _draw_thin(slices, spacing_mm, options, rng)


def _draw_thin(slices: int, spacing_mm: float, options: WindowOptions, rng: np.random.Generator) -> Draw:
    """Every so many thin slices, or, uneven, every gap for itself."""
    strides = stride_choices(slices, spacing_mm, options)
    gap = int(rng.choice(strides))
    steps = rng.choice(strides, 4) if rng.random() < options.uneven else np.full(4, gap)
    low = int(rng.integers(0, slices - gap))
    lower = low - np.cumsum([0, *steps[:2]])
    upper = low + gap + np.cumsum([0, *steps[2:]])
    lower, upper = lower[lower >= 0], upper[upper < slices]
    targets = rng.permutation(np.arange(low + 1, low + gap))[: options.targets]
    places, valid = _six(lower[::-1], upper, options, rng)
    weights = np.zeros((slices, 6))
    weights[places.astype(int), np.arange(6)] = 1
    return Draw(weights, places, valid, np.sort(targets))


def _draw_thick(slices: int, spacing_mm: float, options: WindowOptions, rng: np.random.Generator) -> Draw | None:
    """Averages of thin slices; None where the volume has no room for two of them."""
    profile = PROFILES[rng.choice(3, p=(0.4, 0.2, 0.4))]
    thickness = rng.uniform(max(1.0, 1.2 * spacing_mm), options.thickness_mm) / spacing_mm
    low, high = ((1.0, 1.0), (0.35, 0.85), (0.35, 0.85), (1.0, 1.8))[rng.integers(4)]
    step = thickness * rng.uniform(low, high)
    if rng.random() < options.whole:
        thickness, step = max(2.0, round(thickness)), max(1.0, round(step))
    if not options.gaps_mm[0] <= step * spacing_mm <= options.gaps_mm[1]:
        return None
    # the tails of a bell may lie outside of the volume
    margin = thickness * {"box": 0.5, "trapezoid": 0.65, "bell": 0.75}[profile] - 0.5
    room = slices - 1 - 2 * margin
    count = int(room / step + 1e-9) + 1
    if room < 0 or count < 2:
        return None
    start = margin + rng.uniform(0, room - (count - 1) * step)
    if float(thickness).is_integer():
        # on thin slices, or half-way between two of them
        start = min(np.ceil(start - thickness % 2 / 2 - 1e-9), np.floor(room + margin)) + (thickness % 2 - 1) % 2 / 2
    places = start + step * np.arange(count)
    if rng.random() < options.uneven:
        places = places + step * rng.uniform(-0.25, 0.25, count)
    places = places[(places >= margin - 0.51) & (places <= slices - 1 - margin + 0.51)]
    if len(places) < 2:
        return None
    gap = int(rng.integers(len(places) - 1))
    beyond = rng.random() < options.beyond
    first, last = places[gap], places[gap] + 0.5 * (thickness + step) if beyond else places[gap + 1]
    known = np.arange(np.ceil(first - 1e-9), min(np.floor(last + 1e-9), slices - 1) + 1).astype(int)
    if not len(known):
        return None
    above = places[:0] if beyond else places[gap + 1 : gap + 4]
    places, valid = _six(places[max(gap - 2, 0) : gap + 1], above, options, rng)
    weights = np.stack([slice_profile(np.arange(slices) - place, thickness, profile) for place in places], axis=1)
    targets = np.sort(rng.permutation(known)[: options.targets])
    return Draw(weights, places, valid, targets, thickness, profile)


def _six(
    lower: np.ndarray, upper: np.ndarray, options: WindowOptions, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Places (6,) and valid (6,) of up to three lower and three upper slices, ascending; some outer ones are lost."""
    if rng.random() < options.drop_outer:
        lower = lower[-int(rng.integers(1, 3)) :]
    if rng.random() < options.drop_outer:
        upper = upper[: int(rng.integers(1, 3))]
    missing = 3 - len(lower), 3 - len(upper)
    end = upper[-1:] if len(upper) else lower[-1:]
    places = np.concatenate([np.repeat(lower[:1], missing[0]), lower, upper, np.repeat(end, missing[1])])
    there = np.arange(6)
    return places.astype(float), (there >= missing[0]) & (there < 6 - missing[1])
