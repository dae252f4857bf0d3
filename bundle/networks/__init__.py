"""Coordinate networks: maps from a place to the brightness there."""

from bundle.networks.siren import SineLayer, Siren

__all__ = ["SineLayer", "Siren"]
