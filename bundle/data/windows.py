"""Training examples of slice synthesis: windows of observed slices, drawn at random from thin-slice nodules.

Vocabulary: a *window* is the four observed slices around a *target* place, two below and two above it, with their
*offsets* from it in mm; some may be missing (not *valid*), as at the end of a scan, and are then copies of their
neighbours. The networks that take windows are in :mod:`bundle.networks`. In training the target is a slice that is
known. A *fold* is a fifth of the patients: all nodules of a patient are in one fold.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from torch.utils.data import Dataset

from bundle.errors import InputError


def patient_of(nodule_id: str) -> str:
    """The patient of a nodule, as LIDC-IDRI's identifiers give it; else all before the first underscore.

    Example:
        >>> patient_of("LIDC-IDRI-0056_R_1"), patient_of("scan7_nodule_0")
        ('LIDC-IDRI-0056', 'scan7')
    """
    return nodule_id.split("_")[0]


def fold_of(patient: str, folds: int = 5) -> int:
    """The fold of a patient: the number that ends the identifier, or a hash of one without, modulo ``folds``.

    Example:
        >>> fold_of("LIDC-IDRI-0056"), fold_of("LIDC-IDRI-0060")
        (1, 0)
    """
    number = re.search(r"\d+$", patient)
    if number:
        return int(number.group()) % folds
    return int.from_bytes(hashlib.sha256(patient.encode()).digest()[:8], "big") % folds


def in_folds(ids: Sequence[str], folds: Sequence[int], of: int = 5) -> list[int]:
    """Which nodules are of patients in some folds.

    Args:
        ids: of the nodules.
        folds: which folds, from 0 to ``of`` - 1.
        of: number of folds.

    Raises:
        InputError: no nodule is.

    Example:
        >>> in_folds(["LIDC-IDRI-0056_R_1", "LIDC-IDRI-0060_R_2", "LIDC-IDRI-0061_R_1"], [1])
        [0, 2]
    """
    chosen = [i for i, name in enumerate(ids) if fold_of(patient_of(name), of) in folds]
    if not chosen:
        raise InputError(
            f"none of {len(ids)} nodules is of a patient in folds {list(folds)} of {of}: give more patients"
        )
    return chosen


@dataclass(frozen=True)
class WindowOptions:
    """Which windows are drawn.

    Attributes:
        patch: pixels along x and y; smaller planes are used whole, mirrored at their border.
        strides: smallest and largest number of slices from one observed slice to the next.
        gaps_mm: smallest and largest distance between the observed slices around the target.
        uneven: share of windows whose three gaps are drawn apart from each other.
        beyond: share of windows whose target lies beyond the last observed slice.
        drop_outer: share of windows that lose an outer slice they could have.
        across: share of windows whose slices are cut across x or y instead of z, where pixels are as near to each
            other as thin slices are.
        noisy: share of windows whose observed slices get more noise, of a normalised sd up to ``noise``.
        gain: sd of the factor, and ``shift`` the sd of the offset, of the jitter of normalised brightness.
    """

    patch: int = 40
    strides: tuple[int, int] = (2, 8)
    gaps_mm: tuple[float, float] = (1.0, 8.0)
    uneven: float = 0.25
    beyond: float = 0.1
    drop_outer: float = 0.1
    across: float = 0.25
    noisy: float = 0.25
    noise: float = 0.03
    gain: float = 0.05
    shift: float = 0.02


def stride_choices(slices: int, spacing_mm: float, options: WindowOptions) -> list[int]:
    """Strides that a volume allows: within the limits in slices and in mm, and a target and two ends to spare.

    Example:
        >>> stride_choices(30, 1.25, WindowOptions())
        [2, 3, 4, 5, 6]
    """
    low, high = options.strides
    least, most = options.gaps_mm
    return [s for s in range(low, high + 1) if least <= s * spacing_mm <= most + 1e-6 and s < slices]


@dataclass(frozen=True)
class _Volume:
    image: np.ndarray
    mask: np.ndarray
    spacing: Sequence[float]
    strides: Sequence[int]


class WindowDataset(Dataset):
    """Windows drawn at random from nodules; the same number gives the same window.

    Args:
        data: dictionaries of a source: ``image`` (1, X, Y, Z) normalised to [0, 1], ``label``, ``spacing`` in mm,
            ``nodule_id``.
        length: windows in all.
        options: which windows.
        seed: of the draws.

    Each example has ``slices`` (4, X, Y), ``offsets`` (4,) mm, ``valid`` (4,), ``spacing`` (2,) mm, ``target``
    (1, X, Y) and ``mask`` (1, X, Y), float32, after random flips along x, y and z, a random transpose, and a jitter
    of the brightness.

    Raises:
        InputError: no nodule has room for any stride.

    Example:
        >>> item = {"image": np.random.rand(1, 48, 48, 20), "label": np.ones((1, 48, 48, 20)), "spacing": (0.7, 0.7, 1)}
        >>> WindowDataset([item], length=10)[3]["slices"].shape
        (4, 40, 40)
    """

    def __init__(
        self,
        data: Sequence[Mapping[str, Any]],
        length: int,
        options: WindowOptions | None = None,
        seed: int = 0,
    ) -> None:
        self.options = options or WindowOptions()
        self.length = length
        self.seed = seed
        self.volumes: list[_Volume] = []
        self.turned: list[_Volume] = []
        for item in data:
            image = np.asarray(item["image"][0], dtype=np.float32)
            mask, spacing = np.asarray(item["label"][0]) > 0, [float(s) for s in item["spacing"]]
            for axes, kept in (((0, 1, 2), self.volumes), ((1, 2, 0), self.turned), ((2, 0, 1), self.turned)):
                volume = _Volume(image.transpose(axes), mask.transpose(axes), [spacing[i] for i in axes], [])
                strides = stride_choices(volume.image.shape[2], volume.spacing[2], self.options)
                if strides:
                    kept.append(replace(volume, strides=strides))
        if not self.volumes:
            raise InputError(
                f"none of the {len(data)} nodules has room for a stride of {self.options.strides[0]} to "
                f"{self.options.strides[1]} slices and {self.options.gaps_mm} mm: give thinner or longer ones"
            )

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        rng = np.random.default_rng((self.seed, index))
        across = bool(self.turned) and rng.random() < self.options.across
        volumes = self.turned if across else self.volumes
        volume = volumes[rng.integers(len(volumes))]
        kept, valid, target = draw_window(volume.image.shape[2], volume.strides, self.options, rng)
        where = _patch(volume.image.shape, self.options.patch, rng)
        planes = np.concatenate(
            [volume.image[where][..., [*kept, target]], volume.mask[where][..., [target]]], axis=2, dtype=np.float32
        )
        offsets, along = (kept - target) * volume.spacing[2], volume.spacing[:2]
        planes = np.moveaxis(planes, 2, 0)
        if rng.random() < 0.5:
            planes, offsets, valid = planes[[3, 2, 1, 0, 4, 5]], -offsets[::-1], valid[::-1]
        for axis in (1, 2):
            if rng.random() < 0.5:
                planes = np.flip(planes, axis)
        if rng.random() < 0.5:
            planes, along = planes.swapaxes(1, 2), along[::-1]
        planes = _padded(planes, self.options.patch)
        _jitter(planes, self.options, rng)
        return {
            "slices": planes[:4],
            "offsets": offsets.astype(np.float32),
            "valid": valid.astype(np.float32),
            "spacing": np.asarray(along, dtype=np.float32),
            "target": planes[4:5],
            "mask": planes[5:6],
        }


def windows_at(
    image: np.ndarray, positions: np.ndarray, targets: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The window of each target.

    Args:
        image: (X, Y, K) observed slices, K >= 2.
        positions: (K,) mm, strictly ascending.
        targets: (T,) mm, anywhere.

    Returns:
        slices (T, 4, X, Y), offsets (T, 4) in mm and valid (T, 4), float32.

    Example:
        >>> slices, offsets, valid = windows_at(np.zeros((8, 8, 3)), np.array([0.0, 5.0, 10.0]), np.array([7.0, 12.0]))
        >>> offsets
        array([[-7., -2.,  3.,  3.],
               [-7., -2., -2., -2.]], dtype=float32)
        >>> valid
        array([[1., 1., 1., 0.],
               [1., 1., 0., 0.]], dtype=float32)
    """
    last = len(positions) - 1
    upper = np.searchsorted(positions, targets, side="right")
    wanted = upper[:, None] + np.array([-2, -1, 0, 1])
    valid = (wanted >= 0) & (wanted <= last)
    # a missing slice is a copy of its neighbour towards the target, or else of the nearest that there is
    index = np.clip(wanted, 0, last)
    slices = np.moveaxis(image[..., index], (2, 3), (0, 1))
    offsets = positions[index] - np.asarray(targets)[:, None]
    return slices.astype(np.float32), offsets.astype(np.float32), valid.astype(np.float32)


def draw_window(
    slices: int, strides: Sequence[int], options: WindowOptions, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, int]:
    """Draw a target slice and the observed ones around it.

    Args:
        slices: of the volume.
        strides: gaps to choose from, in slices, each smaller than ``slices``.
        options: how uneven the gaps may be.
        rng: of the draw.

    Returns:
        (4,) indices of the observed slices, ascending or, where one is missing, repeated; (4,) whether each exists;
        the index of the target: between the inner two or, where the third is missing, above the second.
    """
    gap = int(rng.choice(strides))
    below, above = rng.choice(strides, 2) if rng.random() < options.uneven else (gap, gap)
    low = int(rng.integers(0, slices - gap))
    keep = rng.random(2) >= options.drop_outer
    lowest = low - below if low >= below and keep[0] else low
    if rng.random() < options.beyond:
        kept, valid = [lowest, low, low, low], [lowest < low, True, False, False]
    else:
        high = low + gap
        highest = high + above if high + above < slices and keep[1] else high
        kept, valid = [lowest, low, high, highest], [lowest < low, True, True, highest > high]
    return np.array(kept), np.array(valid), int(rng.integers(low + 1, low + gap))


def _patch(shape: Sequence[int], size: int, rng: np.random.Generator) -> tuple[slice, slice]:
    """A random square of the plane, or all of an axis that is shorter."""
    starts = [int(rng.integers(0, max(n - size, 0) + 1)) for n in shape[:2]]
    return slice(starts[0], starts[0] + size), slice(starts[1], starts[1] + size)


def _padded(planes: np.ndarray, size: int) -> np.ndarray:
    """Mirror the planes (C, X, Y) up to the size; a copy in any case."""
    short = [(0, max(size - n, 0)) for n in planes.shape[1:]]
    return np.pad(planes, [(0, 0), *short], mode="symmetric") if any(b for _, b in short) else planes.copy()


def _jitter(planes: np.ndarray, options: WindowOptions, rng: np.random.Generator) -> None:
    """Change brightness of observed slices and target alike, and make observed slices noisier, in place."""
    gain, shift = 1 + options.gain * rng.normal(), options.shift * rng.normal()
    planes[:5] = np.clip(gain * planes[:5] + shift, 0, 1)
    if rng.random() < options.noisy:
        sd = options.noise * rng.random()
        planes[:4] = np.clip(planes[:4] + sd * rng.standard_normal(planes[:4].shape, dtype=np.float32), 0, 1)
