"""The table of spectra against a discrete Fourier transform written out."""

import csv

import nibabel as nib
import numpy as np
import pytest
from helpers.report_folder import OBSERVED, SHAPE_XYZ, SPACING, write_study

from bundle.report.figures.spectra import COLUMNS, write_spectra
from bundle.report.results import StudyResults


def written_out(planes: np.ndarray) -> dict[int, float]:
    """Mean power of each ring of square planes (N, S, S): every sum of the transform by itself."""
    side = planes.shape[1]
    wave = np.exp(-2j * np.pi * np.outer(np.arange(side), np.arange(side)) / side)
    rings: dict[int, list[float]] = {}
    for u in range(side):
        for v in range(side):
            # whole cycles across the square, negative ones beyond the middle
            cycles = np.hypot(min(u, side - u), min(v, side - v))
            power = np.mean([abs(wave[u] @ plane @ wave[v]) ** 2 for plane in planes])
            rings.setdefault(int(cycles + 1e-9), []).append(float(power))
    return {ring: float(np.mean(values)) for ring, values in rings.items()}


def test_rings_by_index_and_frequency(tmp_path):
    root = write_study(tmp_path / "out", count=1)
    results = StudyResults(root)
    write_spectra(results)
    with (root / "spectra.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == COLUMNS
    assert {row["method"] for row in rows} == {"truth", *results.image_methods}
    truth = root / "nodules" / rows[0]["nodule_id"] / "truth"
    hu, mask = (np.asarray(nib.load(truth / f"{n}.nii.gz").dataobj).astype(float) for n in ("image", "mask"))
    side, step = max(SHAPE_XYZ[:2]), SPACING[0]
    planes = np.zeros((0, side, side))
    for z in range(SHAPE_XYZ[2]):
        if z not in OBSERVED and mask[..., z].any():
            plane = np.zeros((1, side, side))
            plane[0, : SHAPE_XYZ[0], : SHAPE_XYZ[1]] = hu[..., z] * (mask[..., z] > 0)
            planes = np.concatenate([planes, plane])
    wanted = written_out(planes)
    found = [row for row in rows if row["method"] == "truth"]
    assert [int(row["index"]) for row in found] == list(range(side // 2))
    for row in found:
        ring = int(row["index"])
        assert float(row["cycles_per_mm"]) == pytest.approx(ring / (side * step))
        assert float(row["power_hu2"]) == pytest.approx(wanted[ring], rel=1e-5)  # volumes are read as float32
