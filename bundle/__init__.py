"""Recover the missing axial slices of a CT around a lung nodule, and measure how well.

The rooms, in the order in which data flows through them; each imports only from those before it:
:mod:`bundle.data`, :mod:`bundle.transforms`, :mod:`bundle.networks`, :mod:`bundle.engines`,
:mod:`bundle.inferers`, :mod:`bundle.metrics`, :mod:`bundle.report`, and :mod:`bundle.study.study` above them all.
"""

from bundle.version import __version__

__all__ = ["__version__"]
