"""Training of slice synthesis on many patients: batch, loss, validation metric.

Vocabulary: a *window*, its *targets*, *geometry* and *base* (PCHIP) are those of :mod:`bundle.networks.slice_window`. A
batch of B windows has N targets; its *truth* is (N, 3, X, Y): the target slice, the mask in it, and the base, by whose
error the loss of each slice is divided.
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
from monai.inferers import Inferer
from torch import nn
from torch.utils.data import Dataset

from bundle.data.window_geometry import geometry_of, windows_at
from bundle.engines.steps.paths import refused_bfloat16
from bundle.engines.steps.products import multiplies_bfloat16
from bundle.errors import InputError
from bundle.networks import window_base

log = logging.getLogger(__name__)


def synthesis_batch(
    batch: Mapping[str, torch.Tensor],
    device: torch.device | str | None = None,
    non_blocking: bool = False,
    **kwargs: Any,
) -> tuple[torch.Tensor, torch.Tensor, tuple[()], dict[str, torch.Tensor]]:
    """Make a batch of windows into what a MONAI engine takes.

    Args:
        batch: ``slices`` (B, 6, X, Y), ``geometry`` (N, 21), ``target`` and ``mask`` (N, X, Y), and ``window`` (N,),
            the number of the window of each target, ascending.
        device: where to put it.
        non_blocking: as in ``torch.Tensor.to``.

    Returns:
        the slices (B, 6, X, Y), the truth (N, 3, X, Y), and what else :class:`SynthesisInferer` wants by name.

    Example:
        >>> batch = {"slices": torch.rand(2, 6, 8, 8), "geometry": torch.ones(3, 21), "window": torch.tensor([0, 0, 1])}
        >>> batch |= {"target": torch.rand(3, 8, 8), "mask": torch.ones(3, 8, 8)}
        >>> slices, truth, _, others = synthesis_batch(batch)
        >>> tuple(slices.shape), tuple(truth.shape), sorted(others)
        ((2, 6, 8, 8), (3, 3, 8, 8), ['base', 'geometry', 'window'])
    """
    sent = {key: value.to(device=device, non_blocking=non_blocking) for key, value in batch.items()}
    # channels last is what convolutions of bf16 are fast in
    slices = sent["slices"].contiguous(memory_format=torch.channels_last)
    base = window_base(slices[sent["window"]], sent["geometry"])
    truth = torch.cat([sent["target"][:, None], sent["mask"][:, None], base], dim=1)
    return slices, truth, (), {"base": base, "geometry": sent["geometry"], "window": sent["window"]}


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
        self, mask_weight: float = 0.5, error_weight: float = 0.1, floor: float = 5e-4, least: int = 9
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


class SynthesisInferer(Inferer):
    """Make the targets of a batch: the context of each window once, under autocast, on a CPU as well.

    Args:
        precision: see :func:`autocasts`.

    Example:
        >>> from bundle.networks import SliceSynthesisNet
        >>> net, window = SliceSynthesisNet(features=(8,), target_features=(8,)), torch.tensor([0, 0, 1])
        >>> SynthesisInferer()(torch.rand(2, 6, 8, 8), net, torch.rand(3, 1, 8, 8), torch.ones(3, 21), window).shape
        torch.Size([3, 2, 8, 8])
    """

    def __init__(self, precision: str = "auto") -> None:
        super().__init__()
        self.precision = precision

    def __call__(
        self, inputs: torch.Tensor, network: Any, base: torch.Tensor, geometry: torch.Tensor, window: torch.Tensor
    ) -> torch.Tensor:
        """What a :class:`bundle.networks.SliceSynthesisNet` makes of windows (B, 6, X, Y).

        Args:
            inputs: (B, 6, X, Y) the slices.
            network: its ``context`` and ``target`` are called.
            base: (N, 1, X, Y) PCHIP at the targets.
            geometry: (N, 21).
            window: (N,) number of the window of each target, ascending; each has one.

        Returns:
            (N, 2, X, Y): the slices, normalised and not clipped, and their expected absolute errors.
        """
        first = torch.searchsorted(window, torch.arange(len(inputs), device=window.device))
        kind = inputs.device.type
        with torch.autocast(kind, torch.bfloat16, enabled=autocasts(self.precision, kind)):
            context = network.context(inputs, geometry[first])
            made = network.target(context[window], inputs[window], base, geometry)
        return torch.cat([base + made[:, :1], made[:, 1:]], dim=1)


class NoduleWindows(Dataset):
    """All gaps of whole nodules, observed in several ways, for validation: an example is a nodule observed in one.

    Args:
        data: nodules as in :class:`bundle.data.windows.WindowDataset`.
        strides: every ``stride``-th slice is observed, from the first one on.
        averages: pairs (stride, count): each observed slice is the mean of ``count`` slices.

    An example has the keys of a batch; its targets are the slices between observed ones or, where these are means, all
    from the first centre to the last. Nodules too short for a way to observe them are left out.

    Raises:
        InputError: none is long enough.

    Example:
        >>> item = {"image": np.random.rand(1, 16, 16, 12), "label": np.ones((1, 16, 16, 12)), "spacing": (0.7, 0.7, 1)}
        >>> NoduleWindows([item], strides=(5, 8))[0]["slices"].shape
        torch.Size([2, 6, 16, 16])
    """

    def __init__(
        self,
        data: Sequence[Mapping[str, Any]],
        strides: Sequence[int] = (3, 5, 8),
        averages: Sequence[tuple[int, int]] = (),
    ) -> None:
        self.items = data
        ways = [*((stride, 1) for stride in strides), *averages]
        self.pairs = [
            (i, stride, count)
            for stride, count in ways
            for i, item in enumerate(data)
            if item["image"].shape[3] >= stride + count
        ]
        if not self.pairs:
            raise InputError(
                f"none of {len(data)} nodules of the validation patients is longer than {min(ways)[0]} slices: "
                "give more or longer ones"
            )

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        which, stride, count = self.pairs[index]
        item = self.items[which]
        image, (*pixel, step) = np.asarray(item["image"][0], dtype=np.float32), (float(s) for s in item["spacing"])
        first = np.arange(0, image.shape[2] - count + 1, stride)
        seen = image[..., first[:, None] + np.arange(count)].mean(-1)
        centres = first + (count - 1) / 2
        wanted = np.arange(np.ceil(centres[0]), centres[-1] + 1e-6).astype(int)
        wanted = wanted[~np.isin(wanted, centres)] if count == 1 else wanted
        at = windows_at(centres * step, wanted * step)
        thickness = count * step if count > 1 else 0.0
        geometry = geometry_of(at.offsets, at.valid[at.window], thickness, "box", pixel)
        planes = [np.moveaxis(volume[..., wanted], 2, 0) for volume in (image, np.asarray(item["label"][0]) > 0)]
        arrays = {
            "slices": np.moveaxis(seen[..., at.index], (2, 3), (0, 1)), "geometry": geometry,
            "target": planes[0], "mask": planes[1],
        }  # fmt: skip
        tensors = {key: torch.as_tensor(value.astype(np.float32)) for key, value in arrays.items()}
        return tensors | {"window": torch.as_tensor(at.window)}

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
