"""Training examples of slice synthesis: windows of observed slices, drawn at random from thin-slice nodules.

Vocabulary: a *window*, its *inner* slices, *targets*, *offsets* and *geometry* are those of
:mod:`bundle.networks.slice_window`. In training the targets are thin slices that are known; the observed slices are
thin ones, or *thick*: averages of thin ones over a slice profile (:mod:`bundle.profile`). A *fold* is a fifth of the
patients: all nodules of a patient are in one fold.
"""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from bundle.data.window_draws import Draw, WindowOptions, draw_window, stride_choices
from bundle.data.window_geometry import geometry_of
from bundle.errors import InputError

log = logging.getLogger(__name__)


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


def in_folds(ids: Sequence[str], folds: Sequence[int], of: int = 5, learned: Sequence[int] = ()) -> list[int]:
    """Which nodules are of patients in some folds.

    Args:
        ids: of the nodules.
        folds: which folds, from 0 to ``of`` - 1.
        of: number of folds.
        learned: folds that are learned from, where these ones are to tell how well it went; some in both are told.

    Raises:
        InputError: no nodule is.

    Example:
        >>> in_folds(["LIDC-IDRI-0056_R_1", "LIDC-IDRI-0060_R_2", "LIDC-IDRI-0061_R_1"], [1])
        [0, 2]
    """
    if both := sorted({*folds} & {*learned}):
        log.warning("folds %s are learned from and validated by: the validation says nothing of other patients", both)
    chosen = [i for i, name in enumerate(ids) if fold_of(patient_of(name), of) in folds]
    if not chosen:
        raise InputError(
            f"none of {len(ids)} nodules is of a patient in folds {list(folds)} of {of}: give more patients"
        )
    return chosen


@dataclass(frozen=True)
class _Volume:
    image: np.ndarray
    mask: np.ndarray
    spacing: Sequence[float]


class WindowDataset(Dataset):
    """Windows drawn at random from nodules; the same number gives the same window.

    Args:
        data: dictionaries of a source: ``image`` (1, X, Y, Z) normalised to [0, 1], ``label``, ``spacing`` in mm,
            ``nodule_id``.
        length: windows in all.
        options: which windows.
        seed: of the draws.

    Each example has ``slices`` (6, X, Y), and for its T targets ``geometry`` (T, 21), ``target`` (T, X, Y) and ``mask``
    (T, X, Y), float32, after random flips along x, y and z, a random transpose, and a jitter of brightness, sharpness
    and scale. T differs: :func:`join_windows` makes examples into a batch.

    Raises:
        InputError: no nodule has room for any stride.

    Example:
        >>> item = {"image": np.random.rand(1, 48, 48, 20), "label": np.ones((1, 48, 48, 20)), "spacing": (0.7, 0.7, 1)}
        >>> WindowDataset([item], length=10)[3]["slices"].shape
        (6, 40, 40)
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
                volume = _Volume(image.transpose(axes), mask.transpose(axes), [spacing[i] for i in axes])
                if stride_choices(volume.image.shape[2], volume.spacing[2], self.options):
                    kept.append(volume)
        if not self.volumes:
            raise InputError(
                f"none of the {len(data)} nodules has room for a stride of {self.options.strides[0]} to "
                f"{self.options.strides[1]} slices and {self.options.gaps_mm} mm: give thinner or longer ones"
            )

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        rng = np.random.default_rng((self.seed, index))
        options = self.options
        across = bool(self.turned) and rng.random() < options.across
        volumes = self.turned if across else self.volumes
        volume = volumes[rng.integers(len(volumes))]
        drawn = draw_window(volume.image.shape[2], volume.spacing[2], options, rng)
        where = _patch(volume.image.shape, options.patch, rng)
        image, mask = volume.image[where], volume.mask[where]
        used = np.flatnonzero(drawn.weights.any(axis=1))
        span = slice(used[0], used[-1] + 1)
        observed = image[..., span] @ drawn.weights[span].astype(np.float32)
        planes = np.concatenate([observed, image[..., drawn.targets], mask[..., drawn.targets]], axis=2)
        geometry, spacing = _geometry(drawn, volume.spacing[2], options, rng), list(volume.spacing[:2])
        planes = np.moveaxis(planes, 2, 0)
        if rng.random() < 0.5:
            planes = np.concatenate([planes[5::-1], planes[6:]])
            geometry[:, :6] = -geometry[:, 5::-1]
            geometry[:, 6:18] = geometry[:, 6:18].reshape(-1, 2, 6)[:, :, ::-1].reshape(-1, 12)
        for axis in (1, 2):
            if rng.random() < 0.5:
                planes = np.flip(planes, axis)
        if rng.random() < 0.5:
            planes, spacing = planes.swapaxes(1, 2), spacing[::-1]
        geometry[:, 19:] = spacing
        scale = options.zoom ** rng.uniform(-1, 1)
        geometry[:, :6] *= scale
        geometry[:, 18:] *= scale
        planes = _padded(planes, options.patch)
        count = len(drawn.targets)
        _jitter(planes[: 6 + count], options, rng)
        return {
            "slices": planes[:6],
            "geometry": geometry.astype(np.float32),
            "target": planes[6 : 6 + count],
            "mask": planes[6 + count :],
        }


def join_windows(examples: Sequence[Mapping[str, np.ndarray]]) -> dict[str, torch.Tensor]:
    """Make examples of different numbers of targets into a batch, the collate function of a data loader.

    Args:
        examples: B of :class:`WindowDataset`.

    Returns:
        ``slices`` (B, 6, X, Y); of all N targets together ``geometry`` (N, 21), ``target`` and ``mask`` (N, X, Y), and
        ``window`` (N,), the number of the window of each; ascending.

    Example:
        >>> one = {"slices": np.zeros((6, 8, 8)), "geometry": np.ones((3, 21))}
        >>> one |= {"target": np.zeros((3, 8, 8)), "mask": np.zeros((3, 8, 8))}
        >>> join_windows([one, one])["window"].tolist()
        [0, 0, 0, 1, 1, 1]
    """
    joined = {
        key: torch.from_numpy(np.concatenate([one[key] for one in examples])) for key in ("geometry", "target", "mask")
    }
    joined["slices"] = torch.from_numpy(np.stack([one["slices"] for one in examples]))
    counts = torch.tensor([len(one["target"]) for one in examples])
    joined["window"] = torch.repeat_interleave(torch.arange(len(examples)), counts)
    return joined


def _geometry(drawn: Draw, spacing_mm: float, options: WindowOptions, rng: np.random.Generator) -> np.ndarray:
    """(T, 21) of a drawn window as the network is told it: thickness and profile may be misstated."""
    offsets = (drawn.places - drawn.targets[:, None]) * spacing_mm
    told = drawn.profile if rng.random() < 0.7 else "box"
    thickness = drawn.thickness * spacing_mm * max(0.5, 1 + options.misstated * rng.normal())
    valid = np.broadcast_to(drawn.valid, offsets.shape)
    return geometry_of(offsets, valid, thickness, told, (0.0, 0.0))


def _patch(shape: Sequence[int], size: int, rng: np.random.Generator) -> tuple[slice, slice]:
    """A random square of the plane, or all of an axis that is shorter."""
    starts = [int(rng.integers(0, max(n - size, 0) + 1)) for n in shape[:2]]
    return slice(starts[0], starts[0] + size), slice(starts[1], starts[1] + size)


def _padded(planes: np.ndarray, size: int) -> np.ndarray:
    """Mirror the planes (C, X, Y) up to the size; a copy in any case."""
    short = [(0, max(size - n, 0)) for n in planes.shape[1:]]
    return np.pad(planes, [(0, 0), *short], mode="symmetric") if any(b for _, b in short) else planes.copy()


def _jitter(planes: np.ndarray, options: WindowOptions, rng: np.random.Generator) -> None:
    """Change brightness and sharpness of all planes (C, X, Y) alike, and make observed ones noisier, in place."""
    gain, shift = 1 + options.gain * rng.normal(), options.shift * rng.normal()
    np.clip(gain * planes + shift, 0, 1, out=planes)
    if rng.random() < options.kernel:
        amount = rng.uniform(-0.08, 0.2)
        for axis in (1, 2):
            edge = np.pad(planes, [(0, 0), *((int(a == axis),) * 2 for a in (1, 2))], mode="edge")
            size = planes.shape[axis]
            around = edge.take(range(size), axis) + edge.take(range(2, size + 2), axis)
            planes += amount * (around - 2 * planes)
        np.clip(planes, 0, 1, out=planes)
    if rng.random() < options.noisy:
        sd = options.noise * rng.random()
        planes[:6] = np.clip(planes[:6] + sd * rng.standard_normal(planes[:6].shape, dtype=np.float32), 0, 1)
