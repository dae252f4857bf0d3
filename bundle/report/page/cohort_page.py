"""Several cohorts side by side as one HTML file, which loads nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from bundle.inferers.registry import label
from bundle.report.cohorts import CohortResults
from bundle.report.figures.draw import Drawn
from bundle.report.page.template import template
from bundle.report.statistics.gains import REGIONS, WHERE
from bundle.report.tables.cohort_tables import differences
from bundle.report.tables.statistics_tables import p_text
from bundle.report.tables.table import Table, signed
from bundle.version import __version__

TITLE = "Recovered CT slices around lung nodules: cohorts side by side"
SURE = 0.05


def cohort_html(
    results: CohortResults, tables: Sequence[Table], figures: Sequence[Drawn], left_out: Sequence[str]
) -> str:
    """The whole page.

    Args:
        results: of the studies.
        tables: of :func:`bundle.report.tables.cohort_tables.cohort_tables`.
        figures: in the order of the page.
        left_out: what could not be shown, one sentence each.

    Returns:
        HTML that opens from disk.
    """
    counts = [f"{c.name}: {len(c.nodules)} nodules of {len(c.patients)} patients" for c in results.cohorts]
    return template("gains.html.j2").render(
        title=TITLE,
        version=__version__,
        kind_words=results.kind_words,
        phantom=any(cohort.results.kind == "phantom" for cohort in results.cohorts),
        question="Do methods gain as much in one cohort as in another?",
        answers=list(answers(results)),
        hint=f"{'; '.join(counts)}. {len(results.methods)} methods against {label(results.reference)}; "
        f"{results.first.results.protocol_words}.",
        problems=[*results.problems, *left_out],
        figures=figures,
        open_tables=tables,
        tables=[],
        values="every nodule's value in cohorts.csv",
        failures=_failures(results),
        provenance=[(c.name, c.results.study.get("command", "unknown")) for c in results.cohorts],
    )


def _failures(results: CohortResults) -> Table | None:
    rows = [(c.name, str(len(c.results.failures))) for c in results.cohorts if c.results.failures]
    caption = "Failed reconstructions; the reasons are in each study's own report."
    return Table("", caption, ("cohort", "failed"), tuple(rows)) if rows else None


def answers(results: CohortResults) -> Iterator[str]:
    """Which methods gain more or less in another cohort than in the first, a sentence a region and cohort."""
    for region in REGIONS:
        found = differences(results, region)
        for cohort in results.cohorts[1:]:
            own = [d for d in found if d.cohort == cohort.name]
            sure = [d for d in own if d.p_holm < SURE]
            where = f"{WHERE[region]}, {cohort.name} against {results.first.name}"
            if sure:
                words = ", ".join(
                    f"{label(d.method)} by {signed(d.difference, 2)} dB (p {p_text(d.p_holm)})" for d in sure
                )
                yield f"Gains differ {where}: {words}."
            else:
                tested = sum(not d.reason for d in own)
                yield f"No gain differs {where}, of {tested} methods tested: which does not show that they are equal."
