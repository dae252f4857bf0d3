"""The table of methods as text: Markdown for people, ``methods.csv`` for tools."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path

from bundle.errors import InputError
from bundle.inferers.registry import label
from bundle.metrics.table import metric_of
from bundle.report.results import TRUTH, StudyResults
from bundle.report.tables.methods_table import (
    BASELINES,
    BOTH,
    SHAPE_PLACES,
    SHAPE_REFERENCE,
    Score,
    chosen_nodules,
    density_scores,
    shape_scores,
)
from bundle.report.tables.statistics_tables import REFERENCE, signed
from bundle.report.tables.text_table import DASH, markdown_table
from bundle.report.tidy import to_csv
from bundle.store import ResultStore


def density_markdown(scores: Sequence[Score], reference: str = REFERENCE) -> str:
    """Two tables: PSNR and what it is better than; SSIM, texture and time."""
    found = {(s.method, s.region, s.metric): s for s in scores}
    methods = list(dict.fromkeys(s.method for s in scores if s.method != TRUTH))
    against, psnr = label(reference), metric_of("psnr")
    first: list[tuple[str, ...]] = []
    second: list[tuple[str, ...]] = []
    for name in methods:
        places = [found[name, region, "psnr"] for region in ("global", "tumour", BOTH)]
        first.append(
            (
                label(name),
                " / ".join(_number(s.mean, psnr.decimals) for s in places[:2]),
                *(_difference(s, psnr.decimals) for s in places[:2]),
                " / ".join(_percent(s.beats_reference) for s in places),
                " / ".join(_percent(s.beats_all) for s in places),
                " / ".join(str(s.n) for s in places[:2]),
                " / ".join(str(s.n_failed) for s in places[:2]),
            )
        )
        second.append((label(name), *_texture_cells(found, name), _number(found[name, "", "seconds"].mean, 2)))
    if (TRUTH, "tumour", "kurtosis") in found:
        second.append((label(TRUTH), *_texture_cells(found, TRUTH), DASH))
    difference = f"PSNR minus {against}'s"
    columns = ("method", "PSNR, dB", f"{difference}, field", f"{difference}, tumour")
    shares = (f"better than {against}", "better than every other baseline", "n", "failed")
    texture = ("method", "SSIM", "sd ratio", "kurtosis", "seconds a nodule")
    return f"{markdown_table((*columns, *shares), first)}\n\n{markdown_table(texture, second)}\n"


def shape_markdown(scores: Sequence[Score], reference: str = SHAPE_REFERENCE) -> str:
    """One table: DSC, Hausdorff distance and ARVE, the first two also as differences and shares."""
    found = {(s.method, s.slices, s.metric): s for s in scores}
    rows: list[tuple[str, ...]] = []
    for name in dict.fromkeys(s.method for s in scores):
        places = [found[name, *place] for place in SHAPE_PLACES]
        compared = (places[0], places[2])
        rows.append(
            (
                label(name),
                *(_number(s.mean, metric_of(s.metric).decimals) for s in places),
                *(_difference(s, metric_of(s.metric).decimals) for s in compared),
                " / ".join(_percent(s.beats_reference) for s in compared),
                _number(found[name, "", "seconds"].mean, 2),
                " / ".join(str(s.n) for s in compared),
                " / ".join(str(s.n_failed) for s in compared),
            )
        )
    against = label(reference)
    columns = ("method", "DSC, unobserved", "DSC, all", "HD, mm", "ARVE, unobserved")
    compared_columns = (f"DSC minus {against}'s", f"HD minus {against}'s", f"better than {against}: DSC / HD")
    return markdown_table((*columns, *compared_columns, "seconds a nodule", "n", "failed"), rows) + "\n"


def write_methods_table(
    output_dir: str | Path,
    min_slices: int = 11,
    reference: str = REFERENCE,
    baselines: Sequence[str] | None = None,
    shape_min_slices: int = 0,
    shape_reference: str = SHAPE_REFERENCE,
    slices: str = "interpolated",
    seed: int = 0,
) -> str:
    """Write ``tables/methods.md`` and ``tables/methods.csv`` from a study's output folder.

    Args:
        output_dir: of a study that ran.
        min_slices: nodules of fewer slices are left out of the table of density methods.
        reference: density method that differences are taken to.
        baselines: see :func:`density_scores`.
        shape_min_slices: as ``min_slices``, for the table of shape methods.
        shape_reference: shape method that differences are taken to.
        slices: of the table of density methods.
        seed: of the bootstrap.

    Returns:
        the Markdown.

    Raises:
        InputError: there is no ``metrics.csv``, no density method, no nodule is left, or a name is not in the study.

    Example:
        >>> # print(write_methods_table("output/study"))
    """
    results, store = StudyResults(output_dir), ResultStore(output_dir)
    if not results.density_methods:
        raise InputError(f"{results.root} is a study of shape methods only: run it with {reference} and others")
    if slices not in ("interpolated", "unobserved"):
        raise InputError(f"slices is {slices!r}, expected 'interpolated' or 'unobserved'")
    nodules = chosen_nodules(results, min_slices)
    shape_nodules = chosen_nodules(results, shape_min_slices)
    if not nodules:
        raise InputError(f"no nodule in {results.root} has {min_slices} slices or more: ask for fewer")
    density = density_scores(results, nodules, reference, baselines, slices, seed)
    shape = shape_scores(results, shape_nodules, shape_reference, seed)
    where = {"interpolated": "slices between observed ones", "unobserved": "unobserved slices"}[slices]
    names = [name for name in BASELINES if name in results.density_methods] if baselines is None else baselines
    parts = [
        f"Density methods on {_counted(nodules, results)} of {min_slices} or more slices ({results.kind_words}, "
        f"{results.protocol_words}), {where}: field of view / tumour, where there are two values; shares of nodules "
        "for field / tumour / both at once. Mean over nodules; paired differences with bootstrap 95 % intervals. "
        f"Baselines: {', '.join(label(name) for name in names)}.",
        density_markdown(density, reference),
    ]
    if shape:
        at_least = f" of {shape_min_slices} or more slices" if shape_min_slices > 0 else ""
        parts += [
            f"Shape methods on {_counted(shape_nodules, results)}{at_least}: DSC and ARVE on the slices named, the "
            "Hausdorff distance (HD) on all.",
            shape_markdown(shape, shape_reference),
        ]
    parts += _failures(results, {*nodules, *(shape_nodules if shape else ())})
    text = "\n\n".join(part.rstrip("\n") for part in parts) + "\n"
    columns = tuple(field.name for field in dataclasses.fields(Score))
    (results.root / "tables").mkdir(exist_ok=True)
    store.write_text("tables/methods.csv", to_csv((dataclasses.asdict(s) for s in [*density, *shape]), columns))
    store.write_text("tables/methods.md", text)
    return text


def _texture_cells(found: dict[tuple[str, str, str], Score], method: str) -> list[str]:
    cells = []
    for metric in (metric_of("ssim"), metric_of("sd_ratio"), metric_of("kurtosis")):
        pair = [found.get((method, region, metric.name)) for region in ("global", "tumour")]
        cells.append(" / ".join(_number(s.mean, metric.decimals) if s else DASH for s in pair))
    return cells


def _number(value: float, decimals: int) -> str:
    return DASH if math.isnan(value) else f"{value:.{decimals}f}"


def _percent(share: float) -> str:
    return DASH if math.isnan(share) else f"{100 * share:.0f} %"


def _difference(score: Score, decimals: int) -> str:
    if math.isnan(score.difference):
        return DASH
    interval = "" if math.isnan(score.low) else f" ({signed(score.low, decimals)} to {signed(score.high, decimals)})"
    return signed(score.difference, decimals) + interval


def _counted(nodules: Sequence[str], results: StudyResults) -> str:
    return f"{len(nodules)} of {len(results.nodules)} nodules"


def _failures(results: StudyResults, nodules: set[str]) -> list[str]:
    """A list of what failed, one line a nodule and reason, as one Markdown part; none if nothing did."""
    methods: dict[tuple[str, str], list[str]] = {}
    for row in results.failures:
        if row["nodule_id"] in nodules:
            methods.setdefault((row["nodule_id"], row["reason"]), []).append(row["method"])
    lines = []
    for (nodule, reason), names in methods.items():
        words = "every method" if set(names) >= set(results.methods) else ", ".join(label(name) for name in names)
        lines.append(f"- {nodule}, {words}: {reason}")
    return ["Failed:\n\n" + "\n".join(lines)] if lines else []
