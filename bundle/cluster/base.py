"""What runs many independent pieces of one work, whichever machines they run on."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol, runtime_checkable

from bundle.progress import Report

Work = Callable[[int, Report], Any]
"""A piece of work: called with its index and what gives a place to report progress to; picklable."""

Death = Callable[[int, str], Any]
"""Called with a piece whose process died and why; gives the result to take for it."""

Cost = Callable[[int], float]
"""About how long a piece takes, in any unit."""


@runtime_checkable
class Portable(Protocol):
    """Work that machines without the common folder can do: it is asked for what they need, and given what they made."""

    def sent(self, piece: int) -> Any:
        """What a machine needs for a piece, as values that can be sent; None: the piece is for this machine."""

    def elsewhere(self, sent: Any, report: Report) -> Any:
        """Do a piece there, from what was sent; what is to be fetched."""

    def received(self, piece: int, made: Any) -> Any:
        """The result of a piece here, from what was fetched; None: it is to be done here."""


class Cluster(ABC):
    """Machines, as a context: entering it checks that they can be used, leaving it lets them go.

    A result depends on neither the machines nor the order in which pieces run.

    Attributes:
        elsewhere: whether pieces run on other machines than this one.
        shared_folder: whether these see the output and the input under the same paths.
    """

    elsewhere: bool = False
    shared_folder: bool = True

    @abstractmethod
    def run(
        self,
        work: Work,
        pieces: Sequence[int],
        title: str,
        died: Death | None = None,
        cost: Cost | None = None,
        unit: str = "nodule",
    ) -> Iterator[tuple[int, Any]]:
        """Run ``work`` on every piece and yield (piece, result) as they end.

        Args:
            work: what to do. What it raises ends everything.
            pieces: what to call it with.
            title: of the progress bar.
            died: gives the result of a piece whose process was killed; None: such a death ends everything.
            cost: pieces that take longest are begun first; None: in the order they have.
            unit: what a piece is.

        Raises:
            InputError: the machines can't do the work, or a process died.
        """

    def __enter__(self) -> Cluster:
        return self

    def __exit__(self, *_: object) -> None:  # noqa: B027
        """Let the machines go, if that takes anything."""


def longest_first(pieces: Sequence[int], cost: Cost | None = None) -> list[int]:
    """Pieces in the order they are to be begun: the longest first, so that none of them is waited for at the end.

    Example:
        >>> longest_first([0, 1, 2], {0: 1.0, 1: 3.0, 2: 1.0}.__getitem__), longest_first([2, 0])
        ([1, 0, 2], [2, 0])
    """
    return list(pieces) if cost is None else sorted(pieces, key=cost, reverse=True)
