"""How well methods bring back the thin slices of a whole CT, by tissue.

    python scripts/compare_scan.py chest.nii.gz --stride 4                    thin slices left out
    python scripts/compare_scan.py chest.nii.gz --stride 2 --average 4        overlapping thick ones, each the mean of 4
    python scripts/compare_scan.py thin.nii.gz --thick thick.nii.gz           a real pair of one scan

Each method makes slices at the places of the scan's own, which is the truth: by the dense inferer of `inference.json`,
all HU kept. The table has the RMSE in HU over made slices by tissue of the truth, and the *seam ratio*: the mean
absolute second difference along z at observed planes over that elsewhere (1 in a scan of one kind). Of a real pair
the places of both are as their files say; `--thickness_mm` and `--profile` say what the thick slices average over.
"""

from __future__ import annotations

import argparse
import resource
import sys
import time
from pathlib import Path

import numpy as np
import torch
from monai.data import MetaTensor
from tqdm import tqdm

from bundle.data import load_volume
from bundle.errors import InputError, exit_on_mistake
from bundle.inferers import method_factories
from bundle.inferers.dense.inferer import DenseInferer
from bundle.inferers.dense.seams import seam_ratio
from bundle.profile import PROFILES, block_average
from bundle.report.tidy import aligned

# HU of the truth, from and to
TISSUES = {"lung": (-1000.0, -500.0), "soft tissue": (-200.0, 300.0), "over 300 HU": (300.0, np.inf)}


def thick_slices(thin: np.ndarray, spacing: float, stride: int, average: int, profile: str
) -> tuple[np.ndarray, np.ndarray, float]:  # fmt: skip
    """Every so many-th thin slice, or averages of so many around it.

    Args:
        thin: (X, Y, Z) HU.
        spacing: mm along z.
        stride: thin slices from one to the next.
        average: thin slices that each is the average of; 1: planes.
        profile: how it weighs them.

    Returns:
        (X, Y, K) HU; (K,) mm, places from the first thin slice; thickness in mm.

    Example:
        >>> made, places, thickness = thick_slices(np.arange(6.0)[None, None], 1.0, 2, 2, "box")
        >>> made.ravel().tolist(), places.tolist(), thickness
        ([0.5, 2.5, 4.5], [0.5, 2.5, 4.5], 2.0)
    """
    centres = np.arange((average - 1) / 2, thin.shape[2] - average / 2, stride) * spacing
    thickness = average * spacing if average > 1 else 0.0
    return block_average(thin, np.arange(thin.shape[2]) * spacing, centres, thickness, profile), centres, thickness


def rmse_by_tissue(made: np.ndarray, truth: np.ndarray) -> list[float]:
    """RMSE in HU in each of ``TISSUES``, nan where there is none of it; both (X, Y, Z) HU.

    Example:
        >>> rmse_by_tissue(np.array([-890.0, 3.0]), np.array([-900.0, 0.0]))
        [10.0, 3.0, nan]
    """
    found = []
    for low, high in TISSUES.values():
        voxels = (truth >= low) & (truth < high)
        found.append(float(np.sqrt(np.mean((made[voxels] - truth[voxels]) ** 2))) if voxels.any() else float("nan"))
    return found


def compared(
    truth: np.ndarray, places: np.ndarray, thick: MetaTensor, methods: list[str], thickness: float, profile: str
) -> list[tuple[str, ...]]:
    """A row of text for each method.

    Args:
        truth: (X, Y, Z) HU.
        places: (Z,) mm above the first thick slice.
        thick: (1, X, Y, K) HU.
        methods: their names.
        thickness: of the thick slices in mm, 0: planes.
        profile: of the thick slices.
    """
    step = float(places[1] - places[0])
    # the result starts at the first thick slice, which may lie half-way between two thin ones
    half = abs(places[0] / step - round(places[0] / step)) > 0.1
    factories = method_factories("cpu", prior={"all_cores": True})
    rows = []
    for name in tqdm(methods, unit="method"):
        for keep in (True, False) if name == methods[-1] and not thickness else (True,):
            dense = DenseInferer(
                factories, name, step / 2 if half else step, progress=False, thickness_mm=thickness,
                slice_profile=profile, keep_observed=keep,
            )  # fmt: skip
            started = time.process_time()
            result = dense(thick[None])
            seconds = time.process_time() - started
            at = np.asarray(result.meta["slice_positions"])
            nearest = np.abs(at[:, None] - places).argmin(axis=1)
            there = np.abs(places[nearest] - at) < 0.1 * step
            seen = np.abs(at[:, None] - np.asarray(result.meta["observed_positions"])).min(axis=1) < 0.1 * step
            made = result.as_tensor()[0, 0].numpy()
            counted = there & ~(seen & (thickness == 0))
            errors = rmse_by_tissue(made[..., counted], truth[..., nearest[counted]])
            label = name if keep else f"{name}, --keep_observed false"
            rows.append((label, *(f"{e:.1f}" for e in errors), f"{seam_ratio(made, seen):.2f}", f"{seconds:.0f}"))
    return rows


def main(arguments: list[str] | None = None) -> None:
    """Read the command line, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("thin", type=Path, help="a CT of thin slices, as inference.json reads it")
    parser.add_argument("--thick", type=Path, help="the same scan in thick slices; without it they are made")
    parser.add_argument("--stride", type=int, default=5, help="thin slices from one thick one to the next (5)")
    parser.add_argument("--average", type=int, default=1, help="thin slices that a thick one is the average of (1)")
    parser.add_argument("--thickness_mm", type=float, default=5.0, help="of the slices of --thick (5)")
    parser.add_argument("--profile", default="box", choices=PROFILES, help="how a thick slice weighs thin ones (box)")
    parser.add_argument("--told", type=float, default=1.0, help="times the thickness is what methods are told (1)")
    parser.add_argument("--methods", nargs="+", default=["linear", "cubic", "pchip", "kriging", "prior"])
    chosen = parser.parse_args(arguments)
    exit_on_mistake(_compare, chosen)


def _compare(chosen: argparse.Namespace) -> None:
    thin = load_volume(chosen.thin)
    truth, affine = thin.as_tensor()[0].numpy(), thin.affine.numpy()
    step = float(np.linalg.norm(affine[:3, 2]))
    if chosen.thick is None:
        if not 1 <= chosen.stride < truth.shape[2] or chosen.average < 1:
            raise InputError(f"--stride {chosen.stride} --average {chosen.average}: give at least 1, and fewer than "
                             f"the {truth.shape[2]} slices")  # fmt: skip
        made, centres, thickness = thick_slices(truth, step, chosen.stride, chosen.average, chosen.profile)
        wide = affine.copy()
        wide[:3, 2] *= chosen.stride
        wide[:3, 3] += affine[:3, 2] / step * centres[0]
        thick = MetaTensor(torch.from_numpy(made.astype(np.float32))[None], affine=torch.from_numpy(wide))
    else:
        thick, thickness = load_volume(chosen.thick), chosen.thickness_mm
        if thick.shape[1:3] != thin.shape[1:3]:
            raise InputError(f"{chosen.thick} has other pixels than {chosen.thin}: give one scan in two thicknesses")
    up = affine[:3, 2] / step
    places = np.arange(truth.shape[2]) * step - float((thick.affine.numpy()[:3, 3] - affine[:3, 3]) @ up)
    rows = compared(truth, places, thick, chosen.methods, thickness * chosen.told, chosen.profile)
    print(aligned(("method", *TISSUES, "seams", "CPU s"), rows))
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 if sys.platform == "darwin" else 1024)
    print(
        f"RMSE in HU; {thick.shape[3]} slices {thickness:g} mm thick to {truth.shape[2]}; peak memory {memory:.0f} MB"
    )


if __name__ == "__main__":
    main()
