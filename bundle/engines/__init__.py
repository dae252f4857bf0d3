"""Fitting a coordinate network to a nodule: batches, learning-rate schedule, two Ignite engines.

:class:`NoduleTrainer` is written to be read, :class:`StackTrainer` to be fast; they compute the same.
"""

from bundle.engines.coordinates import CoordinateBatches, coordinate_grid, unit_axis
from bundle.engines.draws import NoduleData
from bundle.engines.early_stop import StopOnWithheld
from bundle.engines.paths import one_thread
from bundle.engines.progress import EpochProgress
from bundle.engines.schedule import learning_rate_factor
from bundle.engines.stack import StackTrainer
from bundle.engines.stacks import fit_stacks
from bundle.engines.trainer import FitOptions, NoduleTrainer, predict

__all__ = [
    "CoordinateBatches",
    "EpochProgress",
    "FitOptions",
    "NoduleData",
    "NoduleTrainer",
    "StackTrainer",
    "StopOnWithheld",
    "coordinate_grid",
    "fit_stacks",
    "learning_rate_factor",
    "one_thread",
    "predict",
    "unit_axis",
]
