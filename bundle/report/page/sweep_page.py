"""The report of a sweep as one HTML file, which loads nothing."""

from __future__ import annotations

from collections.abc import Sequence

from bundle.report.figures.draw import Drawn
from bundle.report.options import ReportOptions
from bundle.report.page.template import template
from bundle.report.sweep import SweepResults
from bundle.report.tables.sweep_order import answers
from bundle.report.tables.table import Table
from bundle.version import __version__

TITLE = "Recovered CT slices around lung nodules, by gap"
NO_GAIN = "Gains are of PSNR: give a method of brightness beside the reference"
OPEN = ("sweep_order",)


def sweep_html(
    results: SweepResults,
    tables: Sequence[Table],
    figures: Sequence[Drawn],
    left_out: Sequence[str],
    options: ReportOptions,
) -> str:
    """The whole page.

    Args:
        results: of the sweep.
        tables: of :func:`bundle.report.tables.sweep_tables.sweep_tables`.
        figures: in the order of the page.
        left_out: what could not be shown, one sentence each.
        options: what gains are to.

    Returns:
        HTML that opens from disk.
    """
    named = [table for table in tables if table.name]
    settings, nodules = results.settings, results.first.nodules
    failed = sum(len(setting.results.failures) for setting in settings)
    return template("gains.html.j2").render(
        title=TITLE,
        version=__version__,
        kind_words=results.first.kind_words,
        phantom=results.first.kind == "phantom",
        question="Which method recovers missing slices best, and how does it depend on how far apart the others are?",
        answers=list(answers(results, options)),
        hint=f"{len(nodules)} nodules, {len(results.methods)} methods, {len(settings)} settings: "
        f"{'; '.join(setting.words for setting in settings)}. {failed} failed reconstructions.",
        problems=[*results.problems, *left_out, *([] if results.others(options) else [NO_GAIN])],
        figures=figures,
        open_tables=[table for table in named if table.name in OPEN],
        tables=[table for table in named if table.name not in OPEN],
        values="every nodule's value at every setting in sweep.csv, each setting's own results in its folder",
        failures=next((table for table in tables if not table.name), None),
        provenance=[
            ("command", results.record.get("command", "unknown")),
            ("data", results.first.study.get("nodules", "unknown")),
            ("seed", results.first.study.get("seed", "unknown")),
            *(("version of " + name, value) for name, value in results.first.study.get("versions", {}).items()),
        ],
    )
