"""Implicit reconstruction with a prior: networks that agree with the observed slices, and with a prior between them.

One nodule's observed slices do not say what is between them; a prior learned on other patients
(:mod:`bundle.inferers.learned.prior`) does, but it knows slices, not a body, and where it errs, it errs without regard
to what fits the rest of the nodule best. So the members of :mod:`bundle.inferers.implicit.millimetre` are fitted to
both: to the observed voxels, and with a lower weight to the slices that the prior makes. What they smooth away of
those slices is added again in part. The result is one function of x, y and z, as the paper meant it.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
from torch import nn

from bundle.errors import InputError
from bundle.inferers.base import SliceInferer, checked_image_method
from bundle.inferers.implicit.error import RawError
from bundle.inferers.implicit.field import Guide, NoduleField
from bundle.inferers.implicit.millimetre import RAW_ERROR, EnsembleOptions, MillimetreSirenInferer
from bundle.slices import ObservedSlices


def prior_planes(positions: np.ndarray, targets: np.ndarray, finest: float = 0.3, coarsest: float = 1.25) -> np.ndarray:
    """Where to ask a prior: at the targets that are not observed, thinned out or filled up to a sensible distance.

    Args:
        positions: (K,) mm of the observed slices, strictly ascending.
        targets: (Z,) mm.
        finest: targets nearer than that in mm to an observed slice or to one another are left out.
        coarsest: distances of more mm than that between the ends of the observed slices are divided evenly.

    Returns:
        (P,) mm, strictly ascending, none at an observed position.

    Example:
        >>> prior_planes(np.array([0.0, 4.0]), np.array([0.0, 0.1, 1.0, 2.0, 5.0])).tolist()
        [1.0, 2.0, 3.0, 5.0]
    """
    knots = sorted(float(p) for p in positions)
    for target in sorted(float(t) for t in targets):
        if np.abs(np.array(knots) - target).min() >= finest:
            knots.append(target)
    planes = set(knots) - {float(p) for p in positions}
    for low, high in itertools.pairwise(sorted(k for k in knots if positions[0] <= k <= positions[-1])):
        count = math.ceil((high - low) / coarsest - 1e-9)
        planes |= {low + (high - low) * i / count for i in range(1, count)}
    return np.array(sorted(planes))


SIREN_PRIOR = EnsembleOptions(epochs=12, members=4, omega_0=15.0, batch_size=512, voxels=30_000)


class PriorSirenInferer(MillimetreSirenInferer):
    """Fit several small networks per nodule to its observed slices and to a prior's slices between them.

    Args:
        prior: the method whose slices guide the fit, or what makes it.
        weight: of a voxel of the prior in the fit, where an observed voxel has 1.
        part: of what the mean of the networks misses of the prior's slices, how much is added to it.
        ensemble: see :class:`MillimetreSirenInferer`, as all that follow.
        device: where to fit.
        raw_error: makes the error map where the prior has none.

    The prior is asked at the targets that are wanted, and in between where they are far apart
    (:func:`prior_planes`); so targets have an influence on one another, a small one. Where the prior reaches beyond the
    last observed slice, so does the function. ``error`` is the prior's, widened by the spread of the networks. Where
    observed slices are averages over a thickness, the fit is to the prior's slices alone, which agree with them.

    Example:
        >>> from bundle.inferers import PchipInferer
        >>> siren = PriorSirenInferer(PchipInferer, ensemble=replace(SIREN_PRIOR, epochs=2), device="cpu")
        >>> siren(np.zeros((8, 8, 3)), positions=[0, 5, 10], targets=range(11), spacing=(0.7, 0.7)).shape
        (8, 8, 11)
    """

    def __init__(
        self,
        prior: Callable[[], SliceInferer] | SliceInferer,
        weight: float = 0.3,
        part: float = 0.5,
        ensemble: EnsembleOptions = SIREN_PRIOR,
        device: str | None = None,
        raw_error: RawError = RAW_ERROR,
    ) -> None:
        super().__init__(ensemble, device, raw_error)
        if not 0 < weight < math.inf:
            raise InputError(f"weight is {weight!r}, expected a number above 0, where an observed voxel has 1")
        if not 0 <= part <= 1:
            raise InputError(f"part is {part!r}, expected a number from 0 to 1")
        self.prior = checked_image_method(prior)
        self.weight = float(weight)
        self.part = float(part)

    def _guide(self, observed: ObservedSlices) -> Guide | None:
        thick = bool(observed.thickness_mm)
        planes = np.unique(observed.targets) if thick else prior_planes(observed.positions, observed.targets)
        if not len(planes):
            return None
        places, index = np.unique(np.concatenate([planes, observed.targets]), return_inverse=True)
        made = self.prior.complete(replace(observed, targets=places))
        image = np.asarray(made.image, dtype=np.float64)
        first, last = index[: len(planes)], index[len(planes) :]
        error = None if made.error is None else np.asarray(made.error, dtype=np.float64)[..., last]
        return Guide(planes, image[..., first], self.weight, self.part, error)

    def _raw_error(self, field: NoduleField, spread: np.ndarray) -> np.ndarray:
        if field.guide is None or field.guide.error is None:
            return super()._raw_error(field, spread)
        return np.hypot(field.guide.error, spread)

    def _member(self, field: NoduleField) -> nn.Module:
        return self.ensemble.network(field.observed, field.frame)  # the prior's slices are no averages
