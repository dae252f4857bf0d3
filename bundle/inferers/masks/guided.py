"""Interpolate masks with a look at the image: outlines move towards where the tissue changes.

Vocabulary: the *contrast* of a voxel says whether it looks like the nodule (1) or like its surroundings (-1), as both
look in the observed slices; 0 is half-way. The *weight* is how far in mm a voxel that looks all nodule draws the
outline outwards, or one that looks all lung inwards.

The image between observed slices is itself reconstructed, by any image method. That bounds what it can say:
on 30 nodules of LIDC-IDRI of patients outside of the study's cohort, with the weight below, it adds .001 to the Dice
score by PCHIP, .005 by the learned prior, and would add .011 with the true image, were it known. So it says where an
outline runs, but **not how large a section is**: the areas are a sphere's. Where outlines moved outwards and inwards
freely, sections became 2 % too small by PCHIP and by the prior and 4 % by the true image, and the error of the volume
larger in all three, as readers outline more than what is brightest. Where the nodule ends, it doesn't tell either: the
intensity of the last section and of the empty slice next to it came no nearer to the true end than areas alone. A
larger weight lets vessels and the chest wall into the mask.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from bundle.errors import InputError
from bundle.inferers.base import SliceInferer, checked_image, checked_image_method
from bundle.inferers.interpolation.splines import PchipInferer
from bundle.inferers.masks.distance import Beyond, MaskInferer, signed_depth
from bundle.inferers.masks.sphere import sphere_distance
from bundle.slices import ObservedSlices, Reconstruction

WEIGHT_MM = 0.4
# how far around the nodule its surroundings are looked at
SURROUNDINGS_MM = 4.0
# 200 HU: what differs less is noise, and is not stretched to a full contrast
LEAST_DIFFERENCE = 200 / 1400


def tissue_contrast(
    image: np.ndarray, seen: np.ndarray, masks: np.ndarray, spacing: tuple[float, float] = (1.0, 1.0)
) -> np.ndarray | None:
    """Tell voxels that look like the nodule from those that look like its surroundings.

    The median intensity of the nodule in the observed slices is 1, that of the 4 mm around it -1, linear between them
    and clipped.

    Args:
        image: (X, Y, Z) intensities to judge, normalised.
        seen: (X, Y, K) intensity of the observed slices, normalised.
        masks: (X, Y, K) bool, their masks.
        spacing: in-plane spacing (x, y) in mm.

    Returns:
        (X, Y, Z) from -1 to 1; None if there is no nodule, nothing around it, or it is not brighter.

    Example:
        >>> seen, masks = np.array([[[0.7], [0.7], [0.1]]]), np.array([[[True], [True], [False]]])
        >>> tissue_contrast(np.array([[[0.1, 0.55, 0.9]]]), seen, masks)[0, 0].round(6).tolist()
        [-1.0, 0.5, 1.0]
    """
    inside, around = [], []
    for k in range(masks.shape[-1]):
        depth = signed_depth(masks[..., k], spacing)
        if depth is not None:
            inside.append(seen[..., k][depth > 0])
            around.append(seen[..., k][(depth < 0) & (depth > -SURROUNDINGS_MM)])
    if not sum(map(len, inside)) or not sum(map(len, around)):
        return None
    nodule, lung = (float(np.median(np.concatenate(parts))) for parts in (inside, around))
    if nodule <= lung:
        return None
    half = max(nodule - lung, LEAST_DIFFERENCE) / 2
    return np.clip((np.asarray(image, dtype=np.float64) - (nodule + lung) / 2) / half, -1, 1)


class GuidedDistanceInferer(MaskInferer):
    """Shape-based interpolation with a sphere's areas, guided by the image.

    The masks are those of :func:`bundle.inferers.sphere_distance`, whose distances are moved by ``weight_mm`` times the
    contrast (:func:`tissue_contrast`) of a reconstructed image of the same observed slices; the areas stay as they are.

    Args:
        image_method: the image method to look at, or what makes it.
        weight_mm: how far the image moves an outline at most; 0: not at all.
        beyond: see :func:`bundle.inferers.sphere_distance`.

    Raises:
        InputError: a weight below 0, or an ``image_method`` that gives no image.

    Example:
        >>> masks = np.zeros((9, 9, 2), bool)
        >>> masks[2:7, 2:7] = True
        >>> image = np.full((9, 9, 2), 0.1)
        >>> image[4:, 2:7] = 0.7  # brighter on one side
        >>> where = {"positions": [0, 4], "targets": [0, 2, 4]}
        >>> GuidedDistanceInferer()(masks, image=image, **where).sum(axis=(0, 1))
        array([25., 36., 25.], dtype=float32)
    """

    reads_image = True

    def __init__(
        self,
        image_method: SliceInferer | Callable[[], SliceInferer] = PchipInferer,
        weight_mm: float = WEIGHT_MM,
        beyond: Beyond = "half",
    ) -> None:
        super().__init__(beyond)
        if not (np.isfinite(weight_mm) and weight_mm >= 0):
            raise InputError(f"weight_mm={weight_mm} can't move an outline: give mm, 0 or more")
        self.image_method = checked_image_method(image_method)
        self.weight_mm = float(weight_mm)

    def reconstruct(self, observed: ObservedSlices, image: np.ndarray | None = None) -> Reconstruction:
        """Reconstruct the mask at every target.

        Args:
            observed: the observed masks and their image.
            image: (X, Y, Z) intensities at the targets where it is known, normalised, to look at instead of the
                image method's: for a CT of which only some slices were outlined.

        Returns:
            ``mask`` (X, Y, Z) bool; empty, with a note, if no observed slice meets the nodule. A note also says where
            the image could not be looked at, so that the mask is that of the distances alone.

        Raises:
            InputError: there is no mask, or nan in the image.
        """
        masks, notes = self._checked(observed)
        shift = None
        if observed.image is None:
            notes.append("no image was given: the outlines follow the observed masks alone")
        elif masks.any() and self.weight_mm:
            seen = checked_image(observed, "guided distances")
            image = self.image_method.reconstruct(observed).image if image is None else image
            assert image is not None
            shift = tissue_contrast(image, seen, masks, observed.spacing)
            if shift is None:
                notes.append("the nodule is not brighter than what is around it: the outlines follow the masks alone")
            else:
                shift *= self.weight_mm
        filled = sphere_distance(masks, observed.positions, observed.targets, observed.spacing, self.beyond, shift)
        return Reconstruction(mask=filled, notes=notes)
