"""What is known of the scanner that a nodule was seen by, and of its protocol; nothing that names a patient or a place.

Vocabulary: *scanner facts* are a dictionary with some of the keys of :data:`FACTS`; what is unknown has no key.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from bundle.errors import InputError, nearest

# by key: DICOM's keywords, the first that is there, and whether the value is a number
FACTS: Mapping[str, tuple[tuple[str, ...], bool]] = {
    "manufacturer": (("Manufacturer",), False),
    "model": (("ManufacturerModelName",), False),
    "kernel": (("ConvolutionKernel",), False),
    "kvp": (("KVP",), True),
    "exposure_mas": (("Exposure", "ExposureInmAs"), True),
}
SCANNER_TAGS = tuple(tag for tags, _ in FACTS.values() for tag in tags)
_LONGEST = 64  # of DICOM's LO


def scanner_facts(slices: Sequence[Mapping[str, str]]) -> dict[str, str | float]:
    """The facts of a series: texts of most slices, the median of numbers, as exposure follows the body.

    Args:
        slices: what each says by DICOM keyword, as text; other keywords are passed over.

    Example:
        >>> scanner_facts([{"Manufacturer": "GE", "Exposure": "20"}, {"Manufacturer": "GE", "Exposure": "40"}])
        {'manufacturer': 'GE', 'exposure_mas': 30.0}
    """
    found: dict[str, str | float] = {}
    for name, (tags, is_number) in FACTS.items():
        said = [text for one in slices if (text := next((one[tag] for tag in tags if one.get(tag)), ""))]
        if is_number:
            numbers = [value for text in said if (value := _positive(text))]
            found |= {name: float(median(numbers))} if numbers else {}
        elif words := Counter(filter(None, map(_tidy, said))).most_common(1):
            found[name] = words[0][0]
    return found


def check_scanner(given: Any, where: str) -> dict[str, str | float]:
    """The facts of a datalist's entry.

    Args:
        given: as the file has it; None: nothing is known.
        where: it stands, for the error.

    Raises:
        InputError: a key that is none of the facts, or a value that is not of its kind.

    Example:
        >>> check_scanner({"kernel": "B30f", "kvp": 120}, "list.json, entry 0,")
        {'kernel': 'B30f', 'kvp': 120.0}
        >>> check_scanner({"kernal": "B30f"}, "list.json, entry 0,")
        Traceback (most recent call last):
        bundle.errors.InputError: list.json, entry 0, has scanner fact 'kernal': did you mean 'kernel'?
    """
    if given is None:
        return {}
    if not isinstance(given, dict):
        raise InputError(f'{where} has scanner {given!r}, expected {{"manufacturer": "GE", "kvp": 120}} or the like')
    found: dict[str, str | float] = {}
    for name, value in given.items():
        if name not in FACTS:
            near = nearest(str(name), FACTS)
            told = f": did you mean {near!r}?" if near else f", expected some of {', '.join(FACTS)}"
            raise InputError(f"{where} has scanner fact {name!r}{told}")
        if value is None:
            continue
        number = _positive(value) if FACTS[name][1] and not isinstance(value, bool | str) else None
        text = _tidy(value) if not FACTS[name][1] and isinstance(value, str) else ""
        if not number and not text:
            expected = "a number above 0" if FACTS[name][1] else "a word"
            raise InputError(f"{where} has scanner fact {name} {value!r}, expected {expected}")
        found[name] = number or text
    return found


def scanner_words(facts: Mapping[str, str | float]) -> str:
    """All that is known, on one line.

    Example:
        >>> scanner_words({"manufacturer": "GE", "kernel": "BONE", "kvp": 120.0, "exposure_mas": 40.0})
        'GE, kernel BONE, 120 kVp, 40 mAs'
    """
    forms = ("{}", "{}", "kernel {}", "{:g} kVp", "{:g} mAs")
    return ", ".join(form.format(facts[name]) for name, form in zip(FACTS, forms, strict=True) if name in facts)


def _tidy(text: str) -> str:
    return " ".join(text.split())[:_LONGEST]


def _positive(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if math.isfinite(number) and number > 0 else None
