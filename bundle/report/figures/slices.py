"""Figures that show slices: errors (the paper's Figure 2), expected errors, masks (its Figure 5), views along gaps."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from bundle.inferers.registry import label
from bundle.report.figures.panels import (
    BAR_MM,
    PANEL,
    band_height,
    draw_outline,
    finish,
    panel_grid,
    scale_bar,
    show,
    title_height,
    titles,
    write,
    zoom,
)
from bundle.report.figures.style import HEAT, PAGE_WIDTH, figure, wrapped
from bundle.report.figures.views import Cut, central_cut, chosen_nodules, through_cuts
from bundle.report.pictures import nice_limit
from bundle.report.results import TRUTH, StudyResults

ERROR_COLORS = "PuOr"
COLUMNS = 7  # panels of a row at most
# a wide line under a narrow one: both are seen where they coincide, and in a grey print
CONSENSUS, OUTLINE = ("#56B4E9", 2.4), ("#D55E00", 1.0)


def figure_errors(results: StudyResults, methods: Sequence[str]) -> tuple[Figure, str] | None:
    """Figure 2: the central unobserved slice of three nodules by image methods, and its error in HU.

    Args:
        results: of the study.
        methods: at most ``COLUMNS`` - 1 image methods.

    Returns:
        the figure and its caption; None if there is no nodule or image method to show.
    """
    nodules = chosen_nodules(results)
    if not nodules or not methods:
        return None
    cuts, truths, views, errors = {}, {}, {}, {}
    for nodule in nodules:
        truth = _known(results.truth_hu(nodule))
        cuts[nodule] = central_cut(_known(results.truth_mask(nodule)), results.facts[nodule])
        truths[nodule] = cuts[nodule].view(truth)
        for method in methods:
            image = results.image_hu(nodule, method)
            if image is not None:
                views[nodule, method] = cuts[nodule].view(image)
                errors[nodule, method] = views[nodule, method] - truths[nodule]
    limit = nice_limit(list(errors.values()))
    columns = len(methods) + 1
    height = 2 * _height(results, cuts) + 0.7 + title_height(methods)
    with figure(PAGE_WIDTH, height) as drawn:
        axes = panel_grid(drawn, 2 * len(nodules), columns)
        shown = None
        for k, nodule in enumerate(nodules):
            facts, cut = results.facts[nodule], cuts[nodule]
            top, below = axes[2 * k], axes[2 * k + 1]
            show(top[0], truths[nodule], cut, facts)
            scale_bar(top[0], truths[nodule], cut, facts)
            write(below[0], _nodule_words(results, nodule, cut))
            for method, upper, lower in zip(methods, top[1:], below[1:], strict=False):
                if (nodule, method) not in views:
                    write(upper, "none:\nsee failures")
                    write(lower, "")
                    continue
                show(upper, views[nodule, method], cut, facts)
                shown = show(lower, errors[nodule, method], cut, facts, cmap=ERROR_COLORS, vmin=-limit, vmax=limit)
            titles(top, [TRUTH, *methods] if k == 0 else [])
        if shown is not None:
            bar = drawn.colorbar(shown, ax=axes, location="bottom", shrink=0.5, aspect=40, pad=0.02, extend="both")
            bar.set_label("reconstruction minus truth, HU")
            bar.outline.set_linewidth(0.4)
        finish(drawn)
    return drawn, (
        f"{_which(results, nodules).capitalize()} of {_count(nodules)}, and error of each method in HU "
        f"({results.kind_words}; lung window; truth clipped to -1000 to 400 HU as in all measurements; bar: {BAR_MM} "
        "mm). Colours end at the middle one of the methods' 99th percentiles."
    )


def figure_expected_errors(results: StudyResults, methods: Sequence[str]) -> tuple[Figure, str] | None:
    """Actual absolute error beside the expected one, on the central unobserved slice of three nodules.

    Args:
        results: of the study.
        methods: at most ``COLUMNS`` // 2 methods that say how far they may be off.

    Returns:
        the figure and its caption; None if no method says how far it may be off, or no nodule has pictures.
    """
    nodules = chosen_nodules(results)
    panels: dict[tuple[str, str], np.ndarray] = {}
    cuts = {}
    for nodule in nodules:
        cuts[nodule] = central_cut(_known(results.truth_mask(nodule)), results.facts[nodule])
        for method in methods:
            image, expected = results.image_hu(nodule, method), results.error_hu(nodule, method)
            if image is not None and expected is not None:
                actual = np.abs(image - _known(results.truth_hu(nodule)))
                panels[nodule, method] = np.stack([cuts[nodule].view(v) for v in (actual, expected)])
    if not panels:
        return None
    limit, columns = nice_limit(list(panels.values())), 2 * len(methods) + 1
    with figure(PAGE_WIDTH, _height(results, cuts) + 1.2 + title_height(methods)) as drawn:
        axes = panel_grid(drawn, len(nodules), columns)
        shown = None
        for nodule, row in zip(nodules, axes, strict=True):
            facts, cut = results.facts[nodule], cuts[nodule]
            write(row[0], _nodule_words(results, nodule, cut))
            for i, method in enumerate(methods):
                places = row[1 + 2 * i : 3 + 2 * i]
                if (nodule, method) not in panels:
                    write(places[0], "none:\nsee failures")
                    write(places[1], "")
                    continue
                for place, view in zip(places, panels[nodule, method], strict=True):
                    shown = show(place, view, cut, facts, cmap=HEAT, vmin=0, vmax=limit)
        for i, method in enumerate(methods):
            words = wrapped(label(method))
            axes[0, 1 + 2 * i].set_title(f"{words}:\nactual\nerror")
            axes[0, 2 + 2 * i].set_title("expected\nerror")
        assert shown is not None
        bar = drawn.colorbar(shown, ax=axes, location="bottom", shrink=0.5, aspect=40, pad=0.02, extend="max")
        bar.set_label("absolute error, HU")
        bar.outline.set_linewidth(0.4)
        finish(drawn)
    return drawn, (
        f"Actual absolute error on the {_which(results, nodules)} of {_count(nodules)}, and beside it what the method "
        f"expects it to be on average, from the observed slices alone ({results.kind_words}; truth clipped to -1000 to "
        "400 HU as in all measurements). Colours end at the middle one of the methods' 99th percentiles."
    )


def figure_masks(results: StudyResults, methods: Sequence[str]) -> tuple[Figure, str] | None:
    """Figure 5: outline of the readers' consensus and of each method's mask on the central unobserved slice.

    Args:
        results: of the study.
        methods: at most ``COLUMNS`` methods.

    Returns:
        the figure and its caption; None if there is no nodule to show.
    """
    nodules = chosen_nodules(results)
    if not nodules:
        return None
    threshold = results.main_threshold
    cuts = {n: central_cut(_known(results.truth_mask(n)), results.facts[n]) for n in nodules}
    with figure(PAGE_WIDTH, len(nodules) * PANEL + 0.5 + title_height(methods)) as drawn:
        axes = panel_grid(drawn, len(nodules), len(methods))
        for nodule, row in zip(nodules, axes, strict=True):
            facts, cut = results.facts[nodule], cuts[nodule]
            truth = cut.view(_known(results.truth_hu(nodule)))
            true_mask = cut.view(_known(results.truth_mask(nodule)))
            for method, place in zip(methods, row, strict=False):
                mask = results.mask(nodule, method, threshold)
                if mask is None:
                    write(place, "none:\nsee failures")
                    continue
                show(place, truth, cut, facts)
                draw_outline(place, true_mask, cut, facts, *CONSENSUS)
                draw_outline(place, cut.view(mask), cut, facts, *OUTLINE)
                zoom(place, true_mask, cut, facts)
            row[0].set_ylabel(_short(nodule))
        titles(axes[0], methods)
        handles = [Line2D([], [], color=color, linewidth=width) for color, width in (CONSENSUS, OUTLINE)]
        drawn.legend(handles, ["readers' consensus", "method"], loc="outside lower center", ncols=2)
        finish(drawn)
    at = f"image methods at {threshold:g} HU" if threshold is not None else "masks as given"
    return drawn, (
        f"Masks on the {_which(results, nodules)} of {_count(nodules)}: readers' consensus (wide, blue) and each "
        f"method's mask (narrow, orange); {at} within the consensus dilated by the margin of the region of interest "
        f"({results.kind_words})."
    )


def figure_along_gap(results: StudyResults, methods: Sequence[str]) -> tuple[Figure, str] | None:
    """The two planes that contain the decimated axis, where missing slices show, in the right proportions.

    Args:
        results: of the study.
        methods: at most ``COLUMNS`` - 2 image methods.

    Returns:
        the figure and its caption; None if there is no nodule or image method to show.
    """
    nodules = chosen_nodules(results, 1)
    if not nodules or not methods:
        return None
    nodule = nodules[0]
    facts, truth = results.facts[nodule], _known(results.truth_hu(nodule))
    cuts = through_cuts(_known(results.truth_mask(nodule)), facts)
    seen = np.full_like(truth, np.nan)
    kept = (slice(None),) * facts.axis + (list(facts.observed),)
    seen[kept] = truth[kept]
    images = {TRUTH: truth, "observed": seen} | {name: results.image_hu(nodule, name) for name in methods}
    heights = [band_height(cut, facts) for cut in cuts]
    with figure(PAGE_WIDTH, sum(heights) + 0.3 + title_height(images)) as drawn:
        axes = panel_grid(drawn, len(cuts), len(images), height_ratios=heights)
        for cut, row in zip(cuts, axes, strict=True):
            for image, place in zip(images.values(), row, strict=False):
                if image is None:
                    write(place, "none:\nsee failures")
                else:
                    show(place, cut.view(image), cut, facts, bad="#1f4e79")
            scale_bar(row[0], cut.view(truth), cut, facts)
            # upright: turned, the words of thin cuts would run into each other
            row[0].set_ylabel(cut.words(facts.spacing).replace(", ", "\n"), rotation=0, ha="right", va="center")
        titles(axes[0], list(images))
        finish(drawn)
    return drawn, (
        f"{_short(nodule)} in the two planes along the gap: truth, the observed slices alone (1 in "
        f"{facts.observed[1] - facts.observed[0] if len(facts.observed) > 1 else 1}, {facts.gap_mm:.2f} mm apart; "
        f"blue: not observed), and each image method ({results.kind_words}; lung window; bar: {BAR_MM} mm)."
    )


def _height(results: StudyResults, cuts: dict[str, Cut]) -> float:
    return sum(band_height(cut, results.facts[name]) for name, cut in cuts.items())


def _nodule_words(results: StudyResults, nodule: str, cut: Cut) -> str:
    facts = results.facts[nodule]
    size = f"{facts.diameter_mm:.1f} mm\n" if facts.diameter_mm else ""
    where = cut.words(facts.spacing).replace(", ", "\n")
    return f"{wrapped(_short(nodule), 14)}\n{size}gap {facts.gap_mm:.2f} mm\n{where}"


def _short(nodule: str) -> str:
    return nodule.removeprefix("LIDC-IDRI-").replace("_", " ")


def _which(results: StudyResults, nodules: Sequence[str]) -> str:
    """What :func:`central_cut` gives: where another axis was decimated, no axial slice is observed as a whole."""
    return f"central {'unobserved' if results.facts[nodules[0]].axis == 2 else 'axial'} slice"


def _count(nodules: Sequence[str]) -> str:
    words = {1: "one nodule", 2: "two nodules", 3: "three nodules"}
    return f"{words[len(nodules)]} ({', '.join(_short(name) for name in nodules)})"


def _known(volume: np.ndarray | None) -> np.ndarray:
    """A volume that :func:`chosen_nodules` has made sure of."""
    assert volume is not None
    return volume
