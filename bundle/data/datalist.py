"""Source 2: anyone's own nodules as NIfTI, from a MONAI datalist or a folder of pairs.

Vocabulary: an *entry* names the two files of a nodule, ``image`` (HU) and ``label`` (not 0 inside the nodule);
loading it gives the *item* of :mod:`bundle.data.nodule`. Listing looks at names only, so one bad file never
keeps the others from being used: it fails when it is loaded.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from monai.transforms import Transform

from bundle.data.formats import SUFFIXES, read_image, stem_of
from bundle.data.identity import check_ids
from bundle.data.intensity import check_hu, padding_of
from bundle.data.masks import labels_of
from bundle.data.nodule import make_item
from bundle.data.notes import add_notes
from bundle.data.scanner import check_scanner
from bundle.data.several import only
from bundle.errors import InputError
from bundle.transforms.grid import check_place


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is not valid JSON ({error}): expected a MONAI datalist") from error


def _index(folder: Path) -> dict[str, dict[str, Any]]:
    """Read what an ``index.json`` beside the files knows of each nodule; {} where there is none of that kind."""
    path = folder / "index.json"
    rows = _read_json(path) if path.is_file() else None
    if not isinstance(rows, list):
        return {}
    known = {}
    for row in rows:
        if not isinstance(row, dict) or "nodule_id" not in row:
            continue
        extras: dict[str, Any] = {}
        if "slice_thickness_mm" in row:
            extras["slice_thickness"] = row["slice_thickness_mm"]
        if "mean_diameter_mm" in row:
            extras["diameter_mm"] = row["mean_diameter_mm"]
        if "mean_malignancy" in row:
            extras["ratings"] = {"malignancy": row["mean_malignancy"]}
        if scanner := check_scanner(row.get("scanner"), f"{path}, {row['nodule_id']},"):
            extras["scanner"] = scanner
        known[str(row["nodule_id"])] = extras
    return known


def _by_id(folder: Path, kind: str) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        for ending in (f"_{kind}{suffix}" for suffix in SUFFIXES):
            if path.name.endswith(ending) and not path.name.startswith("."):
                nodule_id = path.name.removesuffix(ending)
                if nodule_id in found:
                    raise InputError(
                        f"{folder} holds more than one {kind} of {nodule_id} ({found[nodule_id].name}, {path.name}): "
                        "keep one"
                    )
                found[nodule_id] = path
    return found


def _folder_entries(folder: Path) -> list[dict[str, Any]]:
    images, masks = _by_id(folder, "image"), _by_id(folder, "mask")
    if not images.keys() & masks.keys():
        raise InputError(
            f"{folder} holds no pair of <id>_image.nii.gz and <id>_mask.nii.gz: expected at least one nodule"
        )
    known = _index(folder)
    return [
        {
            **known.get(nodule_id, {}),
            "nodule_id": nodule_id,
            "image": str(image),
            "label": str(masks.get(nodule_id, folder / f"{nodule_id}_mask.nii.gz")),
        }
        for nodule_id, image in images.items()
    ]


def _json_rows(path: Path) -> list[tuple[str, Any]]:
    """Return (place in the file, row) of a datalist; sections of plain paths (images without a label) are left."""
    content = _read_json(path)
    if isinstance(content, list):
        return [(f"entry {k}", row) for k, row in enumerate(content)]
    if not isinstance(content, dict):
        raise InputError(f"{path} holds a {type(content).__name__}, expected a list of nodules or sections of them")
    sections = {
        name: rows
        for name, rows in content.items()
        if isinstance(rows, list) and any(isinstance(row, dict) for row in rows)
    }
    return [(f"{name} {k}", row) for name, rows in sections.items() for k, row in enumerate(rows)]


def _number(value: Any, key: str, where: str) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise InputError(f"{where} has {key} {value!r}, expected a number")
    return value


def _file_entries(path: Path) -> list[dict[str, Any]]:
    entries = []
    for place, row in _json_rows(path):
        for key in ("image", "label"):
            if not isinstance(row, dict) or not isinstance(row.get(key), str):
                raise InputError(f'{path}, {place}, has no "{key}": expected the name of a NIfTI file')
        numbers = {key: _number(row.get(key), key, f"{path}, {place},") for key in ("slice_thickness", "diameter_mm")}
        entry: dict[str, Any] = {key: value for key, value in numbers.items() if value is not None}
        ratings = row.get("ratings") or {}
        if not isinstance(ratings, dict):
            raise InputError(f'{path}, {place}, has ratings {ratings!r}, expected {{"malignancy": 4}} or the like')
        rated = {key: _number(value, f"rating {key}", f"{path}, {place},") for key, value in ratings.items()}
        if "ratings" in row:
            entry["ratings"] = {key: value for key, value in rated.items() if value is not None}
        if scanner := check_scanner(row.get("scanner"), f"{path}, {place},"):
            entry["scanner"] = scanner
        for key in ("image", "label"):
            entry[key] = str(path.parent / Path(row[key]).expanduser())
        name = row.get("nodule_id")
        if isinstance(name, bool) or not isinstance(name, str | int | None):
            raise InputError(f"{path}, {place}, has nodule_id {name!r}, expected a text or a whole number")
        entry["nodule_id"] = stem_of(row["image"]).removesuffix("_image") if name is None else str(name)
        entries.append(entry)
    if not entries:
        raise InputError(f'{path} lists no nodule: expected entries with "image" and "label"')
    return entries


def datalist_entries(datalist: str | Path) -> list[dict[str, Any]]:
    """List the nodules of a MONAI datalist or of a folder of pairs, sorted by nodule id.

    Args:
        datalist: a JSON file, a list of ``{"image": ..., "label": ...}`` or a dictionary of such lists
            (``training``, ``testing``, ...: all are used), with paths relative to the file; optional keys
            ``nodule_id``, ``slice_thickness``, ``ratings``, ``diameter_mm``, ``scanner``. Or a folder of
            ``<id>_image.nii.gz`` and ``<id>_mask.nii.gz`` (or ``.nii``), with an optional ``index.json``.

    Returns:
        entries with ``nodule_id``, ``image`` and ``label`` (paths, not yet opened), and what else is known.

    Raises:
        InputError: no such file or folder, no nodule in it, invalid JSON, an entry without its keys, or two
            nodules of one id, or an id that can't name a folder.

    Example:
        >>> [entry["nodule_id"] for entry in datalist_entries("nodules")]  # doctest: +SKIP
        ['LIDC-IDRI-0066_nodule_0', 'LIDC-IDRI-0066_nodule_1']
    """
    path = Path(datalist).expanduser()
    if not path.exists():
        raise InputError(f"{path} does not exist: expected a datalist (JSON) or a folder of NIfTI pairs")
    entries = _folder_entries(path) if path.is_dir() else _file_entries(path)
    check_ids((entry["nodule_id"] for entry in entries), str(path))
    return sorted(entries, key=lambda entry: entry["nodule_id"])


def _in_order_of(affine: np.ndarray, label: np.ndarray, label_affine: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A mask, and its affine, with its axes in the order and direction of its image's."""
    orientation = nibabel.orientations
    turn = orientation.ornt_transform(orientation.io_orientation(label_affine), orientation.io_orientation(affine))
    moved = label_affine @ orientation.inv_ornt_aff(turn, label.shape)
    return orientation.apply_orientation(label, turn), moved


class LoadNiftiNodule(Transform):
    """Load one nodule from its two NIfTI files.

    Not through ``LoadImage``: that one falls back on readers of other formats, whose warnings and errors would hide
    what is wrong with a file.

    Example:
        >>> from monai.data import Dataset
        >>> Dataset(datalist_entries("nodules"), LoadNiftiNodule())[0]["image"].shape  # doctest: +SKIP
        torch.Size([1, 43, 43, 18])
    """

    def __call__(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """Return the item of an entry of :func:`datalist_entries` or :func:`bundle.data.several.in_masks`.

        Raises:
            InputError: a file is missing, damaged or not of three axes; image and mask differ in shape or by more
                than a tenth of a voxel in place; voxels are nan or no HU; the mask is empty or none.
        """
        image_path, label_path = Path(data["image"]), Path(data["label"])
        image, affine, notes = read_image(image_path, "nodule's image")
        drawn, label_affine, of_mask = read_image(label_path, "nodule's mask")
        if np.isfinite(image).all():  # else make_item counts what is not
            check_hu(image, str(image_path), padding_of(image))
        label, _ = labels_of(drawn, str(label_path))  # what it notes was told by the source
        label, label_affine = _in_order_of(affine, label, label_affine)
        if image.shape != label.shape:
            raise InputError(
                f"{label_path} has shape {label.shape} and its image {image.shape}: expected one grid, "
                "resample one onto the other"
            )
        off = check_place(affine, label_affine, image.shape, str(label_path), image_path.name)
        place = data.get("part_of")
        if place:
            label, size = only(label, affine, place, str(label_path))
            place = {**place, "voxels": int(label.sum()), "mm3": round(size, 3)}
        item = make_item(
            image,
            label,
            affine,
            nodule_id=str(data["nodule_id"]),
            source="datalist",
            slice_thickness=data.get("slice_thickness"),
            ratings=data.get("ratings"),
            diameter_mm=data.get("diameter_mm"),
            scanner=data.get("scanner"),
        )
        add_notes(item["image"], [*notes, *of_mask, *([off] if off else [])])
        return {**item, "part_of": place} if place else item
