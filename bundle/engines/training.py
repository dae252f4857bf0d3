"""Small parts of a training config that MONAI and Ignite lack: groups of parameters, clipping, sampling, stopping.

None of them knows what is trained. ``configs/train.json`` puts them beside MONAI's trainer, evaluator and handlers.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import torch
from ignite.engine import Engine, Events
from ignite.handlers import EarlyStopping
from monai.engines import Evaluator, SupervisedTrainer
from monai.engines.utils import IterationEvents
from monai.handlers import EarlyStopHandler
from torch import nn
from torch.utils.data import Sampler


def parameter_groups(network: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Groups for an optimizer: weights decay, biases and other parameters of one axis do not.

    Args:
        network: whose parameters.
        weight_decay: of weights.

    Example:
        >>> [(len(group["params"]), group["weight_decay"]) for group in parameter_groups(nn.Linear(2, 3), 0.01)]
        [(1, 0.01), (1, 0.0)]
    """
    weights = [p for p in network.parameters() if p.ndim > 1]
    rest = [p for p in network.parameters() if p.ndim <= 1]
    return [{"params": weights, "weight_decay": weight_decay}, {"params": rest, "weight_decay": 0.0}]


class ClipGradients:
    """Handler of a MONAI trainer: the gradient of all parameters together has at most this norm.

    Args:
        max_norm: largest norm.

    Example:
        >>> net, batches = nn.Linear(1, 1, bias=False), [{"image": torch.full((1, 1), 1e3), "label": torch.zeros(1, 1)}]
        >>> before, step = net.weight.item(), torch.optim.SGD(net.parameters(), lr=1.0)
        >>> SupervisedTrainer("cpu", 1, batches, net, step, nn.MSELoss(), train_handlers=[ClipGradients(0.5)]).run()
        >>> round(abs(net.weight.item() - before), 4)
        0.5
    """

    def __init__(self, max_norm: float) -> None:
        self.max_norm = max_norm

    def attach(self, engine: Engine) -> None:
        """Clip after every backward pass of a trainer."""
        engine.add_event_handler(IterationEvents.BACKWARD_COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        """Clip."""
        assert isinstance(engine, SupervisedTrainer)
        nn.utils.clip_grad_norm_(engine.network.parameters(), self.max_norm)


class ListedOutput:
    """Handler that makes a trainer's output a list of one dictionary, as MONAI's tracking takes it from all trainers.

    A trainer whose ``decollate`` is on makes such lists, one entry an example, which windows that share slices forbid.

    Example:
        >>> engine = Engine(lambda engine, batch: {"loss": 0.5})
        >>> ListedOutput().attach(engine)
        >>> engine.run([0]).output
        [{'loss': 0.5}]
    """

    def attach(self, engine: Engine) -> None:
        """Put it before the handlers that read the output."""
        engine.add_event_handler(Events.ITERATION_COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        """Wrap the output of an iteration."""
        engine.state.output = [engine.state.output]  # type: ignore[assignment]


class EpochSampler(Sampler[int]):
    """Numbers of a data set's examples, other ones in each epoch; a handler as well, which follows the trainer's epoch.

    A training that goes on after an epoch draws the examples, and of torch the random numbers, that it would have
    drawn without the stop.

    Args:
        length: examples an epoch.
        seed: of torch's random numbers, to which the epoch is added.

    Example:
        >>> sampler = EpochSampler(3)
        >>> sampler.epoch = 2
        >>> len(sampler), list(sampler)
        (3, [6, 7, 8])
    """

    def __init__(self, length: int, seed: int = 0) -> None:
        self.length = length
        self.seed = seed
        self.epoch = 0

    def attach(self, engine: Engine) -> None:
        """Follow the epochs of a trainer; before they begin is too early for what a checkpoint brings back."""
        engine.add_event_handler(Events.EPOCH_STARTED, self._begin)

    def _begin(self, engine: Engine) -> None:
        self.epoch = engine.state.epoch - 1
        torch.manual_seed(self.seed + self.epoch)

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.epoch * self.length, (self.epoch + 1) * self.length))


class StopWithoutGain(EarlyStopHandler):
    """MONAI's early stop of a trainer by its validator's key metric, counted by validation, with a state to keep.

    A training that had stopped stops at once when it is loaded again.

    Args:
        patience: validations without a larger value after which training ends; None: it does not.
        validator: MONAI evaluator with a key metric.

    Example:
        >>> from monai.engines import SupervisedEvaluator
        >>> handler = StopWithoutGain(10, SupervisedEvaluator("cpu", [None], nn.Identity()))
        >>> handler.attach(Engine(lambda engine, batch: None))
        >>> handler.state_dict()["counter"]
        0
    """

    def __init__(self, patience: int | None, validator: Evaluator) -> None:
        super().__init__(patience or sys.maxsize, lambda engine: engine.state.metrics[engine.state.key_metric_name])
        self.validator = validator

    def attach(self, engine: Engine) -> None:
        """Stop this trainer; what is watched is the validator, which need not run after each epoch."""
        self.set_trainer(engine)
        super().attach(self.validator)

    def state_dict(self) -> dict[str, Any]:
        """Validations without a gain, and the largest value."""
        return dict(self._stopping.state_dict())

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state of :meth:`state_dict`."""
        self._stopping.load_state_dict(state)
        if self._stopping.counter >= self.patience:
            self._stopping.trainer.terminate()

    @property
    def _stopping(self) -> EarlyStopping:
        assert isinstance(self._handler, EarlyStopping), "attach it to a trainer first"
        return self._handler
