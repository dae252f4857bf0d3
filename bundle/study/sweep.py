"""The same study at several strides, and with thick slices: one run, one report of all settings.

Vocabulary: a *setting* is a stride, and how many thin slices an observed one is the average of. Each has a folder of
its own below the sweep's, which is that of a study at this stride alone, to the last digit of ``metrics.csv``.
"""

from __future__ import annotations

import contextlib
import operator
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from bundle.cluster import leave_unguarded_import
from bundle.errors import InputError
from bundle.inferers import StoredInferer
from bundle.lock import hold
from bundle.options.command import command_line
from bundle.progress import Progress, Report
from bundle.report.sweep import SWEEP_FILE, SweepResults
from bundle.report.tables.study_tables import write_tables
from bundle.report.tables.sweep_order import answers
from bundle.report.tables.sweep_tables import failure_lines, write_sweep_tables
from bundle.store import ResultStore
from bundle.study.nodule import NoduleWork
from bundle.study.outcome import Outcome
from bundle.study.record import damage_lines, doubt_lines, last_line
from bundle.study.shards import Shard, all_outcomes, held
from bundle.study.study import Study, anything, begin, say, write_report
from bundle.transforms import Decimate


@dataclass(frozen=True)
class Setting:
    """A stride, and how many thin slices an observed one is the average of.

    Example:
        >>> Setting(5).folder, Setting(3, 6).folder
        ('stride_5', 'stride_3_average_6')
    """

    stride: int
    average: int = 1

    @property
    def folder(self) -> str:
        """Of its results, below the sweep's."""
        return f"stride_{self.stride}" + (f"_average_{self.average}" if self.average > 1 else "")


def settings_of(strides: Sequence[int] | int, thick: Sequence[Sequence[int]] = ()) -> list[Setting]:
    """The settings of a sweep, thin ones first.

    Args:
        strides: of thin observed slices.
        thick: pairs of a stride and of how many slices an observed one is the average of.

    Raises:
        InputError: strides that are no list of different whole numbers from 2 on, or pairs that are none.

    Example:
        >>> [setting.folder for setting in settings_of([2, 5], [[5, 5]])]
        ['stride_2', 'stride_5', 'stride_5_average_5']
    """
    told = "expected different whole numbers of 2 or more, such as [2, 3, 5]"
    if isinstance(strides, str) or not isinstance(strides, Sequence):
        raise InputError(f"--strides is {strides!r}, {told}")
    numbers = [_whole(stride) for stride in strides]
    if not numbers or min(numbers) < 2 or len(set(numbers)) < len(numbers):
        nothing = ": a stride of 1 leaves no slice out" if 1 in numbers else ""
        raise InputError(f"--strides is {list(strides)!r}, {told}{nothing}")
    pairs = [tuple(map(_whole, pair)) for pair in thick]
    if any(len(pair) != 2 or pair[0] < 1 or pair[1] < 2 for pair in pairs) or len(set(pairs)) < len(pairs):
        raise InputError(
            f"--thick is {[list(pair) for pair in thick]!r}, expected different pairs of a stride and of how many "
            "slices are averaged, 2 or more, such as [[3,3],[2,4]]; thin slices are those of --strides"
        )
    return [*map(Setting, numbers), *(Setting(*pair) for pair in pairs)]


def _whole(value: Any) -> int:
    try:
        return 0 if isinstance(value, bool) else operator.index(value)
    except TypeError:
        return 0


@dataclass
class SweepWork:
    """All nodules at all settings as one row of pieces: the nodules of the first setting, of the second, and so on.

    Attributes:
        works: of each setting, over the same nodules.
        names: of the settings.
    """

    works: Sequence[NoduleWork]
    names: Sequence[str]

    def place(self, piece: int) -> tuple[int, int]:
        """Number of the setting and of the nodule."""
        return divmod(piece, len(self.works[0].source))

    def __call__(self, piece: int, report: Report) -> Outcome:
        """Carry one nodule through every method at one setting."""
        k, index = self.place(piece)
        return self.works[k](index, self._named(k, report))

    def sent(self, piece: int) -> tuple[int, Any] | None:
        """See :class:`bundle.cluster.Portable`."""
        k, index = self.place(piece)
        share = self.works[k].sent(index)
        return None if share is None else (k, share)

    def elsewhere(self, sent: tuple[int, Any], report: Report) -> Any:
        """See :class:`bundle.cluster.Portable`."""
        return self.works[sent[0]].elsewhere(sent[1], self._named(sent[0], report))

    def received(self, piece: int, made: Any) -> Outcome:
        """See :class:`bundle.cluster.Portable`."""
        k, index = self.place(piece)
        return self.works[k].received(index, made)

    def died(self, piece: int, reason: str) -> Outcome:
        """What is left of a nodule whose process was killed."""
        k, index = self.place(piece)
        return self.works[k].died(index, reason)

    def _named(self, k: int, report: Report) -> Report:
        def named(what: str) -> Progress:
            return report(f"{self.names[k]} {what}")

        return named


class Sweep:
    """A study at several settings, with one bar, one lock and one report.

    Args:
        study: what is done at each; its own decimation is not used, and its folder is the sweep's.
        decimate: makes the decimation of a ``stride`` and an ``average``.
        strides: of thin observed slices.
        thick: pairs of a stride and of how many slices an observed one is the average of.

    Raises:
        InputError: settings that can't be used, see :func:`settings_of`.

    Example:
        >>> # python -m monai.bundle run --config_file "['configs/study.json','configs/sweep.json']" --strides "[2,5]"
    """

    def __init__(
        self,
        study: Study,
        decimate: Callable[..., Decimate],
        strides: Sequence[int],
        thick: Sequence[Sequence[int]] = (),
    ) -> None:
        self.study = study
        self.settings = settings_of(strides, thick)
        self.decimations = [decimate(stride=one.stride, average=one.average) for one in self.settings]

    def run(self) -> None:
        """Run or resume the sweep.

        Raises:
            InputError: a value that can't be used, or no setting at which anything could be reconstructed.
        """
        leave_unguarded_import()
        start, study, shard = time.perf_counter(), self.study, self.study.shard or Shard()
        if study.offsets is not None:
            raise InputError("--offsets all is for one stride: leave it out of a sweep")
        whole = study.work()
        if any(isinstance(inferer, StoredInferer) for inferer in whole.inferers.values()):
            raise InputError("a sweep wants methods that are run: reconstructions on disk have one stride")
        root = whole.store.root
        works = [
            replace(whole, decimate=decimate, store=ResultStore(root / one.folder))
            for one, decimate in zip(self.settings, self.decimations, strict=True)
        ]
        with contextlib.ExitStack() as stack:
            stack.enter_context(study.machines)
            share = str([one.folder for one in self.settings]) if shard.world > 1 else None
            stack.enter_context(hold(root / ".lock", f"the output folder {root}", share))
            for work in works:
                stack.enter_context(held(work, shard))
            self._carry_out(works, shard, start)

    def _carry_out(self, works: Sequence[NoduleWork], shard: Shard, start: float) -> None:
        source, methods, root = works[0].source, list(works[0].inferers), works[0].store.root.parent
        names = [one.folder for one in self.settings]
        say(f"{source.description}; methods: {', '.join(methods)}; settings: {', '.join(names)}", *source.notes)
        begun = [begin(work, shard) for work in works]
        by_setting = self._outcomes(works, shard, [costs for _, costs in begun])
        done = []
        for work, (board, _), outcomes in zip(works, begun, by_setting, strict=True):
            done.append(all_outcomes(work, shard, board, outcomes))
        every = [ordered for ordered in done if ordered is not None]
        if len(every) < len(done):
            say(shard.waiting(sorted({rank for board, _ in begun for rank in board.missing()})))
            return
        for name, work, ordered in zip(names, works, every, strict=True):
            write_tables(work.store, ordered, methods, source.kind)
            say(*(f"{name}: {line}" for line in damage_lines(ordered)))
        say(*doubt_lines(every[0], ["truth"]))
        record = {"command": command_line(sys.argv), "settings": names}
        ResultStore(root).write_json(SWEEP_FILE, record)
        results, options = SweepResults(root), self.study.report_options
        say(*answers(results, options), *failure_lines(results))
        say(write_report(root, options, self.study.report, partial(write_sweep_tables, results, options)))
        ordered = [one for ordered in every for one in ordered]
        say(last_line(ordered, len(methods), time.perf_counter() - start, root, len(works)))
        if not anything(ordered, methods):
            first = works[0].store.root / "failures.csv"
            raise InputError(f"nothing could be reconstructed at any setting: see {first} for the reasons")

    def _outcomes(
        self, works: Sequence[NoduleWork], shard: Shard, costs: Sequence[Mapping[int, float]]
    ) -> list[dict[int, Outcome]]:
        """This process's share of the nodules at every setting, by index."""
        mine, count = shard.indices(len(works[0].source)), len(works[0].source)
        sweep = SweepWork(works, [one.folder for one in self.settings])
        found: list[dict[int, Outcome]] = [{} for _ in works]
        pieces = [k * count + i for k in range(len(works)) for i in mine]
        try:
            for work in works:
                self.study.fit_stacks(work, mine)
            done = self.study.machines.run(
                sweep, pieces, shard.title("sweep"), sweep.died, lambda piece: _cost(costs, *sweep.place(piece))
            )
            for piece, outcome in done:
                k, index = sweep.place(piece)
                found[k][index] = outcome
        finally:
            for work in works:
                work.clean(mine)
        return found


def _cost(costs: Sequence[Mapping[int, float]], k: int, index: int) -> float:
    return costs[k][index]
