"""The Ignite trainer of slice synthesis: AdamW, warm-up and cosine, clipped gradients, averaged weights.

Vocabulary: the *averaged* network (exponential moving average of the weights) is what is validated and kept; the
*gain* is the validation metric, dB over PCHIP on patients that are not trained on.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from ignite.engine import Events
from ignite.handlers import EMAHandler
from monai.engines import SupervisedEvaluator, SupervisedTrainer
from monai.engines.utils import IterationEvents
from torch import nn
from torch.utils.data import DataLoader

from bundle.data.windows import WindowDataset
from bundle.engines.steps.paths import chosen_precision
from bundle.engines.synthesis import AutocastInferer, NoduleWindows, PsnrGain, SynthesisLoss, synthesis_batch
from bundle.errors import InputError
from bundle.files import save_torch, write_text, write_whole

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SynthesisOptions:
    """How slice synthesis is trained.

    Attributes:
        steps: in an epoch; there is a validation after each epoch.
        batch_size: windows a step.
        learning_rate: AdamW's at its peak, after ``warmup`` steps; from there a cosine to 0 at the last epoch.
        warmup: steps.
        weight_decay: of weights, not of biases.
        clip_norm: largest norm of the gradient.
        average: how much of a step goes into the averaged weights.
        patience: epochs without a larger gain after which training stops; None: all epochs.
        precision: ``"auto"``: bf16 on a CPU that multiplies bf16 in hardware or on a GPU, else fp32; or one of them.
    """

    steps: int = 250
    batch_size: int = 32
    learning_rate: float = 2e-3
    warmup: int = 200
    weight_decay: float = 1e-2
    clip_norm: float = 1.0
    average: float = 2e-3
    patience: int | None = 10
    precision: str = "auto"


class SynthesisTrainer(SupervisedTrainer):
    """Train a slice-synthesis network on windows of many patients; validate and keep its averaged weights.

    Args:
        device: where to train.
        max_epochs: after how many epochs to end, at the latest.
        network: e.g. :class:`bundle.networks.SliceSynthesisNet`.
        dataset: windows of the patients trained on.
        validation: whole nodules of other patients.
        options: how.
        loss_function: None: :class:`bundle.engines.SynthesisLoss`.
        ckpt_dir: where ``model.pt`` (the averaged network with the largest gain), ``training.json`` (the gains of
            all epochs) and ``last.pt`` (to go on from) are written, each whole.
        train_handlers: further handlers, such as a progress bar.

    Raises:
        InputError: no nodule to validate on; what is in ``ckpt_dir`` is of another network or training.

    Example:
        >>> SynthesisTrainer("cpu", 10, SliceSynthesisNet(), windows, nodules).run()  # doctest: +SKIP
    """

    def __init__(
        self,
        device: str | torch.device,
        max_epochs: int,
        network: nn.Module,
        dataset: WindowDataset,
        validation: NoduleWindows,
        options: SynthesisOptions | None = None,
        loss_function: nn.Module | None = None,
        ckpt_dir: str | Path = "models",
        train_handlers: Sequence[Any] = (),
    ) -> None:
        if not len(validation):
            raise InputError("no nodule of the validation patients is long enough: give a datalist of more patients")
        self.options = options or SynthesisOptions()
        device = torch.device(device)
        self.dataset = dataset
        self.folder = Path(ckpt_dir)
        network = network.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.ema = EMAHandler(network, momentum=self.options.average)
        self.average = self.ema.ema_model
        self.gains: list[float] = []
        weights = [p for p in network.parameters() if p.ndim > 1]
        rest = [p for p in network.parameters() if p.ndim <= 1]
        optimizer = torch.optim.AdamW(
            [{"params": weights, "weight_decay": self.options.weight_decay}, {"params": rest, "weight_decay": 0.0}],
            lr=self.options.learning_rate,
            betas=(0.9, 0.99),
        )
        inferer = AutocastInferer(_precision(self.options.precision, device))
        self.evaluator = SupervisedEvaluator(
            device,
            DataLoader(validation, batch_size=None),
            self.average,
            prepare_batch=synthesis_batch,
            inferer=inferer,
            key_val_metric={"gain": PsnrGain(lambda output: (output["pred"], output["label"]))},
            decollate=False,
        )
        self.evaluator.logger.setLevel(logging.WARNING)
        super().__init__(
            device,
            max_epochs,
            DataLoader(dataset, self.options.batch_size),
            network,
            optimizer,
            loss_function or SynthesisLoss(),
            epoch_length=self.options.steps,
            prepare_batch=synthesis_batch,
            inferer=inferer,
            train_handlers=list(train_handlers),
            decollate=False,
        )
        self.add_event_handler(Events.ITERATION_STARTED, SynthesisTrainer._set_rate)
        self.add_event_handler(IterationEvents.BACKWARD_COMPLETED, SynthesisTrainer._clip)
        self.ema.attach(self)
        self.add_event_handler(Events.EPOCH_COMPLETED, SynthesisTrainer._validate)

    def run(self) -> None:  # type: ignore[override]
        """Train to the end, or go on from ``last.pt`` if an earlier run was stopped."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._resume()
        # windows are numbered through all epochs: a run that goes on sees those it would have seen
        self.dataset.first = self.state.iteration * self.options.batch_size
        if self.state.epoch < self.state.max_epochs and not self._waited():
            super().run()
        best = max(range(len(self.gains)), key=self.gains.__getitem__)
        log.info(
            "trained %d epochs; best after epoch %d: %+.3f dB over PCHIP on validation patients; %s",
            len(self.gains), best + 1, self.gains[best], self.folder / "model.pt",
        )  # fmt: skip

    def rate(self, step: int) -> float:
        """Learning rate of a step, counted from 1."""
        total = self.options.steps * int(self.state.max_epochs or 1)
        rise = min(1.0, step / max(self.options.warmup, 1))
        return self.options.learning_rate * rise * 0.5 * (1 + math.cos(math.pi * min(1.0, step / total)))

    def _set_rate(self) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate(self.state.iteration)

    def _clip(self) -> None:
        nn.utils.clip_grad_norm_(self.network.parameters(), self.options.clip_norm)

    def _validate(self) -> None:
        self.evaluator.run()
        gain = float(self.evaluator.state.metrics["gain"])
        if not self.gains or gain > max(self.gains):
            weights = {key: value.cpu() for key, value in self.average.state_dict().items()}
            write_whole(self.folder / "model.pt", lambda path: save_torch(path, weights))
        self.gains.append(gain)
        rows = [{"epoch": i + 1, "gain_db": round(value, 4)} for i, value in enumerate(self.gains)]
        write_text(self.folder / "training.json", json.dumps(rows, indent=1) + "\n")
        last = {
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "iteration": self.state.iteration,
            "epoch": self.state.epoch,
            "gains": self.gains,
        }
        write_whole(self.folder / "last.pt", lambda path: save_torch(path, last))
        log.info("epoch %d: %+.3f dB over PCHIP on validation patients", self.state.epoch, gain)
        if self._waited():
            self.terminate()

    def _waited(self) -> bool:
        """Whether the gain has not grown for as long as the patience lasts."""
        patience = self.options.patience
        if patience is None or not self.gains:
            return False
        return len(self.gains) - 1 - self.gains.index(max(self.gains)) >= patience

    def _resume(self) -> None:
        path = self.folder / "last.pt"
        if not path.exists():
            return
        saved = torch.load(path, map_location=self.state.device, weights_only=True)
        try:
            self.network.load_state_dict(saved["network"])
            self.average.load_state_dict(saved["average"])
            self.optimizer.load_state_dict(saved["optimizer"])
        except (KeyError, RuntimeError, ValueError) as error:
            raise InputError(f"{path} is of another network: remove it or give another --ckpt_dir") from error
        self.state.iteration, self.state.epoch = saved["iteration"], saved["epoch"]
        self.gains = list(saved["gains"])
        log.info("going on after epoch %d of %s", self.state.epoch, path)


def _precision(asked: str, device: torch.device) -> str:
    if asked == "auto" and device.type == "cuda":
        return "bf16"
    return chosen_precision(asked, device)
