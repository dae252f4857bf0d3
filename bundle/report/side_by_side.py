"""Reports of several studies in one: of a sweep's settings, and of cohorts side by side."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from bundle.errors import InputError
from bundle.report.cohorts import CohortResults
from bundle.report.figures.cohorts import figure_cohorts
from bundle.report.figures.draw import Drawn, saved
from bundle.report.figures.gaps import figure_gains, figure_trade_off
from bundle.report.options import ReportOptions
from bundle.report.page.cohort_page import cohort_html
from bundle.report.page.sweep_page import sweep_html
from bundle.report.sweep import SweepResults
from bundle.report.tables.cohort_tables import write_cohort_tables
from bundle.report.tables.sweep_tables import write_sweep_tables
from bundle.store import ResultStore


def build_sweep_report(root: str | Path, options: ReportOptions) -> Path:
    """The report of a sweep, in its folder: ``report.html``, ``sweep.csv``, ``tables/``, ``figures/``.

    Args:
        root: of the sweep.
        options: what gains are to.

    Returns:
        path of ``report.html``.

    Raises:
        InputError: no sweep that can be read, an option that names what is not in it.
    """
    results = SweepResults(root)
    tables = write_sweep_tables(results, options)
    plans = {
        "figure_gains": ("Gain against the gap", partial(figure_gains, results, options)),
        "figure_trade_off": ("Field against tumour", partial(figure_trade_off, results, options)),
    }
    figures, left_out = _drawn(plans, results.root, results.first.kind_words)
    return ResultStore(root).write_text("report.html", sweep_html(results, tables, figures, left_out, options))


def build_cohort_report(
    roots: Sequence[str | Path], to: str | Path | None, options: ReportOptions | None = None
) -> Path:
    """Studies of several cohorts in one report: ``report.html``, ``cohorts.csv``, ``tables/``, ``figures/``.

    Args:
        roots: output folders of studies, the one that others are compared with first.
        to: the folder of the report, made if it is absent; not that of a study.
        options: what gains are to, and on which nodules and slices.

    Returns:
        path of ``report.html``.

    Raises:
        InputError: no folder, one of a study; studies that can't be compared.

    Example:
        >>> # python -m bundle.report out/paper out/mine --to out/both
    """
    if to is None:
        raise InputError("several studies are laid side by side in a folder of their own: name it by --to FOLDER")
    if (Path(to) / "metrics.csv").exists() or (Path(to) / "sweep.json").exists():
        raise InputError(
            f"--to {to} holds a study of its own: give another folder, or its report would be written over"
        )
    results = CohortResults(roots, options)
    store = ResultStore(to)
    tables = write_cohort_tables(results, store)
    plans = {"figure_cohorts": ("Gains in each cohort", partial(figure_cohorts, results))}
    figures, left_out = _drawn(plans, store.root, results.kind_words)
    return store.write_text("report.html", cohort_html(results, tables, figures, left_out))


def _drawn(
    plans: Mapping[str, tuple[str, Callable[[], Any]]], root: Path, kind_words: str
) -> tuple[list[Drawn], list[str]]:
    """Draw and save figures; a sentence for each that is not there or not complete, none twice."""
    figures, left_out = [], []
    for name, (title, draw) in plans.items():
        made = draw()
        if made is None:
            left_out.append(f"{title}: there is nothing to show")
            continue
        drawn, caption, incomplete = made
        left_out += incomplete
        figures.append(Drawn(name, title, caption, saved(drawn, root, name, kind_words)))
    return figures, list(dict.fromkeys(left_out))
