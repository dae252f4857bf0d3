"""Tables of cohorts side by side: what they are, each method's gain in each, and the test of the difference."""

from __future__ import annotations

import math

import numpy as np

from bundle.inferers.registry import label
from bundle.report.cohorts import NODULE, Cohort, CohortResults, counted
from bundle.report.statistics.cohorts import CohortDifference, CohortGain, cohort_gain, compare_cohorts
from bundle.report.statistics.gains import REGIONS, SHORT
from bundle.report.statistics.tests import OVER_PATIENTS
from bundle.report.tables.paper_tables import SLICES
from bundle.report.tables.scanner_tables import STRATA, UNKNOWN, scanner_strata
from bundle.report.tables.statistics_tables import p_text, with_remarks
from bundle.report.tables.table import DASH, Table, signed, write_tables
from bundle.report.tidy import summarise, to_csv
from bundle.store import ResultStore


def differences(results: CohortResults, region: str) -> list[CohortDifference]:
    """Every method's gain in every other cohort against the first."""
    gains = {c.name: {m: c.patient_gains(m, region) for m in results.methods} for c in results.cohorts}
    return compare_cohorts(gains, results.methods)


def gain_in(cohort: Cohort, method: str, region: str) -> CohortGain:
    """A method's mean gain over a cohort's patients."""
    return cohort_gain(cohort.patient_gains(method, region), cohort.options.seed)


def cohort_tables(results: CohortResults) -> list[Table]:
    """The cohorts, and the gains of every method in each."""
    return [_cohorts(results), _gains(results)]


def _cohorts(results: CohortResults) -> Table:
    rows, by_cohort = [], {cohort.name: scanner_strata(cohort.results) for cohort in results.cohorts}
    facts_known = [f for f in ("manufacturer", "kernel", "kvp") if any(f in strata for strata in by_cohort.values())]
    for cohort in results.cohorts:
        own = cohort.results
        facts = [own.facts[name] for name in cohort.nodules if name in own.facts]
        psnr = [
            summarise(own.values(results.reference, results.options.slices, region, None, "psnr").get(n, math.nan)
                      for n in cohort.nodules).text(2)
            for region in REGIONS
        ]  # fmt: skip
        strata = by_cohort[cohort.name]
        known = [counted([strata[f][n] for n in cohort.nodules]) if f in strata else UNKNOWN for f in facts_known]
        rows.append(
            (
                cohort.name,
                own.kind_words,
                f"{len(cohort.nodules)} of {len(own.nodules)}",
                str(len(cohort.patients)),
                _range([f.spacing[f.axis] for f in facts]),
                _range([f.slice_thickness for f in facts if f.slice_thickness]),
                _range([f.gap_mm for f in facts]),
                _range([f.diameter_mm for f in facts if f.diameter_mm]),
                " / ".join(psnr),
                *known,
            )
        )
    measures = ("spacing, mm", "thickness, mm", "gap, mm", "diameter, mm")
    titles = ("nodules", "patients", *measures, f"PSNR of {label(results.reference)}, field / tumour, dB")
    scanner = tuple(STRATA[name][0] for name in facts_known)
    caption = (
        f"The cohorts: nodules{_least(results)}; median and range; mean ± sd of {label(results.reference)} on "
        f"{SLICES[results.options.slices]}."
    )
    return Table("", caption, ("cohort", "data", *titles, *scanner), tuple(rows), heads=2, title="The cohorts")


def _least(results: CohortResults) -> str:
    least = results.options.min_slices
    return f" of {least} or more slices" if least > 0 else ""


def _range(values: list[float]) -> str:
    known = np.array([value for value in values if math.isfinite(value)])
    if not len(known):
        return DASH
    return f"{np.median(known):.3g} ({known.min():.3g} to {known.max():.3g})"


def _gains(results: CohortResults) -> Table:
    rows: list[tuple[str, ...]] = []
    records = []
    fields = ("region", "method", "cohort", "gain", "low", "high", "patients", "first_gain", "first_low", "first_high",
              "first_patients", "difference", "difference_low", "difference_high", "p", "p_holm", "reason")  # fmt: skip
    for region in REGIONS:
        for found in differences(results, region):
            cohort = next(c for c in results.cohorts if c.name == found.cohort)
            first, own = gain_in(results.first, found.method, region), gain_in(cohort, found.method, region)
            rows.append(
                (
                    SHORT[region],
                    label(found.method),
                    found.cohort,
                    _text(first.mean, first.low, first.high),
                    str(first.patients),
                    _text(own.mean, own.low, own.high),
                    str(own.patients),
                    _text(found.difference, found.low, found.high),
                    p_text(found.p_holm),
                    found.reason,
                )
            )
            numbers = (own.mean, own.low, own.high, own.patients, first.mean, first.low, first.high, first.patients)
            tested = (found.difference, found.low, found.high, found.p_value, found.p_holm, found.reason)
            where = (region, found.method, found.cohort)
            records.append(dict(zip(fields, (*where, *numbers, *tested), strict=True)))
    against, first_name = label(results.reference), results.first.name
    caption = (
        f"Gain over {against} in PSNR, dB, on {SLICES[results.options.slices]} of nodules{_least(results)} "
        f"({results.kind_words}): mean of patients, each the mean of its nodules, with {OVER_PATIENTS}; "
        "difference with Welch's 95 % interval; p of Welch's t-test, corrected by Holm over all methods and cohorts of "
        "a region. Cohorts differ in gaps, noise and nodules, not in their scanners alone."
    )
    heads = ("region", "method", "cohort", f"gain in {first_name}", "patients", "gain in the cohort", "patients there")
    columns, rows = with_remarks((*heads, "difference", "p (Holm)"), rows)
    return Table(
        "cohorts", caption, columns, tuple(rows), 3, "Gains in each cohort", records=tuple(records), fields=fields
    )


def _text(mean: float, low: float, high: float) -> str:
    if math.isnan(mean):
        return DASH
    return signed(mean, 2) + ("" if math.isnan(low) else f" ({signed(low, 2)} to {signed(high, 2)})")


def write_cohort_tables(results: CohortResults, store: ResultStore) -> list[Table]:
    """Make the tables, write ``cohorts.csv`` and ``tables/`` to a folder of their own."""
    tables = cohort_tables(results)
    store.write_text("cohorts.csv", to_csv(results.rows(), NODULE))
    write_tables(store, tables)
    return tables
