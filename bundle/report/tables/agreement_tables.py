"""Agreement with the truth as tables: of radiomic features, of sizes, and of the categories that follow from them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

from bundle.inferers.registry import label
from bundle.metrics.categories import SCHEMES
from bundle.metrics.radiomics.features import CLASSES, FEATURES
from bundle.metrics.size_evaluator import QUANTITIES
from bundle.report.options import ReportOptions
from bundle.report.results import StudyResults
from bundle.report.statistics.agreement import LEVELS, Estimate, concordance, limits_of_agreement
from bundle.report.statistics.radiomic_agreement import (
    UNMARKED,
    RadiomicAgreement,
    agreement_rows,
    group_indices,
    radiomic_agreement,
)
from bundle.report.statistics.size_agreement import (
    REFERENCES,
    category_pairs,
    is_relative,
    measured_places,
    moves,
    size_differences,
    size_pairs,
    sizes_by_place,
)
from bundle.report.statistics.tests import OVER_NODULES
from bundle.report.tables.table import DASH, Table, signed
from bundle.report.tidy import number_text, to_csv
from bundle.store import ResultStore

SHOWN_BIASES = {("firstorder", "entropy"): "entropy", ("glrlm", "long_run_emphasis"): "long-run emphasis"}
PERCENT = 100.0


def radiomics_tables(results: StudyResults, options: ReportOptions) -> list[Table]:
    """``table_radiomics`` and ``table_radiomics_classes``; none of a study without features."""
    found = radiomic_agreement(results, options.min_slices, options.seed)
    return [_overall(results, found, options), _by_class(results, found, options)] if found else []


def write_agreement(results: StudyResults, options: ReportOptions) -> None:
    """Write ``agreement.csv``: concordance, bias and limits of every feature; none of a study without features."""
    rows = list(agreement_rows(results, options.min_slices, options.seed))
    if rows:
        ResultStore(results.root).write_text("agreement.csv", to_csv(rows, tuple(rows[0])))


def size_agreement_tables(results: StudyResults, seed: int = 0) -> list[Table]:
    """``table_size_agreement`` and ``table_category_changes``; none without sizes."""
    sizes = sizes_by_place(results)
    records: list[dict[str, Any]] = []
    rows = []
    for reference, method in measured_places(sizes):
        for quantity in QUANTITIES:
            measured, true = size_pairs(sizes, reference, method, quantity.name)
            limits = limits_of_agreement(size_differences(sizes, reference, method, quantity))
            if quantity.name == "perpendicular_diameter_mm" or not limits.n:
                continue
            (ccc,) = concordance(measured[:, None], true[:, None], seed)
            unit = "%" if is_relative(quantity) else quantity.unit
            decimals = 0 if unit == "%" else quantity.decimals
            spread = f"{signed(limits.low, decimals)} to {signed(limits.high, decimals)}" if limits.n > 1 else DASH
            cells = (estimate_text(ccc, 3), f"{signed(limits.bias, decimals)} {unit}", spread, str(limits.n))
            heads = (REFERENCES[reference], label(method), quantity.label)
            rows.append((*heads, *cells, str(limits.n_failed)))
            record: dict[str, Any] = {"reference": reference, "method": method, "quantity": quantity.name, "unit": unit}
            record |= {"ccc": ccc.value, "ccc_low": ccc.low, "ccc_high": ccc.high, "bias": limits.bias}
            record |= {"limit_low": limits.low, "limit_high": limits.high}
            records.append(record | {"n": limits.n, "n_failed": limits.n_failed})
    if not rows:
        return []
    caption = (
        f"Agreement of sizes with the truth's ({results.kind_words}; {results.protocol_words}): Lin's concordance with "
        f"its {OVER_NODULES}, bias and limits of agreement (1.96 sd), of volume and mass in per cent of the truth."
    )
    columns = ("reference", "method", "size", "CCC", "bias", "limits", "n", "failed")
    table = _table("table_size_agreement", "Agreement of sizes", caption, columns, rows, records, heads=3)
    return [table, _category_changes(results)]


def estimate_text(found: Estimate, decimals: int, scale: float = 1.0) -> str:
    """A value and its interval in one cell.

    Example:
        >>> estimate_text(Estimate(0.513, 0.4, 0.6), 0, 100.0)
        '51 (40 to 60)'
    """
    value, low, high = (number_text(scale * v, decimals) for v in (found.value, found.low, found.high))
    return value if math.isnan(found.low) else f"{value} ({low} to {high})"


def difference_text(found: Estimate, decimals: int, scale: float = 1.0) -> str:
    """A difference and its interval, or its limits, with their signs in one cell; a dash where there is none.

    Example:
        >>> difference_text(Estimate(0.11, 0.04, 0.27), 0, 100.0), difference_text(Estimate(math.nan, 1.0, 2.0), 0)
        ('+11 (+4 to +27)', '–')
    """
    value, low, high = (signed(scale * v, decimals) for v in (found.value, found.low, found.high))
    return value if DASH in (value, low) else f"{value} ({low} to {high})"


def _overall(results: StudyResults, found: dict[tuple[str, str], RadiomicAgreement], options: ReportOptions) -> Table:
    rows, records, reference = [], [], options.reference_in(results)
    for (resampling, method), one in found.items():
        every, unmarked = one.groups["all"], one.groups[UNMARKED]
        shares = [*(every.shares[level] for level in LEVELS), unmarked.shares[LEVELS[0]]]
        cells = [estimate_text(every.mean, 2), *(estimate_text(share, 0, PERCENT) for share in shares)]
        against = found.get((resampling, reference))
        beyond = Estimate(*[math.nan] * 3) if against in (None, one) else every.share_beyond(against.groups["all"])
        cells.insert(2, difference_text(beyond, 0, PERCENT))
        record: dict[str, Any] = {"resampling": resampling, "method": method}
        shares.append(beyond)
        names = (
            "mean_ccc",
            *(f"share_{level:g}" for level in LEVELS),
            f"share_{LEVELS[0]:g}_unmarked",
            "share_beyond_reference",
        )
        for name, value in zip(names, (every.mean, *shares), strict=True):
            record |= {name: value.value, f"{name}_low": value.low, f"{name}_high": value.high}
        for feature, words in SHOWN_BIASES.items():
            bias, low, high = one.percent(feature)
            cells.append(difference_text(Estimate(bias, low, high), 0))
            name = words.replace(" ", "_").replace("-", "_")
            record |= {f"{name}_bias_percent": bias, f"{name}_low": low, f"{name}_high": high}
        rows.append((resampling, label(method), *cells, str(one.n), str(one.n_failed)))
        records.append(record | {"n": one.n, "n_failed": one.n_failed})
    columns = ("resampling", "method", "mean CCC", *(f"CCC ≥ {level:g}, %" for level in LEVELS))
    columns = (*columns[:4], f"minus {label(reference)}", *columns[4:])
    columns += (f"of {len(group_indices(UNMARKED))}: ≥ {LEVELS[0]:g}, %",)
    columns += (*(f"{words}: bias, %" for words in SHOWN_BIASES.values()), "n", "failed")
    caption = (
        f"Agreement of {len(FEATURES)} radiomic features with the truth's ({results.kind_words}; "
        f"{results.protocol_words}; {_settings(results, options)}): mean of Lin's concordance (CCC), and share of "
        f"features that have so much, with {OVER_NODULES}; the first share minus that of {label(reference)}, paired; "
        f"share of the "
        f"{len(group_indices(UNMARKED))} features that neither the bin origin decides nor the number of voxels; bias "
        "and limits of agreement of two features, in per cent of the mean truth. Every feature is in agreement.csv."
    )
    return _table("table_radiomics", "Agreement of radiomic features", caption, columns, rows, records)


def _by_class(results: StudyResults, found: dict[tuple[str, str], RadiomicAgreement], options: ReportOptions) -> Table:
    rows, records = [], []
    for (resampling, method), one in found.items():
        cells = []
        for name in CLASSES:
            group = one.groups[name]
            mean, share = group.mean, group.shares[LEVELS[0]]
            cells.append(f"{number_text(mean.value, 2)}; {number_text(PERCENT * share.value, 0)}")
            record: dict[str, Any] = {"resampling": resampling, "method": method, "class": name}
            for words, value in (("mean_ccc", mean), (f"share_{LEVELS[0]:g}", share)):
                record |= {words: value.value, f"{words}_low": value.low, f"{words}_high": value.high}
            records.append(record | {"n": one.n})
        rows.append((resampling, label(method), *cells, str(one.n)))
    columns = (
        "resampling",
        "method",
        *(f"{words} ({len(group_indices(name))})" for name, words in CLASSES.items()),
        "n",
    )
    caption = (
        f"Agreement of radiomic features by class ({results.kind_words}; {results.protocol_words}; "
        f"{_settings(results, options)}): mean concordance; per cent of features of {LEVELS[0]:g} or more. Number of "
        "features in brackets."
    )
    title = "Agreement of radiomic features by class"
    return _table("table_radiomics_classes", title, caption, columns, rows, records)


def _settings(results: StudyResults, options: ReportOptions) -> str:
    known = results.study.get("radiomics") or {}
    which = f"nodules of {options.min_slices} slices or more"
    if not {"library", "bin_width", "bin_origin"} <= known.keys():
        return which
    origin = "the darkest voxel" if known["bin_origin"] is None else f"{known['bin_origin']:g}"
    return f"{which}; {known['library']}, bins of {known['bin_width']:g} HU from {origin}"


def _category_changes(results: StudyResults) -> Table:
    """How many nodules are of another class than by the truth's size, up and down; from which to which in the CSV."""
    sizes, rows, records = sizes_by_place(results), [], []
    for reference, method in measured_places(sizes):
        cells = []
        for scheme in SCHEMES.values():
            pairs = category_pairs(sizes, reference, method, scheme)
            cells.append(f"{moves(pairs)} of {len(pairs)}" if pairs else DASH)
            for (true, measured), count in sorted(Counter(pairs).items()):
                classes: dict[str, Any] = {
                    "true": scheme.classes[true],
                    "measured": scheme.classes[measured],
                    "nodules": count,
                }
                records.append({"reference": reference, "method": method, "scheme": scheme.name} | classes)
        rows.append((REFERENCES[reference], label(method), *cells))
    caption = (
        f"Nodules whose category changes ({results.kind_words}; {results.protocol_words}): how many move up and down, "
        "of those that have a size. Every pair of classes is in the CSV file."
    )
    columns = ("reference", "method", *(scheme.label for scheme in SCHEMES.values()))
    title = "Nodules whose category changes"
    return _table("table_category_changes", title, caption, columns, rows, records)


def _table(
    name: str,
    title: str,
    caption: str,
    columns: Sequence[str],
    rows: Sequence[tuple[str, ...]],
    records: Sequence[dict[str, Any]],
    heads: int = 2,
) -> Table:
    fields = tuple(records[0]) if records else ()
    return Table(name, caption, tuple(columns), tuple(rows), heads, title, records=tuple(records), fields=fields)
