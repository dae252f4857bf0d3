"""Sizes of a study at several first slices: its own, and those of the studies in ``offsets/``."""

from __future__ import annotations

import json
import math
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from bundle.errors import InputError
from bundle.report.results import TRUTH, StudyResults
from bundle.report.tidy import CLINICAL, read_rows


@lru_cache(maxsize=1)
def first_slices(results: StudyResults) -> dict[int, list[dict[str, Any]]]:
    """Rows of ``clinical.csv`` by the first observed slice.

    Args:
        results: of a study.

    Returns:
        those of this study, and of each in ``offsets/`` that differs from it in nothing else, the truth's sizes
        included; others are told among the problems of ``results``.
    """
    mine, settings = _settled(results.study)
    found = {mine: results.clinical}
    for folder in sorted(results.root.glob("offsets/*/")):
        other = _read(folder, settings)
        if other is None or any(_truth(rows) != _truth(results.clinical) for rows in other.values()):
            short = folder.relative_to(results.root).as_posix()
            results.problems.append(f"{short} is unfinished, of other parameters or of other nodules: it is left out")
        else:
            found |= other
    return dict(sorted(found.items()))


def first_slice_values(results: StudyResults) -> dict[tuple[str, str, str], np.ndarray]:
    """(nodules, first slices) by (reference, method, quantity), in the order of the file; nan where undefined."""
    nodules = {name: i for i, name in enumerate(results.nodules)}
    slices = first_slices(results)
    found: dict[tuple[str, str, str], np.ndarray] = {}
    for k, rows in enumerate(slices.values()):
        for row in rows:
            place = (row["reference"], row["method"], row["quantity"])
            values = found.setdefault(place, np.full((len(nodules), len(slices)), math.nan))
            values[nodules[row["nodule_id"]], k] = row["value"]
    return found


def _read(folder: Path, settings: dict[str, Any]) -> dict[int, list[dict[str, Any]]] | None:
    try:
        first, theirs = _settled(json.loads((folder / "study.json").read_text(encoding="utf-8")))
        return {first: read_rows(folder / "clinical.csv", CLINICAL)} if theirs == settings else None
    except (OSError, ValueError, AttributeError, InputError):
        return None


def _truth(rows: list[dict[str, Any]]) -> list[str]:
    """What does not depend on the first slice, as text, in which nan is alike."""
    return [str(row) for row in rows if row["method"] == TRUTH]


def _settled(study: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    """The first observed slice that ``study.json`` tells, and all else that settles results."""
    rest = {key: value for key, value in study.items() if key not in ("command", "versions")}
    decimate = dict(rest.get("decimate") or {})
    first = decimate.pop("offset", 0)
    return first, rest | {"decimate": decimate}
