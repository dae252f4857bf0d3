"""The report of a study, from its output folder: tables, statistics, figures and one HTML page.

It can be made again at any time, from the folder alone: ``python -m bundle.report FOLDER``.
"""

from __future__ import annotations

from pathlib import Path

from bundle.report.figures.draw import draw_figures
from bundle.report.figures.spectra import write_spectra
from bundle.report.options import ReportOptions
from bundle.report.page.page import report_html
from bundle.report.results import StudyResults
from bundle.report.side_by_side import build_sweep_report
from bundle.report.sweep import SWEEP_FILE
from bundle.report.tables.statistics_tables import statistics_tables, write_statistics
from bundle.report.tables.write import write_report_tables
from bundle.store import ResultStore


def build_report(output_dir: str | Path, options: ReportOptions | None = None) -> Path:
    """Make the report of a study.

    Writes ``report.html``, ``statistics.csv``, ``spectra.csv``, ``tables/`` (Markdown, CSV, LaTeX) and ``figures/``
    (PNG, PDF). What is missing or can't be read is left out and told on the page.

    Args:
        output_dir: of a study that ran, or of which part is left: at least its ``metrics.csv``; or of a sweep, whose
            report is of all its settings.
        options: which methods the others are compared with, and where.

    Returns:
        path of ``report.html``.

    Raises:
        InputError: there is no ``metrics.csv``, an option names what is not in it, or the folder can't be written.

    Example:
        >>> # build_report("output/study")
    """
    chosen = options or ReportOptions()
    if (Path(output_dir) / SWEEP_FILE).is_file():
        return build_sweep_report(output_dir, chosen)
    results = StudyResults(output_dir)
    tables = write_report_tables(results, chosen)
    write_spectra(results)
    statistics = statistics_tables(results, write_statistics(results), chosen)
    figures, left_out = draw_figures(results, chosen)
    page = report_html(results, tables, statistics, figures, left_out, chosen)
    return ResultStore(output_dir).write_text("report.html", page)
