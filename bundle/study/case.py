"""One nodule on its way through the study: crop, decimate, reconstruct, measure, save.

A *case* is a nodule after the crop, with its observed slices apart from the truth. The reconstruction sees
the observed slices alone; the truth is for the measurement.
"""

from __future__ import annotations

import csv
import hashlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import numpy as np
from monai.data import MetaTensor

from bundle.data import save_volume
from bundle.errors import InputError
from bundle.files import save_torch
from bundle.inferers import ObservedSlices, Reconstruction, SliceInferer, StoredInferer
from bundle.inferers.calibration.intervals import check_errors
from bundle.inferers.learned.sample import NOTE
from bundle.metrics import SizeEvaluator, Truth
from bundle.metrics.size_evaluator import SUM_OF_AREAS
from bundle.store import mask_name
from bundle.transforms import HU_RANGE, Decimate, check_same_place, to_hu, to_unit

Crop = Callable[[Mapping[str, Any]], Mapping[str, Any]]


@dataclass(frozen=True)
class Case:
    """A cropped nodule.

    Attributes:
        nodule_id: its identifier.
        truth_hu: (X, Y, Z) float64, HU.
        mask: (X, Y, Z) bool, consensus mask.
        affine: (4, 4) voxel to RAS mm.
        spacing: (x, y, z) in mm.
        observed: indices of the thin slices along ``axis`` that are observed as they are; none where observed slices
            are averages of thin ones.
        axis: the decimated axis of the arrays.
        observed_affine: (4, 4) of the volume of observed slices alone.
        item: what else the source said: ratings, thickness, diameter.
        decimate: which slices are observed.
    """

    nodule_id: str
    truth_hu: np.ndarray
    mask: np.ndarray
    affine: np.ndarray
    spacing: tuple[float, float, float]
    observed: np.ndarray
    axis: int
    observed_affine: np.ndarray
    item: Mapping[str, Any]
    decimate: Decimate

    @property
    def centres(self) -> np.ndarray:
        """(K,) places of the observed slices along ``axis``, in slices; half ones where an even number is averaged."""
        return self.decimate.centres(self.mask.shape[self.axis])

    def valued(self, mask: np.ndarray) -> np.ndarray:
        """A mask of the nodule with the value that it has in the label map it is of: bool if that is 1, else labels."""
        value = int(self.item.get("part_of", {}).get("label", 1))
        return mask if value == 1 else mask * np.min_scalar_type(value).type(value)

    @cached_property
    def truth(self) -> Truth:
        """What reconstructions of the nodule are measured against."""
        thickness = self.item.get("slice_thickness")
        ends = None if self.decimate.average == 1 else (float(self.centres[0]), float(self.centres[-1]))
        return Truth(self.truth_hu, self.mask, self.spacing, self.observed, self.axis, thickness, ends)

    def true_sizes(self, evaluator: SizeEvaluator) -> dict[str, list[dict[str, Any]]]:
        """Rows of sizes of the truth, and of its observed slices alone; these nan where they are too few."""
        try:
            areas = evaluator.areas_rows(self.truth, self.observed_slices())
        except InputError as fault:
            areas = evaluator.expected_rows("mask", str(fault))
        return {"truth": evaluator.truth_rows(self.truth), SUM_OF_AREAS: areas}

    def observed_slices(self, seed: int = 0, reveal: bool = False) -> ObservedSlices:
        """The observed slices, decimated axis last, normalised; nothing of the others is in it unless revealed.

        Args:
            seed: of the method.
            reveal: add the truth as ``withheld``, which the published protocol stops by.
        """
        truth = to_unit(np.moveaxis(self.truth_hu, self.axis, 2))
        mask = np.moveaxis(self.mask, self.axis, 2)
        along = self.spacing[self.axis]
        in_plane = tuple(s for i, s in enumerate(self.spacing) if i != self.axis)
        average = self.decimate.average
        return ObservedSlices(
            # averages of what is measured: of the truth in the window, not of HU beyond it
            image=self.decimate.averaged(truth, axis=2),
            # a reader outlines what fills at least half of a thick slice
            mask=self.decimate.averaged(mask, axis=2) >= 0.5,
            positions=self.centres * along,
            targets=np.arange(self.truth_hu.shape[self.axis]) * along,
            spacing=(in_plane[0], in_plane[1]),
            seed=seed,
            withheld=truth if reveal else None,
            thickness_mm=average * along if average > 1 else 0.0,
            profile=self.decimate.profile,
        )


def prepare(item: Mapping[str, Any], crop: Crop, decimate: Decimate) -> Case:
    """Crop a nodule and note which slices are observed.

    Args:
        item: the dictionary of a source.
        crop: dictionary transform over ``image`` and ``label``.
        decimate: which slices are kept.

    Raises:
        InputError: the mask is empty.
    """
    return case_of(crop(item), decimate)


def case_of(cropped: Mapping[str, Any], decimate: Decimate) -> Case:
    """A case from a nodule's dictionary that is cropped already."""
    image, label = cropped["image"], cropped["label"]
    check_same_place(image, label)
    thin = decimate.average == 1
    return Case(
        nodule_id=cropped["nodule_id"],
        truth_hu=np.asarray(image[0], dtype=np.float64),
        mask=np.asarray(label[0]) > 0,
        affine=np.asarray(image.affine, dtype=np.float64),
        spacing=tuple(float(s) for s in cropped["spacing"]),  # type: ignore[arg-type]
        observed=decimate.centres(image.shape[1 + decimate.axis]).astype(int) if thin else np.empty(0, dtype=int),
        axis=decimate.axis,
        observed_affine=np.asarray(cast(MetaTensor, decimate(image)).affine, dtype=np.float64),
        item=cropped,
        decimate=decimate,
    )


def nodule_seed(seed: int, nodule_id: str, method: str) -> int:
    """Seed of one method on one nodule: the same in any order, grouping or resumption.

    Example:
        >>> nodule_seed(0, "a", "siren") == nodule_seed(0, "a", "siren") != nodule_seed(0, "b", "siren")
        True
    """
    digest = hashlib.sha256(f"{seed}/{nodule_id}/{method}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1  # torch takes 63 bits


def reconstruct(case: Case, inferer: SliceInferer, seed: int, reveal: bool = False) -> tuple[Reconstruction, float]:
    """Run one method on a case, or read what it made earlier.

    Returns:
        the reconstruction, axes in the order of the case, and the seconds it took.

    Raises:
        InputError: fewer than two observed slices, or fewer than the method can do with.
    """
    start = time.perf_counter()
    if isinstance(inferer, StoredInferer):
        whole = case.item.get("part_of", {}).get("nodule_id")
        result = inferer.read(case.nodule_id, case.mask.shape, case.affine, case.observed_slices(), case.axis, whole)
        return result, time.perf_counter() - start
    result = inferer.complete(case.observed_slices(seed, reveal))
    seconds = time.perf_counter() - start
    return on_case(case, result), seconds


def on_case(case: Case, result: Reconstruction) -> Reconstruction:
    """Check what a method gave, and put its axes, the decimated one last, into the order of the case.

    Args:
        case: it was reconstructed from.
        result: as the method gave it; changed in place.

    Raises:
        InputError: a shape other than the crop's, voxels that aren't finite, or a negative expected error.
    """
    for name in ("image", "mask", "error"):
        volume = getattr(result, name)
        if volume is not None:
            volume = np.moveaxis(volume, 2, case.axis)
            if volume.shape != case.mask.shape:
                raise InputError(f"the method gave shape {volume.shape}, expected {case.mask.shape}")
            if not np.isfinite(volume).all():
                raise InputError(f"the method gave {np.count_nonzero(~np.isfinite(volume))} nan voxels")
            if name == "error":
                check_errors(volume)
            setattr(result, name, volume)
    return result


def save_truth(folder: Path, case: Case) -> None:
    """Save the crop, its mask and the observed slices alone (which overlay on the crop in a viewer)."""
    save_volume(folder / "image.nii.gz", case.truth_hu, case.affine)
    save_volume(folder / "mask.nii.gz", case.valued(case.mask), case.affine)
    kept = case.decimate.averaged(case.truth_hu, case.axis)
    save_volume(folder / "observed.nii.gz", kept, case.observed_affine)


def save_reconstruction(folder: Path, case: Case, result: Reconstruction, masks: Mapping[float, np.ndarray]) -> None:
    """Save what a method gave: image in HU or mask, thresholded masks, expected error, network state, learning curves.

    Args:
        folder: where to.
        case: gives the affine.
        result: of :func:`reconstruct`.
        masks: threshold in HU to (X, Y, Z) bool.
    """
    if result.image is not None:
        told = NOTE if NOTE in result.notes else ""
        save_volume(folder / "image.nii.gz", to_hu(result.image), case.affine, description=told)
    if result.mask is not None:
        save_volume(folder / "mask.nii.gz", case.valued(result.mask), case.affine)
    if result.error is not None:
        save_volume(folder / "uncertainty.nii.gz", result.error * HU_RANGE, case.affine, whole=False)
    for threshold, mask in masks.items():
        save_volume(folder / f"{mask_name(threshold)}.nii.gz", case.valued(mask), case.affine)
    if result.state is not None:
        save_torch(folder / "network.pt", result.state)
    if result.history:
        with (folder / "history.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["epoch", *result.history])
            writer.writerows([i + 1, *values] for i, values in enumerate(zip(*result.history.values(), strict=True)))
