"""One nodule through every method of a study, with what is already on disk left as it is.

The unit of work of the worker processes. What goes wrong in one nodule or one method is recorded as its
failure, with the reason; the study goes on.
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bundle.case import Case, Crop, nodule_seed, prepare, reconstruct, save_reconstruction, save_truth
from bundle.data import NoduleSource
from bundle.errors import InputError
from bundle.inferers import SliceInferer
from bundle.metrics import NoduleEvaluator, roi_mask, threshold_mask
from bundle.store import ResultStore, describe, fingerprint
from bundle.transforms import Decimate
from bundle.version import __version__
from bundle.workers import Report

log = logging.getLogger("bundle.study")


@dataclass
class Outcome:
    """What became of one nodule: rows by method, failures by method, seconds by method."""

    rows: dict[str, list[dict[str, Any]]]
    failures: dict[str, str]
    seconds: dict[str, float]
    reused: int = 0


@dataclass
class NoduleWork:
    """Everything that one nodule's computation needs; sent to the worker processes.

    Attributes:
        source: where nodules come from.
        crop: dictionary transform over ``image`` and ``label``.
        decimate: which slices are kept.
        inferers: the chosen methods by name.
        evaluator: what is measured.
        store: where results lie.
        seed: of the study.
    """

    source: NoduleSource
    crop: Crop
    decimate: Decimate
    inferers: dict[str, SliceInferer]
    evaluator: NoduleEvaluator
    store: ResultStore
    seed: int

    def __call__(self, index: int, report: Report) -> Outcome:
        """Carry one nodule through every method; failures are recorded, never raised."""
        nodule_id = self.source.ids[index]
        outcome = Outcome({}, {}, {})
        self.store.clean(nodule_id)
        try:
            wanted = self.fingerprints(index)
            stored = {part: self.store.read(nodule_id, part, wanted[part]) for part in wanted}
            case = None
            if any(result is None for result in stored.values()):
                case = prepare(self.source[index], self.crop, self.decimate)
                self._save_truth(case, stored, wanted)
        except Exception as fault:
            reason = _reason(fault)
            for name, inferer in self.inferers.items():
                self._fail(outcome, nodule_id, name, inferer, reason)
            return outcome
        for name, inferer in self.inferers.items():
            result = stored[name]
            if result is not None:
                outcome.reused += 1
            else:
                assert case is not None
                try:
                    result = self._compute(case, name, inferer, wanted[name], report)
                except Exception as fault:
                    self._fail(outcome, nodule_id, name, inferer, _reason(fault))
                    continue
            outcome.rows[name] = result["rows"]
            outcome.seconds[name] = result["seconds"]
        return outcome

    def fingerprints(self, index: int) -> dict[str, str]:
        """Fingerprint of each stored part of a nodule: ``truth`` and every method."""
        nodule = (__version__, self.source.fingerprint(index), self.crop, self.decimate)
        wanted = {"truth": fingerprint(*nodule)}
        for name, inferer in self.inferers.items():
            wanted[name] = fingerprint(*nodule, name, inferer, self.evaluator, self.seed)
        return wanted

    def _save_truth(self, case: Case, stored: Mapping[str, Any], wanted: Mapping[str, str]) -> None:
        if stored["truth"] is None:
            facts = {key: describe(case.item.get(key)) for key in ("source", "ratings", "diameter_mm")}
            facts |= {"spacing": list(case.spacing), "slice_thickness": case.item.get("slice_thickness")}
            facts |= {"shape": list(case.mask.shape), "axis": case.axis, "observed": case.observed.tolist()}
            with self.store.writing(case.nodule_id, "truth", wanted["truth"], facts) as folder:
                save_truth(folder, case)

    def _compute(self, case: Case, name: str, inferer: SliceInferer, wanted: str, report: Report) -> dict[str, Any]:
        if hasattr(inferer, "on_epoch"):
            label = f"{case.nodule_id} {name}"
            inferer.on_epoch = lambda done, total, _: report(label, done, total)
        try:
            made, seconds = reconstruct(case, inferer, nodule_seed(self.seed, case.nodule_id, name))
        finally:
            if hasattr(inferer, "on_epoch"):
                inferer.on_epoch = None
        rows = self.evaluator.rows(
            made.image, made.mask, case.truth_hu, case.mask, case.spacing, case.observed, case.axis
        )
        masks = {}
        if made.image is not None:
            roi = roi_mask(case.mask, case.spacing, self.evaluator.roi_margin_mm)
            hu = self.evaluator.to_hu(made.image)
            masks = {t: threshold_mask(hu, t, roi) for t in self.evaluator.thresholds}
        result = {"rows": rows, "seconds": seconds, "notes": made.notes, "method": describe(inferer)}
        with self.store.writing(case.nodule_id, name, wanted, result) as folder:
            save_reconstruction(folder, case, made, masks)
        return result

    def _fail(self, outcome: Outcome, nodule_id: str, name: str, inferer: SliceInferer, reason: str) -> None:
        outcome.rows[name] = self.evaluator.expected_rows(inferer.kind)
        outcome.failures[name] = reason


def _reason(fault: Exception) -> str:
    if isinstance(fault, InputError):
        return str(fault)
    log.warning("%s", "".join(traceback.format_exception(fault)))
    return f"{type(fault).__name__}: {' '.join(str(fault).split())}"
