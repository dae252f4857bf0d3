"""Nodules on pages of their own, in groups, where a study has more of them than one page can hold.

The report itself then shows three of them, and links to each of the others; every page opens alone, as the report does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bundle.inferers.registry import label
from bundle.report.page.films import QUALITIES, Films, page_films
from bundle.report.page.nodule_page import nodule_page
from bundle.report.page.template import template
from bundle.report.results import StudyResults
from bundle.store import ResultStore
from bundle.transforms.hu import HU_MAX, HU_MIN

NODULES_A_PAGE = 60
FOLDER = "report_pages"


def page_groups(nodules: Sequence[str]) -> list[Sequence[str]]:
    """Nodules by page, in their order; one group of all, where one page can hold them.

    Example:
        >>> [len(group) for group in page_groups(["n"] * 60)], [len(group) for group in page_groups(["n"] * 130)]
        ([60], [60, 60, 10])
    """
    return [nodules[i : i + NODULES_A_PAGE] for i in range(0, len(nodules), NODULES_A_PAGE)]


def page_name(number: int) -> str:
    """Path of a page from the report, by its number from 0.

    Example:
        >>> page_name(0)
        'report_pages/nodules_001.html'
    """
    return f"{FOLDER}/nodules_{number + 1:03}.html"


def page_parts(results: StudyResults, nodules: Sequence[str], order: Sequence[str]) -> dict[str, Any]:
    """What templates need to show some nodules.

    Args:
        results: of the study.
        nodules: their ids.
        order: methods, in which their pictures find room.

    Returns:
        ``nodules``, ``viewed`` (those with pictures), ``ticked`` (methods), ``notes`` on the pictures, ``label``,
        ``hu_min`` and ``hu_max``.
    """
    films = page_films(results, order, nodules)
    numbers = {name: number for number, name in enumerate(results.nodules, start=1)}
    pages = [nodule_page(results, name, numbers[name], films.get(name)) for name in nodules]
    return {
        "nodules": pages,
        "viewed": [page for page in pages if page["films"]],
        "ticked": order[:4],
        "notes": film_notes(films),
        "label": label,
        "hu_min": HU_MIN,
        "hu_max": HU_MAX,
    }


def write_nodule_pages(results: StudyResults, order: Sequence[str], title: str) -> dict[str, str]:
    """Write the pages of a study that has more nodules than one can hold, one after the other.

    Returns:
        address of each nodule, from the report.
    """
    store, groups = ResultStore(results.root), page_groups(results.nodules)
    links: dict[str, str] = {}
    (results.root / FOLDER).mkdir(exist_ok=True)
    for number, group in enumerate(groups):
        parts = page_parts(results, group, order)
        near = {"before": number - 1, "after": number + 1}
        beside = {way: page_name(at).split("/")[1] for way, at in near.items() if 0 <= at < len(groups)}
        page = template("nodules.html.j2").render(
            title=title, results=results, number=number + 1, count=len(groups), beside=beside,
            example=next((page["id"] for page in parts["viewed"]), ""), **parts,
        )  # fmt: skip
        store.write_text(page_name(number), page)
        links |= {one["id"]: f"{page_name(number)}#{one['anchor']}" for one in parts["nodules"]}
    for left in (results.root / FOLDER).glob("nodules_*.html"):  # of a study of more nodules
        if int(left.stem.rpartition("_")[2]) > len(groups):
            left.unlink()
    return links


def film_notes(films: Mapping[str, Films]) -> list[str]:
    """What the pictures lack for the page's size."""
    notes = []
    worst = min((one.quality for one in films.values()), default=QUALITIES[0])
    if worst < QUALITIES[0]:
        notes.append(
            f"The page holds many nodules: pictures here have less detail (WebP of quality {worst} to "
            f"{max(one.quality for one in films.values())} of 100); the volumes in nodules/ have all of it."
        )
    lost = sorted({name for one in films.values() for name in one.left_out})
    if lost:
        notes.append(f"For want of room, pictures of {', '.join(map(label, lost))} are left out on some nodules.")
    return notes
