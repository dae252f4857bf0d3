"""The networks: coordinate networks, fitted to one nodule, and slice synthesis, learned on many patients."""

from bundle.networks.coordinate import CoordinateNetwork, Decoder, FinerLayer, SineLayer, Siren
from bundle.networks.encodings import Concatenation, FourierFeatures, GridLevel, Lattice
from bundle.networks.published import fourier_mlp, instant_ngp
from bundle.networks.slice_synthesis import SliceSynthesisNet
from bundle.networks.slice_window import WINDOW_CHANNELS, flipped_geometry, slice_window, window_base

__all__ = [
    "WINDOW_CHANNELS",
    "Concatenation",
    "CoordinateNetwork",
    "Decoder",
    "FinerLayer",
    "FourierFeatures",
    "GridLevel",
    "Lattice",
    "SineLayer",
    "Siren",
    "SliceSynthesisNet",
    "flipped_geometry",
    "fourier_mlp",
    "instant_ngp",
    "slice_window",
    "window_base",
]
