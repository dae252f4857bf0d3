"""Which way the steps of a stack are computed on a device, at what precision, on how many threads."""

from __future__ import annotations

import contextlib
import importlib.util
from collections.abc import Iterator, Sequence

import torch

from bundle.engines.steps.fit import FitPath, NativePath, NoduleFit
from bundle.engines.steps.functional import FunctionalNetwork
from bundle.engines.steps.lattice import LatticePath, takes_lattice
from bundle.engines.steps.lock_step import CudaGraphs, StackedPath, StackGradient
from bundle.engines.steps.native import pointwise_library
from bundle.engines.steps.products import multiplies_bfloat16
from bundle.engines.steps.siren_native import NativeSirenStep, siren_shape
from bundle.engines.steps.siren_torch import StackedSiren


def choose_path(fits: Sequence[NoduleFit], device: torch.device) -> tuple[FitPath, str, str]:
    """The fastest way there is for these networks on this device.

    The choice depends on nothing but networks, options and machine.

    Returns:
        the path, its precision, and why a faster path is not taken (empty if it is the fastest).
    """
    network, options = fits[0].network, fits[0].options
    if all(takes_lattice(fit) for fit in fits):
        return LatticePath(device, f"lattice, fp32, {device}"), "fp32", ""
    shape = siren_shape(network)
    precision = chosen_precision(options.precision, device, shape is not None)
    store = torch.bfloat16 if precision == "bf16" else torch.float32
    widen = precision == "bf16" and device.type == "cpu" and not multiplies_bfloat16()
    words = "bf16 multiplied in fp32" if widen else precision
    fallback = ""
    if device.type == "cpu" and shape is not None and not options.rates:
        library, fallback = pointwise_library(store)
        if library is not None:
            step = NativeSirenStep(shape, options.batch_size, library)
            return NativePath(step, f"compiled step, {words}, one CPU thread"), precision, ""
    gradient = FunctionalNetwork(network, device, store) if shape is None else StackedSiren(shape, store, widen)
    if device.type == "cpu":
        fallback = fallback or refused_bfloat16(options.precision, precision)
        return OneByOne(gradient, f"torch step, {words}, one CPU thread"), precision, fallback
    capture = CudaGraphs(device) if device.type == "cuda" else None
    fused = device.type == "cuda" and importlib.util.find_spec("triton") is not None
    if not fused:
        fallback = "no triton found, so pointwise work is not fused"
    parts = [f"stack of {len(fits)} on {device}", precision]
    parts += ["fused"] * fused + ["CUDA graphs"] * (capture is not None)
    path = StackedPath(fits, gradient, device, capture, "inductor" if fused else None, ", ".join(parts))
    return path, precision, fallback


class OneByOne:
    """Nodules one after the other by :class:`StackedPath`, each as a stack of one.

    Args:
        gradient: see :class:`StackedPath`.
        description: see :class:`bundle.engines.steps.fit.FitPath`.
    """

    def __init__(self, gradient: StackGradient, description: str) -> None:
        self.description = description
        self._gradient = gradient
        self._paths: dict[int, StackedPath] = {}

    def epoch(self, fits: Sequence[NoduleFit]) -> list[float]:
        """See :class:`bundle.engines.steps.fit.FitPath`."""
        losses = []
        for fit in fits:
            if id(fit) not in self._paths:
                self._paths[id(fit)] = StackedPath([fit], self._gradient)
            losses += self._paths[id(fit)].epoch([fit])
        return losses

    def close(self) -> None:
        """See :class:`bundle.engines.steps.fit.FitPath`."""
        for path in self._paths.values():
            path.close()


def chosen_precision(asked: str, device: torch.device, written_out: bool = True) -> str:
    """What a precision means on a device.

    Args:
        asked: one of :data:`bundle.engines.trainer.PRECISIONS`.
        device: where to compute.
        written_out: whether the step keeps sums and the first layer in fp32 by itself, as ours of a SIREN does; only
            then is bf16 chosen without being asked for, or where the processor does not multiply it.

    Example:
        >>> chosen_precision("tf32", torch.device("cpu"))
        'fp32'
    """
    if device.type == "cuda":
        return "tf32" if asked == "auto" else asked
    if asked == "auto" and device.type == "cpu" and written_out:
        return "bf16" if multiplies_bfloat16() else "fp32"
    possible = written_out or device.type != "cpu" or multiplies_bfloat16()
    return "bf16" if asked == "bf16" and possible else "fp32"


def refused_bfloat16(asked: str, chosen: str) -> str:
    """Why bf16 was asked for and is not what is computed in; empty if it is, or was not asked for.

    Example:
        >>> refused_bfloat16("bf16", "fp32")
        'bf16 was asked for, but this processor multiplies it no faster than fp32, or sums it wrongly'
    """
    if asked != "bf16" or chosen == "bf16":
        return ""
    return "bf16 was asked for, but this processor multiplies it no faster than fp32, or sums it wrongly"


@contextlib.contextmanager
def matmul_precision(precision: str) -> Iterator[None]:
    """torch's precision of fp32 matrix products: TF32 on a GPU for ``"tf32"``, full otherwise; restored after."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Compute on one thread: small products gain little from more, and sums then do not depend on the number."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
