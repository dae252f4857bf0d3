"""The report of a sweep as one HTML file, which loads nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from bundle.inferers.registry import label
from bundle.report.figures.draw import Drawn
from bundle.report.options import ReportOptions
from bundle.report.page.template import template
from bundle.report.statistics.gains import REGIONS, Gain
from bundle.report.statistics.gaps import span_words
from bundle.report.sweep import SweepResults
from bundle.report.tables.sweep_tables import ranked
from bundle.report.tables.table import Table, signed
from bundle.version import __version__

TITLE = "Recovered CT slices around lung nodules, by gap"
OPEN = ("sweep_order",)
WHERE = {"global": "in the field of view", "tumour": "in the tumour"}


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
        problems=[*results.problems, *left_out],
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


def answers(results: SweepResults, options: ReportOptions) -> Iterator[str]:
    """Which method has the best mean at which gaps, one sentence a region."""
    against = label(options.reference_in(results.first))
    for region in REGIONS:
        runs: list[tuple[str, float, float, list[Gain]]] = []
        for place, order in ranked(results, options, region) if results.thin else []:
            if not order:
                continue
            best, gain = order[0]
            if runs and runs[-1][0] == best:
                runs[-1] = (best, runs[-1][1], place.high, [*runs[-1][3], gain])
            else:
                runs.append((best, place.low, place.high, [gain]))
        if runs:
            words = ", then ".join(
                f"{label(name)} ({span_words(low, high)}{_span(gains)})" for name, low, high, gains in runs
            )
            yield f"The best mean {WHERE[region]}, by gap: {words}; gains against {against}."


def _span(gains: Sequence[Gain]) -> str:
    """The least and the greatest of some gains, and how many points they are of."""
    low, high = (signed(value, 2) for value in (min(g.mean for g in gains), max(g.mean for g in gains)))
    counts = [g.n for g in gains]
    n = f"{min(counts)}" if min(counts) == max(counts) else f"{min(counts)} to {max(counts)}"
    return f": {low if low == high else f'{low} to {high}'} dB, n = {n}"
