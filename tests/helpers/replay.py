"""Feed the plain Ignite loop the very batches and dropout that the fast engine draws."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import nn

from bundle.engines import FitOptions, NoduleData, NoduleTrainer
from bundle.engines.steps.draws import unpack_keep
from bundle.engines.steps.functional import KeptUnits, with_kept_units


class ReplayedBatches:
    """A data loader that sets the kept units of the network before it hands out a batch."""

    def __init__(self, network: nn.Module, data: NoduleData) -> None:
        self.layers = [m for m in network.modules() if isinstance(m, KeptUnits)]
        self.data = data
        self.epochs = self.steps = 0
        self.widths: list[int] = []

    def __len__(self) -> int:
        return self.data.steps

    def __iter__(self) -> Iterator[dict[str, torch.Tensor]]:
        places, truth, weights = self.data.epoch(self.epochs)
        for step in range(len(self)):
            rows = self.data.rows(step)
            kept = self.data.keep(self.steps, self.widths, [layer.p for layer in self.layers])
            for layer, bits in zip(self.layers, kept, strict=True):
                layer.factor = unpack_keep(bits, rows.stop - rows.start) / (1 - layer.p)
            self.steps += 1
            yield {"image": places[rows][None], "label": torch.stack([truth, weights], dim=-1)[rows][None]}
        self.epochs += 1


def plain_fit(network: nn.Module, data: NoduleData, options: FitOptions, widths: list[int]) -> NoduleTrainer:
    """Run the plain trainer on a copy of the network; ``widths``: units of each dropout layer."""
    twin = with_kept_units(network)
    batches = ReplayedBatches(twin, data)
    batches.widths = widths
    trainer = NoduleTrainer(twin, batches, options)
    trainer.run()
    return trainer
