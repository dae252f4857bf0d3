"""Checkpoints of a training: written whole, found again by the next start, the one before taken where one is damaged.

MONAI's ``CheckpointSaver`` and ``CheckpointLoader`` with what an exact resumption needs beside them.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from ignite.engine import Engine, Events
from ignite.handlers.checkpoint import BaseSaveHandler
from monai.handlers import CheckpointLoader, CheckpointSaver

from bundle.errors import InputError
from bundle.files import save_torch, writable_folder, write_text, write_whole

log = logging.getLogger(__name__)


def epoch_files(folder: str | Path) -> list[tuple[int, Path]]:
    """Epoch and path of the checkpoints that MONAI's saver made at intervals, the oldest first.

    Example:
        >>> epoch_files("nowhere")
        []
    """
    found = [(re.fullmatch(r"checkpoint_epoch=(\d+)\.pt", path.name), path) for path in Path(folder).glob("*.pt")]
    return sorted((int(match.group(1)), path) for match, path in found if match)


class WholeFiles(BaseSaveHandler):
    """Save handler of Ignite's ``Checkpoint`` whose files are there whole or not at all.

    Args:
        folder: where to write.
        filename: of every file, where only the last one is kept; None: as the checkpoint names them.
    """

    def __init__(self, folder: str | Path, filename: str | None = None) -> None:
        self.folder = Path(folder)
        self.filename = filename

    def __call__(self, checkpoint: Mapping, filename: str, metadata: Mapping | None = None) -> None:
        """Write a checkpoint."""
        write_whole(self.folder / (self.filename or filename), lambda path: save_torch(path, checkpoint))

    def remove(self, filename: str) -> None:
        """Remove a file of a name of its own; one that has the fixed name is replaced by the next."""
        if self.filename is None:
            (self.folder / filename).unlink(missing_ok=True)


class WholeCheckpointSaver(CheckpointSaver):
    """MONAI's ``CheckpointSaver`` whose files are whole, and whose best value so far can be kept in a checkpoint.

    Args:
        save_dir: made if it is absent.
        save_dict: name to object with a ``state_dict``.
        kwargs: of ``monai.handlers.CheckpointSaver``.

    Raises:
        OutputError: the folder can't be made or written.

    Example:
        >>> import tempfile
        >>> net, engine = torch.nn.Linear(1, 1), Engine(lambda engine, batch: None)
        >>> folder = Path(tempfile.mkdtemp()) / "made"
        >>> WholeCheckpointSaver(str(folder), {"net": net}, save_final=True, final_filename="net.pt").attach(engine)
        >>> _ = engine.run([0], max_epochs=1)
        >>> [path.name for path in folder.iterdir()]
        ['net.pt']
    """

    def __init__(self, save_dir: str, save_dict: dict[str, Any], **kwargs: Any) -> None:
        writable_folder(save_dir, "--ckpt_dir")  # nothing is trained that could not be kept
        super().__init__(save_dir, save_dict, **kwargs)
        checkpoints: tuple[Any, ...] = (self._final_checkpoint, self._key_metric_checkpoint, self._interval_checkpoint)
        for checkpoint in filter(None, checkpoints):
            checkpoint.save_handler = WholeFiles(save_dir, checkpoint.save_handler.filename)

    def state_dict(self) -> dict[str, Any]:
        """The best value so far, where ``save_key_metric`` is set."""
        assert self._key_metric_checkpoint is not None
        return dict(self._key_metric_checkpoint.state_dict())


class ResumingCheckpointSaver(WholeCheckpointSaver):
    """Saves the trainer it is attached to, and other objects, at intervals; a new start goes on from there.

    It goes on from the last checkpoint that can be read, by MONAI's ``CheckpointLoader``. The last ``n_saved`` of all
    starts together are kept.

    Args:
        save_dir: made if it is absent.
        save_dict: name to object with ``state_dict`` and ``load_state_dict``, beside the trainer.
        save_interval: epochs.
        n_saved: so that one is left where another is damaged.

    Raises:
        OutputError: the folder can't be made or written.
        InputError: at the start, a checkpoint is whole, but of another network or training.

    Example:
        >>> import tempfile
        >>> folder, seen = tempfile.mkdtemp(), []
        >>> for epochs in (3, 5):
        ...     engine = Engine(lambda engine, batch: seen.append(engine.state.epoch))
        ...     ResumingCheckpointSaver(folder, {"net": torch.nn.Linear(1, 1)}).attach(engine)
        ...     _ = engine.run([0], max_epochs=epochs)
        >>> seen, [path.name for _, path in epoch_files(folder)]
        ([1, 2, 3, 4, 5], ['checkpoint_epoch=4.pt', 'checkpoint_epoch=5.pt'])
    """

    def __init__(self, save_dir: str, save_dict: dict[str, Any], save_interval: int = 1, n_saved: int = 2) -> None:
        super().__init__(save_dir, dict(save_dict), save_interval=save_interval, n_saved=n_saved)

    def attach(self, engine: Engine) -> None:
        """Follow a trainer."""
        self.save_dict["trainer"] = engine
        super().attach(engine)
        engine.add_event_handler(Events.STARTED, self._resume)

    def _resume(self, engine: Engine) -> None:
        device: Any = getattr(engine.state, "device", "cpu")
        for _, path in reversed(epoch_files(self.save_dir)):
            if not _is_readable(path):
                continue
            try:
                CheckpointLoader(str(path), self.save_dict, map_location=device)(engine)
            except (KeyError, RuntimeError, TypeError, ValueError) as fault:
                raise InputError(
                    f"{path} is of another network or a longer training ({fault}): remove it or give another --ckpt_dir"
                ) from fault
            log.info("going on after epoch %d of %s", engine.state.epoch, path)
            break
        assert self._interval_checkpoint is not None
        kept = [(epoch, path.name) for epoch, path in epoch_files(self.save_dir) if epoch <= engine.state.epoch]
        self._interval_checkpoint.load_state_dict({"_saved": kept})


def _is_readable(path: Path) -> bool:
    try:
        torch.load(path, map_location="cpu", weights_only=True)
    except Exception as fault:  # reading what is no checkpoint raises whatever its bytes lead to
        log.warning("%s is damaged (%s): the one before is taken, if there is one", path, type(fault).__name__)
        return False
    return True


class ValidationRecord:
    """Handler of an evaluator that keeps its metrics of all epochs, in a file and for checkpoints.

    Args:
        path: of a JSON list ``[{"epoch": 1, "<metric>": value}, ...]``, written whole after each validation.

    Example:
        >>> import tempfile
        >>> record = ValidationRecord(Path(tempfile.mkdtemp()) / "training.json")
        >>> record.load_state_dict({"rows": [{"epoch": 1, "gain_db": 2.0}]})
        >>> record.state_dict()
        {'rows': [{'epoch': 1, 'gain_db': 2.0}]}
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.rows: list[dict[str, Any]] = []

    def attach(self, engine: Engine) -> None:
        """Follow an evaluator."""
        engine.add_event_handler(Events.EPOCH_COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        """Write the metrics of an epoch down."""
        self.rows.append({"epoch": engine.state.epoch, **engine.state.metrics})
        write_text(self.path, json.dumps(self.rows, indent=1) + "\n")

    def state_dict(self) -> dict[str, Any]:
        """All rows."""
        return {"rows": self.rows}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on behind rows of :meth:`state_dict`."""
        self.rows = [dict(row) for row in state["rows"]]
