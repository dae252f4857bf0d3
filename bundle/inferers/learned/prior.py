"""Slice synthesis: fill the gap with a network that learned on thin slices of other patients.

The network (:class:`bundle.networks.SliceSynthesisNet`) sees the four observed slices around a target and the distances
in mm; what it gives is averaged over *turns*: the window flipped along x, y or z, or transposed, and turned back. One
look at each target, no fit: the same weights serve every nodule, stride and spacing.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import nn

from bundle.data.windows import windows_at
from bundle.engines import AutocastInferer, one_thread
from bundle.errors import InputError
from bundle.inferers.base import SliceInferer, checked_image
from bundle.networks import SliceSynthesisNet, slice_window
from bundle.slices import ObservedSlices, Reconstruction, with_observed

# how a window is turned: transposed, flipped along x, along y, along z
Turn = tuple[bool, bool, bool, bool]


def load_weights(network: nn.Module, weights: str | Path) -> nn.Module:
    """Load a state dict into a network, in place.

    Args:
        network: as it was trained.
        weights: file of a state dict, or of a dictionary with one under ``"model"``.

    Raises:
        InputError: the file is missing, is no state dict, or is of another network.

    Example:
        >>> load_weights(SliceSynthesisNet(), "models/model.pt").training  # doctest: +SKIP
        False
    """
    path = Path(weights)
    if not path.is_file():
        raise InputError(f"{path} is missing: expected the weights of slice synthesis; train them, see docs/methods.md")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        network.load_state_dict(state.get("model", state))
    except Exception as error:
        raise InputError(
            f"{path} holds no weights of {type(network).__name__}: give the file that its training wrote"
        ) from error
    return network.eval().requires_grad_(False)


def turns_of(count: int) -> list[Turn]:
    """The first ``count`` of the 16 turns, chosen to be as different as they can.

    Example:
        >>> turns_of(2)
        [(False, False, False, False), (True, True, False, True)]
    """
    every: list[Turn] = [(t, x, y, z) for t, x, y, z in product((False, True), repeat=4)]
    order = [0, 13, 7, 10, 3, 14, 4, 9, 1, 12, 6, 11, 2, 15, 5, 8]
    return [every[i] for i in order[:count]]


class PriorInferer(SliceInferer):
    """Make the slices between observed ones with a network learned on other patients.

    Args:
        network: makes the network, or is one with its weights.
        weights: file of its weights; None: the network has them.
        turns: how many of the 16 flips and transpositions are averaged: 1 is the fastest.
        device: where to compute; None: the CPU, where a nodule takes less than a second.
        precision: ``"fp32"``, the same on every machine; ``"bf16"``, twice as fast where a CPU multiplies it
            in hardware, and within 0.01 dB.
        targets_at_once: slices in one call of the network.
        gaps_mm: smallest and largest gap between observed slices that the weights were trained on.
        pixels_mm: smallest and largest pixels that they were trained on; outside of either there is a note.

    ``error`` is the expected absolute error that the network gives, widened where the turns disagree. Beyond the last
    observed slice the network goes on from it. The result does not depend on a seed.

    Raises:
        InputError: the weights are missing or of another network; ``turns`` is not from 1 to 16; another precision.

    Example:
        >>> prior = PriorInferer(SliceSynthesisNet)  # no weights: this one is PCHIP
        >>> prior(np.array([[[0.0, 0.0, 1.0]]]), targets=[0.5, 1.5, 2.5])[0, 0]
        array([0.    , 0.3125, 1.    ], dtype=float32)
    """

    in_plane = True

    def __init__(
        self,
        network: Callable[[], nn.Module] | nn.Module = SliceSynthesisNet,
        weights: str | Path | None = None,
        turns: int = 2,
        device: str | None = None,
        precision: Literal["fp32", "bf16"] = "fp32",
        targets_at_once: int = 16,
        gaps_mm: tuple[float, float] = (1.0, 8.0),
        pixels_mm: tuple[float, float] = (0.5, 1.0),
    ) -> None:
        super().__init__()
        if not isinstance(turns, int) or not 1 <= turns <= 16:
            raise InputError(f"turns is {turns!r}, expected a whole number from 1 to 16")
        if precision not in ("fp32", "bf16"):
            raise InputError(f"precision is {precision!r}, expected 'fp32' or 'bf16'")
        made = network if isinstance(network, nn.Module) else network()
        self.network = made.eval().requires_grad_(False) if weights is None else load_weights(made, weights)
        self.turns = turns
        self.device = device or "cpu"
        self.precision = precision
        self.targets_at_once = targets_at_once
        self.gaps_mm = gaps_mm
        self.pixels_mm = pixels_mm

    def reconstruct(self, observed: ObservedSlices) -> Reconstruction:
        """Make every target slice.

        Args:
            observed: the observed slices; their masks are not looked at.

        Returns:
            ``image`` and ``error`` (X, Y, Z), normalised; observed slices as they were, with no error.

        Raises:
            InputError: there is no image, or nan in it.
        """
        seen = checked_image(observed, "slice synthesis")
        with torch.inference_mode(), one_thread():
            made = self._made(seen, observed, self.network.to(self.device))
        image, error = (np.ascontiguousarray(np.moveaxis(part, 0, 2)) for part in made.numpy())
        whole = with_observed(image.clip(0, 1).astype(np.float64), observed)
        return Reconstruction(
            image=whole,
            error=self.expected_error(error, observed, whole),
            notes=self._notes(observed),
        )

    def _notes(self, observed: ObservedSlices) -> list[str]:
        """A sentence for each side of the geometry that the weights have not seen."""
        sides = {
            "gaps between observed slices": (np.diff(observed.positions), self.gaps_mm),
            "pixels": (np.array(observed.spacing), self.pixels_mm),
        }
        return [
            f"{name} of {sizes.min():.2g} to {sizes.max():.2g} mm, but the network was trained on {low:g} to "
            f"{high:g} mm: compare with pchip"
            for name, (sizes, (low, high)) in sides.items()
            if sizes.min() < 0.9 * low or sizes.max() > 1.1 * high
        ]

    def _made(self, image: np.ndarray, observed: ObservedSlices, network: nn.Module) -> torch.Tensor:
        """(2, Z, X, Y): slices and expected errors, averaged over the turns."""
        slices, offsets, valid = map(torch.as_tensor, windows_at(image, observed.positions, observed.targets))
        spacing = torch.tensor(observed.spacing, dtype=torch.float32).expand(len(slices), 2)
        parts = []
        for chunk in torch.arange(len(slices)).split(self.targets_at_once):
            seen = [self._turned(turn, slices[chunk], offsets[chunk], valid[chunk], spacing[chunk], network)
                    for turn in turns_of(self.turns)]  # fmt: skip
            every = torch.stack(seen)
            mean, error = every.mean(0).unbind(1)
            # the turns should agree: what they do not, the network does not know
            spread = every[:, :, 0].std(0, correction=0)
            parts.append(torch.stack([mean, torch.hypot(error, spread)]))
        return torch.cat(parts, dim=1)

    def _turned(
        self, turn: Turn, slices: torch.Tensor, offsets: torch.Tensor, valid: torch.Tensor, spacing: torch.Tensor,
        network: nn.Module,
    ) -> torch.Tensor:  # fmt: skip
        """(B, 2, X, Y) of the network, which sees the window turned; turned back."""
        transposed, along_x, along_y, along_z = turn
        axes = [axis for axis, flipped in ((2, along_x), (3, along_y)) if flipped]
        if along_z:
            slices, offsets, valid = slices.flip(1), -offsets.flip(1), valid.flip(1)
        slices = slices.flip(axes)
        if transposed:
            slices, spacing = slices.transpose(2, 3), spacing.flip(1)
        window = slice_window(slices, offsets, valid, spacing).to(self.device)
        run = AutocastInferer(self.precision)
        out = run(window.contiguous(memory_format=torch.channels_last), network).float().cpu()
        return (out.transpose(2, 3) if transposed else out).flip(axes)
