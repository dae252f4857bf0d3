"""All figures of a report, drawn and saved one after the other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from bundle.report.figures.curves import (
    figure_learning,
    figure_paired,
    figure_texture,
    figure_thresholds,
)
from bundle.report.figures.slices import figure_along_gap, figure_errors, figure_expected_errors, figure_masks
from bundle.report.figures.style import save
from bundle.report.figures.uncertainty import figure_reliability
from bundle.report.results import StudyResults

FIGURES: dict[str, tuple[str, Callable[[StudyResults], Any]]] = {
    "figure2_errors": ("Slices and their errors (the paper's Figure 2)", figure_errors),
    "figure_along_gap": ("Across the missing slices", figure_along_gap),
    "figure3_texture": ("Texture (the paper's Figure 3)", figure_texture),
    "figure4_thresholds": ("Shape against threshold (the paper's Figure 4)", figure_thresholds),
    "figure5_masks": ("Masks (the paper's Figure 5)", figure_masks),
    "figure_paired": ("Nodule by nodule", figure_paired),
    "figure_learning": ("Learning curves", figure_learning),
}
# drawn only where a method says how far it may be off
UNCERTAINTY_FIGURES: dict[str, tuple[str, Callable[[StudyResults], Any]]] = {
    "figure_reliability": ("Are intervals as wide as they should be?", figure_reliability),
    "figure_expected_errors": ("Actual and expected error", figure_expected_errors),
}


@dataclass(frozen=True)
class Drawn:
    """A figure that was saved.

    Attributes:
        name: of its files in ``figures/``.
        title: a few words.
        caption: what it shows, of what data.
        picture: for the screen, as a ``data:`` address.
    """

    name: str
    title: str
    caption: str
    picture: str


def draw_figures(results: StudyResults) -> tuple[list[Drawn], list[str]]:
    """Draw every figure that the results allow, and save it as PNG and PDF in ``figures/`` of the output folder.

    Returns:
        the figures, and a sentence for each that could not be drawn or is not complete.
    """
    done, left_out = [], []
    wanted = FIGURES | (UNCERTAINTY_FIGURES if results.unsure_methods else {})
    for name, (title, draw) in wanted.items():
        made = draw(results)
        if made is None:
            left_out.append(f"{title}: there is nothing to show, as no method gave what it needs")
            continue
        figure, caption, *incomplete = made
        left_out += [sentence for sentences in incomplete for sentence in sentences]
        # in the picture itself, as it may travel without its caption
        figure.suptitle(results.kind_words, x=0.995, ha="right", fontsize=7, color="#555555")
        done.append(Drawn(name, title, caption, save(figure, results.root / "figures", name)))
    return done, left_out
