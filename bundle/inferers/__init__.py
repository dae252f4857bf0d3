"""Every way to fill the gap between observed slices, with one call signature (see :mod:`.base`)."""

from bundle.inferers.base import SliceInferer
from bundle.inferers.calibration.fit import calibrate
from bundle.inferers.calibration.intervals import Calibration, read_calibrations
from bundle.inferers.dense.inferer import DenseInferer
from bundle.inferers.implicit.error import RawError
from bundle.inferers.implicit.field import NoduleField
from bundle.inferers.implicit.fitted import FittedInferer
from bundle.inferers.implicit.grid import GridInferer, GridOptions
from bundle.inferers.implicit.inferer import ImplicitInferer, coordinate_batches
from bundle.inferers.implicit.millimetre import EnsembleOptions, MillimetreSirenInferer
from bundle.inferers.implicit.mixed import MixedImplicitInferer
from bundle.inferers.implicit.siren_prior import PriorSirenInferer
from bundle.inferers.interpolation.flow import FlowInferer
from bundle.inferers.interpolation.gate import GateInferer
from bundle.inferers.interpolation.kriging import KrigingInferer
from bundle.inferers.interpolation.splines import CubicInferer, LinearInferer, NearestInferer, PchipInferer
from bundle.inferers.learned.prior import PriorInferer
from bundle.inferers.learned.sample import SampleInferer
from bundle.inferers.masks.distance import MorphologicalInferer, SignedDistanceInferer, morphological, signed_distance
from bundle.inferers.masks.guided import GuidedDistanceInferer, tissue_contrast
from bundle.inferers.masks.sphere import SphereDistanceInferer, sphere_distance
from bundle.inferers.registry import METHODS, method_factories
from bundle.inferers.stored import StoredInferer, stored_methods
from bundle.slices import ObservedSlices, Reconstruction

__all__ = [
    "METHODS",
    "Calibration",
    "CubicInferer",
    "DenseInferer",
    "EnsembleOptions",
    "FittedInferer",
    "FlowInferer",
    "GateInferer",
    "GridInferer",
    "GridOptions",
    "GuidedDistanceInferer",
    "ImplicitInferer",
    "KrigingInferer",
    "LinearInferer",
    "MillimetreSirenInferer",
    "MixedImplicitInferer",
    "MorphologicalInferer",
    "NearestInferer",
    "NoduleField",
    "ObservedSlices",
    "PchipInferer",
    "PriorInferer",
    "PriorSirenInferer",
    "RawError",
    "Reconstruction",
    "SampleInferer",
    "SignedDistanceInferer",
    "SliceInferer",
    "SphereDistanceInferer",
    "StoredInferer",
    "calibrate",
    "coordinate_batches",
    "method_factories",
    "morphological",
    "read_calibrations",
    "signed_distance",
    "sphere_distance",
    "stored_methods",
    "tissue_contrast",
]
