"""The output folder of a sweep, read back: a study at each setting, and the gains at every gap.

Vocabulary: a *setting* is a stride and how many thin slices an observed one is the average of; a *point* is one nodule
at one setting, at that nodule's *gap*: stride times spacing, mm. A *thin* setting averages nothing.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from bundle.errors import InputError
from bundle.report.options import ReportOptions
from bundle.report.results import StudyResults
from bundle.report.statistics.gains import REGIONS, gains_of

SWEEP_FILE = "sweep.json"
POINT = ("setting", "stride", "average", "nodule_id", "gap_mm", "method", "region", "psnr", "gain")


@dataclass(frozen=True)
class SettingResults:
    """A setting and the study at it."""

    name: str
    results: StudyResults

    @property
    def stride(self) -> int:
        """Every how many slices one is observed."""
        return int((self.results.study.get("decimate") or {}).get("stride", 0))

    @property
    def average(self) -> int:
        """How many thin slices an observed one is the average of."""
        return int((self.results.study.get("decimate") or {}).get("average", 1))

    @property
    def words(self) -> str:
        """What a reader calls it."""
        return f"1 slice in {self.stride}" + (f", averages of {self.average}" if self.average > 1 else "")

    @cached_property
    def gaps(self) -> np.ndarray:
        """(N,) stride times spacing of each nodule, mm; nan where the nodule could not be loaded."""
        facts = [self.results.facts.get(name) for name in self.results.nodules]
        return np.array([self.stride * f.spacing[f.axis] if f else math.nan for f in facts])

    def gains(self, method: str, region: str, options: ReportOptions) -> np.ndarray:
        """(N,) of a method to the reference, see :func:`bundle.report.statistics.gains.gains_of`."""
        reference = options.reference_in(self.results)
        return gains_of(self.results, self.results.nodules, method, reference, options.slices, region)


class SweepResults:
    """What a sweep left in its output folder.

    Args:
        root: the folder.

    Attributes:
        settings: in the order of the sweep.
        problems: what is missing or can't be read, one sentence each.
        record: ``sweep.json``.

    Raises:
        InputError: no ``sweep.json``, or no setting in it that can be read.

    Example:
        >>> # [setting.words for setting in SweepResults("output/sweep").settings]
    """

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)
        try:
            self.record: dict[str, Any] = json.loads((self.root / SWEEP_FILE).read_text(encoding="utf-8"))
            names = [str(name) for name in self.record["settings"]]
        except (OSError, ValueError, KeyError, TypeError) as fault:
            raise InputError(f"{self.root / SWEEP_FILE} can't be read ({fault}): expected that of a sweep") from fault
        self.settings: list[SettingResults] = []
        self.problems: list[str] = []
        for name in names:
            try:
                self.settings.append(SettingResults(name, StudyResults(self.root / name)))
            except InputError as fault:
                self.problems.append(f"{name} is left out: {fault}")
        if not self.settings:
            raise InputError(f"{self.root} has no setting that can be read: {self.problems}")
        self.problems += [f"{s.name}: {problem}" for s in self.settings for problem in s.results.problems]

    @property
    def first(self) -> StudyResults:
        """The study at the first setting: all have the same nodules and methods."""
        return self.settings[0].results

    @property
    def thin(self) -> list[SettingResults]:
        """Those whose observed slices are as they are."""
        return [setting for setting in self.settings if setting.average == 1]

    @cached_property
    def methods(self) -> tuple[str, ...]:
        """That give brightness at some setting, in the order of the study."""
        known = {name for setting in self.settings for name in setting.results.image_methods}
        return tuple(name for name in self.first.methods if name in known)

    def others(self, options: ReportOptions) -> list[str]:
        """The methods but the reference."""
        return [name for name in self.methods if name != options.reference_in(self.first)]

    def points(self, method: str, region: str, options: ReportOptions) -> np.ndarray:
        """(P,) gains at all thin settings, one setting after the other; as :attr:`places`."""
        return _joined([setting.gains(method, region, options) for setting in self.thin])

    @cached_property
    def places(self) -> tuple[np.ndarray, list[str]]:
        """(P,) gap in mm of each point, and its nodule."""
        gaps = _joined([setting.gaps for setting in self.thin])
        return gaps, [name for setting in self.thin for name in setting.results.nodules]

    def rows(self, options: ReportOptions) -> list[dict[str, Any]]:
        """Every point of every setting, for ``sweep.csv``; nan where a method failed."""
        found = []
        for setting in self.settings:
            reference, nodules = options.reference_in(setting.results), setting.results.nodules
            for method in self.methods:
                for region in REGIONS:
                    values = setting.results.values(method, options.slices, region, None, "psnr")
                    gains = setting.gains(method, region, options) if method != reference else [0.0] * len(nodules)
                    for nodule, gap, gain in zip(nodules, setting.gaps.tolist(), gains, strict=True):
                        where = (setting.name, setting.stride, setting.average, nodule, gap, method, region)
                        psnr = values.get(nodule, math.nan)
                        numbers = (psnr, float(gain) if math.isfinite(psnr) else math.nan)
                        found.append(dict(zip(POINT, (*where, *numbers), strict=True)))
        return found


def _joined(arrays: Sequence[np.ndarray]) -> np.ndarray:
    return np.concatenate(arrays) if arrays else np.empty(0)
