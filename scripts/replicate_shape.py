"""Recompute the paper's morphological row (Eq. 3) from LIDC-IDRI's contours alone: no CT, under a minute.

Two protocols, on every nodule of the cohort (slice thickness <= 1 mm, mean malignancy > 3):

published  what the author's code does: a crop padded by ceil(10 / (slice thickness, pixel, pixel)) voxels on (row,
           column, slice), every 5th *row* kept; measured on the other rows, stacked without their gaps; rows beyond
           the last kept one hold the truth; the slice thickness stands for the spacing of rows
axial      what the paper's text says: a crop with 10 mm around the box of the readers' outlines, every 5th axial
           *slice* kept; DSC and ARVE on the other slices, the Hausdorff distance between the whole masks

Means and population standard deviations (as the author's script prints them) are over the nodules where a figure is
defined; n_failed counts those where one is not, because no kept slice meets the nodule.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence

import numpy as np

from bundle.data.lidc.annotations import LidcCluster, consensus_mask, lidc_clusters
from bundle.errors import InputError
from bundle.inferers import MorphologicalInferer, ObservedSlices, SliceInferer
from bundle.metrics import DiceScore, HausdorffMM, NoduleEvaluator, Truth, VolumeError
from bundle.report.tidy import aligned
from bundle.transforms import margin_in_voxels, observed_indices, published_margin

STRIDE = 5
PAPER = {"dsc": 0.837, "dsc_sd": 0.061, "hd_mm": 1.98, "hd_mm_sd": 0.55, "arve": 0.039, "arve_sd": 0.048}
METRICS = ("dsc", "hd_mm", "arve")


def _evaluator(mask_stack: bool, truth_beyond: bool, convention: str) -> NoduleEvaluator:
    return NoduleEvaluator(
        radiometric={},
        geometric={"dsc": DiceScore(), "hd_mm": HausdorffMM(), "arve": VolumeError()},
        mask_stack=mask_stack,
        truth_beyond=truth_beyond,
        spacing_convention=convention,  # type: ignore[arg-type]
    )


def published(cluster: LidcCluster, mask: np.ndarray) -> dict[str, float]:
    """Eq. 3 on one nodule as the author's code computes it: rows (y) decimated.

    Args:
        cluster: one nodule.
        mask: its consensus mask (x, y, z) in the box of all readers' outlines.

    Returns:
        dsc, hd_mm and arve; nan where undefined.
    """
    margin = published_margin(cluster.spacing, cluster.slice_thickness)
    crop = np.pad(mask, [(int(width), int(width)) for width in margin])
    evaluator = _evaluator(mask_stack=True, truth_beyond=True, convention="thickness_on_rows")
    slices = {"dsc": "unobserved", "hd_mm": "unobserved", "arve": "unobserved"}
    return _measure(crop, 1, observed_indices(crop.shape[1], STRIDE), cluster, evaluator, slices)


def axial(
    cluster: LidcCluster, mask: np.ndarray, origin_z: int, offset: int = 0, method: SliceInferer | None = None
) -> dict[str, float]:
    """Eq. 3 on one nodule as the paper's text describes it: axial slices (z) decimated.

    Args:
        cluster: one nodule.
        mask: its consensus mask (x, y, z) in the box of all readers' outlines.
        origin_z: index of the mask's first slice in the scan.
        offset: index of the first slice of the crop that is kept.
        method: another mask method than Eq. 3.

    Returns:
        dsc, hd_mm and arve; nan where undefined.
    """
    margin = margin_in_voxels(cluster.spacing)
    # clipped at the ends of the scan; in plane there is only air, which no figure depends on
    below = min(int(margin[2]), origin_z)
    above = min(int(margin[2]), len(cluster.slice_positions) - origin_z - mask.shape[2])
    crop = np.pad(mask, [(int(margin[0]),) * 2, (int(margin[1]),) * 2, (below, above)])
    evaluator = _evaluator(mask_stack=False, truth_beyond=False, convention="voxel")
    slices = {"dsc": "unobserved", "hd_mm": "all", "arve": "unobserved"}
    return _measure(crop, 2, observed_indices(crop.shape[2], STRIDE, offset), cluster, evaluator, slices, method)


def _measure(
    mask: np.ndarray,
    axis: int,
    kept: np.ndarray,
    cluster: LidcCluster,
    evaluator: NoduleEvaluator,
    slices: dict[str, str],
    method: SliceInferer | None = None,
) -> dict[str, float]:
    """Keep slices, fill in the others (None: by Eq. 3), and measure each metric on its own set of slices."""
    along = np.arange(mask.shape[axis]) * cluster.spacing[axis]
    first, second = (step for i, step in enumerate(cluster.spacing) if i != axis)
    observed = ObservedSlices(None, np.moveaxis(mask, axis, 2)[..., kept], along[kept], along, (first, second))
    result = (method or MorphologicalInferer()).reconstruct(observed).mask
    assert result is not None
    # a mask method is not measured on intensities
    truth = Truth(np.zeros(mask.shape), mask, cluster.spacing, kept, axis, cluster.slice_thickness)
    rows = evaluator.rows(truth, mask=np.moveaxis(result, 2, axis))
    return {row["metric"]: row["value"] for row in rows if slices[row["metric"]] == row["slices"]}


def summary(nodules: Sequence[dict[str, float]]) -> dict[str, float]:
    """Mean and population sd of each metric over the nodules where it is defined, n and n_failed."""
    figures: dict[str, float] = {"n": len(nodules)}
    for metric in METRICS:
        values = np.array([nodule[metric] for nodule in nodules])
        values = values[np.isfinite(values)]
        figures[metric] = float(values.mean()) if values.size else float("nan")
        figures[f"{metric}_sd"] = float(values.std()) if values.size else float("nan")
    figures["n_failed"] = sum(not np.all(np.isfinite([nodule[m] for m in METRICS])) for nodule in nodules)
    return figures


def replicate(exclude: Sequence[str] = (), offset: int = 0) -> dict[str, dict[str, float]]:
    """Both protocols over the cohort.

    Args:
        exclude: nodule ids to leave out.
        offset: index of the first axial slice of a crop that is kept.

    Raises:
        InputError: an id that is no nodule of the cohort.
    """
    clusters = lidc_clusters()
    unknown = set(exclude) - {cluster.nodule_id for cluster in clusters}
    if unknown:
        raise InputError(
            f"{', '.join(sorted(unknown))} is no nodule of the cohort: give ids such as those in cohort.json"
        )
    clusters = [cluster for cluster in clusters if cluster.nodule_id not in exclude]
    by_rows, by_slices = [], []
    for cluster in clusters:
        mask, origin = consensus_mask(cluster.annotation_ids)
        by_rows.append(published(cluster, mask))
        by_slices.append(axial(cluster, mask, origin[2], offset))
    return {"published": summary(by_rows), "axial": summary(by_slices)}


def table(figures: dict[str, dict[str, float]]) -> str:
    """The figures of both protocols beside the paper's, as text."""
    rows = []
    named = {"paper, Table 3": PAPER, "published protocol": figures["published"], "axial protocol": figures["axial"]}
    for name, found in named.items():
        cells = [f"{found[m]:.3f} ± {found[m + '_sd']:.3f}" for m in METRICS]
        rows.append((name, f"{found.get('n', 50):.0f}", str(found.get("n_failed", "–")), *cells))
    return aligned(("Eq. 3", "n", "failed", "DSC", "HD (mm)", "ARVE"), rows)


def main(argv: list[str] | None = None) -> int:
    """Print the figures; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    parser.add_argument("--exclude", nargs="*", default=[], metavar="ID", help="nodules to leave out")
    parser.add_argument("--offset", type=int, default=0, help="first axial slice kept, 0 to 4 (default: %(default)s)")
    arguments = parser.parse_args(argv)
    try:
        figures = replicate(arguments.exclude, arguments.offset)
    except InputError as mistake:
        print(mistake, file=sys.stderr)
        return 2
    print(json.dumps(figures, indent=2) if arguments.json else table(figures))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
