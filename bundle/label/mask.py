"""The nodule as a mask on every slice of the source, from what was drawn on some, or from its brightness.

The *source* is the image as it is stored; its *full grid* is that file's. Inside, arrays are (x, y, z) towards left,
posterior and superior, as everywhere in the bundle.
"""

from __future__ import annotations

import nibabel as nib
import numpy as np
from scipy import ndimage

from bundle.data.parts import parts_of
from bundle.errors import InputError
from bundle.inferers import GuidedDistanceInferer, ObservedSlices, SliceInferer
from bundle.inferers.masks.parts import carry_parts
from bundle.transforms import to_unit


def carry_mask(
    mask: np.ndarray,
    positions: np.ndarray,
    spacing: tuple[float, float],
    method: SliceInferer,
    image: np.ndarray | None = None,
) -> np.ndarray:
    """Carry a mask from the slices that it is drawn on to those between them.

    Args:
        mask: (X, Y, Z) bool, drawn on some slices and empty on the others.
        positions: (Z,) mm of the slices, ascending.
        spacing: in-plane spacing (x, y) in mm.
        method: a mask method.
        image: (X, Y, Z) HU, which a :class:`bundle.inferers.GuidedDistanceInferer` looks at on every slice; None: the
            outlines follow the mask alone.

    Returns:
        (X, Y, Z) bool: unchanged on the slices that were drawn on, empty before the first and after the last.

    Raises:
        InputError: drawn on fewer than two slices.

    Example:
        >>> from bundle.inferers import SignedDistanceInferer
        >>> drawn = np.zeros((9, 9, 3), bool)
        >>> drawn[2:7, 2:7, 0] = drawn[4:5, 4:5, 2] = True
        >>> carry_mask(drawn, np.arange(3.0), (1, 1), SignedDistanceInferer()).sum(axis=(0, 1))
        array([25,  9,  1])
    """
    drawn = np.flatnonzero(mask.any(axis=(0, 1)))
    if len(drawn) < 2:
        raise InputError(
            f"the mask is drawn on {len(drawn)} slice(s): "
            "draw the nodule on at least 2, the first and the last that it is in"
        )
    between = np.arange(drawn[0], drawn[-1] + 1)
    unit = None if image is None or not method.reads_image else to_unit(image.astype(np.float64))
    observed = ObservedSlices(
        None if unit is None else unit[..., drawn], mask[..., drawn], positions[drawn], positions[between], spacing
    )
    if isinstance(method, GuidedDistanceInferer) and unit is not None:
        # here the brightness between is known, only the outline is not
        result = method.reconstruct(observed, unit[..., between]).mask
    else:
        result = method.reconstruct(observed).mask
    assert result is not None
    out = np.zeros_like(mask, dtype=bool)
    out[..., between] = result
    out[..., drawn] = mask[..., drawn]
    return out


def carry_labels(
    labels: np.ndarray,
    positions: np.ndarray,
    spacing: tuple[float, float],
    method: SliceInferer,
    image: np.ndarray | None = None,
) -> tuple[np.ndarray, list[str]]:
    """Carry each nodule of a label map by itself, as :func:`carry_mask` carries one.

    Args:
        labels: (X, Y, Z) whole numbers, 0 outside, drawn on some slices.
        positions: (Z,) mm of the slices, ascending.
        spacing: in-plane spacing (x, y) in mm.
        method: a mask method.
        image: see :func:`carry_mask`.

    Returns:
        (X, Y, Z) uint8 or uint16, each nodule with its own label, unchanged where it was drawn; a note for each part
        that is drawn on one slice alone and stays so.

    Raises:
        InputError: no part is drawn on two slices or more.

    Example:
        >>> from bundle.inferers import SignedDistanceInferer
        >>> drawn = np.zeros((20, 9, 3)); drawn[2:7, 2:7, ::2] = 4; drawn[12:17, 2:7, ::2] = 7
        >>> np.unique(carry_labels(drawn, np.arange(3.0), (1, 1), SignedDistanceInferer())[0][..., 1]).tolist()
        [0, 4, 7]
    """
    drawn: np.ndarray = labels.astype(np.uint8 if int(labels.max()) < 256 else np.uint16)
    parts = parts_of(drawn, spacing, drawn_on_some=True)
    alone = [part for part in parts if part.mask.any(axis=(0, 1)).sum() < 2]
    notes = [
        f"a part of label {part.label} is drawn on one slice alone, of {len(parts)} parts: left as it is drawn"
        for part in alone
    ]

    def carry(mask: np.ndarray) -> np.ndarray:
        one = mask.any(axis=(0, 1)).sum() < 2 and len(alone) < len(parts)
        return mask if one else carry_mask(mask, positions, spacing, method, image)

    out = carry_parts(drawn, spacing, carry, drawn_on_some=True)
    return np.where(drawn > 0, drawn, out), notes


def threshold_nodule(
    hu: np.ndarray, centre: np.ndarray, spacing: np.ndarray, threshold_hu: float, size_mm: np.ndarray
) -> np.ndarray:
    """What is brighter than a threshold and is connected to the brightest voxel near a centre.

    A start for drawing, not a segmentation: vessels and chest wall that touch the nodule are in it, as far as an
    ellipsoid that fills the region.

    Args:
        hu: (X, Y, Z).
        centre: (3,) voxels, fractions allowed.
        spacing: (3,) mm.
        threshold_hu: HU.
        size_mm: (3,) diameters of the ellipsoid.

    Returns:
        (X, Y, Z) bool.

    Raises:
        InputError: nothing that bright within 5 mm of the centre.

    Example:
        >>> hu = np.full((9, 9, 9), -800.0); hu[3:6, 3:6, 3:6] = 0; hu[8] = 0
        >>> int(threshold_nodule(hu, np.full(3, 4.0), np.ones(3), -400, np.full(3, 8.0)).sum())
        27
    """
    away = [(np.arange(n) - c) * s for n, c, s in zip(hu.shape, centre, spacing, strict=True)]
    grids = np.meshgrid(*away, indexing="ij", sparse=True)
    inside = sum((g / (d / 2)) ** 2 for g, d in zip(grids, size_mm, strict=True)) <= 1
    bright = (hu > threshold_hu) & inside
    distance = np.sqrt(sum(g**2 for g in grids))
    distance[~bright] = np.inf
    if not distance.min() <= 5:
        raise InputError(
            f"nothing within 5 mm of the centre is above {threshold_hu:g} HU: "
            "put the centre into the nodule, change threshold_hu, or draw the nodule on some slices"
        )
    parts, _ = ndimage.label(bright)
    return parts == parts[np.unravel_index(distance.argmin(), distance.shape)]


def onto_full_grid(
    part: np.ndarray, start: np.ndarray, shape: tuple[int, ...], affine: np.ndarray, stored_affine: np.ndarray
) -> np.ndarray:
    """Put a region back into the volume that it was cut out of, on the grid of the file; 0 elsewhere.

    Args:
        part: (X, Y, Z) of the region, bool or labels.
        start: (3,) its first voxel in the volume.
        shape: of the volume.
        affine: (4, 4) of the volume.
        stored_affine: (4, 4) of the file, which may have its axes in another order and direction.

    Returns:
        uint8, or the type of the labels, of the file's shape.

    Example:
        >>> flipped = np.array([[-1.0, 0, 0, 3], [0, 1, 0, 0], [0, 0, 5, 0], [0, 0, 0, 1]])
        >>> part = np.ones((1, 1, 1), bool)
        >>> onto_full_grid(part, np.zeros(3, int), (4, 1, 1), flipped, np.diag([1.0, 1, 5, 1]))[:, 0, 0].tolist()
        [0, 0, 0, 1]
    """
    out = np.zeros(shape, dtype=part.dtype if part.dtype.kind == "u" else np.uint8)
    out[tuple(slice(a, a + n) for a, n in zip(start, part.shape, strict=True))] = part
    turn = nib.orientations.ornt_transform(
        nib.orientations.io_orientation(affine), nib.orientations.io_orientation(stored_affine)
    )
    return np.ascontiguousarray(nib.orientations.apply_orientation(out, turn))
