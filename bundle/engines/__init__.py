"""Fitting a coordinate network to a nodule, and training slice synthesis on many patients: Ignite engines.

:class:`NoduleTrainer` is written to be read, :class:`StackTrainer` to be fast; they compute the same.
Slice synthesis is trained by MONAI's own engines; ``configs/train.json`` puts the parts together.
"""

from bundle.engines.checkpoints import ResumingCheckpointSaver, ValidationRecord, WholeCheckpointSaver
from bundle.engines.coordinates import CoordinateBatches, coordinate_grid, unit_axis
from bundle.engines.early_stop import StopOnWithheld
from bundle.engines.plan import fit_stacks
from bundle.engines.progress import EpochProgress
from bundle.engines.schedule import learning_rate_factor
from bundle.engines.stack import StackTrainer
from bundle.engines.steps.draws import NoduleData
from bundle.engines.steps.paths import one_thread
from bundle.engines.synthesis import NoduleWindows, PsnrGain, SynthesisInferer, SynthesisLoss, synthesis_batch
from bundle.engines.trainer import FitOptions, NoduleTrainer, predict
from bundle.engines.training import ClipGradients, EpochSampler, ListedOutput, StopWithoutGain, parameter_groups

__all__ = [
    "ClipGradients",
    "CoordinateBatches",
    "EpochProgress",
    "EpochSampler",
    "FitOptions",
    "ListedOutput",
    "NoduleData",
    "NoduleTrainer",
    "NoduleWindows",
    "PsnrGain",
    "ResumingCheckpointSaver",
    "StackTrainer",
    "StopOnWithheld",
    "StopWithoutGain",
    "SynthesisInferer",
    "SynthesisLoss",
    "ValidationRecord",
    "WholeCheckpointSaver",
    "coordinate_grid",
    "fit_stacks",
    "learning_rate_factor",
    "one_thread",
    "parameter_groups",
    "predict",
    "synthesis_batch",
    "unit_axis",
]
