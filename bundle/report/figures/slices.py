"""Figures that show slices: errors (the paper's Figure 2), expected errors, masks (its Figure 5), views along gaps."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from bundle.inferers.registry import label
from bundle.report.figures.style import HEAT, LUNG_WINDOW, PAGE_WIDTH, figure, nice_limit, wrapped
from bundle.report.figures.views import Cut, central_cut, chosen_nodules, outline, through_cuts
from bundle.report.results import TRUTH, NoduleFacts, StudyResults

ERROR_COLORS = "PuOr"
COLUMNS, FEWEST = 7, 5  # panels of a row
PANEL = PAGE_WIDTH / 6.5  # inches
# a wide line under a narrow one: both are seen where they coincide, and in a grey print
BAR_MM = 10
AROUND_MM = 6.0
CONSENSUS, OUTLINE = ("#56B4E9", 2.4), ("#D55E00", 1.0)


def figure_errors(results: StudyResults, methods: Sequence[str]) -> tuple[Figure, str] | None:
    """Figure 2: the central unobserved slice of three nodules by density methods, and its error in HU.

    Args:
        results: of the study.
        methods: at most ``COLUMNS`` - 1 density methods.

    Returns:
        the figure and its caption; None if there is no nodule or density method to show.
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
    height = 2 * _height(results, cuts) + 0.7 + _title_height(methods)
    with figure(PAGE_WIDTH, height) as drawn:
        axes = _grid(drawn, 2 * len(nodules), columns)
        shown = None
        for k, nodule in enumerate(nodules):
            facts, cut = results.facts[nodule], cuts[nodule]
            top, below = axes[2 * k], axes[2 * k + 1]
            _show(top[0], truths[nodule], cut, facts)
            _scale_bar(top[0], truths[nodule], cut, facts)
            _write(below[0], _nodule_words(results, nodule, cut))
            for method, upper, lower in zip(methods, top[1:], below[1:], strict=False):
                if (nodule, method) not in views:
                    _write(upper, "none:\nsee failures")
                    _write(lower, "")
                    continue
                _show(upper, views[nodule, method], cut, facts)
                shown = _show(lower, errors[nodule, method], cut, facts, cmap=ERROR_COLORS, vmin=-limit, vmax=limit)
            _titles(top, [TRUTH, *methods] if k == 0 else [])
        if shown is not None:
            bar = drawn.colorbar(shown, ax=axes, location="bottom", shrink=0.5, aspect=40, pad=0.02, extend="both")
            bar.set_label("reconstruction minus truth, HU")
            bar.outline.set_linewidth(0.4)
        _finish(drawn)
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
    with figure(PAGE_WIDTH, _height(results, cuts) + 1.2 + _title_height(methods)) as drawn:
        axes = _grid(drawn, len(nodules), columns)
        shown = None
        for nodule, row in zip(nodules, axes, strict=True):
            facts, cut = results.facts[nodule], cuts[nodule]
            _write(row[0], _nodule_words(results, nodule, cut))
            for i, method in enumerate(methods):
                places = row[1 + 2 * i : 3 + 2 * i]
                if (nodule, method) not in panels:
                    _write(places[0], "none:\nsee failures")
                    _write(places[1], "")
                    continue
                for place, view in zip(places, panels[nodule, method], strict=True):
                    shown = _show(place, view, cut, facts, cmap=HEAT, vmin=0, vmax=limit)
        for i, method in enumerate(methods):
            words = wrapped(label(method))
            axes[0, 1 + 2 * i].set_title(f"{words}:\nactual\nerror")
            axes[0, 2 + 2 * i].set_title("expected\nerror")
        assert shown is not None
        bar = drawn.colorbar(shown, ax=axes, location="bottom", shrink=0.5, aspect=40, pad=0.02, extend="max")
        bar.set_label("absolute error, HU")
        bar.outline.set_linewidth(0.4)
        _finish(drawn)
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
    with figure(PAGE_WIDTH, len(nodules) * PANEL + 0.5 + _title_height(methods)) as drawn:
        axes = _grid(drawn, len(nodules), len(methods))
        for nodule, row in zip(nodules, axes, strict=True):
            facts, cut = results.facts[nodule], cuts[nodule]
            truth = cut.view(_known(results.truth_hu(nodule)))
            true_mask = cut.view(_known(results.truth_mask(nodule)))
            for method, place in zip(methods, row, strict=False):
                mask = results.mask(nodule, method, threshold)
                if mask is None:
                    _write(place, "none:\nsee failures")
                    continue
                _show(place, truth, cut, facts)
                _outline(place, true_mask, cut, facts, *CONSENSUS)
                _outline(place, cut.view(mask), cut, facts, *OUTLINE)
                _zoom(place, true_mask, cut, facts)
            row[0].set_ylabel(_short(nodule))
        _titles(axes[0], methods)
        handles = [Line2D([], [], color=color, linewidth=width) for color, width in (CONSENSUS, OUTLINE)]
        drawn.legend(handles, ["readers' consensus", "method"], loc="outside lower center", ncols=2)
        _finish(drawn)
    at = f"density methods at {threshold:g} HU" if threshold is not None else "masks as given"
    return drawn, (
        f"Masks on the {_which(results, nodules)} of {_count(nodules)}: readers' consensus (wide, blue) and each "
        f"method's mask (narrow, orange); {at} within the consensus dilated by the margin of the region of interest "
        f"({results.kind_words})."
    )


def figure_along_gap(results: StudyResults, methods: Sequence[str]) -> tuple[Figure, str] | None:
    """The two planes that contain the decimated axis, where missing slices show, in the right proportions.

    Args:
        results: of the study.
        methods: at most ``COLUMNS`` - 2 density methods.

    Returns:
        the figure and its caption; None if there is no nodule or density method to show.
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
    heights = [_band_height(cut, facts) for cut in cuts]
    with figure(PAGE_WIDTH, sum(heights) + 0.3 + _title_height(images)) as drawn:
        axes = _grid(drawn, len(cuts), len(images), height_ratios=heights)
        for cut, row in zip(cuts, axes, strict=True):
            for image, place in zip(images.values(), row, strict=False):
                if image is None:
                    _write(place, "none:\nsee failures")
                else:
                    _show(place, cut.view(image), cut, facts, bad="#1f4e79")
            _scale_bar(row[0], cut.view(truth), cut, facts)
            # upright: turned, the words of thin cuts would run into each other
            row[0].set_ylabel(cut.words(facts.spacing).replace(", ", "\n"), rotation=0, ha="right", va="center")
        _titles(axes[0], list(images))
        _finish(drawn)
    return drawn, (
        f"{_short(nodule)} in the two planes along the gap: truth, the observed slices alone (1 in "
        f"{facts.observed[1] - facts.observed[0] if len(facts.observed) > 1 else 1}, {facts.gap_mm:.2f} mm apart; "
        f"blue: not observed), and each density method ({results.kind_words}; lung window; bar: {BAR_MM} mm)."
    )


def _show(place: Axes, view: np.ndarray, cut: Cut, facts: NoduleFacts, bad: str | None = None, **colors: Any) -> Any:
    down, across = cut.pixel(facts.spacing)
    rows, columns = view.shape
    options: dict[str, Any] = {"cmap": "gray", "vmin": LUNG_WINDOW[0], "vmax": LUNG_WINDOW[1]} | colors
    shown = place.imshow(view, extent=(0, columns * across, rows * down, 0), aspect="equal", **options)
    if bad is not None:
        shown.set_cmap(shown.get_cmap().with_extremes(bad=bad))
    _bare(place)
    return shown


def _outline(place: Axes, flat: np.ndarray, cut: Cut, facts: NoduleFacts, color: str, width: float) -> None:
    down, across = cut.pixel(facts.spacing)
    pieces = [[(x * across, y * down) for x, y in piece] for piece in outline(flat)]
    place.add_collection(LineCollection(pieces, colors=color, linewidths=width, capstyle="round"), autolim=False)


def _zoom(place: Axes, flat: np.ndarray, cut: Cut, facts: NoduleFacts) -> None:
    """Show a square around the mask, as wide as the mask and some mm; all of it for an empty mask."""
    where = np.nonzero(flat)
    if len(where[0]):
        steps = cut.pixel(facts.spacing)
        middle, half = [], 0.0
        for indices, step in zip(where, steps, strict=True):
            low, high = indices.min() * step, (indices.max() + 1) * step
            middle.append((low + high) / 2)
            half = max(half, (high - low) / 2 + AROUND_MM)
        place.set(xlim=(middle[1] - half, middle[1] + half), ylim=(middle[0] + half, middle[0] - half))
        place.set_facecolor("#333333")


def _scale_bar(place: Axes, view: np.ndarray, cut: Cut, facts: NoduleFacts) -> None:
    down, across = cut.pixel(facts.spacing)
    y, x = 0.94 * view.shape[0] * down, 0.05 * view.shape[1] * across
    for color, width in (("#000000", 3.5), ("#FFFFFF", 2.0)):
        place.plot([x, x + BAR_MM], [y, y], color=color, linewidth=width, solid_capstyle="butt")


def _write(place: Axes, text: str) -> None:
    place.text(0.5, 0.5, text, ha="center", va="center", transform=place.transAxes, fontsize=7)
    _bare(place)


def _bare(place: Axes) -> None:
    place.set(xticks=[], yticks=[])
    place.grid(visible=False)
    for spine in place.spines.values():
        spine.set_visible(False)


def _titles(row: Sequence[Axes], names: Sequence[str]) -> None:
    for place, name in zip(row, names, strict=False):
        place.set_title(wrapped(label(name)))


def _title_height(names: Iterable[str]) -> float:
    """Inches of the highest title over a panel."""
    return 0.14 * max(len(wrapped(label(name)).splitlines()) for name in names)


def _grid(drawn: Figure, rows: int, used: int, **options: Any) -> np.ndarray:
    """(rows, columns) panels, of which the first ``used`` of a row are; never so few that they outgrow the page."""
    axes = drawn.subplots(rows, max(used, FEWEST), squeeze=False, **options)
    for place in axes[:, used:].flat:
        place.set_axis_off()
    return axes


def _finish(drawn: Figure) -> None:
    engine = drawn.get_layout_engine()
    if engine is not None:
        engine.set(w_pad=0.03, h_pad=0.02, wspace=0.01, hspace=0.01)  # type: ignore[call-arg]


def _band_height(cut: Cut, facts: NoduleFacts) -> float:
    """Inches of a row of such views, a panel wide; a very flat one has room for the words beside it."""
    down, across = cut.pixel(facts.spacing)
    width, height = (facts.shape[i] for i in range(3) if i != cut.axis)
    return min(1.4 * PANEL, max(0.6 * PANEL, PANEL * (height * down) / (width * across)))


def _height(results: StudyResults, cuts: dict[str, Cut]) -> float:
    return sum(_band_height(cut, results.facts[name]) for name, cut in cuts.items())


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
