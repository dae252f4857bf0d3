"""Volumes as pictures that the page carries, for its viewer, which cuts them in three planes.

Vocabulary: a *film* is every axial slice of a volume side by side in one picture, lowest slice first. Without a script
it is a strip through z. Three kinds: an ``image`` in grey over the whole HU window, a ``mask``, and an ``error`` in
grey from none to a limit.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from bundle.inferers.registry import label
from bundle.report.figures.views import Cut, nodule_centre
from bundle.report.pictures import data_address, grey, nice_limit
from bundle.report.results import TRUTH, StudyResults
from bundle.transforms.hu import HU_MAX, HU_MIN

LARGEST = (128, 128, 120)
"""Voxels of a film at most, per axis: of a whole CT, that much around the nodule's centre is shown."""
QUALITIES = (90, 75, 60, 45, 30)
"""Of WebP, best first: the first at which a nodule's films fit its share of the page is taken."""
PAGE_BYTES = 10_000_000
"""Of all films of a page at most."""


@dataclass(frozen=True)
class Window:
    """The part of a volume that films show: first voxel and number of voxels on each axis."""

    start: tuple[int, int, int]
    size: tuple[int, int, int]

    def crop(self, volume: np.ndarray) -> np.ndarray:
        """The part of the volume, (X, Y, Z)."""
        return volume[tuple(slice(first, first + n) for first, n in zip(self.start, self.size, strict=True))]


@dataclass(frozen=True)
class Film:
    """One film, of one method or the truth.

    Attributes:
        kind: ``image``, ``mask`` or ``error``.
        method: its name.
        picture: ``data:`` address.
    """

    kind: str
    method: str
    picture: str

    @property
    def words(self) -> str:
        """What it shows, for people."""
        kind = {"image": "", "mask": ", mask", "error": ", expected error"}[self.kind]
        return label(self.method) + kind


@dataclass(frozen=True)
class Films:
    """All films of a nodule.

    Attributes:
        window: the part of the crop that they show.
        limit: HU where an error is lightest.
        films: the truth's first.
        quality: of their pictures.
        left_out: methods that found no room.
    """

    window: Window
    limit: float
    films: tuple[Film, ...]
    quality: int
    left_out: tuple[str, ...] = ()


def film_window(mask: np.ndarray) -> Window:
    """All of a crop, or so much of a larger volume around the nodule as a page can hold.

    Example:
        >>> film_window(np.ones((20, 500, 30), bool))
        Window(start=(0, 186, 0), size=(20, 128, 30))
    """
    size = [min(n, largest) for n, largest in zip(mask.shape, LARGEST, strict=True)]
    middle = nodule_centre(mask)
    start = [
        int(np.clip(round(centre - n / 2 + 0.5), 0, whole - n))
        for centre, n, whole in zip(middle, size, mask.shape, strict=True)
    ]
    return Window(tuple(start), tuple(size))  # type: ignore[arg-type]


def film_picture(volume: np.ndarray, low: float, high: float, quality: int | None) -> str:
    """A volume's film as a ``data:`` address.

    Args:
        volume: (X, Y, Z).
        low: value that is black.
        high: value that is white.
        quality: of the picture, up to 100; None: lossless.
    """
    shades = grey(volume, low, high)
    film = np.concatenate([Cut(2, k).view(shades) for k in range(shades.shape[2])], axis=1)
    return data_address(Image.fromarray(film), quality)


def page_films(results: StudyResults, methods: Sequence[str], nodules: Iterable[str]) -> dict[str, Films]:
    """The films of a page's nodules that have pictures, each with a share of the page by its size.

    Args:
        results: of the study.
        methods: in the order in which they are to find room.
        nodules: of the page.
    """
    shapes = {name: np.minimum(results.facts[name].shape, LARGEST) for name in nodules if name in results.facts}
    voxels = sum(int(shape.prod()) for shape in shapes.values())
    made = {n: nodule_films(results, n, methods, PAGE_BYTES * shape.prod() / voxels) for n, shape in shapes.items()}
    return {name: films for name, films in made.items() if films}


def nodule_films(results: StudyResults, nodule: str, methods: Iterable[str], room: float) -> Films | None:
    """The films of a nodule, as good as its share of the page allows.

    Args:
        results: of the study.
        nodule: its id.
        methods: in the order in which they are to find room.
        room: bytes for all of them.

    Returns:
        None for a nodule without pictures.
    """
    truth, mask = results.truth_hu(nodule), results.truth_mask(nodule)
    if truth is None or mask is None:
        return None
    window = film_window(mask)
    volumes: list[tuple[str, str, np.ndarray]] = [("image", TRUTH, truth), ("mask", TRUTH, mask)]
    errors = []
    for name in methods:
        image = results.image_hu(nodule, name) if name not in results.mask_methods else None
        found = results.mask(nodule, name, results.main_threshold) if results.has(nodule, name) else None
        expected = results.error_hu(nodule, name)
        volumes += [(k, name, v) for k, v in (("image", image), ("mask", found), ("error", expected)) if v is not None]
        errors += [window.crop(np.abs(image - truth))] if image is not None else []
    volumes = [(kind, name, window.crop(volume)) for kind, name, volume in volumes]
    limit = nice_limit(errors)
    masks = {name: film_picture(volume, 0, 1, None) for kind, name, volume in volumes if kind == "mask"}
    for quality in QUALITIES:
        films = [Film(kind, name, _picture(kind, volume, limit, quality, masks[name] if kind == "mask" else ""))
                 for kind, name, volume in volumes]  # fmt: skip
        if sum(len(film.picture) for film in films) <= room:
            break
    kept, used = [], 0
    shown = list(dict.fromkeys(film.method for film in films))
    for name in shown:
        used += sum(len(film.picture) for film in films if film.method == name)
        kept += [name] if name == TRUTH or used <= room else []
    left_out = tuple(name for name in shown if name not in kept)
    return Films(window, limit, tuple(f for f in films if f.method in kept), quality, left_out)


def _picture(kind: str, volume: np.ndarray, limit: float, quality: int, mask: str) -> str:
    if kind == "mask":
        return mask
    low, high = (HU_MIN, HU_MAX) if kind == "image" else (0.0, limit)
    return film_picture(volume, low, high, quality)
