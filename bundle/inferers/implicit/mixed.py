"""The mean of two ensembles in mm: their errors between slices differ, so that their mean has less of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch

from bundle.errors import InputError
from bundle.inferers.base import SliceInferer, checked_image_method
from bundle.inferers.implicit.error import RawError
from bundle.inferers.implicit.field import NoduleField
from bundle.inferers.implicit.fitted import numbered, part_of
from bundle.inferers.implicit.millimetre import RAW_ERROR, MillimetreSirenInferer
from bundle.slices import ObservedSlices


class MeanField(NoduleField):
    """The mean of several functions of a nodule; see :class:`bundle.inferers.NoduleField`.

    Args:
        fields: the functions.
    """

    def __init__(self, fields: Sequence[NoduleField]) -> None:
        super().__init__([member for field in fields for member in field.members], fields[0].frame, fields[0].observed)
        self.fields = fields

    def __call__(self, places: np.ndarray) -> np.ndarray:
        """Intensity at any places, (N, 3) mm to (N,)."""
        return np.mean([field(places) for field in self.fields], axis=0)

    def slices(self, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Image and spread, that of the mixture of all members, (X, Y, Z) at targets in mm."""
        images, spreads = zip(*(field.slices(targets) for field in self.fields), strict=True)
        return np.mean(images, axis=0), np.sqrt(np.var(images, axis=0) + np.mean(np.square(spreads), axis=0))

    def state(self) -> dict[str, torch.Tensor]:
        """Parameters of all members, their names led by the numbers of the function and of the member."""
        return numbered([field.state() for field in self.fields])


class MixedImplicitInferer(MillimetreSirenInferer):
    """Fit SIRENs in mm and hybrids of a grid and sines, and take the mean of what both give.

    Args:
        siren_mm: the one ensemble, or what makes it.
        grid_mm: the other.
        raw_error: makes the error map, of the standard deviation of the mixture of both.

    Raises:
        InputError: one of them is no ensemble in mm.

    Example:
        >>> from bundle.inferers import EnsembleOptions, GridInferer, GridOptions
        >>> siren = MillimetreSirenInferer(EnsembleOptions(epochs=2, members=2), device="cpu")
        >>> mixed = MixedImplicitInferer(siren, GridInferer(GridOptions(epochs=2), device="cpu"))
        >>> mixed(np.zeros((8, 8, 3)), positions=[0, 5, 10], targets=range(11), spacing=(0.7, 0.7)).shape
        (8, 8, 11)
    """

    gives_error = True

    def __init__(
        self,
        siren_mm: Callable[[], SliceInferer] | SliceInferer,
        grid_mm: Callable[[], SliceInferer] | SliceInferer,
        raw_error: RawError = RAW_ERROR,
    ) -> None:
        self.parts: list[MillimetreSirenInferer] = []
        for given in (siren_mm, grid_mm):
            part = checked_image_method(given)
            if not isinstance(part, MillimetreSirenInferer):
                raise InputError(f"{type(part).__name__} is no ensemble in mm: give siren_mm's or grid_mm's inferer")
            self.parts.append(part)
        super().__init__(self.parts[0].ensemble, self.parts[0].device, raw_error)

    def fit_many(self, many: Sequence[ObservedSlices]) -> list[NoduleField]:
        """The function of each nodule."""
        fields = []
        for number, part in enumerate(self.parts):
            part.on_progress = self.on_progress and part_of(self.on_progress, number, 1, len(self.parts))
            fields.append(part.fit_many(many))
        return [MeanField(pair) for pair in zip(*fields, strict=True)]
