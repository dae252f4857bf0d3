"""Gains by what is known of the scanner: a table for each fact that is known of any nodule."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from bundle.inferers.registry import label
from bundle.report.facts import NoduleFacts
from bundle.report.options import ReportOptions
from bundle.report.results import StudyResults
from bundle.report.statistics.gains import REGIONS, Gain, gains_of, mean_gain
from bundle.report.statistics.scores import chosen_nodules
from bundle.report.statistics.tests import OVER_PATIENTS
from bundle.report.tables.paper_tables import SLICES
from bundle.report.tables.table import DASH, Table, signed

UNKNOWN = "unknown"
EXPOSURES_MAS = (50.0, 150.0)
FIELDS = ("stratum", "method", "region", "gain", "low", "high", "n", "patients", "n_failed")


def _exposure(facts: NoduleFacts) -> str:
    value, (low, high) = facts.scanner.get("exposure_mas"), EXPOSURES_MAS
    if not isinstance(value, float | int):
        return ""
    return f"< {low:g} mAs" if value < low else f"{low:g} to {high:g} mAs" if value < high else f">= {high:g} mAs"


def _number(facts: NoduleFacts, key: str, unit: str) -> str:
    value = facts.scanner.get(key)
    return f"{value:g} {unit}" if isinstance(value, float | int) else ""


# what a stratum is called, by what is known of a nodule; "" where that is unknown
STRATA: Mapping[str, tuple[str, Callable[[NoduleFacts], str]]] = {
    # one maker has several names: SIEMENS, Siemens Healthineers
    "manufacturer": ("manufacturer", lambda f: (str(f.scanner.get("manufacturer", "")).split() or [""])[0].upper()),
    "kernel": ("convolution kernel", lambda f: str(f.scanner.get("kernel", ""))),
    "kvp": ("tube voltage", lambda f: _number(f, "kvp", "kVp")),
    # some makers count it over a rotation, others over more: 4684 mAs of 400 mA in 0.57 s in LIDC-IDRI
    "exposure": ("exposure as its header has it", _exposure),
    "thickness": ("slice thickness", lambda f: f"{f.slice_thickness:g} mm" if f.slice_thickness else ""),
}


def scanner_strata(results: StudyResults) -> dict[str, dict[str, str]]:
    """By fact, the stratum of every nodule; facts that are known of none are left out, and a thickness that all have.

    Thickness is known of nodules of which nothing else is: it tells scanners apart only where it differs.
    """
    found = {}
    for name, (_, stratum) in STRATA.items():
        of = {n: (stratum(results.facts[n]) if n in results.facts else "") or UNKNOWN for n in results.nodules}
        known = set(of.values()) - {UNKNOWN}
        if len(known) > (name == "thickness"):
            found[name] = of
    return found


def scanner_tables(results: StudyResults, options: ReportOptions) -> list[Table]:
    """PSNR minus the reference's by manufacturer, kernel, tube voltage, exposure and thickness.

    Args:
        results: of the study.
        options: what gains are to, and on which nodules and slices.

    Returns:
        a table a fact; none where nothing is known, or fewer than two methods give brightness.

    Raises:
        InputError: an option names what is not in the study.
    """
    options.check(results.methods)
    if len(results.image_methods) < 2:
        return []
    nodules = chosen_nodules(results, options.min_slices)
    return [_table(results, options, nodules, name, of) for name, of in scanner_strata(results).items()]


def _table(results: StudyResults, options: ReportOptions, nodules: list[str], name: str, of: dict[str, str]) -> Table:
    reference, words = options.reference_in(results), STRATA[name][0]
    rows, records = [], []
    for stratum in _ordered({of[n] for n in nodules}):
        inside = [n for n in nodules if of[n] == stratum]
        for method in results.image_methods:
            if method == reference:
                continue
            found = {
                region: mean_gain(
                    gains_of(results, inside, method, reference, options.slices, region), inside, options.seed
                )
                for region in REGIONS
            }
            rows.append((stratum, label(method), *map(gain_text, found.values()), *count_texts(list(found.values()))))
            for region, gain in found.items():
                values = (gain.mean, gain.low, gain.high, gain.n, gain.patients, gain.n_failed)
                records.append(dict(zip(FIELDS, (stratum, method, region, *values), strict=True)))
    against = label(reference)
    columns = (words, "method", f"PSNR minus {against}'s, field, dB", f"PSNR minus {against}'s, tumour, dB")
    caption = (
        f"Gain by {words} on {len(nodules)} of {len(results.nodules)} nodules"
        f"{f' of {options.min_slices} or more slices' if options.min_slices > 0 else ''} ({results.kind_words}, "
        f"{results.protocol_words}), {SLICES[options.slices]}: mean of the paired differences, {OVER_PATIENTS}. "
        "Strata differ in more than this: in their nodules, gaps and noise."
    )
    return Table(
        f"scanner_{name}",
        caption,
        (*columns, "n", "patients", "failed"),
        tuple(rows),
        heads=2,
        title=f"By {words}",
        records=tuple(records),
        fields=FIELDS,
    )


def gain_text(gain: Gain) -> str:
    """A gain with its interval.

    Example:
        >>> gain_text(Gain(1.234, 1.0, 1.5, 9, 4, 0)), gain_text(Gain(1.234, math.nan, math.nan, 1, 1, 0))
        ('+1.23 (+1.00 to +1.50)', '+1.23')
    """
    if not gain.n:
        return DASH
    interval = "" if math.isnan(gain.low) else f" ({signed(gain.low, 2)} to {signed(gain.high, 2)})"
    return signed(gain.mean, 2) + interval


def count_texts(gains: list[Gain]) -> tuple[str, str, str]:
    """Nodules, patients and failures of some gains; one number where they are alike."""
    counts = [(g.n, g.patients, g.n_failed) for g in gains]
    n, patients, failed = (" / ".join(map(str, dict.fromkeys(numbers))) for numbers in zip(*counts, strict=True))
    return n, patients, failed


def _ordered(strata: set[str]) -> list[str]:
    """Numbers ascending, words by the alphabet, what is unknown last."""

    def key(text: str) -> tuple[bool, float, str]:
        first = text.removeprefix(">= ").split(" ")[0]
        number = -1.0 if text.startswith("<") else float(first) if first.replace(".", "").isdigit() else 0.0
        return text == UNKNOWN, number, text

    return sorted(strata, key=key)
