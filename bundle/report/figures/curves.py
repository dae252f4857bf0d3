"""Figures that show curves: HU density and spectrum (the paper's Figure 3), shape against threshold (its Figure 4),
learning curves, and each nodule's value under every method."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from bundle.inferers.registry import Look, label
from bundle.metrics.spectrum import Spectrum, hu_density, mean_spectrum, power_spectrum
from bundle.metrics.table import metric_of
from bundle.report.figures.spectra import texture_region
from bundle.report.figures.style import PAGE_WIDTH, figure, legend_below, legend_grid, looks, tick_label
from bundle.report.results import TRUTH, StudyResults
from bundle.report.tables.main_columns import MAIN_COLUMNS, Column, values_at

HU_GRID = np.arange(-1000.0, 401.0, 5.0)
MOST_CURVES = 200  # that a mean is of, about: a figure gains nothing from more
LINE_HEIGHT = 0.165  # inches of a label


def figure_texture(results: StudyResults) -> tuple[Figure, str, list[str]] | None:
    """Figure 3: density of HU in the mask and radial power spectrum, on the unobserved axial slices.

    Every nodule counts alike: its curve is estimated by itself, then curves are averaged; of very many nodules those of
    one in so many.

    Returns:
        the figure, its caption, and what could not be estimated; None if no curve could.
    """
    methods = [TRUTH, *results.image_methods, *results.samples]
    densities: dict[str, list[np.ndarray]] = {name: [] for name in methods}
    spectra: dict[str, list[Spectrum]] = {name: [] for name in methods}
    left_out, axial = [], True
    # on the same nodules for all, but for a method that failed throughout
    wanted_of = [name for name in methods[1:] if any(results.has(n, name) for n in results.nodules)]
    every = max(1, len(results.facts) // MOST_CURVES)
    for nodule, facts in list(results.facts.items())[::every]:
        mask = results.truth_mask(nodule)
        if mask is None or not all(results.has(nodule, name) for name in wanted_of):
            continue
        axial, wanted = facts.axis == 2, texture_region(mask, facts)
        for name in methods:
            image = results.truth_hu(nodule) if name == TRUTH else results.image_hu(nodule, name)
            if image is None:
                continue
            density = hu_density(image[wanted], HU_GRID)
            spectrum = power_spectrum(image, wanted, facts.spacing)
            densities[name] += [] if density.reason else [density.density]
            spectra[name].append(spectrum)
            left_out += [f"{nodule}, {label(name)}: {reason}" for reason in (density.reason, spectrum.reason) if reason]
    if not any(densities.values()):
        return None
    styles = looks(methods)
    nyquist = max(s.frequency[-1] for found in spectra.values() for s in found if len(s.frequency))
    grid = np.linspace(0, nyquist, 80)
    with figure(PAGE_WIDTH, 2.5 + legend_grid(map(label, methods))[1]) as drawn:
        left, right = drawn.subplots(1, 2)
        for i, name in enumerate(methods):
            look = styles[name]
            line: dict[str, Any] = {"color": look.color, "linestyle": look.linestyle, "label": label(name)}
            line |= {"marker": look.marker, "linewidth": 1.8 if name == TRUTH else 1.2}
            if densities[name]:
                left.plot(HU_GRID, np.mean(densities[name], axis=0) * 1000, markevery=(6 * i, 40), **line)
            power, count = mean_spectrum(spectra[name], grid)
            # to where at least half of the nodules reach: beyond, the mean changes because its nodules do
            reached = (count >= max(1, count.max() / 2)) & (power > 0) if count.size else np.zeros(0, bool)
            if reached.any():
                right.plot(grid[reached], power[reached], markevery=(2 * i, 14), **line)
        left.set(xlabel="HU", ylabel="density, per 1000 HU", xlim=(-1000, 400), ylim=(0, None))
        right.set(xlabel="spatial frequency, cycles/mm", ylabel="power, HU²", yscale="log", xlim=(0, None))
        left.set_title("HU inside the mask", loc="left")
        right.set_title("radial power spectrum of masked slices", loc="left")
        legend_below(drawn, left, right)
    nodules = f"{max(len(found) for found in densities.values())} nodules{'' if every == 1 else f', 1 in {every}'}"
    where = "unobserved slices" if axial else "all axial slices"
    caption = (
        f"HU density (kernel estimate) and radially averaged power spectrum inside the mask on {where}, "
        f"mean of {nodules}, each counting alike ({results.kind_words})."
    )
    return drawn, caption, left_out


def figure_thresholds(results: StudyResults) -> tuple[Figure, str] | None:
    """Figure 4: ARVE, DSC and HD against the threshold, the mask methods as horizontal lines.

    Returns:
        the figure and its caption; None if nothing was thresholded and there is no mask.
    """
    styles, summaries = looks(results.methods), results.summaries
    places = {"arve": "unobserved", "dsc": "unobserved", "hd_mm": "all"}
    if not any(key[2] == "roi" and summary.n for key, summary in summaries.items()):
        return None
    with figure(PAGE_WIDTH, 2.3 + legend_grid(map(label, results.methods))[1]) as drawn:
        axes = drawn.subplots(1, 3)
        for place, (metric, slices) in zip(axes, places.items(), strict=True):
            for name in results.methods:
                look = styles[name]
                found = [summaries.get((name, slices, "roi", t, metric)) for t in results.thresholds]
                points = [(t, s.mean) for t, s in zip(results.thresholds, found, strict=True) if s and s.n]
                if points:
                    place.plot(
                        *zip(*points, strict=True), color=look.color, linestyle=look.linestyle, marker=look.marker,
                        label=label(name),
                    )  # fmt: skip
                whole = summaries.get((name, slices, "roi", None, metric))
                if whole and whole.n:
                    place.axhline(whole.mean, color=look.color, linestyle=look.linestyle, label=label(name))
            place.set(xlabel="threshold, HU", ylabel=metric_of(metric).heading())
            if results.thresholds:
                place.set_xticks(results.thresholds[:: 1 + len(results.thresholds) // 6])
            place.margins(y=0.12)
        axes[0].set_ylim(bottom=0)
        legend_below(drawn, *axes)
    return drawn, (
        f"Shape against the threshold: ARVE and DSC on the unobserved slices, symmetric Hausdorff distance on the "
        f"whole crop; means over nodules. Horizontal lines: methods that give a mask ({results.kind_words})."
    )


def figure_learning(results: StudyResults) -> tuple[Figure, str] | None:
    """Learning curves: loss and learning rate of every fit, and the median over nodules.

    Returns:
        the figure and its caption; None if no method learns.
    """
    curves = {
        name: found
        for name in results.image_methods
        if (found := [h for nodule in results.nodules if (h := results.history(nodule, name)).get("loss") is not None])
    }
    if not curves:
        return None
    styles = looks(results.methods)
    words = {name: f"{label(name)}, median of {len(found)}" for name, found in curves.items()}
    with figure(PAGE_WIDTH, 2.3 + legend_grid(words.values())[1]) as drawn:
        left, right = drawn.subplots(1, 2, width_ratios=(2, 1))
        for name, found in curves.items():
            look = styles[name]
            for history in found:
                left.plot(1 + np.arange(len(history["loss"])), history["loss"], color=look.color, alpha=0.35, lw=0.6)
            longest = max(len(history["loss"]) for history in found)
            stack = np.full((len(found), longest), np.nan)
            for row, history in zip(stack, found, strict=True):
                row[: len(history["loss"])] = history["loss"]
            left.plot(
                1 + np.arange(longest), np.nanmedian(stack, axis=0), color=look.color, linestyle=look.linestyle,
                linewidth=1.8, label=words[name],
            )  # fmt: skip
            rate = max((history["lr"] for history in found if "lr" in history), key=len, default=np.zeros(0))
            if len(rate):
                right.plot(1 + np.arange(len(rate)), rate, color=look.color, linestyle=look.linestyle)
        left.set(xlabel="epoch", ylabel="training loss (MSE, normalised)", yscale="log")
        right.set(xlabel="epoch", ylabel="learning rate", ylim=(0, None))
        for place in (left, right):
            place.xaxis.set_major_locator(MaxNLocator(integer=True))
        legend_below(drawn, left)
    return drawn, (
        "Learning curves on the observed slices: loss of every nodule (thin) and its median (thick), and the learning "
        f"rate ({results.kind_words})."
    )


def figure_paired(results: StudyResults) -> tuple[Figure, str] | None:
    """Each nodule's value under every method, joined by a line: who wins where, not only on average.

    Returns:
        the figure and its caption; None if no nodule has a value.
    """
    compared = [name for name in results.methods if name not in results.samples]
    groups = [
        (methods, [column for column in MAIN_COLUMNS if (column.region == "roi") == shape])
        for methods, shape in ((results.image_methods, False), (compared, True))
        if methods
    ]
    heights = [0.6 + LINE_HEIGHT * len(methods) for methods, _ in groups]
    any_value = False
    with figure(PAGE_WIDTH, sum(heights)) as drawn:
        axes = drawn.subplots(len(groups), 3, sharey="row", height_ratios=heights, squeeze=False)
        for (methods, columns), row in zip(groups, axes, strict=True):
            for column, place in zip(columns, row, strict=True):
                values = _by_nodule(results, methods, column)
                any_value |= bool(np.isfinite(values).any())
                _paired(place, values, [looks(results.methods)[name] for name in methods])
                place.set_title(column.label, loc="left")
                if column.metric == "arve" and np.nanmax(values, initial=0) > 5:
                    # one volume many times too large would press all others flat
                    place.set_xscale("symlog", linthresh=1)
                    place.set_xlim(-0.08, 2 * float(np.nanmax(values)))
                    place.set_xticks([0, 1, 10, 100], ["0", "1", "10", "100"])
                    place.set_xlim(-0.08, 2 * float(np.nanmax(values)))
            row[0].set_yticks(range(len(methods)), [tick_label(name) for name in methods])
            row[0].invert_yaxis()
    at = results.main_threshold
    words = f"; image methods thresholded at {at:g} HU" if at is not None else ""
    caption = (
        f"Each of {len(results.nodules)} nodules under every method, joined by a line; bar: median{words} "
        f"({results.kind_words}). A nodule without a value has no point."
    )
    return (drawn, caption) if any_value else None


def _by_nodule(results: StudyResults, methods: Sequence[str], column: Column) -> np.ndarray:
    """(nodules, methods) values; nan where there is none."""
    found = [values_at(results, name, column) for name in methods]
    return np.array([[values.get(nodule, np.nan) for values in found] for nodule in results.nodules])


def _paired(place: Axes, values: np.ndarray, styles: Sequence[Look]) -> None:
    """A row a method, from the top; a line a nodule."""
    place.plot(values.T, np.arange(len(styles)), color="#9a9a9a", linewidth=0.5, alpha=0.7)
    for i, look in enumerate(styles):
        column = values[:, i][np.isfinite(values[:, i])]
        place.plot(column, np.full(len(column), i), ls="", marker=look.marker, color=look.color, ms=3.2, alpha=0.85)
        if len(column):
            place.plot([np.median(column)] * 2, [i - 0.32, i + 0.32], color="#000000", linewidth=1.4)
    place.set_ylim(-0.6, len(styles) - 0.4)
    place.xaxis.set_major_locator(MaxNLocator(4))
    place.grid(visible=False, axis="y")
