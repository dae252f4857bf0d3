"""The methods of a study side by side: how good, how much better than a reference, on what share of the nodules."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

from bundle.inferers.registry import label
from bundle.metrics.table import metric_of
from bundle.report.options import ReportOptions
from bundle.report.results import StudyResults
from bundle.report.statistics.scores import (
    BOTH,
    SHAPE_PLACES,
    Score,
    chosen_nodules,
    density_scores,
    shape_scores,
)
from bundle.report.statistics.tests import OVER_NODULES
from bundle.report.tables.paper_tables import SLICES
from bundle.report.tables.table import DASH, Table, signed
from bundle.report.tidy import number_text

FIELDS = tuple(field.name for field in dataclasses.fields(Score))
TEXTURE = ("ssim", "sd_ratio", "kurtosis")


def methods_tables(results: StudyResults, options: ReportOptions) -> list[Table]:
    """Brightness in two tables (``methods`` with PSNR, ``methods_texture``), masks in ``methods_masks``.

    Args:
        results: of the study.
        options: what to compare with, on which nodules and slices.

    Returns:
        the tables that the study has methods for; the records of all are :class:`Score`.

    Raises:
        InputError: an option names what is not in the study.
    """
    options.check(results.methods)
    return [*_brightness(results, options), *_masks(results, options)]


def _brightness(results: StudyResults, options: ReportOptions) -> list[Table]:
    if not results.image_methods:
        return []
    nodules = chosen_nodules(results, options.min_slices)
    reference, baselines = options.reference_in(results), options.baselines_in(results)
    scores = density_scores(results, nodules, reference, baselines, options.slices, options.seed)
    caption = (
        f"on {_counted(nodules, results, options.min_slices)} ({results.kind_words}, {results.protocol_words}), "
        f"{SLICES[options.slices]}: field of view / tumour, where there are two values"
    )
    first = (
        f"PSNR {caption}; shares of nodules for field / tumour / both at once. Mean over nodules; paired differences "
        f"with {OVER_NODULES}. Baselines: {', '.join(label(name) for name in baselines) or 'none'}."
    )
    return [
        _psnr_table(scores, first, label(reference)),
        _texture_table(scores, f"SSIM, texture and time {caption}. Mean over nodules."),
    ]


def _psnr_table(scores: Sequence[Score], caption: str, against: str) -> Table:
    found = {(s.method, s.region): s for s in scores if s.metric == "psnr"}
    rows: list[tuple[str, ...]] = []
    for name in dict.fromkeys(method for method, _ in found):
        places = [found[name, region] for region in ("global", "tumour", BOTH)]
        measured = places[:2]
        rows.append(
            (
                label(name),
                " / ".join(number_text(s.mean, _decimals(s)) for s in measured),
                *(_difference(s) for s in measured),
                " / ".join(_percent(s.beats_reference) for s in places),
                " / ".join(_percent(s.beats_all) for s in places),
                " / ".join(str(s.n) for s in measured),
                " / ".join(str(s.n_failed) for s in measured),
            )
        )
    columns = ("method", "PSNR, dB", f"PSNR minus {against}'s, field", f"PSNR minus {against}'s, tumour")
    shares = (f"better than {against}", "better than every other baseline")
    return _table("methods", caption, (*columns, *shares, "n", "failed"), rows, list(found.values()))


def _texture_table(scores: Sequence[Score], caption: str) -> Table:
    found = {(s.method, s.region, s.metric): s for s in scores if s.metric != "psnr"}
    most = max(s.n for s in scores)
    rows: list[tuple[str, ...]] = []
    for name in dict.fromkeys(method for method, *_ in found):
        cells = []
        for metric in TEXTURE:
            pair = [found.get((name, region, metric)) for region in ("global", "tumour")]
            cells.append(" / ".join(_mean(s, most) if s else DASH for s in pair))
        seconds = found.get((name, "", "seconds"))
        rows.append((label(name), *cells, number_text(seconds.mean, 2) if seconds else DASH))
    columns = ("method", "SSIM", "sd ratio", "kurtosis", "seconds a nodule")
    return _table("methods_texture", caption, columns, rows, list(found.values()))


def _masks(results: StudyResults, options: ReportOptions) -> list[Table]:
    if not results.mask_methods:
        return []
    nodules = chosen_nodules(results, options.mask_min_slices)
    reference = options.mask_reference_in(results)
    scores = shape_scores(results, nodules, reference, options.seed)
    found = {(s.method, s.slices, s.metric): s for s in scores}
    most = max(s.n for s in scores)
    rows: list[tuple[str, ...]] = []
    for name in results.mask_methods:
        places = [found[name, *place] for place in SHAPE_PLACES]
        compared = (places[0], places[2])
        rows.append(
            (
                label(name),
                *(_mean(s, most) for s in places),
                *(_difference(s) for s in compared),
                " / ".join(_percent(s.beats_reference) for s in compared),
                number_text(found[name, "", "seconds"].mean, 2),
                " / ".join(str(s.n) for s in compared),
                " / ".join(str(s.n_failed) for s in compared),
            )
        )
    against = label(reference)
    columns = ("method", "DSC, unobserved", "DSC, all", "HD, mm", "ARVE, unobserved")
    compared_columns = (f"DSC minus {against}'s", f"HD minus {against}'s", f"better than {against}: DSC / HD")
    caption = (
        f"Masks on {_counted(nodules, results, options.mask_min_slices)} ({results.kind_words}, "
        f"{results.protocol_words}): DSC and ARVE on the slices named, the Hausdorff distance (HD) on all. Mean over "
        f"nodules; paired differences with {OVER_NODULES}."
    )
    all_columns = (*columns, *compared_columns, "seconds a nodule", "n", "failed")
    return [_table("methods_masks", caption, all_columns, rows, scores)]


def _table(
    name: str, caption: str, columns: tuple[str, ...], rows: Sequence[tuple[str, ...]], scores: Sequence[Score]
) -> Table:
    records = tuple(dataclasses.asdict(score) for score in scores)
    return Table(name, caption, columns, tuple(rows), records=records, fields=FIELDS)


def _decimals(score: Score) -> int:
    return metric_of(score.metric).decimals


def _mean(score: Score, most: int) -> str:
    """A mean over fewer nodules than others says over how many, and does not look like one over all."""
    few = f", of {score.n}" if 0 < score.n < most else ""
    return number_text(score.mean, _decimals(score)) + few


def _percent(share: float) -> str:
    return DASH if math.isnan(share) else f"{100 * share:.0f} %"


def _difference(score: Score) -> str:
    decimals = _decimals(score)
    if math.isnan(score.difference):
        return DASH
    interval = "" if math.isnan(score.low) else f" ({signed(score.low, decimals)} to {signed(score.high, decimals)})"
    return signed(score.difference, decimals) + interval


def _counted(nodules: Sequence[str], results: StudyResults, least: int) -> str:
    at_least = f" of {least} or more slices" if least > 0 else ""
    return f"{len(nodules)} of {len(results.nodules)} nodules{at_least}"
