"""The Ignite trainer of a nodule, its learning-rate schedule and its batches of coordinates."""

from bundle.engines.coordinates import CoordinateBatches, coordinate_grid, unit_axis
from bundle.engines.progress import EpochProgress
from bundle.engines.schedule import learning_rate_factor
from bundle.engines.trainer import FitOptions, NoduleTrainer, predict

__all__ = [
    "CoordinateBatches",
    "EpochProgress",
    "FitOptions",
    "NoduleTrainer",
    "coordinate_grid",
    "learning_rate_factor",
    "predict",
    "unit_axis",
]
