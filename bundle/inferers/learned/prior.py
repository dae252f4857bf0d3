"""Slice synthesis: fill the gap with a network that learned on thin slices of other patients.

The network (:class:`bundle.networks.SliceSynthesisNet`) sees the six observed slices around a gap, their places and
thickness in mm; what it gives is averaged over *augmentations* (test-time augmentation): the window flipped along x, y
or z, or transposed, and what comes of it turned back. No fit: the same weights serve every nodule, stride, thickness
and spacing.

The network looks at brightness within the window of the study, normalised to [0, 1]. What it adds is added to PCHIP
through the slices as they are, so that bone and contrast medium, above the window, are kept.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

from bundle.data.window_geometry import geometry_of, windows_at
from bundle.engines import SynthesisInferer, one_thread
from bundle.engines.synthesis import autocasts
from bundle.errors import InputError
from bundle.inferers.base import SliceInferer, checked_image
from bundle.inferers.learned.weights import load_weights
from bundle.networks import SliceSynthesisNet, flipped_geometry, window_base
from bundle.slices import ObservedSlices, Reconstruction, with_observed

# of a window: transposed, flipped along x, along y, along z
Augmentation = tuple[bool, bool, bool, bool]


def augmentations_of(count: int) -> list[Augmentation]:
    """The first ``count`` of the 16 augmentations, chosen to be as different as they can.

    Example:
        >>> augmentations_of(2)
        [(False, False, False, False), (True, True, False, True)]
    """
    every: list[Augmentation] = [(t, x, y, z) for t, x, y, z in product((False, True), repeat=4)]
    order = [0, 13, 7, 10, 3, 14, 4, 9, 1, 12, 6, 11, 2, 15, 5, 8]
    return [every[i] for i in order[:count]]


@dataclass(frozen=True)
class TrainedLimits:
    """Smallest and largest sizes, in mm, that a network was trained on.

    Attributes:
        gaps_mm: from one observed slice to the next.
        pixels_mm: in plane.
        thickness_mm: of observed slices.
    """

    gaps_mm: tuple[float, float]
    pixels_mm: tuple[float, float]
    thickness_mm: tuple[float, float]

    def outside(self, observed: ObservedSlices) -> list[str]:
        """A sentence for each size of what is observed that is more than 10 % outside.

        Example:
            >>> limits = TrainedLimits((1, 8), (0.5, 1), (0, 8))
            >>> limits.outside(ObservedSlices(None, None, np.arange(2) * 10.0, np.arange(2.0)))  # doctest: +ELLIPSIS
            ['gaps between observed slices of 10 to 10 mm, but the network was trained on 1 to 8 mm: ...']
        """
        sides = {
            "gaps between observed slices": (np.diff(observed.positions), self.gaps_mm),
            "pixels": (np.array(observed.spacing), self.pixels_mm),
            "slice thickness": (np.array([observed.thickness_mm or 0.0]), self.thickness_mm),
        }
        return [
            f"{name} of {sizes.min():.2g} to {sizes.max():.2g} mm, but the network was trained on {low:g} to "
            f"{high:g} mm: compare with pchip"
            for name, (sizes, (low, high)) in sides.items()
            if sizes.min() < 0.9 * low or sizes.max() > 1.1 * high
        ]


class PriorInferer(SliceInferer):
    """Make the slices between observed ones with a network learned on other patients.

    Args:
        network: makes the network, or is one with its weights.
        weights: file of its weights; None: the network has them.
        augmentations: how many of the 16 flips and transpositions are averaged: 1 is the fastest.
        device: where to compute; None: the CPU, where a nodule takes less than a second.
        precision: ``"auto"``, bf16 where the device multiplies it in hardware, twice as fast; ``"fp32"``, the same on
            every machine; or ``"bf16"`` (:func:`bundle.engines.synthesis.autocasts`).
        all_cores: use all threads that torch has, as a large volume wants it; False: one, as the study's workers do.
        windows_at_once: gaps in one call of the network.
        limits: of what the weights were trained on; outside of them there is a note. None: they are not known.

    ``error`` is the expected absolute error that the network gives, widened where the augmentations disagree. Beyond
    the last observed slice the network goes on from it. The result does not depend on a seed.

    Raises:
        InputError: the weights are missing or of another network; ``augmentations`` is not from 1 to 16; another
            precision.

    Example:
        >>> prior = PriorInferer(SliceSynthesisNet)  # no weights: this one is PCHIP
        >>> prior(np.array([[[0.0, 0.0, 1.0]]]), targets=[0.5, 1.5, 2.5])[0, 0]
        array([0.    , 0.3125, 1.    ], dtype=float32)
    """

    in_plane = True
    gives_error = True

    def __init__(
        self,
        network: Callable[[], nn.Module] | nn.Module = SliceSynthesisNet,
        weights: str | Path | None = None,
        augmentations: int = 2,
        device: str | None = None,
        precision: Literal["auto", "fp32", "bf16"] = "auto",
        all_cores: bool = False,
        windows_at_once: int = 2,
        limits: TrainedLimits | None = None,
    ) -> None:
        super().__init__()
        if not isinstance(augmentations, int) or not 1 <= augmentations <= 16:
            raise InputError(f"augmentations is {augmentations!r}, expected a whole number from 1 to 16")
        autocasts(precision, torch.device(device or "cpu").type)
        made = network if isinstance(network, nn.Module) else network()
        self.network = made.eval().requires_grad_(False) if weights is None else load_weights(made, weights)
        self.augmentations = augmentations
        self.device = device or "cpu"
        self.precision = precision
        self.all_cores = all_cores
        self.windows_at_once = windows_at_once
        self.normalised = True
        self.limits = limits

    def reconstruct(self, observed: ObservedSlices) -> Reconstruction:
        """Make every target slice.

        Args:
            observed: the observed slices; their masks are not looked at.

        Returns:
            ``image`` and ``error`` (X, Y, Z), normalised; thin observed slices as they were, with no error.

        Raises:
            InputError: there is no image, or nan in it.
        """
        seen = checked_image(observed, "slice synthesis", self.normalised)
        with torch.inference_mode(), nullcontext() if self.all_cores else one_thread():
            made = self._made(seen, observed, self.network.to(self.device))
        image, error = (np.ascontiguousarray(np.moveaxis(part, 0, 2)) for part in made.numpy())
        whole = with_observed(image.astype(np.float64), observed)
        return Reconstruction(
            image=whole,
            error=self.expected_error(error, observed, whole),
            notes=self.outside(observed),
        )

    def unclipped(self) -> PriorInferer:
        """The same method where intensities leave [0, 1], as those of bone do: it keeps them."""
        free = copy.copy(self)
        free.normalised = False
        return free

    def outside(self, observed: ObservedSlices) -> list[str]:
        """A sentence for each side of the geometry that the weights have not seen."""
        return self.limits.outside(observed) if self.limits else []

    def _made(self, image: np.ndarray, observed: ObservedSlices, network: Any) -> torch.Tensor:
        """(2, Z, X, Y): slices and expected errors, averaged over the augmentations."""
        at = windows_at(observed.positions, observed.targets)
        geometry = torch.as_tensor(
            geometry_of(at.offsets, at.valid[at.window], observed.thickness_mm, observed.profile, observed.spacing)
        ).float()
        raw = torch.from_numpy(np.ascontiguousarray(np.moveaxis(image, 2, 0), dtype=np.float32))
        made = torch.empty(2, len(geometry), *raw.shape[1:])
        for first in range(0, len(at.index), self.windows_at_once):
            rows = np.flatnonzero((at.window >= first) & (at.window < first + self.windows_at_once))
            index = torch.as_tensor(at.index[first : first + self.windows_at_once])
            of = torch.as_tensor(at.window[rows]) - first
            made[:, rows] = self._windows(raw[index], geometry[rows], of, network)
        return made

    def _windows(self, raw: torch.Tensor, geometry: torch.Tensor, window: torch.Tensor, network: Any
    ) -> torch.Tensor:  # fmt: skip
        """(2, T, X, Y) of some windows (W, 6, X, Y), which each target's ``window`` (T,) numbers."""
        raw, geometry, window = (part.to(self.device) for part in (raw, geometry, window))
        slices = raw.clamp(0, 1)
        base = torch.cat([window_base(slices[window[[i]]], geometry[[i]]) for i in range(len(window))])
        looks = torch.stack(
            [self._seen(one, slices, base, geometry, window, network) for one in augmentations_of(self.augmentations)]
        )
        residual, error = looks.mean(0).unbind(1)
        if self.augmentations > 1:
            # they should agree: where they do not, the network does not know
            error = torch.hypot(error, looks[:, :, 0].std(0, correction=0))
        # where a slice leaves the window the network sees its edge alone, and can but stay within what is there
        whole = base[:, 0] if slices.equal(raw) else torch.cat(
            [window_base(raw[window[[i]]], geometry[[i]])[:, 0] for i in range(len(window))]
        )  # fmt: skip
        image = torch.minimum(torch.maximum(whole + residual, whole.clamp_max(0)), whole.clamp_min(1))
        return torch.stack([image, error]).cpu()

    def _seen(
        self, augmentation: Augmentation, slices: torch.Tensor, base: torch.Tensor, geometry: torch.Tensor,
        window: torch.Tensor, network: Any,
    ) -> torch.Tensor:  # fmt: skip
        """(T, 2, X, Y) of the network, which sees the windows augmented; turned back."""
        transposed, along_x, along_y, along_z = augmentation
        axes = [axis for axis, flipped in ((2, along_x), (3, along_y)) if flipped]
        if along_z:
            slices, geometry = slices.flip(1), flipped_geometry(geometry)
        slices, base = slices.flip(axes), base.flip(axes)
        if transposed:
            slices, base, geometry = slices.transpose(2, 3), base.transpose(2, 3), geometry[:, [*range(19), 20, 19]]
        slices = slices.contiguous(memory_format=torch.channels_last)
        made = SynthesisInferer(self.precision)(slices, network, base, geometry, window)
        made[:, :1] -= base
        return (made.transpose(2, 3) if transposed else made).flip(axes)
