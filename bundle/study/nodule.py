"""One nodule through every method of a study, with what is already on disk left as it is.

The unit of work of the worker processes. What goes wrong in one nodule or one method is recorded as its
failure, with the reason; the study goes on.
"""

from __future__ import annotations

import contextlib
import logging
import tempfile
import time
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from bundle.cluster.worker import scratch
from bundle.data import NoduleSource
from bundle.data.notes import notes_of
from bundle.errors import InputError, OutputError
from bundle.inferers import FittedInferer, Reconstruction, SliceInferer, StoredInferer
from bundle.inferers.consistency import agreed
from bundle.metrics import (
    NoduleEvaluator,
    RadiomicsEvaluator,
    SizeEvaluator,
    TextureEvaluator,
    UncertaintyEvaluator,
)
from bundle.progress import Progress, Report
from bundle.store import ResultStore, describe, fingerprint
from bundle.study.case import Case, Crop, nodule_seed, on_case, prepare, reconstruct, save_reconstruction, save_truth
from bundle.study.outcome import Outcome, Share, take, take_truth
from bundle.transforms import Decimate
from bundle.version import __version__

log = logging.getLogger("bundle.study.study")


@dataclass
class NoduleWork:
    """Everything that one nodule's computation needs; sent to the worker processes.

    Attributes:
        source: where nodules come from.
        crop: dictionary transform over ``image`` and ``label``.
        decimate: which slices are kept.
        inferers: the chosen methods by name.
        evaluator: measures brightness and shape.
        texture: measures texture; None: not measured.
        store: where results lie.
        seed: of the study.
        reveal: whether methods are shown the unobserved slices; for the published protocol alone.
        uncertainty: measures expected errors, of methods that give them; None: not measured.
        sizes: measures volumes and diameters; None: not measured.
        radiomics: measures radiomic features; None: not measured.
    """

    source: NoduleSource
    crop: Crop
    decimate: Decimate
    inferers: dict[str, SliceInferer]
    evaluator: NoduleEvaluator
    texture: TextureEvaluator | None
    store: ResultStore
    seed: int
    reveal: bool = False
    uncertainty: UncertaintyEvaluator | None = None
    sizes: SizeEvaluator | None = None
    radiomics: RadiomicsEvaluator | None = None

    def __call__(self, index: int, report: Report) -> Outcome:
        """Carry one nodule through every method; failures are recorded.

        Raises:
            OutputError: the results can't be written.
        """
        try:
            share = self._share(index)
        except OutputError:
            raise
        except Exception as fault:
            return self._failed(_reason(fault))
        return self._complete(share, report)

    def sent(self, index: int) -> Share | None:
        """What a machine without the output folder needs of a nodule; None where nothing is missing, or can be."""
        with contextlib.suppress(Exception):  # told when it is done here
            share = self._share(index)
            return share if share.case is not None else None
        return None

    def elsewhere(self, sent: Share, report: Report) -> tuple[Outcome, dict[str, dict[str, bytes]]]:
        """Do there what :meth:`__call__` does here: what became of the nodule, and the files of its new results."""
        with tempfile.TemporaryDirectory(prefix="nodule-", dir=scratch()) as folder:
            work = replace(self, store=ResultStore(folder))
            return work._complete(sent, report), work.store.packed(sent.nodule_id)

    def received(self, index: int, made: tuple[Outcome, dict[str, dict[str, bytes]]] | None) -> Outcome:
        """Store what a machine made of a nodule; None: it is done here."""
        if made is None:
            return self(index, lambda what: lambda done, total, words: None)
        outcome, parts = made
        for part, files in parts.items():
            self.store.unpack(self.source.ids[index], part, files)
        return outcome

    def _share(self, index: int) -> Share:
        """What there is of a nodule, and its case if anything is missing."""
        nodule_id = self.source.ids[index]
        self.store.clean(nodule_id)
        wanted = self.fingerprints(index)
        share = Share(nodule_id, wanted, {part: self.store.read(nodule_id, part, wanted[part]) for part in wanted})
        for part in wanted:
            if share.stored[part] is None and not self.store.is_stale(nodule_id, part, wanted[part]):
                share.damaged[part] = self.store.damage(nodule_id, part)
        if any(result is None for result in share.stored.values()):
            share.case = prepare(self.source[index], self.crop, self.decimate)
        return share

    def _complete(self, share: Share, report: Report) -> Outcome:
        """Compute and store what is missing."""
        outcome, case = Outcome(damaged=share.damaged), share.case
        try:
            truth = share.stored["truth"] or self._save_truth(case, share.wanted["truth"], report)
        except OutputError:
            raise
        except Exception as fault:
            return self._failed(_reason(fault))
        take_truth(outcome, truth)
        for name, inferer in self.inferers.items():
            result = share.stored[name]
            if result is not None:
                outcome.reused += 1
            else:
                assert case is not None
                try:
                    result = self._compute(case, name, inferer, share.wanted[name], report)
                except OutputError:
                    raise
                except Exception as fault:
                    self._fail(outcome, name, inferer, _reason(fault))
                    continue
            take(outcome, name, result)
        return outcome

    def fingerprints(self, index: int) -> dict[str, str]:
        """Fingerprint of each stored part of a nodule: ``truth`` and every method."""
        nodule = (__version__, self.source.fingerprint(index), self.crop, self.decimate)
        asked = () if self.radiomics is None else (self.radiomics,)  # results of before they were there stay good
        wanted = {"truth": fingerprint(*nodule, self.texture, self.sizes, *asked)}
        for name, inferer in self.inferers.items():
            file = None
            if isinstance(inferer, StoredInferer):
                file = inferer.identity(self.source.ids[index], self.source.whole_id(index))
            measured = (self.evaluator, self.texture, self.uncertainty, self.sizes)
            wanted[name] = fingerprint(*nodule, name, inferer, *measured, self.seed, self.reveal, file, *asked)
        return wanted

    def _save_truth(self, case: Case | None, wanted: str, report: Report) -> dict[str, Any]:
        assert case is not None
        known = ("source", "ratings", "diameter_mm", "slice_thickness", "scanner")
        facts = {key: describe(case.item.get(key)) for key in known}
        facts |= {"spacing": list(case.spacing), "shape": list(case.mask.shape)}
        facts["notes"] = notes_of(case.item.get("image"))
        if "part_of" in case.item:
            facts["part_of"] = describe(case.item["part_of"])
        facts |= {"axis": case.axis, "observed": case.centres.astype(int).tolist()}
        facts["texture"] = [] if self.texture is None else self.texture.truth_rows(case.truth)
        facts["sizes"] = {} if self.sizes is None else case.true_sizes(self.sizes)
        if self.radiomics is not None:
            facts["radiomics"] = self.radiomics.truth_rows(case.truth, report(f"{case.nodule_id} truth"))
        with self.store.writing(case.nodule_id, "truth", wanted, facts) as folder:
            save_truth(folder, case)
        return facts

    def _compute(self, case: Case, name: str, inferer: SliceInferer, wanted: str, report: Report) -> dict[str, Any]:
        told = report(f"{case.nodule_id} {name}")
        told(0, 1, "")
        inferer.on_progress = told
        try:
            made, seconds = reconstruct(case, inferer, nodule_seed(self.seed, case.nodule_id, name), self.reveal)
        finally:
            inferer.on_progress = None
        return self._keep(case, name, wanted, made, seconds, told)

    def _keep(
        self, case: Case, name: str, wanted: str, made: Reconstruction, seconds: float, told: Progress
    ) -> dict[str, Any]:
        """Measure a reconstruction and store it with its rows."""
        sample = self.inferers[name].sample
        rows = [] if sample else self.evaluator.rows(case.truth, made.image, made.mask)
        masks: dict[float, Any] = {}
        texture: list[dict[str, Any]] = []
        radiomics: list[dict[str, Any]] = []
        if made.image is not None:
            if self.texture is not None:
                texture = self.texture.rows(case.truth, made.image)
            if self.radiomics is not None:
                radiomics = self.radiomics.rows(case.truth, made.image, told)
            masks = self.evaluator.masks(case.truth, made.image)
        uncertain = self._uncertainty(case, name, made)
        result: dict[str, Any] = {"rows": rows, "texture": texture, "uncertainty": uncertain, "radiomics": radiomics}
        result["sizes"] = [] if self.sizes is None else self.sizes.rows(case.truth, made.image, made.mask)
        result |= {"seconds": seconds, "notes": made.notes, "timings": made.timings}
        with self.store.writing(case.nodule_id, name, wanted, result) as folder:
            save_reconstruction(folder, case, made, masks)
        return result

    def _uncertainty(self, case: Case, name: str, made: Reconstruction) -> list[dict[str, Any]]:
        """Rows of the expected error; a method without a calibration has none of intervals, and says so."""
        if self.uncertainty is None or made.error is None or made.image is None:
            return []
        calibration = self.inferers[name].calibration
        if calibration is None:
            told = "expects errors, but has no calibration: no intervals are measured; configs/calibrate.json makes it"
            made.notes.append(f"{name} {told}")
        elif calibration.not_promised:
            levels = ", ".join(f"{100 * level:g}" for level in calibration.not_promised)
            made.notes.append(
                f"{name} is calibrated on few patients: intervals of {levels} % take the largest error seen"
            )
        intervals = None if calibration is None else calibration.intervals
        return self.uncertainty.rows(case.truth, made.image, made.error, intervals)

    def died(self, index: int, reason: str) -> Outcome:
        """What is left of a nodule whose process was killed: what it had stored by then."""
        log.warning("%s: %s; the others go on", self.source.ids[index], reason)
        return self.gather(index, dict.fromkeys(self.inferers, reason))

    def gather(self, index: int, reasons: Mapping[str, str]) -> Outcome:
        """What became of a nodule that another process worked on, from what it stored.

        Args:
            index: of the nodule.
            reasons: why methods failed there, by method.
        """
        nodule_id, outcome = self.source.ids[index], Outcome()
        wanted: dict[str, str] = {}
        with contextlib.suppress(Exception):  # a nodule without a fingerprint failed in all methods
            wanted = self.fingerprints(index)
        take_truth(outcome, self.store.read(nodule_id, "truth", wanted.get("truth", "")) or {})
        for name, inferer in self.inferers.items():
            result = self.store.read(nodule_id, name, wanted.get(name, ""))
            if result is None:
                self._fail(outcome, name, inferer, reasons.get(name, "it was not computed"))
            else:
                take(outcome, name, result)
                outcome.reused += 1
        return outcome

    def clean(self, indices: Sequence[int]) -> None:
        """Take away what was stopped half way."""
        for i in indices:
            self.store.clean(self.source.ids[i])

    def fit_stacks(self, indices: Sequence[int], report: Report) -> None:
        """Fit all nodules of every implicit method together and store the results, for a GPU.

        What can't be fitted so is left for the nodule's own turn.
        """
        for name, inferer in self.inferers.items():
            if not isinstance(inferer, FittedInferer):
                continue
            cases, observed = [], []
            for index in indices:
                with contextlib.suppress(Exception):  # told in the nodule's own turn
                    wanted = self.fingerprints(index)[name]
                    if self.store.read(self.source.ids[index], name, wanted) is None:
                        case = prepare(self.source[index], self.crop, self.decimate)
                        seed = nodule_seed(self.seed, case.nodule_id, name)
                        observed.append(case.observed_slices(seed, self.reveal))
                        cases.append((case, wanted))
            if not cases:
                continue
            inferer.on_progress = report(f"{name}, stacks")
            start = time.perf_counter()
            try:
                results = inferer.reconstruct_many(observed)
            except Exception as fault:
                log.warning("the nodules could not be fitted together, each is fitted alone: %s", _reason(fault))
                continue
            finally:
                inferer.on_progress = None
            seconds = (time.perf_counter() - start) / len(cases)
            for (case, wanted), made, seen in zip(cases, results, observed, strict=True):
                told = report(f"{case.nodule_id} {name}")
                self._keep(case, name, wanted, on_case(case, agreed(made, seen)), seconds, told)

    def _failed(self, reason: str) -> Outcome:
        """Of a nodule on which every method failed."""
        outcome = Outcome()
        for name, inferer in self.inferers.items():
            self._fail(outcome, name, inferer, reason)
        return outcome

    def _fail(self, outcome: Outcome, name: str, inferer: SliceInferer, reason: str) -> None:
        outcome.rows[name] = [] if inferer.sample else self.evaluator.expected_rows(inferer.kind)
        image = inferer.kind == "image"
        outcome.texture[name] = self.texture.expected_rows() if image and self.texture else []
        outcome.radiomics[name] = self.radiomics.expected_rows(reason) if image and self.radiomics else []
        outcome.sizes[name] = [] if self.sizes is None else self.sizes.expected_rows(inferer.kind, reason)
        outcome.failures[name] = reason


def _reason(fault: Exception) -> str:
    if isinstance(fault, InputError):
        return str(fault)
    log.warning("%s", "".join(traceback.format_exception(fault)))
    return f"{type(fault).__name__}: {' '.join(str(fault).split())}"
