"""Every way to fill the gap between observed slices, with one call signature (see :mod:`.base`)."""

from bundle.inferers.base import ObservedSlices, Reconstruction, SliceInferer
from bundle.inferers.shape import MorphologicalInferer, SignedDistanceInferer, morphological, signed_distance

__all__ = [
    "MorphologicalInferer",
    "ObservedSlices",
    "Reconstruction",
    "SignedDistanceInferer",
    "SliceInferer",
    "morphological",
    "signed_distance",
]
