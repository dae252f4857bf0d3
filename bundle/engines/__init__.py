"""Fitting a coordinate network to a nodule, and training slice synthesis on many patients: Ignite engines.

:class:`NoduleTrainer` is written to be read, :class:`StackTrainer` to be fast; they compute the same.
:class:`SynthesisTrainer` is the one of many patients.
"""

from bundle.engines.coordinates import CoordinateBatches, coordinate_grid, unit_axis
from bundle.engines.early_stop import StopOnWithheld
from bundle.engines.progress import EpochProgress
from bundle.engines.schedule import learning_rate_factor
from bundle.engines.stack import StackTrainer
from bundle.engines.stacks import fit_stacks
from bundle.engines.steps.draws import NoduleData
from bundle.engines.steps.paths import one_thread
from bundle.engines.synthesis import AutocastInferer, NoduleWindows, PsnrGain, SynthesisLoss, synthesis_batch
from bundle.engines.synthesis_trainer import SynthesisOptions, SynthesisTrainer
from bundle.engines.trainer import FitOptions, NoduleTrainer, predict

__all__ = [
    "AutocastInferer",
    "CoordinateBatches",
    "EpochProgress",
    "FitOptions",
    "NoduleData",
    "NoduleTrainer",
    "NoduleWindows",
    "PsnrGain",
    "StackTrainer",
    "StopOnWithheld",
    "SynthesisLoss",
    "SynthesisOptions",
    "SynthesisTrainer",
    "coordinate_grid",
    "fit_stacks",
    "learning_rate_factor",
    "one_thread",
    "predict",
    "synthesis_batch",
    "unit_axis",
]
