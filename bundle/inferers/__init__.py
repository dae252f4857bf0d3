"""Every way to fill the gap between observed slices, with one call signature (see :mod:`.base`)."""

from bundle.inferers.base import ObservedSlices, Reconstruction, SliceInferer
from bundle.inferers.calibration import Calibration, load_calibration, read_calibrations
from bundle.inferers.calibration_fit import calibrate
from bundle.inferers.dense import DenseInferer
from bundle.inferers.dense_profile import ProfileInferer, ProfileMean
from bundle.inferers.flow import FlowInferer
from bundle.inferers.gate import GateInferer
from bundle.inferers.implicit import ImplicitInferer, coordinate_batches
from bundle.inferers.implicit_error import RawError
from bundle.inferers.implicit_field import NoduleField
from bundle.inferers.implicit_mm import MillimetreSirenInferer
from bundle.inferers.implicit_prior import PriorSirenInferer
from bundle.inferers.interpolation import CubicInferer, LinearInferer, NearestInferer, PchipInferer
from bundle.inferers.kriging import KrigingInferer
from bundle.inferers.prior import PriorInferer
from bundle.inferers.shape import MorphologicalInferer, SignedDistanceInferer, morphological, signed_distance
from bundle.inferers.shape_guided import GuidedDistanceInferer, tissue_contrast
from bundle.inferers.shape_sphere import SphereDistanceInferer, sphere_distance
from bundle.inferers.stored import StoredInferer, stored_methods

__all__ = [
    "Calibration",
    "CubicInferer",
    "DenseInferer",
    "FlowInferer",
    "GateInferer",
    "GuidedDistanceInferer",
    "ImplicitInferer",
    "KrigingInferer",
    "LinearInferer",
    "MillimetreSirenInferer",
    "MorphologicalInferer",
    "NearestInferer",
    "NoduleField",
    "ObservedSlices",
    "PchipInferer",
    "PriorInferer",
    "PriorSirenInferer",
    "ProfileInferer",
    "ProfileMean",
    "RawError",
    "Reconstruction",
    "SignedDistanceInferer",
    "SliceInferer",
    "SphereDistanceInferer",
    "StoredInferer",
    "calibrate",
    "coordinate_batches",
    "load_calibration",
    "morphological",
    "read_calibrations",
    "signed_distance",
    "sphere_distance",
    "stored_methods",
    "tissue_contrast",
]
