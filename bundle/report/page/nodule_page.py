"""What the page shows of one nodule: facts, values of every method, and its films."""

from __future__ import annotations

from typing import Any

from bundle.data.scanner import scanner_words
from bundle.inferers.registry import label
from bundle.report.figures.views import central_cut, nodule_centre
from bundle.report.page.films import Films
from bundle.report.page.overview import nodule_table
from bundle.report.results import StudyResults


def nodule_page(results: StudyResults, nodule: str, number: int, films: Films | None) -> dict[str, Any]:
    """The values that the template of a nodule needs.

    Args:
        results: of the study.
        nodule: its id.
        number: counted from 1, for addresses within the page.
        films: of the nodule.

    Returns:
        ``id``, ``anchor``, ``facts`` (words), ``values`` (a table), ``failed`` (method and reason),
        ``notes``, ``films``, which is None for a nodule without pictures, and ``viewer``, what its script needs.
    """
    return {
        "id": nodule,
        "anchor": f"nodule-{number}",
        "facts": _facts(results, nodule),
        "values": nodule_table(results, nodule),
        "failed": [(label(f["method"]), f["reason"]) for f in results.failed_methods.get(nodule, [])],
        "notes": [(label(name), note) for name in results.methods for note in results.notes(nodule, name)],
        "films": films,
        "viewer": None if films is None else _viewer(results, nodule, films),
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
    if facts.scanner:
        found.append(("scanner", scanner_words(facts.scanner)))
    return found


def _viewer(results: StudyResults, nodule: str, films: Films) -> dict[str, Any]:
    """What the viewer's script needs beside the films: all in voxels of the films."""
    facts, mask = results.facts[nodule], results.truth_mask(nodule)
    assert mask is not None  # films were made of it
    start, size = films.window.start, films.window.size
    first = [*(round(c) - s for c, s in zip(nodule_centre(mask), start, strict=True))]
    first[2] = central_cut(mask, facts).index - start[2]
    seen = [i - start[facts.axis] for i in facts.observed]
    return {
        "size": size,
        "start": start,
        "spacing": [round(step, 5) for step in facts.spacing],
        "axis": facts.axis,
        "observed": [i for i in seen if 0 <= i < size[facts.axis]],
        "first": [min(max(i, 0), n - 1) for i, n in zip(first, size, strict=True)],
        "limit": films.limit,
    }
