"""Compare the ways to interpolate masks on readers' outlines alone: no CT needed, some minutes.

The nodules are those of LIDC-IDRI in thin slices whose patients are *not* in the study's cohort, so that methods may be
developed on them: at most 1.25 mm thick, mean malignancy above 3, 50 % consensus. Each is cropped with 10 mm around the
box of its readers' outlines, and every 5th axial slice is kept, once for each first slice. DSC and ARVE are measured on
the other slices, the Hausdorff distance between the whole masks; a nodule that no kept slice meets has no figures.

Figures are means over all crops that have them, by the gap between kept slices. The last column is the mean absolute
error in mm of where the nodule ends next to a slice without mask, for half a gap and for the sphere of sphere_distance.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np
from replicate_shape import METRICS, axial
from tqdm import tqdm

from bundle.data.lidc.annotations import LidcCluster, consensus_mask, lidc_clusters
from bundle.inferers.masks.sphere import sphere_squares
from bundle.inferers.registry import METHODS, names_of
from bundle.report.tidy import aligned

# all that need no CT
OUTLINE_METHODS = {name: METHODS[name].make() for name in names_of("mask") if not METHODS[name].make.reads_image}
COHORT = Path(__file__).resolve().parents[1] / "configs" / "cohort.json"
GAPS = ((0.0, 3.0), (3.0, 5.0), (5.0, 8.0))


def development_clusters(max_slice_thickness: float = 1.25, min_malignancy: float = 3.0) -> list[LidcCluster]:
    """Nodules in thin slices of patients outside of the study's cohort, at most 8 mm between every 5th slice."""
    held_out = {nodule["patient_id"] for nodule in json.loads(COHORT.read_text(encoding="utf-8"))["nodules"]}
    found = lidc_clusters(max_slice_thickness, min_malignancy)
    return [c for c in found if c.patient_id not in held_out and 5 * c.slice_spacing <= GAPS[-1][1]]


def end_errors(mask: np.ndarray, spacing: tuple[float, float, float], stride: int, offset: int) -> list[list[float]]:
    """How far in mm the ends next to empty slices are from half a gap, and from where the sphere's section is empty.

    Args:
        mask: (X, Y, Z) bool, with slices of margin.
        spacing: (x, y, z) in mm.
        stride: every how many-th slice is kept.
        offset: the first kept one.

    Returns:
        for each end, the two distances. An end is half a slice past the last slice with mask.

    Example:
        >>> mask = np.zeros((9, 9, 11), bool)
        >>> mask[2:7, 2:7, 3:8] = True
        >>> [np.round(e, 1).tolist() for e in end_errors(mask, (1.0, 1.0, 1.0), 5, 0)]
        [[0.0, 0.3], [0.0, 0.3]]
    """
    z = np.arange(mask.shape[2]) * spacing[2]
    met = np.asarray(mask.any(axis=(0, 1)))
    kept = np.arange(offset, mask.shape[2], stride)
    squares = mask[..., kept].sum(axis=(0, 1)) * spacing[0] * spacing[1] / np.pi
    errors = []
    for side in (1, -1):
        for k in range(len(kept)):
            other = k + side
            if squares[k] > 0 and 0 <= other < len(kept) and squares[other] == 0:
                between = np.arange(kept[k], kept[other], side)
                true = (np.argmin(met[between]) if not met[between].all() else len(between)) - 0.5
                gap = abs(z[kept[other]] - z[kept[k]])
                fine = z[kept[k]] + side * np.linspace(0, gap, 200, endpoint=False)
                sphere = np.count_nonzero(sphere_squares(squares, z[kept], fine)) * gap / 200
                errors.append([abs(gap / 2 - true * spacing[2]), abs(sphere - true * spacing[2])])
    return errors


def compare(clusters: list[LidcCluster], offsets: range) -> list[dict]:
    """One row for each gap, method: the means and their count."""
    found: dict[tuple, list] = {}
    for cluster in tqdm(clusters, desc="nodules", disable=None):
        mask, origin = consensus_mask(cluster.annotation_ids)
        gap = next(g for g in GAPS if 5 * cluster.slice_spacing <= g[1])
        padded = np.pad(mask, [(0, 0), (0, 0), (5, 5)])
        for offset in offsets:
            ends = end_errors(padded, cluster.spacing, 5, offset)
            found.setdefault((gap, "ends"), []).extend(ends)
            for name, method in OUTLINE_METHODS.items():
                figures = axial(cluster, mask, origin[2], offset, method)
                if np.isfinite(figures["hd_mm"]):
                    found.setdefault((gap, name), []).append([figures[metric] for metric in METRICS])
    rows = []
    for (gap, name), values in sorted(found.items()):
        if name != "ends":
            ends = np.mean(found[gap, "ends"], axis=0)
            column = {"sphere_distance": ends[1]}.get(name, ends[0])
            means = dict(zip(METRICS, np.mean(values, axis=0).tolist(), strict=True))
            rows.append({"gap_mm": gap, "method": name, "n": len(values), **means, "end_mm": float(column)})
    return rows


def main(argv: list[str] | None = None) -> int:
    """Print the figures; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--limit", type=int, help="only the first so many nodules")
    parser.add_argument(
        "--offsets", type=int, default=5, help="first slices kept: 0, 1, ... (default: all %(default)s)"
    )
    arguments = parser.parse_args(argv)
    rows = compare(development_clusters()[: arguments.limit], range(arguments.offsets))
    if arguments.json:
        print(json.dumps(rows, indent=2))
        return 0
    decimals = {"dsc": 3, "hd_mm": 2, "arve": 3, "end_mm": 2}
    cells = []
    for row in rows:
        low, high = row["gap_mm"]
        figures = [f"{row[name]:.{digits}f}" for name, digits in decimals.items()]
        cells.append((f"{low:g} to {high:g}", row["method"], str(row["n"]), *figures))
    print(aligned(("gap (mm)", "method", "n", "DSC", "HD (mm)", "ARVE", "end (mm)"), cells, heads=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
