"""The study: nodules in, reconstructions, metrics and tables out; resumable.

For each nodule: load, crop, drop slices, reconstruct with every method, measure, save. What is on disk with
the wanted fingerprint is not computed again. The tables are made from the rows of all nodules, in the order of
the source and of the methods, so that they do not depend on who computed what when.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Literal

from bundle.cluster import Cluster, LocalProcesses, leave_unguarded_import
from bundle.data import NoduleSource
from bundle.data.identity import FileHashes
from bundle.errors import InputError
from bundle.inferers import SliceInferer, StoredInferer, read_calibrations
from bundle.inferers.names import chosen_names
from bundle.inferers.registry import default_methods, seconds
from bundle.metrics import (
    NoduleEvaluator,
    RadiomicsEvaluator,
    SizeEvaluator,
    TextureEvaluator,
    UncertaintyEvaluator,
)
from bundle.progress import ProgressBars, wrapped_lines
from bundle.report.options import ReportOptions
from bundle.report.results import StudyResults
from bundle.report.tables.study_tables import write_tables
from bundle.report.tables.write import write_report_tables
from bundle.store import ResultStore, fingerprint
from bundle.study.case import Crop
from bundle.study.nodule import NoduleWork
from bundle.study.outcome import Outcome
from bundle.study.record import damage_lines, doubt_lines, engine_lines, last_line, parameters
from bundle.study.shards import Shard, ShardBoard, all_outcomes, held
from bundle.transforms import Decimate


class Study:
    """A cohort through every method, to tables.

    Args:
        source: of the nodules.
        crop: the dictionary transform over ``image`` and ``label``.
        decimate: says which slices are kept.
        inferers: every method there is, by name, each makes its inferer; or what makes this mapping.
        methods: names of the methods to run, in the order of the tables; None: all but those that run on request.
        metrics: measures brightness and shape.
        output_dir: made if it is absent; run again with the same to resume.
        seed: of everything random.
        machines: that work on the nodules; None: one process a core of this one, one on a GPU.
        device: where networks are fitted; decides only how the work is shared out.
        texture: measures texture; None: it is not measured.
        uncertainty: measures expected errors; None: they are not measured.
        calibration: file that makes methods' expected errors right in size, and gives their intervals, by method;
            None: they are as the methods have them, and there are no intervals.
        shard: this process's share of the nodules; None: all of them.
        stack: fit all nodules of an implicit method together before anything else; None: on a GPU.
        report: write ``report.html`` at the end, if what it needs is installed; tables are written in any case.
        sizes: measures volumes and diameters; None: they are not measured.
        radiomics: measures radiomic features; None: they are not measured.
        offsets: "all": go through each other first slice too, for the repeatability of sizes; each is a study of its
            own in ``offsets/<first slice>/``. None: not.
        report_options: of its tables, which methods the others are compared with.
        reveal_unobserved: show methods the unobserved slices; only for the published protocol, whose fit stops by
            them. Never for results of one's own.

    Example:
        >>> # python -m monai.bundle run --config_file configs/study.json --methods "['linear','cubic']"
    """

    def __init__(
        self,
        source: NoduleSource,
        crop: Crop,
        decimate: Decimate,
        inferers: Mapping[str, Callable[[], SliceInferer]] | Callable[[], Mapping[str, Callable[[], SliceInferer]]],
        methods: Sequence[str] | str | None,
        metrics: NoduleEvaluator,
        output_dir: str,
        seed: int = 0,
        machines: Cluster | None = None,
        device: str = "cpu",
        texture: TextureEvaluator | None = None,
        reveal_unobserved: bool = False,
        shard: Shard | None = None,
        stack: bool | None = None,
        report: bool = True,
        uncertainty: UncertaintyEvaluator | None = None,
        calibration: str | None = None,
        report_options: ReportOptions | None = None,
        sizes: SizeEvaluator | None = None,
        offsets: Literal["all"] | None = None,
        radiomics: RadiomicsEvaluator | None = None,
    ) -> None:
        self.source = source
        self.crop = crop
        self.decimate = decimate
        self.inferers = inferers
        self.methods = methods
        self.metrics = metrics
        self.output_dir = output_dir
        self.seed = seed
        self.machines = machines or LocalProcesses(device=device)
        self.texture = texture
        self.uncertainty = uncertainty
        self.sizes = sizes
        self.offsets = offsets
        self.radiomics = radiomics
        self.calibration = calibration
        self.reveal_unobserved = reveal_unobserved
        self.shard = shard
        self.stack = str(device).startswith("cuda") and not self.machines.elsewhere if stack is None else stack
        self.report = report
        self.report_options = report_options or ReportOptions()

    def run(self) -> None:
        """Run or resume the study.

        Raises:
            InputError: a value that can't be used, or no nodule from which anything could be reconstructed.
        """
        leave_unguarded_import()
        start = time.perf_counter()
        work = self.work()
        shard = self.shard or Shard()
        for other in self._other_first_slices(work):
            print(f"first slice {other.decimate.offset} of {other.decimate.stride}:", flush=True)
            other.run()
        with self.machines, held(work, shard):
            self._carry_out(work, shard, start)

    def _other_first_slices(self, work: NoduleWork) -> Iterator[Study]:
        """The same study at the other first slices, before this one, whose report is of all."""
        if self.offsets is None:
            return
        if any(isinstance(inferer, StoredInferer) for inferer in work.inferers.values()):
            raise InputError("--offsets all wants methods that are run: reconstructions on disk have one first slice")
        for offset in (k for k in range(self.decimate.stride) if k != self.decimate.offset):
            other = copy.copy(self)
            other.decimate = copy.copy(self.decimate)
            other.decimate.offset = offset
            other.output_dir, other.offsets, other.report = f"{self.output_dir}/offsets/{offset}", None, False
            yield other

    def _carry_out(self, work: NoduleWork, shard: Shard, start: float) -> None:
        methods, store = list(work.inferers), work.store
        say(f"{work.source.description}; methods: {', '.join(methods)}", *work.source.notes)
        board, costs = begin(work, shard)
        outcomes = self._outcomes(work, shard, costs)
        ordered = all_outcomes(work, shard, board, outcomes)
        if ordered is None:
            say(shard.waiting(board.missing()))
            return
        say(write_tables(store, ordered, methods, work.source.kind))
        say(*engine_lines([outcome for _, outcome in ordered], methods))
        tables = partial(_write_tables, store.root, self.report_options)
        say(write_report(store.root, self.report_options, self.report, tables))
        stored = [name for name, inferer in work.inferers.items() if isinstance(inferer, StoredInferer)]
        say(*damage_lines(ordered), *doubt_lines(ordered, ["truth", *stored]))
        say(last_line(ordered, len(methods), time.perf_counter() - start, store.root))
        if not anything(ordered, methods):
            raise InputError(f"nothing could be reconstructed: see {store.root / 'failures.csv'} for the reasons")

    def _outcomes(self, work: NoduleWork, shard: Shard, costs: Mapping[int, float]) -> dict[int, Outcome]:
        """Compute this process's share of the nodules, or read what is there."""
        mine = shard.indices(len(work.source))
        try:
            self.fit_stacks(work, mine)
            return dict(self.machines.run(work, mine, shard.title("study"), work.died, costs.__getitem__))
        finally:
            work.clean(mine)

    def fit_stacks(self, work: NoduleWork, mine: Sequence[int]) -> None:
        """On a GPU, fit the nodules of each implicit method together; elsewhere nothing."""
        if self.stack:
            with ProgressBars("epoch") as report:
                work.fit_stacks(mine, report)

    def work(self) -> NoduleWork:
        """Make the parts; what is wrong with a value shows here, before anything is computed."""
        known = self.inferers() if callable(self.inferers) else self.inferers
        # what is on disk was asked for once
        stored = [name for name, make in known.items() if getattr(make, "func", None) is StoredInferer]
        every = stored or default_methods(known)
        names = chosen_names(every if self.methods is None else self.methods, list(known), "methods")
        self.report_options.check(names)
        if not isinstance(self.seed, int):
            raise InputError(f"--seed is {self.seed!r}, expected a whole number")
        store = ResultStore(self.output_dir)
        inferers = {name: known[name]() for name in names}
        for inferer in inferers.values():
            if isinstance(inferer, StoredInferer) and store.root.resolve().is_relative_to(inferer.root.resolve()):
                raise InputError(
                    f"--output_dir {store.root} lies in {inferer.folder}, whose reconstructions are to be measured: "
                    "give another folder, or the results would be taken for some"
                )
        calibrations = {} if self.calibration is None else read_calibrations(self.calibration)
        for name, inferer in inferers.items():
            inferer.calibrate(name, calibrations)
        parts = (self.source, self.crop, self.decimate, inferers, self.metrics, self.texture)
        measured = (self.uncertainty, self.sizes, self.radiomics)
        return NoduleWork(*parts, store, self.seed, self.reveal_unobserved, *measured)


def say(*lines: str) -> None:
    """Print what a run tells of itself, at most 100 characters a line."""
    for line in lines:
        print(wrapped_lines(line), flush=True)


def begin(work: NoduleWork, shard: Shard) -> tuple[ShardBoard, dict[int, float]]:
    """Write down what a study is about to do, say how many results are of other parameters.

    Returns:
        where its shards meet, and about how long each nodule will take, in any unit.
    """
    key, costs = _look_over(work)
    work.store.write_json("study.json", parameters(work))
    board = ShardBoard(work.store, shard, key)
    board.start()
    return board, costs


def anything(ordered: Sequence[tuple[str, Outcome]], methods: Sequence[str]) -> bool:
    """Whether any method reconstructed any nodule."""
    return any(len(outcome.failures) < len(methods) for _, outcome in ordered)


def _look_over(work: NoduleWork) -> tuple[str, dict[int, float]]:
    """Say how many results are of other parameters.

    Returns:
        hash of all that is wanted, and about how long each nodule will take, in any unit.
    """
    store, stale, all_wanted, costs = work.store, 0, [], {}
    work.source.hashes.load(store.root / "inputs.json")
    for index, nodule_id in enumerate(work.source.ids):
        costs[index] = 0.0
        try:
            wanted = work.fingerprints(index)
        except Exception:
            continue  # told as this nodule's failure when its turn comes
        all_wanted.append(wanted)
        found = {name: store.fingerprint_of(nodule_id, name) for name in work.inferers}
        stale += sum(one not in (None, wanted[name]) for name, one in found.items())
        missing = sum(seconds(name) for name, one in found.items() if one != wanted[name])
        costs[index] = missing * work.source.voxels(index)
    if work.source.hashes.text() != FileHashes().text():
        store.write_text("inputs.json", work.source.hashes.text())
    if stale:
        print(
            f"{stale} results in {store.root} were made with other parameters: "
            "they are computed anew, the old ones move to superseded/",
            flush=True,
        )
    return fingerprint(all_wanted), costs


def write_report(root: Path, options: ReportOptions, page: bool, tables: Callable[[], object]) -> str:
    """Write the page if it is wanted and what it needs is installed, else the tables alone; says which."""
    reason = "no report"
    if page:
        try:
            from bundle.report.build import build_report

            return f"report: {build_report(root, options)}"
        except ImportError as fault:
            reason = f"no report: {fault.name} is not installed (pip install '.[report]')"
    tables()
    return f"{reason}; tables: {root / 'tables'}"


def _write_tables(root: Path, options: ReportOptions) -> None:
    write_report_tables(StudyResults(root), options)
