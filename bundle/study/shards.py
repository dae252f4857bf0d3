"""One study on several processes, GPUs or nodes, each with its own share of the nodules.

A *shard* is one of ``world`` processes, numbered by ``rank``; it takes every ``world``-th nodule. Shards need no
process group: each writes its results to the common output folder, and a file that says it is done. The last to
finish finds all such files there and writes the tables, whether the shards ran together (``torchrun``) or hours
apart (a SLURM array). If one is killed, no tables are written; started again, it goes on where it was.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bundle.errors import InputError
from bundle.lock import hold
from bundle.store import ResultStore, fingerprint
from bundle.study.nodule import NoduleWork
from bundle.study.outcome import Outcome
from bundle.study.record import parameters

# (rank, world, first rank) as torchrun, a SLURM array and srun call them
_VARIABLES = (
    ("RANK", "WORLD_SIZE", None),
    ("SLURM_ARRAY_TASK_ID", "SLURM_ARRAY_TASK_COUNT", "SLURM_ARRAY_TASK_MIN"),
    ("SLURM_PROCID", "SLURM_NTASKS", None),
)


@dataclass(frozen=True)
class Shard:
    """A share of the nodules.

    Attributes:
        rank: number of this process, from 0.
        world: number of processes.
        local_rank: number of this process on its machine, for the choice of a GPU.

    Example:
        >>> Shard(1, 3).indices(8)
        [1, 4, 7]
    """

    rank: int = 0
    world: int = 1
    local_rank: int = 0

    def indices(self, count: int) -> list[int]:
        """Which of ``count`` nodules are this shard's."""
        return list(range(self.rank, count, self.world))

    def title(self, work: str) -> str:
        """What the progress of this share is called.

        Example:
            >>> Shard().title("study"), Shard(1, 3).title("study")
            ('study', 'shard 1 of 3')
        """
        return work if self.world == 1 else f"shard {self.rank} of {self.world}"

    def waiting(self, missing: Sequence[int]) -> str:
        """What is said where this shard is done and others are not."""
        return f"{self.title('')}: done; shards {list(missing)} are not yet, the last of them writes the tables"

    def device(self, gpus: int) -> str:
        """The GPU of this process, or the CPU if there is none.

        Example:
            >>> Shard(5, 8, local_rank=1).device(4), Shard().device(0)
            ('cuda:1', 'cpu')
        """
        return f"cuda:{self.local_rank % gpus}" if gpus else "cpu"


def shard_from_environment(environment: Mapping[str, str] | None = None) -> Shard:
    """The shard that torchrun, a SLURM array or srun says this process is; the whole study where none says so.

    Args:
        environment: variables; None: this process's.

    Raises:
        InputError: variables that are no numbers, or a rank outside of the world.

    Example:
        >>> shard_from_environment({"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1"})
        Shard(rank=1, world=2, local_rank=1)
    """
    known = os.environ if environment is None else environment
    for rank_name, world_name, first_name in _VARIABLES:
        if rank_name not in known or world_name not in known:
            continue
        try:
            first = int(known.get(first_name, "0")) if first_name else 0
            rank, world = int(known[rank_name]) - first, int(known[world_name])
            local = int(known.get("LOCAL_RANK", known.get("SLURM_LOCALID", "0")))
        except ValueError as fault:
            raise InputError(f"{rank_name} and {world_name} should be whole numbers ({fault})") from fault
        if not 0 <= rank < world:
            raise InputError(
                f"{rank_name} is {rank} of {world}, expected 0 to {world - 1}: number the tasks in steps of 1"
            )
        return Shard(rank, world, local)
    return Shard()


@contextlib.contextmanager
def held(work: NoduleWork, shard: Shard) -> Iterator[None]:
    """Keep other runs out of the output folder while the block runs, but for the other shards of this study.

    Raises:
        InputError: another run is at work there, or this very shard is.
    """
    root = work.store.root
    settled = {key: value for key, value in parameters(work).items() if key != "command"}
    share = fingerprint(shard.world, settled) if shard.world > 1 else None
    with contextlib.ExitStack() as locks:
        locks.enter_context(hold(root / ".lock", f"the output folder {root}", share))
        if shard.world > 1:
            own = root / "shards" / f"{shard.rank}-of-{shard.world}.lock"
            locks.enter_context(hold(own, f"shard {shard.rank} of {shard.world} in {root}"))
        yield


class ShardBoard:
    """Where shards tell each other that they are done, and what failed in each.

    Args:
        store: the common output folder.
        shard: this process.
        key: settles the study; marks of another key are not counted.
    """

    def __init__(self, store: ResultStore, shard: Shard, key: str) -> None:
        self.store = store
        self.shard = shard
        self.key = key

    def start(self) -> None:
        """Take this shard's mark of an earlier run away."""
        (self.store.root / self._name(self.shard.rank)).unlink(missing_ok=True)

    def finish(self, failures: Mapping[str, Mapping[str, str]]) -> None:
        """Say that this shard is done.

        Args:
            failures: reasons by nodule and method.
        """
        mark = {"key": self.key, "failures": failures}
        self.store.write_json(self._name(self.shard.rank), mark)

    def missing(self) -> list[int]:
        """Ranks that are not done."""
        return [rank for rank in range(self.shard.world) if self._mark(rank) is None]

    def failures(self) -> dict[str, dict[str, str]]:
        """Reasons of all shards, by nodule and method."""
        marks = [self._mark(rank) for rank in range(self.shard.world)]
        return {nodule: reasons for mark in marks if mark for nodule, reasons in mark["failures"].items()}

    def _name(self, rank: int) -> str:
        return f"shards/{rank}-of-{self.shard.world}.json"

    def _mark(self, rank: int) -> dict[str, Any] | None:
        try:
            mark = json.loads((self.store.root / self._name(rank)).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return mark if mark.get("key") == self.key else None


def all_outcomes(
    work: NoduleWork, shard: Shard, board: ShardBoard, outcomes: Mapping[int, Outcome]
) -> list[tuple[str, Outcome]] | None:
    """Say that this shard is done, and take what the others made.

    Args:
        work: of the study.
        shard: this process.
        board: where the shards meet.
        outcomes: of this shard's nodules, by index.

    Returns:
        (nodule id, what became of it) of every nodule, in the order of the source; None while another shard is at work.
    """
    ids = work.source.ids
    board.finish({ids[i]: outcome.failures for i, outcome in outcomes.items() if outcome.failures})
    if board.missing():
        return None
    reasons = board.failures()
    return [
        (ids[i], outcomes[i] if i in outcomes else work.gather(i, reasons.get(ids[i], {}))) for i in range(len(ids))
    ]
