"""The networks: coordinate networks, fitted to one nodule, and slice synthesis, learned on many patients."""

from bundle.networks.siren import SineLayer, Siren
from bundle.networks.slice_synthesis import SliceSynthesisNet
from bundle.networks.slice_window import WINDOW_CHANNELS, describe_window, slice_window, window_base, window_geometry

__all__ = [
    "WINDOW_CHANNELS",
    "SineLayer",
    "Siren",
    "SliceSynthesisNet",
    "describe_window",
    "slice_window",
    "window_base",
    "window_geometry",
]
