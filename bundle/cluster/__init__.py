"""Machines that work on many independent pieces."""

from bundle.cluster.base import Cluster, Cost, Death, Work
from bundle.cluster.processes import LocalProcesses, leave_unguarded_import

__all__ = ["Cluster", "Cost", "Death", "LocalProcesses", "Work", "leave_unguarded_import"]
