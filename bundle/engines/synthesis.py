"""Training of slice synthesis on many patients: batch, loss, validation metric.

Vocabulary: a *window* and its *base* (PCHIP) are those of :mod:`bundle.networks.slice_window`. The *truth* of a batch
is (B, 3, X, Y): the target slice, the mask in it, and the base, by whose error the loss of each slice is divided.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
import torch
from ignite.metrics import Metric
from ignite.metrics.metric import reinit__is_reduced
from monai.inferers import SimpleInferer
from torch import nn
from torch.utils.data import Dataset

from bundle.data.windows import windows_at
from bundle.engines.steps.paths import refused_bfloat16
from bundle.engines.steps.products import multiplies_bfloat16
from bundle.errors import InputError
from bundle.networks import slice_window, window_base

log = logging.getLogger(__name__)


def synthesis_batch(
    batch: Mapping[str, torch.Tensor],
    device: torch.device | str | None = None,
    non_blocking: bool = False,
    **kwargs: Any,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Make a batch of windows into what a MONAI engine takes.

    Args:
        batch: ``slices`` (B, 4, X, Y), ``offsets`` (B, 4), ``valid`` (B, 4), ``spacing`` (B, 2), ``target`` and
            ``mask`` (B, 1, X, Y).
        device: where to put it.
        non_blocking: as in ``torch.Tensor.to``.

    Returns:
        the network's input (B, 14, X, Y) and the truth (B, 3, X, Y).

    Example:
        >>> batch = {"slices": torch.rand(2, 4, 8, 8), "offsets": torch.tensor([[-6.0, -1, 4, 9]] * 2)}
        >>> batch |= {"valid": torch.ones(2, 4), "spacing": torch.ones(2, 2)}
        >>> batch |= {"target": torch.rand(2, 1, 8, 8), "mask": torch.ones(2, 1, 8, 8)}
        >>> [tuple(part.shape) for part in synthesis_batch(batch)]
        [(2, 14, 8, 8), (2, 3, 8, 8)]
    """
    sent = {key: value.to(device=device, non_blocking=non_blocking) for key, value in batch.items()}
    window = slice_window(sent["slices"], sent["offsets"], sent["valid"], sent["spacing"])
    base = window_base(sent["slices"], sent["offsets"], sent["valid"])[:, None]
    # channels last is what convolutions of bf16 are fast in
    return window.contiguous(memory_format=torch.channels_last), torch.cat([sent["target"], sent["mask"], base], dim=1)


class SynthesisLoss(nn.Module):
    """Squared error of each slice, divided by that of PCHIP; over the plane, and again inside the mask.

    So a slice counts by what can be gained over the baseline and not by its contrast: the mean over nodules of a
    PSNR weighs them alike. To it is added the likelihood of the expected error, ``|r| / e + log e`` (Laplace).

    Args:
        mask_weight: of the error inside the mask; slices with fewer than ``least`` voxels of mask have none.
        error_weight: of the likelihood.
        floor: added to the error of PCHIP, normalised and squared; about the noise of CT.
        least: voxels.

    Example:
        >>> truth = torch.rand(2, 3, 8, 8).round()
        >>> SynthesisLoss(error_weight=0)(torch.cat([truth[:, 2:], truth[:, 2:] + 1], dim=1), truth).item() <= 1.5
        True
    """

    def __init__(
        self, mask_weight: float = 0.5, error_weight: float = 0.1, floor: float = 1e-3, least: int = 9
    ) -> None:
        super().__init__()
        self.mask_weight = mask_weight
        self.error_weight = error_weight
        self.floor = floor
        self.least = least

    def forward(self, made: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
        """(B, 2, X, Y) of the network and (B, 3, X, Y) truth to the mean loss."""
        target, mask, base = truth.unbind(1)
        voxels = mask.sum((1, 2))
        share = mask / voxels.clamp_min(1)[:, None, None]
        squares, base_squares = (made[:, 0] - target) ** 2, (base - target) ** 2
        whole = squares.mean((1, 2)) / (base_squares.mean((1, 2)) + self.floor)
        inside = (squares * share).sum((1, 2)) / ((base_squares * share).sum((1, 2)) + self.floor)
        loss = (whole + self.mask_weight * (voxels >= self.least) * inside).mean()
        error = made[:, 1]
        likelihood = (made[:, 0] - target).abs().detach() / error + torch.log(error)
        return loss + self.error_weight * likelihood.mean()


@cache
def autocasts(precision: str, kind: str) -> bool:
    """Whether a training computes in bf16 on a kind of device.

    Args:
        precision: ``"fp32"``, ``"bf16"``, or ``"auto"``: bf16 on a GPU, and on a CPU that multiplies it in hardware.
        kind: of device, such as ``"cpu"``. bf16 that is asked for of a CPU without it is fp32 all the same; the log
            says so.

    Raises:
        InputError: another precision.

    Example:
        >>> autocasts("fp32", "cpu"), autocasts("auto", "cuda")
        (False, True)
    """
    if precision not in ("auto", "fp32", "bf16"):
        raise InputError(f"precision is {precision!r}, expected 'auto', 'fp32' or 'bf16'")
    possible = kind != "cpu" or multiplies_bfloat16()
    if refused := refused_bfloat16(precision, "bf16" if possible else "fp32"):
        log.warning("%s: fp32 is taken", refused)
    return possible and (precision == "bf16" or (precision == "auto" and kind in ("cpu", "cuda")))


class AutocastInferer(SimpleInferer):
    """MONAI's simple inferer under autocast, on a CPU as well.

    Args:
        precision: see :func:`autocasts`.

    Example:
        >>> AutocastInferer("fp32")(torch.ones(1), torch.nn.Identity())
        tensor([1.])
    """

    def __init__(self, precision: str = "auto") -> None:
        super().__init__()
        self.precision = precision

    def __call__(self, inputs: torch.Tensor, network: Any, *args: Any, **kwargs: Any) -> torch.Tensor:
        """What the network makes of the inputs."""
        kind = inputs.device.type
        with torch.autocast(kind, torch.bfloat16, enabled=autocasts(self.precision, kind)):
            return super().__call__(inputs, network, *args, **kwargs)


class NoduleWindows(Dataset):
    """All gaps of whole nodules at several strides, for validation: an example is a nodule at a stride.

    Args:
        data: nodules as in :class:`bundle.data.windows.WindowDataset`.
        strides: every ``stride``-th slice is observed, from the first one on.

    An example has the keys of a batch, one window for each slice between observed ones; nodules too short for a
    stride are left out.

    Raises:
        InputError: none is long enough.

    Example:
        >>> item = {"image": np.random.rand(1, 16, 16, 12), "label": np.ones((1, 16, 16, 12)), "spacing": (0.7, 0.7, 1)}
        >>> NoduleWindows([item], strides=(5, 8))[0]["slices"].shape
        torch.Size([8, 4, 16, 16])
    """

    def __init__(self, data: Sequence[Mapping[str, Any]], strides: Sequence[int] = (3, 5, 8)) -> None:
        self.items = data
        self.pairs = [
            (i, stride) for stride in strides for i, item in enumerate(data) if item["image"].shape[3] > stride
        ]
        if not self.pairs:
            raise InputError(
                f"none of {len(data)} nodules of the validation patients is longer than {min(strides)} slices: "
                "give more or longer ones"
            )

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        which, stride = self.pairs[index]
        item = self.items[which]
        image = np.asarray(item["image"][0], dtype=np.float32)
        spacing = np.array(item["spacing"], dtype=np.float32)
        seen = np.arange(0, image.shape[2], stride)
        between = np.setdiff1d(np.arange(seen[-1]), seen)
        slices, offsets, valid = windows_at(image[..., seen], seen * spacing[2], between * spacing[2])
        planes = (
            np.moveaxis(volume[..., between], 2, 0)[:, None] for volume in (image, np.asarray(item["label"][0]) > 0)
        )
        target, mask = (torch.as_tensor(plane.astype(np.float32)) for plane in planes)
        return {
            "slices": torch.as_tensor(slices),
            "offsets": torch.as_tensor(offsets),
            "valid": torch.as_tensor(valid),
            "spacing": torch.as_tensor(spacing[:2]).expand(len(between), 2),
            "target": target,
            "mask": mask,
        }

    def __iter__(self) -> Iterator[dict[str, torch.Tensor]]:
        return (self[i] for i in range(len(self)))


class PsnrGain(Metric):
    """PSNR over PCHIP's in dB, each update one nodule: the mean over nodules of plane and mask, half of each.

    A nodule without mask between its observed slices counts by the plane alone; without any nodule it is nan.

    Example:
        >>> gain = PsnrGain()
        >>> truth = torch.stack([torch.zeros(1, 8, 8), torch.ones(1, 8, 8), torch.full((1, 8, 8), 0.2)], dim=1)
        >>> gain.update((torch.full((1, 2, 8, 8), 0.1), truth))
        >>> round(gain.compute(), 2)
        6.02
    """

    @reinit__is_reduced
    def reset(self) -> None:
        """Forget all nodules."""
        self._gains: list[tuple[float, float]] = []

    @reinit__is_reduced
    def update(self, output: Any) -> None:
        """Take the network's (T, 2, X, Y) and the truth (T, 3, X, Y) of one nodule."""
        made, truth = (torch.as_tensor(part).double() for part in output)
        target, mask, base = truth.unbind(1)
        ratio = ((base - target) ** 2, (made[:, 0].clamp(0, 1) - target) ** 2)
        gains = []
        for where in (torch.ones_like(mask) > 0, mask > 0):
            was, now = (error[where].mean() for error in ratio)
            gains.append(float(10 * torch.log10(was / now)) if where.any() else float("nan"))
        self._gains.append((gains[0], gains[1]))

    def compute(self) -> float:
        """The mean gain in dB; nan without a nodule."""
        return float(np.nanmean([np.nanmean(pair) for pair in self._gains])) if self._gains else float("nan")
