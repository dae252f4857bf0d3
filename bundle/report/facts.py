"""What a study knows of a nodule's crop, read back."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass(frozen=True)
class NoduleFacts:
    """What is known of a nodule's crop.

    Attributes:
        spacing: (x, y, z) in mm.
        shape: voxels (X, Y, Z).
        axis: the decimated one.
        observed: indices of the observed slices along ``axis``.
        slice_thickness: mm, None if unknown.
        diameter_mm: None if unknown.
        ratings: mean over readers; empty if unknown.
        scanner: see :mod:`bundle.data.scanner`; empty if unknown.
    """

    spacing: tuple[float, float, float]
    shape: tuple[int, int, int]
    axis: int
    observed: tuple[int, ...]
    slice_thickness: float | None = None
    diameter_mm: float | None = None
    ratings: dict[str, float] = field(default_factory=dict)
    scanner: dict[str, str | float] = field(default_factory=dict)

    @property
    def unobserved(self) -> tuple[int, ...]:
        """Indices of the other slices."""
        return tuple(sorted(set(range(self.shape[self.axis])) - set(self.observed)))

    @property
    def gap_mm(self) -> float:
        """Distance between observed slices; nan if there is only one."""
        steps = np.diff(self.observed) * self.spacing[self.axis]
        return float(steps.max()) if len(steps) else math.nan

    @classmethod
    def of(cls, stored: Mapping[str, Any]) -> NoduleFacts:
        """From what a study stored with the crop.

        Raises:
            KeyError, TypeError, ValueError: it is not what a study stores.

        Example:
            >>> stored = {"spacing": [0.7, 0.7, 1.0], "shape": [9, 9, 8], "axis": 2, "observed": [0, 5]}
            >>> NoduleFacts.of(stored).gap_mm
            5.0
        """
        return cls(
            spacing=tuple(float(s) for s in stored["spacing"]),  # type: ignore[arg-type]
            shape=tuple(int(n) for n in stored["shape"]),  # type: ignore[arg-type]
            axis=int(stored["axis"]),
            observed=tuple(int(i) for i in stored["observed"]),
            slice_thickness=stored.get("slice_thickness"),
            diameter_mm=stored.get("diameter_mm"),
            ratings=dict(stored.get("ratings") or {}),
            scanner=dict(stored.get("scanner") or {}),
        )
