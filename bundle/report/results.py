"""The output folder of a study, read back for the report: rows, facts and volumes.

Whatever is missing or can't be read is noted as a *problem*, one sentence, and left out; only a folder without
``metrics.csv`` is refused. A folder ``nodules/<id>/<method>`` counts only where ``metrics.csv`` names the method
and ``failures.csv`` doesn't: what an earlier run left there belongs to other parameters.
"""

from __future__ import annotations

import csv
import json
import math
import zlib
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from bundle.errors import InputError
from bundle.metrics.radiomics.features import FEATURES
from bundle.report.facts import NoduleFacts
from bundle.report.tidy import CLINICAL, COLUMNS, KEY, RADIOMICS, Summary, iterate_rows, read_rows, summarise_rows
from bundle.store import mask_name
from bundle.transforms.hu import HU_MAX, HU_MIN

KINDS = {"phantom": "phantom data, not CT", "lidc": "CT of LIDC-IDRI", "datalist": "CT given as NIfTI"}
TRUTH = "truth"


class StudyResults:
    """What a study left in its output folder.

    Args:
        root: the folder.

    Attributes:
        rows: of ``metrics.csv``.
        texture: rows of ``texture.csv``; none where it is absent.
        uncertainty: rows of ``uncertainty.csv``; none where no method says how far it may be off.
        clinical: rows of ``clinical.csv``, sizes; none where it is absent.
        radiomics: of ``radiomics.csv``: (features,) by (resampling, method), then by nodule; none where it is absent.
        failures: rows of ``failures.csv``: nodule_id, method, reason.
        seconds: by (nodule, method).
        study: ``study.json``, empty where it is absent.
        methods: names in the order of the file.
        nodules: ids in the order of the file.
        facts: by nodule; a nodule that could not be loaded has none.
        problems: what is missing or can't be read, one sentence each.

    Raises:
        InputError: no ``metrics.csv``, or nothing in it.

    Example:
        >>> # StudyResults("output/study").summaries["cubic", "unobserved", "global", None, "psnr"].mean
    """

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)
        if not (self.root / "metrics.csv").is_file():
            raise InputError(f"{self.root} has no metrics.csv: expected the output folder of a study that ran")
        self.problems: list[str] = []
        self.rows = read_rows(self.root / "metrics.csv")
        self.texture = self._tidy("texture.csv", "Table 2 (texture)", expected=True)
        # samples have rows of texture alone
        known = {TRUTH, *(row["method"] for row in self.rows)}
        measured = [*self.rows, *(row for row in self.texture if row["method"] not in known)]
        if not measured:
            raise InputError(f"{self.root / 'metrics.csv'} has no rows: expected those of a study that ran")
        self.methods = tuple(dict.fromkeys(row["method"] for row in measured))
        self.nodules = tuple(dict.fromkeys(row["nodule_id"] for row in measured))
        self.study: dict[str, Any] = self._json("study.json", "parameters, seed and versions are unknown") or {}
        self.failures = self._csv("failures.csv", "failed nodules can be told only by their missing values")
        timings = self._csv("timings.csv", "computing times are unknown")
        self.seconds = {(row["nodule_id"], row["method"]): float(row["seconds"]) for row in timings}
        self.uncertainty = self._tidy("uncertainty.csv", "the table of uncertainty", expected=False)
        self.clinical = self._tidy("clinical.csv", "the table of sizes", expected=False, columns=CLINICAL)
        self.radiomics = self._features()
        self.facts = {name: facts for name in self.nodules if (facts := self._facts(name)) is not None}
        self._failed = {(row["nodule_id"], row["method"]) for row in self.failures}

    @property
    def kind(self) -> str:
        """``phantom``, ``lidc``, ``datalist`` or ``unknown``."""
        return str(self.study.get("data", "unknown"))

    @property
    def kind_words(self) -> str:
        """What the figures were made from, so that no phantom is taken for a patient."""
        return KINDS.get(self.kind, "data of unknown kind")

    @cached_property
    def protocol_words(self) -> str:
        """Which slices the methods saw."""
        decimate = self.study.get("decimate") or {}
        if not {"stride", "axis"} <= decimate.keys():
            return "observed slices as configured"
        along, average = "xyz"[decimate["axis"]], decimate.get("average", 1)
        if average == 1:
            return f"1 slice in {decimate['stride']} along {along} observed"
        return (
            f"observed: the mean of {average} slices ({decimate['profile']}), 1 in {decimate['stride']} along {along}"
        )

    @cached_property
    def summaries(self) -> dict[tuple, Summary]:
        """Over nodules, by (method, slices, region, threshold_hu, metric); of metrics, texture and uncertainty."""
        return summarise_rows([*self.rows, *self.texture, *self.uncertainty])

    @cached_property
    def thresholds(self) -> tuple[float, ...]:
        """HU that image methods were thresholded at."""
        return tuple(sorted({row["threshold_hu"] for row in self.rows if row["threshold_hu"] is not None}))

    @cached_property
    def main_threshold(self) -> float | None:
        """The threshold that pictures show: the middle one; None if there is none."""
        return self.thresholds[len(self.thresholds) // 2] if self.thresholds else None

    @cached_property
    def image_methods(self) -> tuple[str, ...]:
        """Methods that give brightness, but for samples."""
        density = {row["method"] for row in self.rows if row["region"] == "global" or row["threshold_hu"] is not None}
        return tuple(name for name in self.methods if name in density)

    @cached_property
    def samples(self) -> tuple[str, ...]:
        """Methods that give one of many possible images: measured for texture and sizes, compared with none."""
        compared = {row["method"] for row in self.rows}
        return tuple(name for name in self.methods if name not in compared)

    @property
    def mask_methods(self) -> tuple[str, ...]:
        """Methods that give a mask only."""
        return tuple(name for name in self.methods if name not in (*self.image_methods, *self.samples))

    @cached_property
    def unsure_methods(self) -> tuple[str, ...]:
        """Methods that say how far they may be off."""
        unsure = {row["method"] for row in self.uncertainty}
        return tuple(name for name in self.methods if name in unsure)

    def values(self, method: str, slices: str, region: str, threshold: float | None, metric: str) -> dict[str, float]:
        """One metric of one method by nodule; nan where it failed."""
        return self._by_key.get((method, slices, region, threshold, metric), {})

    @cached_property
    def _by_key(self) -> dict[tuple, dict[str, float]]:
        by_key: dict[tuple, dict[str, float]] = {}
        for row in (*self.rows, *self.texture, *self.uncertainty):
            by_key.setdefault(tuple(row[k] for k in KEY), {})[row["nodule_id"]] = row["value"]
        return by_key

    @cached_property
    def tumour_mm3(self) -> dict[str, float]:
        """Volume of each nodule's mask that can be read, mm3."""
        masks = ((name, facts, self.truth_mask(name)) for name, facts in self.facts.items())
        return {name: float(mask.sum() * np.prod(facts.spacing)) for name, facts, mask in masks if mask is not None}

    @cached_property
    def failed_methods(self) -> dict[str, list[dict[str, str]]]:
        """Rows of ``failures.csv`` by nodule."""
        found: dict[str, list[dict[str, str]]] = {}
        for row in self.failures:
            found.setdefault(row["nodule_id"], []).append(row)
        return found

    def truth_hu(self, nodule_id: str) -> np.ndarray | None:
        """The crop, (X, Y, Z) float32, HU clipped to the window that every method saw it in."""
        return self._hu(nodule_id, TRUTH)

    def truth_mask(self, nodule_id: str) -> np.ndarray | None:
        """The consensus mask, (X, Y, Z) bool."""
        return self._mask(nodule_id, TRUTH, "mask")

    def image_hu(self, nodule_id: str, method: str) -> np.ndarray | None:
        """A reconstruction, (X, Y, Z) float32, HU."""
        return self._hu(nodule_id, method) if self.has(nodule_id, method) else None

    def error_hu(self, nodule_id: str, method: str) -> np.ndarray | None:
        """The expected absolute error of a reconstruction, (X, Y, Z) float32, HU; None of methods that give none."""
        if method not in self.unsure_methods or not self.has(nodule_id, method):
            return None
        return self._volume(nodule_id, method, "uncertainty")

    def mask(self, nodule_id: str, method: str, threshold: float | None = None) -> np.ndarray | None:
        """A method's mask, (X, Y, Z) bool: an image method's at a threshold, a mask method's own."""
        if not self.has(nodule_id, method):
            return None
        return self._mask(nodule_id, method, mask_name(None if method in self.mask_methods else threshold))

    def has(self, nodule_id: str, method: str) -> bool:
        """Whether there is a reconstruction of this run, as far as ``failures.csv`` says."""
        return nodule_id in self.facts and (nodule_id, method) not in self._failed

    def history(self, nodule_id: str, method: str) -> dict[str, np.ndarray]:
        """Learning curves by name, one value an epoch; none for a method that does not learn."""
        path = self._folder(nodule_id, method) / "history.csv"
        if not self.has(nodule_id, method) or not path.exists():
            return {}
        try:
            with path.open(newline="", encoding="utf-8") as file:
                rows = list(csv.DictReader(file))
            return {key: np.array([float(row[key]) for row in rows]) for key in (rows[0] if rows else {})}
        except (OSError, ValueError, TypeError):
            self._note(f"{self._short(path)} can't be read: this learning curve is left out")
            return {}

    def notes(self, nodule_id: str, method: str) -> list[str]:
        """Documented fallbacks that a method took on a nodule."""
        if not self.has(nodule_id, method):
            return []
        path = self._folder(nodule_id, method) / "result.json"
        try:
            return [str(note) for note in json.loads(path.read_text(encoding="utf-8")).get("notes", [])]
        except (OSError, ValueError, AttributeError):
            return []

    def _folder(self, nodule_id: str, part: str) -> Path:
        return self.root / "nodules" / nodule_id / part

    def _short(self, path: Path) -> str:
        return path.relative_to(self.root).as_posix()

    def _note(self, problem: str) -> None:
        if problem not in self.problems:
            self.problems.append(problem)

    def _json(self, name: str, consequence: str) -> Any:
        try:
            return json.loads((self.root / name).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            self._note(f"{name} is absent or can't be read: {consequence}")
            return None

    def _csv(self, name: str, consequence: str) -> list[dict[str, str]]:
        try:
            with (self.root / name).open(newline="", encoding="utf-8") as file:
                return list(csv.DictReader(file))
        except (OSError, ValueError):
            self._note(f"{name} is absent or can't be read: {consequence}")
            return []

    def _tidy(self, name: str, shown: str, expected: bool, columns: Sequence[str] = COLUMNS) -> list[dict[str, Any]]:
        """Rows of a file that a study may be without."""
        if not (self.root / name).exists():
            if expected:
                self._note(f"{name} is absent: {shown} is left out")
            return []
        try:
            return read_rows(self.root / name, columns)
        except InputError as fault:
            self._note(f"{shown} is left out: {fault}")
            return []

    def _features(self) -> dict[tuple[str, str], dict[str, np.ndarray]]:
        """Radiomic features in the order of ``FEATURES``, nan where there is none."""
        path, column_of = self.root / "radiomics.csv", {feature: k for k, feature in enumerate(FEATURES)}
        found: dict[tuple[str, str], dict[str, np.ndarray]] = {}
        try:
            for row in iterate_rows(path, RADIOMICS) if path.exists() else ():
                nodules = found.setdefault((row["resampling"], row["method"]), {})
                values = nodules.setdefault(row["nodule_id"], np.full(len(FEATURES), math.nan))
                if (column := column_of.get((row["class"], row["feature"]))) is not None:
                    values[column] = row["value"]
        except (InputError, ValueError, TypeError) as fault:
            self._note(f"agreement of features is left out: {fault}")
            return {}
        return found

    def _facts(self, nodule_id: str) -> NoduleFacts | None:
        path = self._folder(nodule_id, TRUTH) / "result.json"
        try:
            return NoduleFacts.of(json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, KeyError, TypeError):
            failed = {row["method"] for row in self.failed_methods.get(nodule_id, [])}
            if not failed.issuperset(self.methods):
                self._note(f"{self._short(path)} is absent or can't be read: this nodule has no pictures")
            return None

    def _hu(self, nodule_id: str, part: str) -> np.ndarray | None:
        volume = self._volume(nodule_id, part, "image")
        return None if volume is None else volume.astype(np.float32).clip(HU_MIN, HU_MAX)

    def _mask(self, nodule_id: str, part: str, name: str) -> np.ndarray | None:
        volume = self._volume(nodule_id, part, name)
        return None if volume is None else volume > 0

    def _volume(self, nodule_id: str, part: str, name: str) -> np.ndarray | None:
        path = self._folder(nodule_id, part) / f"{name}.nii.gz"
        facts = self.facts.get(nodule_id)
        if facts is None:
            return None
        try:
            volume = np.asarray(nib.load(path).dataobj)  # type: ignore[attr-defined]
        except (OSError, EOFError, ValueError, zlib.error, nib.filebasedimages.ImageFileError):
            self._note(f"{self._short(path)} is absent or can't be read: it is left out of the pictures")
            return None
        if volume.shape != facts.shape:
            self._note(f"{self._short(path)} has shape {volume.shape}, expected {facts.shape}: it is left out")
            return None
        return volume
