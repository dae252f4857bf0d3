"""The tables that stand as files in ``tables/`` of a study's output folder, one call for all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bundle.report.options import ReportOptions
from bundle.report.results import StudyResults
from bundle.report.tables.agreement_tables import radiomics_tables, size_agreement_tables, write_agreement
from bundle.report.tables.methods_tables import methods_tables
from bundle.report.tables.paper_tables import paper_tables
from bundle.report.tables.repeat_tables import repeat_tables
from bundle.report.tables.scanner_tables import scanner_tables
from bundle.report.tables.size_tables import size_tables
from bundle.report.tables.table import Table, write_tables
from bundle.report.tables.uncertainty_tables import uncertainty_tables
from bundle.store import ResultStore


@dataclass(frozen=True)
class Tables:
    """The tables of a study: the paper's, of uncertainty, methods side by side, sizes, by scanner, radiomics."""

    paper: Sequence[Table]
    uncertainty: Sequence[Table]
    methods: Sequence[Table]
    sizes: Sequence[Table] = ()
    scanners: Sequence[Table] = ()
    radiomics: Sequence[Table] = ()


def write_report_tables(results: StudyResults, options: ReportOptions) -> Tables:
    """Make all tables and write each to ``tables/`` as .md, .csv and .tex; and ``agreement.csv``.

    Args:
        results: of the study.
        options: of the tables of methods.

    Raises:
        InputError: an option names what is not in the study, or the folder can't be written.
    """
    sizes = [*size_tables(results), *size_agreement_tables(results, options.seed), *repeat_tables(results)]
    side_by_side = methods_tables(results, options)
    scanners = scanner_tables(results, options)
    radiomics = radiomics_tables(results, options)
    made = Tables(paper_tables(results), uncertainty_tables(results), side_by_side, sizes, scanners, radiomics)
    write_agreement(results, options)
    every = (*made.paper, *made.uncertainty, *made.methods, *made.sizes, *made.scanners, *made.radiomics)
    write_tables(ResultStore(results.root), every)
    return made
