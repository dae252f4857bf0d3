"""A small stack of fits, and every path that can compute it."""

from __future__ import annotations

import torch

from bundle.engines import FitOptions, NoduleData, StackTrainer
from bundle.engines.steps.functional import FunctionalNetwork
from bundle.engines.steps.lock_step import StackedPath
from bundle.engines.steps.paths import OneByOne
from bundle.engines.steps.siren_native import siren_shape
from bundle.engines.steps.siren_torch import StackedSiren
from bundle.networks import Siren

OPTIONS = FitOptions(epochs=5, learning_rate=1e-3, warmup=2, t_0=2, batch_size=64, jitter=1e-3, precision="fp32")
LENGTHS = (150, 300, 64, 150)
WIDTH = 24


def siren(seed, dropout=0.5):
    torch.manual_seed(seed)
    return Siren(hidden_features=WIDTH, hidden_layers=2, dropout=dropout)


def data_of(length, seed, options=OPTIONS):
    places = torch.rand(length, 3, generator=torch.Generator().manual_seed(length)) * 2 - 1
    return NoduleData(places, places[:, 0] ** 2, seed, options.batch_size, options.jitter)


def stack(lengths=LENGTHS, options=OPTIONS, make=siren, **kwargs):
    """A trainer of nodules whose network and seed follow from their place in LENGTHS."""
    seeds = range(len(lengths))
    data = [data_of(n, seed) for n, seed in zip(lengths, seeds, strict=True)]
    return StackTrainer([make(seed) for seed in seeds], data, options, **kwargs)


def results(trainer):
    trainer.run()
    return [fit.parameters for fit in trainer.fits]


def stacked_path(fits, **kwargs):
    return StackedPath(fits, StackedSiren(siren_shape(fits[0].network)), **kwargs)


# each way to compute a stack; the GPU's is the stacked one, with compilation and capture switched here
def warming_up(function):
    """Stands for the capture of a CUDA graph: runs the function, as warming up does, before it is replayed."""
    function()
    function()
    return function


PATHS = {
    "one by one": lambda fits: OneByOne(StackedSiren(siren_shape(fits[0].network)), ""),
    "stacked": stacked_path,
    "stacked, captured": lambda fits: stacked_path(fits, capture=warming_up),
    "functional": lambda fits: StackedPath(fits, FunctionalNetwork(fits[0].network)),
}
