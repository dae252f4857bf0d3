"""Compare volumes from readers' outlines alone over every first slice: no CT needed, some minutes.

The nodules are those of `compare_shape.py`, or with `--cohort` the cohort, with margins that no slice is missing in.
Every 5th axial slice is kept, once for each first slice; gaps under 3.5 mm are left out. Rows are by the diameter of a
sphere of the true volume:

bias %   mean of measured / true volume, less 1
RC %     repeatability coefficient, 2.77 within-nodule coefficients of variation
grown %  share of pairs of first slices, in both orders, that differ by 25 % or more though nothing grew
flips %  share of measurements of another Lung-RADS class than the truth
missed % share of first slices with which no slice meets the nodule
told %   the RC of the dense mask that the method makes of one first slice, median
held %   share of pairs of first slices that differ by no more than `inference.json` says of the first, times 2.5
"""

from __future__ import annotations

import argparse
import json
import sys

import numpy as np
from compare_shape import OUTLINE_METHODS, development_clusters
from tqdm import tqdm

from bundle.data.lidc.annotations import LidcCluster, consensus_mask, lidc_clusters
from bundle.inferers.base import SliceInferer
from bundle.metrics.categories import GROWTH, SCHEMES, flips
from bundle.metrics.sizes import volume_mm3
from bundle.report.statistics.repeatability import RC, false_growth, within_cv
from bundle.report.tidy import aligned
from bundle.slices import ObservedSlices
from bundle.study.measure import WIDER, dense_mask, rescanned, variation

BANDS = ((0.0, 6.0), (6.0, 8.0), (8.0, 12.0), (12.0, 20.0), (20.0, np.inf))
STRIDE, MARGIN, LEAST_GAP = 5, 10, 3.5
AREAS = "sum_of_areas"
COLUMNS = ("bias", "rc", "grown", "flips", "missed", "told", "held")


def volumes(cluster: LidcCluster, methods: dict[str, SliceInferer]) -> tuple[float, dict[str, np.ndarray]]:
    """True volume of a nodule, and what each first slice gives: (2, first slices) measured, expected RC; by method."""
    mask = np.pad(consensus_mask(cluster.annotation_ids)[0], [(8, 8), (8, 8), (MARGIN, MARGIN)])
    x, y, z = cluster.spacing
    along = np.arange(mask.shape[2]) * z
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in (AREAS, *methods)}
    for first in range(STRIDE):
        kept = np.arange(first, mask.shape[2], STRIDE)
        sections = mask[..., kept]
        seen = ObservedSlices(None, sections, along[kept], along, (x, y))
        found[AREAS].append((volume_mm3(sections, (x, y, along[kept])), np.nan))
        for name, method in methods.items():
            made = method.reconstruct(seen).mask
            assert made is not None
            again = rescanned(*dense_mask(seen, method), seen)
            told = RC * variation([volume_mm3(mask_again, (x, y, places)) for mask_again, places in again])
            found[name].append((volume_mm3(made, cluster.spacing), told))
    return volume_mm3(mask, cluster.spacing), {name: np.array(values).T for name, values in found.items()}


def figures(true: np.ndarray, measured: np.ndarray, told: np.ndarray, areas: np.ndarray) -> dict[str, float]:
    """The columns: true (N,), the others (N, first slices)."""
    changed = flips(SCHEMES["lung_rads_volume"], measured.ravel().tolist(), np.repeat(true, STRIDE).tolist())
    # the interval is about what inference measures, the sum of areas
    change = np.abs(areas[:, None, :] / areas[:, :, None] - 1)
    pairs = np.isfinite(change) & np.isfinite(told)[:, :, None] & ~np.eye(STRIDE, dtype=bool)
    return {
        "bias": float(np.nanmean(measured / true[:, None]) - 1),
        "rc": RC * within_cv(measured),
        "grown": false_growth(measured, GROWTH["volume_25"]),
        "flips": float(np.nanmean(changed)),
        "missed": float(np.isnan(measured).mean()),
        "told": float(np.nanmedian(told)) if np.isfinite(told).any() else float("nan"),
        "held": float((change <= WIDER * told[:, :, None])[pairs].mean()) if pairs.any() else float("nan"),
    }


def compare(clusters: list[LidcCluster], methods: dict[str, SliceInferer]) -> list[dict]:
    """One row for each band of size and method."""
    wanted = [cluster for cluster in clusters if cluster.slice_spacing * STRIDE > LEAST_GAP]
    found = [volumes(cluster, methods) for cluster in tqdm(wanted, desc="nodules", disable=None)]
    true = np.array([volume for volume, _ in found])
    diameters = 2 * np.cbrt(3 * true / (4 * np.pi))
    rows = []
    for low, high in BANDS:
        chosen = np.flatnonzero((diameters >= low) & (diameters < high))
        for name in (AREAS, *methods) if len(chosen) else ():
            measured, told = (np.array([found[i][1][name][k] for i in chosen]) for k in (0, 1))
            areas = np.array([found[i][1][AREAS][0] for i in chosen])
            columns = figures(true[chosen], measured, told, areas)
            rows.append({"diameter_mm": (low, high), "method": name, "n": len(chosen), **columns})
    return rows


def main(argv: list[str] | None = None) -> int:
    """Print the figures; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--limit", type=int, help="only the first so many nodules")
    parser.add_argument("--methods", nargs="+", choices=list(OUTLINE_METHODS), default=list(OUTLINE_METHODS))
    parser.add_argument("--cohort", action="store_true", help="the study's nodules, which nothing was set on")
    arguments = parser.parse_args(argv)
    clusters = lidc_clusters() if arguments.cohort else development_clusters()
    methods = {name: OUTLINE_METHODS[name] for name in arguments.methods}
    rows = compare(clusters[: arguments.limit], methods)
    if arguments.json:
        print(json.dumps(rows, indent=2))
        return 0
    cells = [
        ("{:g} to {:g}".format(*r["diameter_mm"]), r["method"], str(r["n"]), *(f"{100 * r[c]:.0f}" for c in COLUMNS))
        for r in rows
    ]
    print(aligned(("mm", "method", "n", *(f"{name} %" for name in COLUMNS)), cells, heads=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
