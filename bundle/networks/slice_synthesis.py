"""A network that makes CT slices from the observed slices around them, learned on other patients.

It adds a *residual* to PCHIP through the window (:mod:`.slice_window`), nothing before training; so it starts at a
baseline and can only learn what the observed slices of a nodule cannot say. Places, thickness and pixel sizes in mm are
inputs: one network serves thin and thick slices, any stride, gap, overlap and unevenness.

Most of the work does not depend on the target: the *context* of a gap is computed once from the six observed slices
around it, and each target in the gap takes its slice from there with a light head.

Source: the task is that of Peng et al., *SAINT: Spatially Aware Interpolation Network for Medical Slice Synthesis*,
CVPR 2020; both parts are U-Nets (Ronneberger 2015) of residual blocks, their features modulated by the geometry
(FiLM, Perez 2018), at half of the resolution and below (pixel shuffle, Shi 2016) with a thin layer at the full one.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import nn
from torch.nn import functional

from bundle.networks.slice_window import (
    WINDOW_CHANNELS,
    WINDOW_SLICES,
    describe_gap,
    describe_target,
    window_base,
)

# of a target: PCHIP, kriging less PCHIP, and the inner slices less PCHIP
_PLANES = 4


class _Block(nn.Module):
    """Residual block before activation; nearly the identity at first."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(features, features, 3, padding=1)
        self.second = nn.Conv2d(features, features, 3, padding=1)
        nn.init.kaiming_normal_(self.first.weight, nonlinearity="relu")
        nn.init.normal_(self.second.weight, std=1e-2 / features**0.5)
        for layer in (self.first, self.second):
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.second(functional.relu(self.first(functional.relu(x)), inplace=True))


class _Stage(nn.Module):
    """Blocks at one resolution, after scaling and shifting the features by the geometry."""

    def __init__(self, features: int, blocks: int, condition: int) -> None:
        super().__init__()
        self.film = nn.Linear(condition, 2 * features)
        self.blocks = nn.Sequential(*(_Block(features) for _ in range(blocks)))
        nn.init.zeros_(self.film.weight)
        nn.init.zeros_(self.film.bias)

    def forward(self, x: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
        scale, shift = self.film(condition)[:, :, None, None].chunk(2, dim=1)
        return self.blocks(torch.addcmul(x + shift, x, scale))


class _UNet(nn.Module):
    """Stages on the way down and up again, modulated by a description of the geometry."""

    def __init__(self, features: Sequence[int], blocks: int, described: int, condition: int) -> None:
        super().__init__()
        self.embed = nn.Sequential(
            nn.Linear(described, condition), nn.SiLU(), nn.Linear(condition, condition), nn.SiLU()
        )
        self.first, *below = (_Stage(width, blocks, condition) for width in features)
        self.down = nn.ModuleList(below)
        self.shrink = nn.ModuleList(nn.Conv2d(a, b, 2, stride=2) for a, b in pairwise(features))
        # listed from the lowest resolution up, as they are used
        self.up = nn.ModuleList(reversed([_Stage(width, blocks, condition) for width in features[:-1]]))
        self.grow = nn.ModuleList(reversed([nn.Conv2d(b, a, 1) for a, b in pairwise(features)]))

    def forward(self, x: torch.Tensor, described: torch.Tensor) -> torch.Tensor:
        condition = self.embed(described)
        x = self.first(x, condition)
        kept = [x]
        for shrink, stage in zip(self.shrink, self.down):  # noqa: B905 -- TorchScript knows no strict
            x = stage(shrink(x), condition)
            kept.append(x)
        kept.pop()
        for grow, stage in zip(self.grow, self.up):  # noqa: B905
            x = functional.interpolate(grow(x), scale_factor=2.0, mode="nearest") + kept.pop()
            x = stage(x, condition)
        return functional.relu(x)


class SliceSynthesisNet(nn.Module):
    """Make the slice at offset 0 of a window of six observed slices, and say how wrong it may be.

    Args:
        in_channels: channels of :func:`bundle.networks.slice_window`; only 27 is possible, named as MONAI does.
        features: channels of the context at a half, a quarter, an eighth ... of the resolution.
        blocks: residual blocks of the context at each resolution on the way down, and again on the way up.
        target_features: channels of the head at a half, a quarter ... of the resolution.
        target_blocks: residual blocks of the head, likewise.
        condition: width of the embeddings of the geometry.
        fine: channels that the lower resolutions hand to the full one.

    :meth:`forward` gives (B, 2, X, Y): the slice, normalised and not clipped, and its expected absolute error,
    normalised, above 0. The branch of the error gets no gradient into the rest: it describes the slice and does not
    change it. Who wants several slices of one gap calls :meth:`context` once and :meth:`target` for each.

    Raises:
        ValueError: another number of channels than 27.

    Example:
        >>> from bundle.networks import slice_window
        >>> net = SliceSynthesisNet(features=(8, 16), target_features=(8,)).eval()
        >>> net(slice_window(torch.rand(1, 6, 9, 10), torch.ones(1, 21))).shape
        torch.Size([1, 2, 9, 10])
    """

    def __init__(
        self,
        in_channels: int = WINDOW_CHANNELS,
        features: Sequence[int] = (64, 96, 128),
        blocks: int = 2,
        target_features: Sequence[int] = (64,),
        target_blocks: int = 3,
        condition: int = 64,
        fine: int = 16,
    ) -> None:
        super().__init__()
        if in_channels != WINDOW_CHANNELS:
            raise ValueError(f"in_channels is {in_channels}, expected {WINDOW_CHANNELS}: see slice_window")
        # about the mean error of PCHIP on thin-slice nodules, normalised: the branch of the error starts there
        self.usual_error = 0.05
        self.step = 2 ** max(len(features), len(target_features))
        width = target_features[0]
        self.stem = nn.Conv2d(4 * WINDOW_SLICES, features[0], 3, padding=1)
        self.around = _UNet(features, blocks, 16, condition)
        self.fuse = nn.Conv2d(features[0] + 4 * _PLANES, width, 3, padding=1)
        self.within = _UNet(target_features, target_blocks, 25, condition)
        self.unfold = nn.Conv2d(width, 4 * fine, 1)
        self.mix = nn.Conv2d(fine + _PLANES, 32, 3, padding=1)
        self.head = nn.Conv2d(32, 1, 3, padding=1)
        seen = width + 4 * (1 + _PLANES)
        self.error = nn.Sequential(nn.Conv2d(seen, 32, 3, padding=1), nn.ReLU(), nn.Conv2d(32, 4, 3, padding=1))
        for last in (self.head, self.error[-1]):
            nn.init.zeros_(last.weight)  # type: ignore[arg-type]
            nn.init.zeros_(last.bias)  # type: ignore[arg-type]

    def forward(self, window: torch.Tensor) -> torch.Tensor:
        """(B, 27, X, Y) to (B, 2, X, Y): the slice and its expected absolute error; any X and Y."""
        slices, geometry = window[:, :6].float(), window[:, 6:, 0, 0].float()
        base = window_base(slices, geometry)
        made = self.target(self.context(slices, geometry), slices, base, geometry)
        return torch.cat([base + made[:, :1], made[:, 1:]], dim=1)

    @torch.jit.export
    def context(self, slices: torch.Tensor, geometry: torch.Tensor) -> torch.Tensor:
        """What can be said of a gap whichever the target: (B, 6, X, Y) and (B, 21) to (B, C, X / 2, Y / 2).

        X and Y are rounded up to whole steps of the lowest resolution.
        """
        x = functional.pixel_unshuffle(self._whole(slices - 0.5), 2)
        return self.around(self.stem(x), describe_gap(geometry))

    @torch.jit.export
    def target(
        self, context: torch.Tensor, slices: torch.Tensor, base: torch.Tensor, geometry: torch.Tensor
    ) -> torch.Tensor:
        """The residual of a target and its expected error, (B, 2, X, Y) float32.

        Args:
            context: (B, C, X / 2, Y / 2) of each target's gap.
            slices: (B, 6, X, Y) of each target's gap.
            base: (B, 1, X, Y) PCHIP at the target (:func:`bundle.networks.window_base`).
            geometry: (B, 21), its offsets relative to the target.
        """
        kriged = torch.einsum("bsxy,bs->bxy", slices, geometry[:, 12:18])[:, None]
        planes = torch.cat([base - 0.5, kriged - base, slices[:, 2:4] - base], dim=1)
        full = self._whole(planes)
        halved = functional.pixel_unshuffle(full, 2)
        x = self.fuse(torch.cat([context, halved.to(context.dtype)], dim=1))
        x = self.within(x, describe_target(geometry))
        fine = functional.pixel_shuffle(self.unfold(x), 2)
        residual = self.head(functional.relu(self.mix(torch.cat([fine, full.to(fine.dtype)], dim=1))))
        seen = [x, functional.pixel_unshuffle(residual, 2).to(x.dtype), halved.to(x.dtype)]
        error = functional.pixel_shuffle(self.error(torch.cat(seen, dim=1).detach()), 2)
        error = self.usual_error * torch.exp(error.float().clamp(-6, 3))
        return torch.cat([residual.float(), error], dim=1)[:, :, : base.shape[2], : base.shape[3]]

    def _whole(self, planes: torch.Tensor) -> torch.Tensor:
        """Planes padded to whole steps of the lowest resolution."""
        missing = [-n % self.step for n in planes.shape[2:]]
        return functional.pad(planes, (0, missing[1], 0, missing[0]), mode="replicate") if any(missing) else planes
