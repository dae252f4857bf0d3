"""Machines behind a Dask scheduler: any number, joining and leaving while the work goes on.

This end hands each worker one piece at a time, and so knows which piece a worker had in hand when it died: that piece
alone is tried once more, and fails where it kills a second worker. Dask's own way would blame all that the worker held.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import sys
import uuid
import warnings
from collections import Counter, deque
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from tqdm import tqdm

from bundle.cluster import worker
from bundle.cluster.base import Cluster, Cost, Death, Portable, Work, longest_first
from bundle.errors import InputError
from bundle.progress import WorkBar

try:
    import dask
    import distributed
except ImportError:  # the extra `cluster`
    distributed = None  # type: ignore[assignment]

LOOK_SECONDS = 2.0
DEATHS = 2
GPU = "GPU"  # the resource of workers that have one
CONNECT_SECONDS = 10
FETCH_SECONDS = 300
_AGAIN = "what was finished is kept: start it and give the same command again"


class DaskCluster(Cluster):
    """The workers of a Dask scheduler.

    Args:
        address: of the scheduler, such as ``tcp://10.0.0.1:8786``.
        shared_folder: whether workers see the output and the input under the same paths; False: what a piece reads
            is sent to them, and what it writes is fetched.
        resource: name of a Dask resource, such as ``GPU``: only workers that have it are taken; None: all.

    Raises:
        InputError: ``distributed`` is not installed, nobody listens at the address, a worker has other versions of what
            results depend on, the scheduler is lost, or a piece's death is taken by nobody.

    Example:
        >>> DaskCluster("tcp://127.0.0.1:8786").elsewhere
        True
    """

    elsewhere = True

    def __init__(self, address: str, shared_folder: bool = True, resource: str | None = None) -> None:
        self.address = address
        self.shared_folder = shared_folder
        self.resource = resource
        self._client: Any = None
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> DaskCluster:
        if distributed is None:
            raise InputError("--cluster needs Dask, which is not installed: pip install -e '.[cluster]'")
        # what is wrong is told here, in one sentence; its own words, with tracebacks, would still come after the end
        for name in [
            "asyncio",
            "tornado.application",
            *(one for one in logging.root.manager.loggerDict if one.startswith("distributed")),
        ]:
            logging.getLogger(name).setLevel(logging.CRITICAL)
        try:
            self._client = self._connected()
        except BaseException:
            self._stack.close()
            raise
        self._stack.callback(self._client.close, timeout=2)
        # a scan is large, and Dask would say at each that it is
        self._stack.enter_context(dask.config.set({"distributed.admin.large-graph-warning-threshold": "1 TB"}))
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()
        self._client = None

    def _connected(self) -> Any:
        """A client of the scheduler."""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # other versions: told of a worker that has them
                return distributed.Client(self.address, timeout=CONNECT_SECONDS, set_as_default=False)
        except (OSError, ValueError, TypeError) as fault:
            raise InputError(
                f"no Dask scheduler answers at {self.address} ({' '.join(str(fault).split())[:200]}): start one by "
                "`dask scheduler`, or leave --cluster out"
            ) from fault

    def run(
        self,
        work: Work,
        pieces: Sequence[int],
        title: str,
        died: Death | None = None,
        cost: Cost | None = None,
        unit: str = "nodule",
    ) -> Iterator[tuple[int, Any]]:
        """See :meth:`bundle.cluster.base.Cluster.run`."""
        assert self._client is not None, "a cluster is used as a context"
        if not self.shared_folder and not isinstance(work, Portable):
            raise InputError("this work can't be done without a common folder: leave --shared_folder out")
        with WorkBar(title, len(pieces), unit) as bar:
            errand = _Errand(self, work, deque(longest_first(pieces, cost)), died)
            with contextlib.closing(errand.results(bar)) as results:
                for done in results:
                    yield done
                    bar.advance()


@dataclass
class _Errand:
    """One run of a work: which piece is in which worker's hand."""

    cluster: DaskCluster
    work: Any
    left: deque[int]
    died: Death | None
    hands: dict[str, tuple[int, Any] | None] = field(default_factory=dict)
    refused: set[str] = field(default_factory=set)
    deaths: Counter[int] = field(default_factory=Counter)
    processors: set[str] = field(default_factory=set)
    leaving: set[str] = field(default_factory=set)
    told_waiting: bool = False

    def results(self, bar: WorkBar) -> Generator[tuple[int, Any]]:
        """Results as they come; leaving early gives up what is in hand."""
        client, news = self.cluster._client, queue.SimpleQueue()  # type: Any, queue.SimpleQueue[tuple[str, Any]]
        topic = f"lung-nodule-{uuid.uuid4().hex[:12]}"
        self.topic, self.news, self.number = topic, news, 0
        client.subscribe_topic(topic, lambda event: news.put(("progress", event[1])))
        client.subscribe_topic("all", lambda event: news.put(("workers", event[1])))
        self.held = self._submit(worker.hold, distributed.protocol.pickle.dumps(self.work), key=f"{topic}-work")
        try:
            yield from self._look()
            while self.left or any(self.hands.values()):
                try:
                    kind, what = news.get(timeout=LOOK_SECONDS)
                except queue.Empty:
                    kind, what = "workers", {"action": "remove-worker"}
                if kind == "progress":
                    bar.update(*what)
                elif kind == "workers" and what.get("action") in ("add-worker", "remove-worker"):
                    self.leaving |= {what["worker"]} if what.get("expected") else set()
                    yield from self._look()
                elif kind == "done":
                    yield from self._take(what)
        finally:
            with contextlib.suppress(Exception):
                client.cancel([hand[1] for hand in self.hands.values() if hand], force=True)
                client.cancel([self.held], force=True)
                client.unsubscribe_topic(topic)
                client.unsubscribe_topic("all")

    def _submit(self, function: Any, *arguments: Any, **options: Any) -> Any:
        if self.cluster._client.status != "running":
            raise self._lost()
        return self.cluster._client.submit(function, *arguments, pure=False, retries=0, **options)

    def _lost(self) -> InputError:
        return InputError(f"the Dask scheduler at {self.cluster.address} is gone: {_AGAIN}")

    def _look(self) -> Generator[tuple[int, Any]]:
        """See which workers came and went; give work to the new, take it from the lost."""
        try:
            known = self.cluster._client.scheduler_info(n_workers=-1)["workers"]
        except Exception as fault:
            raise self._lost() from fault
        resource = self.cluster.resource
        there = {name for name, one in known.items() if resource is None or one.get("resources", {}).get(resource)}
        for name in self.hands.keys() - there:
            hand = self.hands.pop(name)
            if hand is not None:
                yield from self._died(name, *hand)
        new = sorted(there - self.hands.keys() - self.refused)
        self._check(new)
        self.hands |= {name: None for name in new if name not in self.refused}
        if not self.hands and not self.told_waiting:
            wanted = "" if resource is None else f" with the resource {resource} (dask worker --resources {resource}=1)"
            _say(f"no worker{wanted} is at {self.cluster.address}: waiting until one joins")
        self.told_waiting = not self.hands
        for name in [name for name, hand in self.hands.items() if hand is None]:
            yield from self._give(name)

    def _check(self, names: Sequence[str]) -> None:
        """Refuse workers whose results would be others: at the start all, later the new ones alone."""
        if not names:
            return
        mine = worker.about()
        found = self.cluster._client.run(worker.about, workers=list(names), on_error="return")
        for name in names:
            theirs = found.get(name)
            if not isinstance(theirs, dict):
                wrong = f"can't load this bundle ({' '.join(str(theirs).split())[:150]})"
            else:
                differ = [key for key in mine if key != "processor" and theirs.get(key) != mine[key]]
                wrong = ", ".join(f"has {key} {theirs.get(key)} where this machine has {mine[key]}" for key in differ)
                self.processors.add(theirs["processor"])
            if not wrong:
                continue
            sentence = f"the worker {name} {wrong}: install the same there"
            if not self.hands and not self.refused:
                raise InputError(sentence)
            self.refused.add(name)
            _say(f"{sentence}; the others go on")
        if len(self.processors) > 1:
            _say("the workers' processors are of different kinds: results agree to rounding, not to the last digit")
            self.processors = {""}

    def _give(self, name: str) -> Generator[tuple[int, Any]]:
        """Hand a free worker the next piece."""
        while self.left:
            piece, sent = self.left.popleft(), None
            if not self.cluster.shared_folder:
                sent = self.work.sent(piece)
                if sent is None:  # all there already, or nothing that could be sent
                    yield piece, self.work.received(piece, None)
                    continue
            self.number += 1
            resource = {} if self.cluster.resource is None else {"resources": {self.cluster.resource: 1}}
            future = self._submit(
                worker.carry_out, self.held, piece, sent, self.topic, key=f"{self.topic}-{piece}-{self.number}",
                workers=[name], allow_other_workers=False, **resource,
            )  # fmt: skip
            self.hands[name] = (piece, future)
            future.add_done_callback(lambda future: self.news.put(("done", future.key)))
            return

    def _take(self, key: str) -> Generator[tuple[int, Any]]:
        """Fetch a piece that has ended, after its worker has the next one."""
        name = next((name for name, hand in self.hands.items() if hand is not None and hand[1].key == key), None)
        if name is None:
            return  # of a worker that was lost
        piece, future = self.hands[name]  # type: ignore[misc]
        if future.status == "cancelled":
            raise self._lost()
        self.hands[name] = None
        yield from self._give(name)
        try:
            kind, made = future.result(timeout=FETCH_SECONDS)
        except (distributed.KilledWorker, distributed.TimeoutError, TimeoutError):
            yield from self._died(name, piece, future)
            return
        except distributed.CancelledError:
            raise self._lost() from None
        if kind == "raised":
            raise made
        yield piece, made if self.cluster.shared_folder else self.work.received(piece, made)

    def _died(self, name: str, piece: int, future: Any) -> Generator[tuple[int, Any]]:
        """A worker is gone with a piece in hand: try it once more, or take its death."""
        future.cancel(force=True)
        self.deaths[piece] += name not in self.leaving  # one that was asked to go is no death
        if self.deaths[piece] < DEATHS:
            _say(f"the worker {name} is gone; what it had in hand is given to another one")
            self.left.appendleft(piece)
            for free in [one for one, hand in self.hands.items() if hand is None]:
                yield from self._give(free)
            return
        reason = f"{DEATHS} workers died with it in hand: if memory ran out, give workers more"
        if self.died is None:
            raise InputError(f"piece {piece}: {reason}")
        yield piece, self.died(piece, reason)


def _say(sentence: str) -> None:
    tqdm.write(sentence, file=sys.stderr)
