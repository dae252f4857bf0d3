"""What the page shows of one nodule: facts, values of every method, and its films."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from bundle.inferers.registry import label
from bundle.report.figures.style import nice_limit
from bundle.report.figures.views import central_cut
from bundle.report.page.films import Window, film_heat, film_marks, film_outline, film_picture, film_window
from bundle.report.results import TRUTH, StudyResults
from bundle.report.tables.main_columns import MAIN_COLUMNS, threshold_of
from bundle.report.tables.table import DASH
from bundle.report.tidy import number_text


def nodule_page(results: StudyResults, nodule: str, number: int) -> dict[str, Any]:
    """The values that the template of a nodule needs.

    Args:
        results: of the study.
        nodule: its id.
        number: counted from 1, for addresses within the page.

    Returns:
        ``id``, ``anchor``, ``facts`` (words), ``rows`` (method and values), ``failed`` (method and reason),
        ``notes``, and ``films``, which is None for a nodule without pictures.
    """
    return {
        "id": nodule,
        "anchor": f"nodule-{number}",
        "facts": _facts(results, nodule),
        "rows": [_row(results, nodule, method) for method in results.methods],
        "failed": [(label(f["method"]), f["reason"]) for f in results.failures if f["nodule_id"] == nodule],
        "notes": [(label(name), note) for name in results.methods for note in results.notes(nodule, name)],
        "films": _films(results, nodule),
    }


def _facts(results: StudyResults, nodule: str) -> list[tuple[str, str]]:
    facts = results.facts.get(nodule)
    if facts is None:
        return []
    found = [
        ("crop", f"{' × '.join(map(str, facts.shape))} voxels"),
        ("spacing", f"{' × '.join(f'{s:.3g}' for s in facts.spacing)} mm"),
        ("observed", f"{len(facts.observed)} of {facts.shape[facts.axis]} slices along {'xyz'[facts.axis]}"),
    ]
    if len(facts.observed) > 1:
        found.append(("gap", f"{facts.gap_mm:.2f} mm"))
    if facts.slice_thickness:
        found.append(("slice thickness", f"{facts.slice_thickness:g} mm"))
    if facts.diameter_mm:
        found.append(("diameter", f"{facts.diameter_mm:.1f} mm"))
    if "malignancy" in facts.ratings:
        found.append(("malignancy, 1 to 5", f"{facts.ratings['malignancy']:.2f}"))
    return found


def _row(results: StudyResults, nodule: str, method: str) -> tuple[str, ...]:
    cells = []
    for column in MAIN_COLUMNS:
        at = threshold_of(results, method, column)
        value = results.values(method, column.slices, column.region, at, column.metric).get(nodule)
        cells.append(number_text(math.nan if value is None else value, column.decimals))
    seconds = results.seconds.get((nodule, method))
    return (label(method), *cells, DASH if seconds is None else seconds_text(seconds))


def seconds_text(seconds: float) -> str:
    """Seconds to read, not to compute with.

    Example:
        >>> seconds_text(0.0004), seconds_text(25.8123), seconds_text(1234.5)
        ('< 0.01', '25.8', '1234')
    """
    if seconds < 0.01:
        return "< 0.01"
    return f"{seconds:.{2 if seconds < 10 else 1 if seconds < 100 else 0}f}"


def _films(results: StudyResults, nodule: str) -> dict[str, Any] | None:
    facts, truth, mask = results.facts.get(nodule), results.truth_hu(nodule), results.truth_mask(nodule)
    if facts is None or truth is None or mask is None:
        return None
    window = film_window(mask)
    across, down, step = facts.spacing
    wide, high, count = window.size
    consensus, of_truth = film_outline(mask, window), film_picture(truth, window)
    films: list[dict[str, Any]] = [
        {"label": label(TRUTH), "density": False, "on_truth": False, "picture": of_truth, "outline": ""}
    ]
    for method in results.methods:
        image = results.image_hu(nodule, method) if method in results.density_methods else None
        found = results.mask(nodule, method, results.main_threshold) if results.has(nodule, method) else None
        if image is None and found is None:
            continue
        films.append(
            {
                "label": label(method),
                "density": image is not None,
                "on_truth": image is None,
                "picture": of_truth if image is None else film_picture(image, window),
                "outline": "" if found is None else film_outline(found, window),
            }
        )
    films += _heat_films(results, nodule, truth, window)
    observed = [k - window.start[2] for k in facts.observed] if facts.axis == 2 else []
    return {
        "films": films,
        "consensus": consensus,
        "marks": film_marks(facts, window),
        "count": count,
        "first": window.start[2],
        "start": min(max(central_cut(mask, facts).index - window.start[2], 0), count - 1),
        "step": round(step, 4),
        "observed": observed,
        "view_box": f"0 0 {count * wide} {high}",
        "pixels": (count * wide, high),
        "ratio": f"{wide * across:.4g} / {high * down:.4g}",
        "part": window.size != facts.shape,
    }


def _heat_films(results: StudyResults, nodule: str, truth: np.ndarray, window: Window) -> Iterator[dict[str, Any]]:
    """Films of actual and expected absolute error, of each method that has the latter; all of a nodule in one scale."""
    panels = {}
    for method in results.unsure_methods:
        image, expected = results.image_hu(nodule, method), results.error_hu(nodule, method)
        if image is not None and expected is not None:
            panels[method] = {"actual error": np.abs(image - truth), "expected error": expected}
    limit = nice_limit([window.crop(volume) for pair in panels.values() for volume in pair.values()])
    for method, pair in panels.items():
        for words, volume in pair.items():
            film = {"label": f"{label(method)}, {words}", "density": False, "on_truth": False, "outline": ""}
            yield film | {"picture": film_heat(volume, window, limit), "limit": f"{limit:g}"}
