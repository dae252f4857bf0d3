"""Phantom CT around real nodule outlines."""
