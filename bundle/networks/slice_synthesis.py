"""A network that makes a CT slice from the observed slices around it, learned on other patients.

It adds a *residual* to PCHIP through the window (:mod:`.slice_window`), nothing before training; so it starts at a
baseline and can only learn what the observed slices of a nodule cannot say. Distances and pixel sizes in mm are
inputs: one network serves any stride, gap, spacing and unevenness of slices.

Source: the task is that of Peng et al., *SAINT: Spatially Aware Interpolation Network for Medical Slice Synthesis*,
CVPR 2020; the network is a U-Net (Ronneberger 2015) of residual blocks, its features modulated by the geometry
(FiLM, Perez 2018), at half of the resolution and below (pixel shuffle, Shi 2016) with a thin layer at the full one.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import nn
from torch.nn import functional

from bundle.networks.slice_window import WINDOW_CHANNELS, describe_window, window_base, window_geometry

# four slices, their base, and the inner two less the base
_PLANES = 7


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


class SliceSynthesisNet(nn.Module):
    """Make the slice at offset 0 of a window of four observed slices, and say how wrong it may be.

    Args:
        in_channels: channels of :func:`bundle.networks.slice_window`; only 14 is possible, named as MONAI does.
        features: channels at a half, a quarter, an eighth ... of the resolution.
        blocks: residual blocks at each resolution on the way down, and again on the way up.
        condition: width of the embedding of the geometry.
        fine: channels that the lower resolutions hand to the full one.

    The output is (B, 2, X, Y): the slice, normalised and not clipped, and its expected absolute error, normalised,
    above 0. The branch of the error gets no gradient into the rest: it describes the slice and does not change it.

    Raises:
        ValueError: another number of channels than 14.

    Example:
        >>> from bundle.networks import slice_window
        >>> net = SliceSynthesisNet(features=(8, 16)).eval()
        >>> at = torch.tensor([[-6.0, -1.0, 4.0, 9.0]])
        >>> net(slice_window(torch.rand(1, 4, 9, 10), at, torch.ones(1, 4), torch.ones(1, 2))).shape
        torch.Size([1, 2, 9, 10])
    """

    def __init__(
        self,
        in_channels: int = WINDOW_CHANNELS,
        features: Sequence[int] = (64, 96, 128),
        blocks: int = 2,
        condition: int = 32,
        fine: int = 16,
    ) -> None:
        super().__init__()
        if in_channels != WINDOW_CHANNELS:
            raise ValueError(f"in_channels is {in_channels}, expected {WINDOW_CHANNELS}: see slice_window")
        # about the mean error of PCHIP on thin-slice nodules, normalised: the branch of the error starts there
        self.usual_error = 0.05
        self.step = 2 ** len(features)
        self.embed = nn.Sequential(nn.Linear(11, condition), nn.SiLU(), nn.Linear(condition, condition), nn.SiLU())
        self.stem = nn.Conv2d(4 * _PLANES, features[0], 3, padding=1)
        self.first, *below = (_Stage(width, blocks, condition) for width in features)
        self.down = nn.ModuleList(below)
        self.shrink = nn.ModuleList(nn.Conv2d(a, b, 2, stride=2) for a, b in pairwise(features))
        # listed from the lowest resolution up, as they are used
        self.up = nn.ModuleList(reversed([_Stage(width, blocks, condition) for width in features[:-1]]))
        self.grow = nn.ModuleList(reversed([nn.Conv2d(b, a, 1) for a, b in pairwise(features)]))
        self.unfold = nn.Conv2d(features[0], 4 * fine, 1)
        self.mix = nn.Conv2d(fine + _PLANES, 32, 3, padding=1)
        self.head = nn.Conv2d(32, 1, 3, padding=1)
        self.error = nn.Sequential(nn.Conv2d(32 + 3, 32, 3, padding=1), nn.ReLU(), nn.Conv2d(32, 1, 3, padding=1))
        for last in (self.head, self.error[-1]):
            nn.init.zeros_(last.weight)  # type: ignore[arg-type]
            nn.init.zeros_(last.bias)  # type: ignore[arg-type]

    def forward(self, window: torch.Tensor) -> torch.Tensor:
        """(B, 14, X, Y) to (B, 2, X, Y): the slice and its expected absolute error; any X and Y."""
        slices = window[:, :4]
        offsets, valid, spacing = window_geometry(window)
        base = window_base(slices.float(), offsets, valid)[:, None]
        planes = torch.cat([slices - 0.5, base - 0.5, slices[:, 1:3] - base], dim=1)
        features = self._features(planes, self.embed(describe_window(offsets, valid, spacing)))
        residual = self.head(features)
        seen = torch.cat([features, residual, slices[:, 2:3] - slices[:, 1:2], base - 0.5], dim=1).detach()
        error = self.usual_error * torch.exp(self.error(seen).float().clamp(-6, 4))
        return torch.cat([base + residual.float(), error], dim=1)

    def _features(self, planes: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
        """(B, 7, X, Y) to (B, 32, X, Y); planes of any size, padded to whole halvings and cut again."""
        height, width = planes.shape[2], planes.shape[3]
        missing = ((self.step - width % self.step) % self.step, (self.step - height % self.step) % self.step)
        full = functional.pad(planes, (0, missing[0], 0, missing[1]), mode="replicate")
        x = self.first(self.stem(functional.pixel_unshuffle(full, 2)), condition)
        kept = [x]
        for shrink, stage in zip(self.shrink, self.down):  # noqa: B905 -- TorchScript knows no strict
            x = stage(shrink(x), condition)
            kept.append(x)
        kept.pop()
        for grow, stage in zip(self.grow, self.up):  # noqa: B905
            x = functional.interpolate(grow(x), scale_factor=2.0, mode="nearest") + kept.pop()
            x = stage(x, condition)
        x = functional.pixel_shuffle(self.unfold(functional.relu(x)), 2)
        x = self.mix(torch.cat([x, full.to(x.dtype)], dim=1))[:, :, :height, :width]
        return functional.relu(x)
