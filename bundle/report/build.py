"""The report of a study, from its output folder: tables, statistics, figures and one HTML page.

It can be made again at any time, from the folder alone.
"""

from __future__ import annotations

from pathlib import Path

from bundle.report.figures.draw import draw_figures
from bundle.report.figures.spectra import write_spectra
from bundle.report.page.page import report_html
from bundle.report.results import StudyResults
from bundle.report.tables.paper_tables import paper_tables, write_paper_tables
from bundle.report.tables.statistics_tables import statistics_tables, write_statistics
from bundle.report.tables.uncertainty_tables import uncertainty_tables
from bundle.store import ResultStore


def build_report(output_dir: str | Path) -> Path:
    """Make the report of a study.

    Writes ``report.html``, ``statistics.csv``, ``spectra.csv``, ``tables/`` (Markdown, CSV, LaTeX) and ``figures/``
    (PNG, PDF). What is missing or can't be read is left out and told on the page.

    Args:
        output_dir: of a study that ran, or of which part is left: at least its ``metrics.csv``.

    Returns:
        path of ``report.html``.

    Raises:
        InputError: there is no ``metrics.csv``, or the folder can't be written.

    Example:
        >>> # build_report("output/study")
    """
    results = StudyResults(output_dir)
    store = ResultStore(output_dir)
    tables, uncertain = paper_tables(results), uncertainty_tables(results)
    write_paper_tables(results, tables + uncertain)
    write_spectra(results)
    statistics = statistics_tables(results, write_statistics(results))
    figures, left_out = draw_figures(results)
    return store.write_text("report.html", report_html(results, tables, statistics, figures, left_out, uncertain))
