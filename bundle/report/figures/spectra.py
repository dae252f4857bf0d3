"""The power spectra behind Figure 3 as a table, one row a ring, by index and by cycles per mm."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from bundle.metrics.spectrum import power_spectrum
from bundle.report.facts import NoduleFacts
from bundle.report.results import TRUTH, StudyResults
from bundle.report.tidy import to_csv
from bundle.store import ResultStore

COLUMNS = ("nodule_id", "method", "index", "cycles_per_mm", "power_hu2")


def texture_region(mask: np.ndarray, facts: NoduleFacts) -> np.ndarray:
    """The voxels that densities and spectra are made of: the mask on the unobserved axial slices.

    Where another axis was decimated, each axial slice has some of both, and the whole mask counts.

    Args:
        mask: (X, Y, Z) bool.
        facts: of the nodule.

    Returns:
        (X, Y, Z) bool.
    """
    return mask & np.isin(np.arange(facts.shape[2]), facts.unobserved) if facts.axis == 2 else mask


def spectrum_rows(results: StudyResults) -> Iterator[dict[str, Any]]:
    """Rows of ``spectra.csv``: every nodule and image method, the truth first; none where there is no spectrum.

    ``index`` counts whole cycles across the slice, ``cycles_per_mm`` is the lower edge of the ring.
    """
    for nodule, facts in results.facts.items():
        mask = results.truth_mask(nodule)
        if mask is None:
            continue
        region = texture_region(mask, facts)
        for name in (TRUTH, *results.image_methods):
            image = results.truth_hu(nodule) if name == TRUTH else results.image_hu(nodule, name)
            if image is None:
                continue
            found = power_spectrum(image, region, facts.spacing)
            for index, frequency, power in zip(found.index, found.frequency, found.power, strict=True):
                values = (nodule, name, int(index), float(frequency), float(power))
                yield dict(zip(COLUMNS, values, strict=True))


def write_spectra(results: StudyResults) -> None:
    """Write ``spectra.csv`` into the study's output folder."""
    ResultStore(results.root).write_text("spectra.csv", to_csv(spectrum_rows(results), COLUMNS))
