"""The networks: coordinate networks, fitted to one nodule, and slice synthesis, learned on many patients."""

from bundle.networks.siren import SineLayer, Siren
from bundle.networks.slice_synthesis import SliceSynthesisNet
from bundle.networks.slice_window import WINDOW_CHANNELS, flipped_geometry, slice_window, window_base

__all__ = [
    "WINDOW_CHANNELS",
    "SineLayer",
    "Siren",
    "SliceSynthesisNet",
    "flipped_geometry",
    "slice_window",
    "window_base",
]
