"""The mean of two ensembles in mm: their errors between slices differ, so that their mean has less of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from bundle.errors import InputError
from bundle.inferers.base import SliceInferer, checked_image_method
from bundle.inferers.implicit.error import RawError
from bundle.inferers.implicit.fitted import FittedInferer
from bundle.inferers.implicit.millimetre import RAW_ERROR, MillimetreSirenInferer
from bundle.progress import Progress
from bundle.slices import ObservedSlices, Reconstruction


class MixedImplicitInferer(FittedInferer):
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
        super().__init__(self.parts[0].options, self.parts[0].device)
        self.raw_error = raw_error

    def fit(self, observed: ObservedSlices) -> Callable[[np.ndarray], np.ndarray]:
        """The nodule as a continuous function of (N, 3) mm, see :class:`bundle.inferers.NoduleField`."""
        fields = [part.fit(observed) for part in self.parts]
        return lambda places: np.mean([field(places) for field in fields], axis=0)

    def reconstruct_many(self, observed: Sequence[ObservedSlices]) -> list[Reconstruction]:
        """See :class:`FittedInferer`; without learning curves, which differ in length."""
        fitted = []
        for number, part in enumerate(self.parts):
            part.on_progress = None if self.on_progress is None else _share(self.on_progress, number, len(self.parts))
            fitted.append(part.fit_many(observed))
        return [self._mean(one, pairs) for one, *pairs in zip(observed, *fitted, strict=True)]

    def _mean(self, observed: ObservedSlices, pairs: Sequence[tuple]) -> Reconstruction:
        images, spreads = zip(*(field.slices(observed.targets) for field, _ in pairs), strict=True)
        spread = np.sqrt(np.var(images, axis=0) + np.mean(np.square(spreads), axis=0))
        image = np.mean(images, axis=0)
        records = [record for _, record in pairs]
        timings = {key: sum(record.timings[key] for record in records) for key in ("seconds", "steps")}
        return Reconstruction(
            image=image,
            error=self.expected_error(self.raw_error(observed, spread), observed, image),
            notes=list(dict.fromkeys(note for record in records for note in record.notes)),
            state={f"{i}.{name}": t for i, (field, _) in enumerate(pairs) for name, t in field.state().items()},
            timings={"path": "; ".join(record.timings["path"] for record in records), **timings},
        )


def _share(told: Progress, number: int, count: int) -> Progress:
    """Progress of one part of several, as that of all."""
    return lambda done, total, words: told(number * total + done, count * total, words)
