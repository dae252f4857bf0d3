"""What may be chosen about a report: which methods the others are compared with, and on which nodules and slices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bundle.errors import InputError
from bundle.inferers.names import chosen_names
from bundle.report.results import StudyResults
from bundle.report.statistics.scores import BASELINES

REFERENCE = "cubic"
SHAPE_REFERENCE = "morphological"
SLICES = ("interpolated", "unobserved")


@dataclass(frozen=True)
class ReportOptions:
    """Choices about the tables of methods and their comparison; the values of a study do not depend on them.

    Attributes:
        reference: method of brightness that differences are taken to; None: ``cubic``, where that did not run the
            first.
        baselines: methods of brightness that one should beat; None: those that learn nothing from other patients.
        slices: of the table of brightness: ``interpolated`` (between observed slices) or ``unobserved``.
        min_slices: nodules of fewer slices are left out of that table.
        mask_reference: mask method that differences are taken to; None: ``morphological``, else the first.
        mask_min_slices: as ``min_slices``, for the table of mask methods.
        seed: of the bootstrap.

    Example:
        >>> ReportOptions(reference="linear").check(["linear", "cubic"])
        >>> ReportOptions(reference="cubik").check(["linear", "cubic"])  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        bundle.errors.InputError: --reference has 'cubik', which is no method: did you mean 'cubic'? ...
    """

    reference: str | None = None
    baselines: Sequence[str] | None = None
    slices: str = "interpolated"
    min_slices: int = 11
    mask_reference: str | None = None
    mask_min_slices: int = 0
    seed: int = 0

    def check(self, methods: Sequence[str]) -> None:
        """Refuse names that are not among the methods, before anything is computed.

        Raises:
            InputError: names what is wrong.
        """
        for option in ("reference", "baselines", "mask_reference"):
            value = getattr(self, option)
            if value is not None:
                chosen_names([value] if isinstance(value, str) else list(value), methods, option)
        if self.slices not in SLICES:
            raise InputError(f"--slices is {self.slices!r}, expected {' or '.join(SLICES)}")

    def reference_in(self, results: StudyResults) -> str:
        """The method that others are compared with."""
        return self.reference or _first(REFERENCE, results.image_methods or results.methods)

    def mask_reference_in(self, results: StudyResults) -> str:
        """The mask method that other mask methods are compared with; the study has one."""
        return self.mask_reference or _first(SHAPE_REFERENCE, results.mask_methods)

    def baselines_in(self, results: StudyResults) -> list[str]:
        """The methods that one should beat."""
        if self.baselines is not None:
            return list(self.baselines)
        return [name for name in BASELINES if name in results.image_methods]


def _first(wanted: str, methods: Sequence[str]) -> str:
    return wanted if wanted in methods else methods[0]
