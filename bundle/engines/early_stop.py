"""Early stop on voxels that were withheld from the fit, as the published code does.

This looks at the unobserved slices, so what it selects is no honest reconstruction of them: it is here to
replicate the paper's figures (overlay ``published_protocol.json``), and off everywhere else.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from ignite.engine import Engine, Events

from bundle.engines.stack import StackTrainer


class StopOnWithheld:
    """Stop each nodule's fit when its error on withheld voxels no longer falls; go back to its best epoch.

    After every ``interval`` epochs the network is evaluated on the withheld voxels; the error is kept in the
    nodule's history as ``withheld`` (nan for the epochs in between).

    Args:
        places: (N, 3) coordinates of the withheld voxels, one tensor for each nodule of the stack.
        values: (N,) their brightness, likewise.
        patience: epochs without a smaller error after which a fit stops.
        interval: epochs between evaluations; the published code has 1.

    Example:
        >>> from bundle.engines import FitOptions, NoduleData
        >>> from bundle.networks import Siren
        >>> places, values = torch.rand(64, 3), torch.rand(64)
        >>> stop = StopOnWithheld([places], [values], patience=2)
        >>> trainer = StackTrainer(Siren(), NoduleData(places, values), FitOptions(epochs=4), handlers=[stop])
        >>> trainer.run()
        >>> len(trainer.history["withheld"]) == len(trainer.history["loss"])
        True
    """

    def __init__(
        self, places: Sequence[torch.Tensor], values: Sequence[torch.Tensor], patience: int, interval: int = 1
    ) -> None:
        self.places = places
        self.values = values
        self.patience = patience
        self.interval = interval
        self.best = [float("inf")] * len(places)
        self.best_epoch = [0] * len(places)
        self.best_parameters: list[torch.Tensor | None] = [None] * len(places)

    def attach(self, engine: Engine) -> None:
        """Follow a :class:`StackTrainer`."""
        engine.add_event_handler(Events.EPOCH_COMPLETED, self.look)
        engine.add_event_handler(Events.COMPLETED, self.go_back)

    def look(self, engine: Engine) -> None:
        """Evaluate the fits that took an epoch just now."""
        assert isinstance(engine, StackTrainer)
        for i, fit in enumerate(engine.fits):
            errors = fit.history.setdefault("withheld", [])
            if len(errors) == fit.epochs:
                continue  # stopped, or done, before this epoch
            last = fit.epochs == fit.options.epochs
            if fit.epochs % self.interval and not last:
                errors.append(float("nan"))
                continue
            made = engine.predict(fit.network, self.places[i])[:, 0].cpu()
            error = float(torch.mean((made - self.values[i]) ** 2))
            errors.append(error)
            if error < self.best[i]:
                self.best[i], self.best_epoch[i] = error, fit.epochs
                self.best_parameters[i] = fit.parameters.detach().clone()
            elif fit.epochs - self.best_epoch[i] >= self.patience:
                fit.stopped = True

    def go_back(self, engine: Engine) -> None:
        """Give each network the parameters of its best epoch."""
        assert isinstance(engine, StackTrainer)
        for fit, best in zip(engine.fits, self.best_parameters, strict=True):
            if best is not None:
                fit.place(best)
