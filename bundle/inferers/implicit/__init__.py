"""Coordinate networks fitted to one nodule."""
