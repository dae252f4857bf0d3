"""Agreement of radiomic features with the truth's: mean concordance of each class, and of how many features."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from bundle.inferers.registry import label
from bundle.metrics.radiomics.features import CLASSES, FEATURES
from bundle.report.figures.style import (
    PAGE_WIDTH,
    figure,
    legend_below,
    legend_grid,
    looks,
    tick_label,
    wrapped,
)
from bundle.report.options import ReportOptions
from bundle.report.results import StudyResults
from bundle.report.statistics.agreement import LEVELS
from bundle.report.statistics.radiomic_agreement import RadiomicAgreement, radiomic_agreement

READERS = 0.84  # share of features of two readers of one scan (Choe, Radiology 2019; 292:365)
ROW = 0.19  # inches


def figure_agreement(results: StudyResults, options: ReportOptions) -> tuple[Figure, str] | None:
    """Heat map: mean concordance by class and method, a panel a resampling.

    Returns:
        the figure and its caption; None without features.
    """
    found, resamplings, methods = _found(results, options)
    if not found:
        return None
    groups = {"all": "all", **CLASSES}
    with figure(PAGE_WIDTH, 0.75 + ROW * len(methods)) as drawn:
        axes = drawn.subplots(1, len(resamplings), squeeze=False, sharey=True)[0]
        for place, resampling in zip(axes, resamplings, strict=True):
            means = np.array([[found[resampling, m].groups[g].mean.value for g in groups] for m in methods])
            texts = [[f"{v:.2f}" if np.isfinite(v) else "–" for v in row] for row in means]
            heat_map(place, means, texts, "cividis", (0.5, 1.0))
            place.set_xticks(range(len(groups)), [wrapped(words, 6) for words in groups.values()])
            place.set_title("voxels as they are" if resampling == "native" else f"cubes of {resampling}", loc="left")
        axes[0].set_yticks(range(len(methods)), [tick_label(name) for name in methods])
    return drawn, (
        f"Mean concordance (CCC) of radiomic features with the truth's by class, {_nodules(found)} "
        f"({results.kind_words}; {results.protocol_words}); brighter is better, from 0.5 to 1, the "
        "truth. Shares of features and intervals are in table_radiomics and table_radiomics_classes."
    )


def figure_concordance_curves(results: StudyResults, options: ReportOptions) -> tuple[Figure, str] | None:
    """The features' concordance, highest first, by method: how many reach a level.

    Returns:
        the figure and its caption; None without features.
    """
    found, resamplings, methods = _found(results, options)
    if not found:
        return None
    styles = looks(methods)
    lines = [f"CCC {LEVELS[0]:g}", f"two readers: {READERS:.0%}"]
    with figure(PAGE_WIDTH, 2.8 + legend_grid([*lines, *map(label, methods)])[1]) as drawn:
        axes = drawn.subplots(1, len(resamplings), squeeze=False, sharey=True)[0]
        for place, resampling in zip(axes, resamplings, strict=True):
            place.axhline(LEVELS[0], color="#000000", linewidth=0.8, label=lines[0])
            place.axvline(READERS, color="#000000", linewidth=0.8, linestyle=":", label=lines[1])
            for i, name in enumerate(methods):
                values = np.array([one.value for one in found[resampling, name].concordance])
                values = np.sort(values[np.isfinite(values)])[::-1]
                look = styles[name]
                place.plot(
                    np.arange(1, len(values) + 1) / len(FEATURES), values, color=look.color, label=label(name),
                    linestyle=look.linestyle, marker=look.marker, markevery=(3 * i % 17, 17), linewidth=1.2,
                )  # fmt: skip
            place.set(xlabel="features, highest CCC first", xlim=(0, 1), ylim=(0, 1.01))
            place.xaxis.set_major_formatter(PercentFormatter(1))
            place.set_title("voxels as they are" if resampling == "native" else f"cubes of {resampling}", loc="left")
        axes[0].set_ylabel("concordance (CCC) with the truth")
        legend_below(drawn, *axes)
    return drawn, (
        f"Concordance of {len(FEATURES)} radiomic features with the truth's, highest first, {_nodules(found)} "
        f"({results.kind_words}; {results.protocol_words}). Where a curve crosses {LEVELS[0]:g} is its share of "
        f"reproducible features; two readers of one scan reach {READERS:.0%} (Choe 2019). Below 0 is not shown."
    )


def heat_map(place: Axes, values: np.ndarray, texts: list[list[str]], colors: str, ends: tuple[float, float]) -> None:
    """Cells with their colour and their text; nan is grey.

    Args:
        place: where to.
        values: (rows, columns).
        texts: of the cells.
        colors: a colour map of matplotlib's that the colour-blind can read.
        ends: values of its first and its last colour.
    """
    shown = place.imshow(values, cmap=colors, vmin=ends[0], vmax=ends[1], aspect="auto")
    shown.set_cmap(shown.get_cmap().with_extremes(bad="#dddddd"))
    for (row, column), value in np.ndenumerate(values):
        red, green, blue, _ = shown.cmap(shown.norm(value))
        dark = 0.299 * red + 0.587 * green + 0.114 * blue < 0.45 and np.isfinite(value)
        color = "#ffffff" if dark else "#000000"
        place.text(column, row, texts[row][column], ha="center", va="center", fontsize=6.5, color=color)
    place.grid(visible=False)
    place.tick_params(length=0)
    for spine in place.spines.values():
        spine.set_visible(False)


def _found(
    results: StudyResults, options: ReportOptions
) -> tuple[dict[tuple[str, str], RadiomicAgreement], list[str], list[str]]:
    """The agreement, its resamplings and its methods."""
    found = radiomic_agreement(results, options.min_slices, options.seed)
    return found, list(dict.fromkeys(place[0] for place in found)), list(dict.fromkeys(place[1] for place in found))


def _nodules(found: dict) -> str:
    counts = sorted({one.n for one in found.values()})
    return f"{'' if len(counts) == 1 else f'{counts[0]} to '}{counts[-1]} nodules"
