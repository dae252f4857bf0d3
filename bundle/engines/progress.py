"""Tell how many epochs of a fit are done, as a handler that MONAI trainers attach."""

from __future__ import annotations

from typing import Any

import torch
from ignite.engine import Engine, Events

from bundle.progress import Progress, ProgressBars


class EpochProgress:
    """Report epochs done and the loss of the last step.

    Args:
        title: text before the bar.
        progress: where to report to; None: a bar of its own, which ends with the engine.

    Example:
        >>> EpochProgress("fit").attach(Engine(lambda engine, batch: {"loss": 0.0}))
    """

    def __init__(self, title: str = "epochs", progress: Progress | None = None) -> None:
        self.title = title
        self.progress = progress

    def attach(self, engine: Engine) -> None:
        """Follow an engine whose iterations give ``{"loss": ...}``, or a list that begins with it."""
        bars = ProgressBars("epoch", keep=True)
        progress = self.progress or bars(self.title)

        def report(engine: Engine) -> None:
            output: Any = engine.state.output
            loss = float(torch.as_tensor((output[0] if isinstance(output, list) else output)["loss"]).detach())
            progress(engine.state.epoch, engine.state.max_epochs or 0, f"loss {loss:.5f}")

        engine.add_event_handler(Events.EPOCH_COMPLETED, report)
        engine.add_event_handler(Events.COMPLETED, bars.close)
