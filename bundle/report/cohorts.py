"""Studies of several cohorts, read back to stand side by side: the first is what the others are compared with."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from bundle.data.windows import patient_of
from bundle.errors import InputError
from bundle.report.options import ReportOptions
from bundle.report.results import StudyResults
from bundle.report.statistics.gains import REGIONS, gains_of, patient_means
from bundle.report.statistics.scores import chosen_nodules
from bundle.report.sweep import SWEEP_FILE

# of study.json: what should be alike, so that a difference is of the cohorts
SETTLED = {"crop": "crop", "decimate": "decimation", "evaluator": "metrics", "seed": "seed"}
NODULE = ("cohort", "nodule_id", "patient", "gap_mm", "method", "region", "psnr", "gain")


@dataclass(frozen=True)
class Cohort:
    """A study, and what its cohort is called: its folder's name."""

    name: str
    results: StudyResults
    options: ReportOptions

    @cached_property
    def nodules(self) -> list[str]:
        """Those that have enough slices to be looked at."""
        return chosen_nodules(self.results, self.options.min_slices)

    @property
    def patients(self) -> set[str]:
        """Whose nodules they are, as the ids say."""
        return {patient_of(name) for name in self.nodules}

    def gains(self, method: str, region: str) -> np.ndarray:
        """(N,) of a method to the reference on each of the nodules."""
        reference = self.options.reference_in(self.results)
        return gains_of(self.results, self.nodules, method, reference, self.options.slices, region)

    def patient_gains(self, method: str, region: str) -> np.ndarray:
        """(P,) mean gain of each patient that has one."""
        return patient_means(self.gains(method, region), self.nodules)


class CohortResults:
    """Studies side by side.

    Args:
        roots: their output folders, the one that others are compared with first.
        options: what gains are to, and on which nodules and slices.

    Attributes:
        cohorts: in the order given.
        reference: method that gains are to.
        methods: that give brightness in all studies, without the reference.
        problems: what keeps a difference from being one of the cohorts alone, one sentence each.

    Raises:
        InputError: fewer than two studies, one twice, a sweep, or no method that all have beside the reference.

    Example:
        >>> # CohortResults(["out/paper", "out/mine"]).methods
    """

    def __init__(self, roots: Sequence[str | Path], options: ReportOptions | None = None) -> None:
        self.options = options or ReportOptions()
        folders = [Path(root) for root in roots]
        if len({folder.resolve() for folder in folders}) < max(len(folders), 2):
            raise InputError(f"{', '.join(map(str, folders))}: expected the output folders of two different studies")
        for folder in folders:
            if (folder / SWEEP_FILE).is_file():
                raise InputError(f"{folder} is a sweep: give the folder of one of its settings, such as stride_5")
        self.cohorts = [
            Cohort(name, StudyResults(folder), self.options)
            for name, folder in zip(short_names([folder.resolve() for folder in folders]), folders, strict=True)
        ]
        for cohort in self.cohorts:
            self.options.check(cohort.results.methods)
        self.reference = self.options.reference_in(self.first.results)
        common = [set(cohort.results.image_methods) for cohort in self.cohorts]
        shared = set.intersection(*common)
        self.methods = [n for n in self.first.results.image_methods if n in shared and n != self.reference]
        if not self.methods or self.reference not in shared:
            raise InputError(
                f"the studies have no method of brightness in common beside {self.reference}: run the same --methods"
            )
        self.problems = [*self._problems(set.union(*common) - shared)]

    @property
    def first(self) -> Cohort:
        """The one that others are compared with."""
        return self.cohorts[0]

    @cached_property
    def kind_words(self) -> str:
        """What the figures were made from, so that no phantom is taken for a patient."""
        return "; ".join(dict.fromkeys(cohort.results.kind_words for cohort in self.cohorts))

    def rows(self) -> list[dict[str, Any]]:
        """Every nodule's PSNR and gain, for ``cohorts.csv``; nan where a method failed."""
        found = []
        for cohort in self.cohorts:
            facts = cohort.results.facts
            for method in (self.reference, *self.methods):
                for region in REGIONS:
                    values = cohort.results.values(method, self.options.slices, region, None, "psnr")
                    for nodule, gain in zip(cohort.nodules, cohort.gains(method, region).tolist(), strict=True):
                        gap = facts[nodule].gap_mm if nodule in facts else math.nan
                        where = (cohort.name, nodule, patient_of(nodule), gap, method, region)
                        numbers = (values.get(nodule, math.nan), gain)
                        found.append(dict(zip(NODULE, (*where, *numbers), strict=True)))
        return found

    def _problems(self, lacking: set[str]) -> Iterator[str]:
        for cohort in self.cohorts:
            yield from (f"{cohort.name}: {problem}" for problem in cohort.results.problems)
        if lacking:
            yield f"not in all studies, and left out: {', '.join(sorted(lacking))}"
        if len({cohort.results.kind for cohort in self.cohorts}) > 1:
            yield f"the studies are of different kinds of data ({self.kind_words})"
        own = self.first.results.study
        for other in self.cohorts[1:]:
            theirs = other.results.study
            parts = [words for key, words in SETTLED.items() if own.get(key) != theirs.get(key)]
            mine, its = (study.get("methods") or {} for study in (own, theirs))
            changed = [name for name in (self.reference, *self.methods) if mine.get(name) != its.get(name)]
            parts += [f"parameters of {', '.join(changed)}"] if changed else []
            versions = [(s.get("versions") or {}).get("lung_nodule_ct_reconstruction") for s in (own, theirs)]
            parts += ["version"] if versions[0] != versions[1] else []
            if parts:
                yield f"{other.name} was made with another {', '.join(parts)} than {self.first.name}"
            both = sorted(self.first.patients & other.patients)
            if both:
                shown = ", ".join(both[:5]) + (", ..." if len(both) > 5 else "")
                yield (
                    f"{len(both)} patients by their ids are in {self.first.name} and in {other.name} ({shown}): the "
                    "test takes them for different ones"
                )


def short_names(folders: Sequence[Path]) -> list[str]:
    """What folders are called: as many of the last parts of their paths as tell them apart.

    Example:
        >>> short_names([Path("/out/ours/stride_5"), Path("/out/theirs/stride_5")])
        ['ours/stride_5', 'theirs/stride_5']
    """
    for count in range(1, max(len(folder.parts) for folder in folders)):
        names = ["/".join(folder.parts[-count:]) for folder in folders]
        if len(set(names)) == len(names):
            return names
    return [str(folder) for folder in folders]


def counted(values: Sequence[str], most: int = 4) -> str:
    """Words with how often each is there, the most frequent first.

    Example:
        >>> counted(["GE", "SIEMENS", "GE"])
        'GE 2, SIEMENS 1'
    """
    ranked = Counter(values).most_common()
    more = f", {len(ranked) - most} more" if len(ranked) > most else ""
    return ", ".join(f"{word} {count}" for word, count in ranked[:most]) + more
