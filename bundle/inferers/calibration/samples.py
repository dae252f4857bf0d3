"""What calibrations are made from, and how well one holds on other patients: the entry of a method in the file.

Vocabulary: a *sample* is one method on one nodule at one *protocol*, a stride and how many slices an observed one is
the average of: residuals and raw errors at unobserved voxels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bundle.data.windows import patient_of
from bundle.inferers.calibration.fit import calibrate, coverage_of, promised
from bundle.inferers.calibration.intervals import LEVELS, Calibration
from bundle.version import __version__

REGIONS = ("global", "tumour")
# groups of patients that are held out in turn: with few patients each is one, as a level promised needs many others
HELD_OUT = 25


@dataclass(frozen=True)
class Sample:
    """One method on one nodule at one protocol; of each region, (N,) values at the same unobserved voxels.

    Attributes:
        nodule_id: of the nodule.
        stride: of the observed slices.
        gap_mm: between them.
        residuals: reconstruction minus truth, normalised, by region.
        errors: the method's raw error there.
        beyond: which of the voxels lie beyond the observed slices.
        images_hu: the reconstruction there.
        average: thin slices that an observed one is the average of.
    """

    nodule_id: str
    stride: int
    gap_mm: float
    residuals: Mapping[str, np.ndarray]
    errors: Mapping[str, np.ndarray]
    beyond: Mapping[str, np.ndarray]
    images_hu: Mapping[str, np.ndarray]
    average: int = 1

    @property
    def protocol(self) -> str:
        """The stride, and of averages their number: "3" or "3 x 6"."""
        return str(self.stride) if self.average == 1 else f"{self.stride} x {self.average}"


def calibrated(samples: Sequence[Sample]) -> Calibration:
    """Calibration of a method over the field of view, its intervals for the next patient.

    Raises:
        InputError: as :func:`bundle.inferers.calibrate`.
    """
    names = ("residuals", "errors", "beyond", "images_hu")
    residuals, errors, beyond, images = ([getattr(s, name)["global"] for s in samples] for name in names)
    gaps, thick = [s.gap_mm for s in samples], [s.average > 1 for s in samples]
    return calibrate(residuals, errors, LEVELS, gaps, beyond, images, thick, [patient_of(s.nodule_id) for s in samples])


def held_out_coverage(samples: Sequence[Sample]) -> dict[str, dict[str, list[float | None]]]:
    """Coverage by protocol and region, of each patient by the calibration of the others (of many, a 25th at once).

    Returns:
        for "all" and each protocol, by region, the mean over nodules for each of the levels; None where undefined, as
        with a single patient.
    """
    patients = sorted({patient_of(sample.nodule_id) for sample in samples})
    by_place: dict[tuple[str, str], list[np.ndarray]] = {}
    for fold in range(min(HELD_OUT, len(patients))):
        held = set(patients[fold::HELD_OUT])
        rest = [s for s in samples if patient_of(s.nodule_id) not in held]
        if not rest:
            continue
        found = calibrated(rest)
        for sample in samples:
            if patient_of(sample.nodule_id) in held:
                for region in REGIONS:
                    names = ("residuals", "errors", "beyond", "images_hu")
                    residuals, errors, beyond, images = ([getattr(sample, name)[region]] for name in names)
                    thick = [sample.average > 1]
                    part = coverage_of(residuals, errors, found, [sample.gap_mm], beyond, images, thick)
                    for place in ("all", sample.protocol):
                        by_place.setdefault((place, region), []).append(part)
    table: dict[str, dict[str, list[float | None]]] = {}
    protocols = sorted({(s.average > 1, s.stride, s.average, s.protocol) for s in samples})
    for place in ("all", *(one[-1] for one in protocols)):
        for region in REGIONS:
            parts = [part for part in by_place.get((place, region), []) if np.isfinite(part).all()]
            means = np.mean(parts, axis=0) if parts else [None] * len(LEVELS)
            table.setdefault(place, {})[region] = [None if m is None else round(float(m), 4) for m in means]
    return table


def entry_of(samples: Sequence[Sample], left_out: int, data: Mapping[str, Any]) -> dict[str, Any]:
    """What the file of calibrations says of a method.

    Args:
        samples: at least one.
        left_out: reconstructions that failed.
        data: what is to be told of the nodules.

    Returns:
        plain values for JSON; :func:`bundle.inferers.read_calibrations` reads them.

    Raises:
        InputError: as :func:`bundle.inferers.calibrate`.
    """
    found = calibrated(samples)
    patients = len({patient_of(s.nodule_id) for s in samples})
    return {
        "scale": found.scale,
        "gap_power": found.gap_power,
        "beyond": found.beyond,
        "factors": found.factors,
        "multipliers": {f"{level:g}": q for level, q in found.intervals.items()},
        "calibrated_on": {
            **data,
            "nodules": len({s.nodule_id for s in samples}),
            "patients": patients,
            "reconstructions": len(samples),
            "left_out": left_out,
            "not_promised": [
                level for level, held in zip(LEVELS, promised(LEVELS, patients), strict=True) if held == 1
            ],
        },
        "coverage_of_other_patients": {"levels": list(LEVELS), **held_out_coverage(samples)},
        "made_by": f"configs/calibrate.json {__version__}",
    }
