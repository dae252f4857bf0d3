"""Slices of a nodule as a radiologist looks at them, for figures and pages.

Arrays are (x, y, z), pointing to the patient's left, posterior and superior. A *view* is a 2-D image (rows,
columns) as it is displayed: axial with anterior up, coronal and sagittal with superior up, the patient's left (in
the sagittal view: back) to the viewer's right.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from bundle.report.facts import NoduleFacts
from bundle.report.results import StudyResults

PLANES = {0: "sagittal", 1: "coronal", 2: "axial"}


@dataclass(frozen=True)
class Cut:
    """Where a volume is cut: the axis that the view is perpendicular to, and the index along it."""

    axis: int
    index: int

    def view(self, volume: np.ndarray) -> np.ndarray:
        """The view, (rows, columns)."""
        flat = np.take(volume, self.index, axis=self.axis).T
        return flat if self.axis == 2 else flat[::-1]

    def pixel(self, spacing: Sequence[float]) -> tuple[float, float]:
        """Height and width of the view's pixels in mm."""
        across, down = (spacing[i] for i in range(3) if i != self.axis)
        return down, across

    def words(self, spacing: Sequence[float]) -> str:
        """E.g. ``axial, z = 12.5 mm`` from the lowest slice of the crop."""
        return f"{PLANES[self.axis]}, {'xyz'[self.axis]} = {self.index * spacing[self.axis]:.1f} mm"


def central_cut(mask: np.ndarray, facts: NoduleFacts) -> Cut:
    """The axial cut that shows a nodule best: an unobserved slice, as near to its centre as there is one.

    Where another axis was decimated, every axial slice has unobserved rows or columns: then it is the central.

    Args:
        mask: (X, Y, Z) bool; an empty one is taken to be in the middle.
        facts: of the crop.

    Example:
        >>> mask = np.zeros((3, 3, 11), bool)
        >>> mask[1, 1, 4:7] = True
        >>> central_cut(mask, NoduleFacts((1, 1, 1), (3, 3, 11), 2, (0, 5, 10)))
        Cut(axis=2, index=4)
    """
    centre = nodule_centre(mask)[2]
    candidates = np.array(facts.unobserved if facts.axis == 2 and facts.unobserved else range(facts.shape[2]))
    return Cut(2, int(candidates[np.argmin(np.abs(candidates - centre))]))


def through_cuts(mask: np.ndarray, facts: NoduleFacts) -> list[Cut]:
    """The two cuts through a nodule's centre that contain the decimated axis: there missing slices show."""
    centre = nodule_centre(mask)
    return [Cut(axis, round(centre[axis])) for axis in (1, 0, 2) if axis != facts.axis]


def nodule_centre(mask: np.ndarray) -> tuple[float, float, float]:
    """Mean index of the mask's voxels on each axis; the middle of the volume for an empty mask."""
    where = np.nonzero(mask)
    if not len(where[0]):
        where = tuple(np.array([(n - 1) / 2]) for n in mask.shape)
    return tuple(float(indices.mean()) for indices in where)  # type: ignore[return-value]


def outline(flat: np.ndarray) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """The border of a mask along pixel edges, exactly as the voxels have it.

    Args:
        flat: (rows, columns) bool.

    Returns:
        straight pieces ((x, y), (x, y)), where x counts columns and y rows from the top left corner of the view.

    Example:
        >>> sorted(outline(np.array([[True]])))
        [((0, 0), (0, 1)), ((0, 0), (1, 0)), ((0, 1), (1, 1)), ((1, 0), (1, 1))]
    """
    padded = np.pad(flat.astype(bool), 1).astype(np.int8)
    pieces = []
    for turned in (False, True):
        # a border between row i - 1 and row i, by its sign: pieces that turn are not joined
        steps = np.diff(padded.T if turned else padded, axis=0)
        for level, line in enumerate(steps):
            edges = np.flatnonzero(np.diff(line))
            for start, end in pairwise(edges):
                if line[end]:
                    first, last = (int(start), level), (int(end), level)
                    pieces.append((first[::-1], last[::-1]) if turned else (first, last))
    return pieces


def chosen_nodules(results: StudyResults, count: int = 3) -> list[str]:
    """The nodules that figures show: a small, a middle and a large one of those with the most methods.

    They are at the middle of ``count`` equal parts of the nodules in the order of their volume in mm3, so no one
    picks them, and none is the smallest or largest of many.

    Returns:
        at most ``count`` ids, small to large; fewer if there are fewer nodules with pictures.
    """
    done = {name: sum(results.has(name, method) for method in results.methods) for name in results.facts}
    most = max(done.values(), default=0)
    volumes = {name: mm3 for name, mm3 in results.tumour_mm3.items() if done[name] == most > 0}
    ordered = sorted(volumes, key=lambda name: (volumes[name], name))
    while True:
        chosen = list(dict.fromkeys(ordered[int((i + 0.5) * len(ordered) / count)] for i in range(count) if ordered))
        damaged = [name for name in chosen if results.truth_hu(name) is None]
        if not damaged:
            return chosen
        ordered = [name for name in ordered if name not in damaged]
