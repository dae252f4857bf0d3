"""What a study writes down and says of itself: the command, its parameters, the versions, how it went."""

from __future__ import annotations

import platform
import sys
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from bundle.options.command import command_line
from bundle.store import describe
from bundle.study.nodule import NoduleWork
from bundle.study.outcome import Outcome
from bundle.version import __version__


def engine_lines(outcomes: Iterable[Outcome], methods: Sequence[str]) -> list[str]:
    """Which way each fitted method took and how fast, one line a method and way.

    Example:
        >>> fit = {"path": "compiled step", "steps": 600, "seconds": 4.0}
        >>> engine_lines([Outcome(timings={"siren": fit}), Outcome(timings={"siren": fit})], ["siren"])
        ['siren: compiled step; 2 fits, 1,200 steps, 150 steps/s each']
    """
    fits: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for outcome in outcomes:
        for name in methods:
            timings = outcome.timings.get(name, {})
            if timings.get("steps"):
                fits.setdefault((name, timings["path"]), []).append(timings)
    lines = []
    for (name, path), many in fits.items():
        steps, seconds = (sum(fit[key] for fit in many) for key in ("steps", "seconds"))
        lines.append(
            f"{name}: {path}; {len(many)} fits, {steps:,} steps, {steps / max(seconds, 1e-9):.0f} steps/s each"
        )
    return lines


def damage_lines(outcomes: Iterable[tuple[str, Outcome]]) -> list[str]:
    """What was computed anew because its files were damaged, one line for all.

    Example:
        >>> damage_lines([("n0", Outcome(damaged={"linear": "image.nii.gz is gone", "cubic": None}))])
        ['1 damaged results were computed anew, the old ones are in superseded/: n0 linear (image.nii.gz is gone)']
    """
    damaged = [
        f"{nodule_id} {part} ({what})"
        for nodule_id, outcome in outcomes
        for part, what in outcome.damaged.items()
        if what
    ]
    if not damaged:
        return []
    shown = ", ".join(damaged[:5]) + (" ..." if len(damaged) > 5 else "")
    return [f"{len(damaged)} damaged results were computed anew, the old ones are in superseded/: {shown}"]


def doubt_lines(outcomes: Iterable[tuple[str, Outcome]], methods: Sequence[str]) -> list[str]:
    """Which methods failed or have something to say of their results, and the first reason; two lines a method at most.

    Args:
        outcomes: (nodule id, what became of it).
        methods: that are looked at; ``truth`` is the CT itself.

    Example:
        >>> doubt_lines([("n0", Outcome(notes={"ours": ["it looks flipped"]})), ("n1", Outcome())], ["ours"])
        ['ours, note on 1 nodules: n0: it looks flipped']
    """
    ordered, lines = list(outcomes), []
    for name in methods:
        title = "the CT" if name == "truth" else name
        failed = [f"{nodule}: {outcome.failures[name]}" for nodule, outcome in ordered if name in outcome.failures]
        noted = [f"{nodule}: {note}" for nodule, outcome in ordered for note in outcome.notes.get(name, [])[:1]]
        for words, found in (("failed", failed), ("note", noted)):
            if found:
                lines.append(f"{title}, {words} on {len(found)} nodules: {found[0]}{' ...' if len(found) > 1 else ''}")
    return lines


def parameters(work: NoduleWork) -> dict[str, Any]:
    """All that settles a study's results, and the command that was given, for ``study.json``."""
    return {
        "command": command_line(sys.argv),
        "nodules": work.source.description,
        "data": work.source.kind,
        "seed": work.seed,
        "reveal_unobserved": work.reveal,
        "crop": describe(work.crop),
        "decimate": describe(work.decimate),
        "methods": describe(work.inferers),
        "evaluator": describe(work.evaluator),
        "texture": describe(work.texture),
        "uncertainty": describe(work.uncertainty),
        "sizes": describe(work.sizes),
        "radiomics": describe(work.radiomics),
        "versions": package_versions(),
    }


def package_versions() -> dict[str, str]:
    """Versions that a result may depend on, by package."""
    versions = {"lung_nodule_ct_reconstruction": __version__, "python": platform.python_version()}
    for name in ("monai", "torch", "pytorch-ignite", "numpy", "scipy", "scikit-image", "nibabel", "pylidc"):
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = "not installed"
    return versions | {"torch_threads": "1 a process", "cuda": str(torch.version.cuda)}


def last_line(
    ordered: list[tuple[str, Outcome]], methods: int, seconds: float, root: Path, settings: int | None = None
) -> str:
    """The line that a study ends with, or a sweep over so many settings.

    Example:
        >>> last_line([("n0", Outcome(reused=1)), ("n1", Outcome(failures={"siren": "why"}))], 2, 4.2, Path("out"))
        '2 nodules x 2 methods: 3 reconstructed (1 of them earlier), 1 failed, in 4 s; results in out'
    """
    failed = sum(len(outcome.failures) for _, outcome in ordered)
    reused = sum(outcome.reused for _, outcome in ordered)
    total = len(ordered) * methods
    several = "" if settings is None else f"{settings} settings x "
    return (
        f"{several}{len(ordered) // (settings or 1)} nodules x {methods} methods: "
        f"{total - failed} reconstructed ({reused} of them earlier), "
        f"{failed} failed, in {seconds:.0f} s; results in {root}"
    )
