"""A progress bar over the epochs of a fit, as a handler that MONAI trainers attach."""

from __future__ import annotations

import torch
from ignite.engine import Engine, Events
from ignite.handlers.tqdm_logger import ProgressBar


class EpochProgress:
    """Show epochs done, time left and the loss; ends with the engine.

    Args:
        title: text before the bar.

    Example:
        >>> EpochProgress("fit").attach(Engine(lambda engine, batch: {"loss": 0.0}))
    """

    def __init__(self, title: str = "epochs") -> None:
        self.title = title

    def attach(self, engine: Engine) -> None:
        """Follow an engine whose iterations give ``{"loss": ...}``."""
        bar = ProgressBar(desc=self.title, bar_format=None, persist=True)
        bar.attach(
            engine,
            output_transform=lambda output: {"loss": f"{float(torch.as_tensor(output['loss']).detach()):.5f}"},
            event_name=Events.EPOCH_COMPLETED,
            closing_event_name=Events.COMPLETED,
        )
