"""What there is of a nodule before it is worked on, and what became of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from bundle.study.case import Case


@dataclass
class Outcome:
    """What became of one nodule, by method: rows of metrics, texture, uncertainty, sizes, radiomics; reason of failure,
    seconds, how it was computed, notes, what was wrong with a stored result that was computed anew.

    Texture, sizes and radiomics have a method more, ``truth``: the CT itself, to compare with; sizes also
    ``sum_of_areas``. Only methods that say how far they may be off have rows of uncertainty. Of radiomics, many rows a
    nodule, those of failures alone are held; ``measured`` names whose are read from the stored results for the table.
    """

    rows: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    texture: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    uncertainty: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    sizes: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    radiomics: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    timings: dict[str, dict[str, Any]] = field(default_factory=dict)
    notes: dict[str, list[str]] = field(default_factory=dict)
    damaged: dict[str, str | None] = field(default_factory=dict)
    measured: set[str] = field(default_factory=set)
    reused: int = 0


@dataclass
class Share:
    """What there is of one nodule, by part (``truth`` and every method), and what is to be computed.

    ``wanted`` are fingerprints, ``stored`` results, None where one is missing; ``damaged`` says what is wrong with one
    that can't be used. Missing results are made from ``case``; None: nothing is missing.
    """

    nodule_id: str
    wanted: dict[str, str]
    stored: dict[str, dict[str, Any] | None]
    damaged: dict[str, str | None] = field(default_factory=dict)
    case: Case | None = None


def take_truth(outcome: Outcome, truth: Mapping[str, Any]) -> None:
    """Put what is stored of the truth, or {}, into an outcome."""
    for part in ("texture", "notes"):
        getattr(outcome, part)["truth"] = truth.get(part, [])
    if truth.get("radiomics"):
        outcome.measured.add("truth")
    outcome.sizes = dict(truth.get("sizes", {}))


def take(outcome: Outcome, name: str, result: Mapping[str, Any]) -> None:
    """Put what is stored of a method into an outcome."""
    for part in ("rows", "texture", "uncertainty", "sizes", "seconds", "timings", "notes"):
        getattr(outcome, part)[name] = result[part]
    if result.get("radiomics"):  # not in results of before it was there
        outcome.measured.add(name)
