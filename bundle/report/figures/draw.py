"""All figures of a report, drawn and saved one after the other.

A figure that has a panel for each method shows so many that they can be read: first those that a reader looks for, the
others in further figures of the same kind.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from bundle.progress import counted
from bundle.report.figures.agreement import figure_agreement, figure_concordance_curves
from bundle.report.figures.curves import (
    figure_learning,
    figure_paired,
    figure_texture,
    figure_thresholds,
)
from bundle.report.figures.first_slice import figure_first_slice
from bundle.report.figures.size_agreement import PANELS, figure_categories, figure_volumes, sized_methods
from bundle.report.figures.slices import (
    COLUMNS,
    figure_along_gap,
    figure_errors,
    figure_expected_errors,
    figure_masks,
)
from bundle.report.figures.style import save
from bundle.report.figures.uncertainty import figure_reliability
from bundle.report.first_slices import first_slices
from bundle.report.options import ReportOptions
from bundle.report.results import StudyResults
from bundle.report.tables.main_columns import MAIN_COLUMNS, Column, best_first

PAPERS = ("cubic", "siren", "morphological")
TUMOUR, SHAPE = (next(c for c in MAIN_COLUMNS if c.region == region) for region in ("tumour", "roi"))


@dataclass(frozen=True)
class Plan:
    """How a kind of figure is made.

    Attributes:
        title: a few words.
        draw: from results; of a figure with panels, from results and methods.
        methods: those that have a panel; None of a figure without.
        most: methods of one figure.
        best_by: decides which methods come first.
        optional: not missed where no method gives what it needs.
        settled: whether the report's options are a further argument of ``draw``.
    """

    title: str
    draw: Callable[..., Any]
    methods: Callable[[StudyResults], Sequence[str]] | None = None
    most: int = 0
    best_by: Column = TUMOUR
    optional: bool = False
    settled: bool = False

    def pages(self, results: StudyResults) -> Iterator[tuple[Any, ...]]:
        """Arguments of ``draw``, for one figure after the other."""
        if self.methods is None:
            yield (results,)
        else:
            for page in method_pages(results, self.methods(results), self.most, self.best_by):
                yield results, page


FIGURES = {
    "figure2_errors": Plan(
        "Slices and their errors (the paper's Figure 2)", figure_errors, lambda r: r.image_methods, COLUMNS - 1
    ),
    "figure_along_gap": Plan("Across the missing slices", figure_along_gap, lambda r: r.image_methods, COLUMNS - 2),
    "figure3_texture": Plan("Texture (the paper's Figure 3)", figure_texture),
    "figure4_thresholds": Plan("Shape against threshold (the paper's Figure 4)", figure_thresholds),
    "figure5_masks": Plan("Masks (the paper's Figure 5)", figure_masks, lambda r: r.methods, COLUMNS, SHAPE),
    "figure_paired": Plan("Nodule by nodule", figure_paired),
    "figure_learning": Plan("Learning curves", figure_learning, optional=True),
}
# drawn only where sizes were measured
SIZE_FIGURES = {
    "figure_volumes": Plan("Volumes against the truth's", figure_volumes, sized_methods, PANELS, SHAPE),
    "figure_categories": Plan("Nodules that change their category", figure_categories),
}
# drawn only where radiomic features were measured
RADIOMICS_FIGURES = {
    "figure_radiomics": Plan("Agreement of radiomic features", figure_agreement, settled=True),
    "figure_radiomics_curves": Plan("How many features agree", figure_concordance_curves, settled=True),
}
# drawn only where sizes were measured at several first slices
FIRST_SLICE_FIGURES = {"figure_first_slice": Plan("Volume and the first slice", figure_first_slice)}
# drawn only where a method says how far it may be off
UNCERTAINTY_FIGURES = {
    "figure_reliability": Plan("Are intervals as wide as they should be?", figure_reliability),
    "figure_expected_errors": Plan(
        "Actual and expected error", figure_expected_errors, lambda r: r.unsure_methods, COLUMNS // 2
    ),
}


@dataclass(frozen=True)
class Drawn:
    """A figure that was saved.

    Attributes:
        name: of its files in ``figures/``.
        title: a few words.
        caption: what it shows, of what data.
        picture: for the screen, as a ``data:`` address.
        further: whether it shows the methods that others of its kind leave out.
    """

    name: str
    title: str
    caption: str
    picture: str
    further: bool = False


def method_pages(results: StudyResults, methods: Sequence[str], most: int, best_by: Column) -> list[list[str]]:
    """Methods in groups that one figure can show, each in the order of the study.

    Args:
        results: of the study.
        methods: to be shown; if none, there is one empty group.
        most: of a group.
        best_by: the first group has the paper's methods, then those with the best mean.
    """
    looked_for = [*(name for name in PAPERS if name in methods), *best_first(results, methods, best_by), *methods]
    first = list(dict.fromkeys(looked_for))[:most]
    others = [name for name in methods if name not in first]
    pages = [[name for name in methods if name in first]]
    return pages + [others[i : i + most] for i in range(0, len(others), most)]


def draw_figures(results: StudyResults, options: ReportOptions | None = None) -> tuple[list[Drawn], list[str]]:
    """Draw every figure that the results allow, and save it as PNG and PDF in ``figures/`` of the output folder.

    Args:
        results: of the study.
        options: which nodules count for agreement.

    Returns:
        the figures, and a sentence for each that could not be drawn or is not complete.
    """
    done, left_out = [], []
    wanted = FIGURES | (UNCERTAINTY_FIGURES if results.unsure_methods else {})
    wanted |= (SIZE_FIGURES if results.clinical else {}) | (RADIOMICS_FIGURES if results.radiomics else {})
    wanted |= FIRST_SLICE_FIGURES if len(first_slices(results)) > 1 else {}
    for name, plan in counted(wanted.items(), "figures", "figure", delay=2):
        for number, arguments in enumerate(plan.pages(results), start=1):
            made = plan.draw(*arguments, *([options or ReportOptions()] if plan.settled else []))
            if made is None:
                if not plan.optional:
                    left_out.append(f"{plan.title}: there is nothing to show, as no method gave what it needs")
                continue
            figure, caption, *incomplete = made
            left_out += [sentence for sentences in incomplete for sentence in sentences]
            file, title = (name, plan.title) if number == 1 else (f"{name}_{number}", f"{plan.title}: further methods")
            picture = saved(figure, results.root, file, results.kind_words)
            done.append(Drawn(file, title, caption, picture, number > 1))
    return done, left_out


def saved(figure: Figure, root: Path, file: str, kind_words: str) -> str:
    """Save a figure in ``figures/``; it says itself what data it is of, as it may travel without its caption."""
    figure.suptitle(kind_words, x=0.995, ha="right", fontsize=7, color="#555555")
    return save(figure, root / "figures", file)
