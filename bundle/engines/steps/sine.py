"""A sine layer for autograd by the compiled functions: sine and cosine in one pass, the way back in another."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import nn

from bundle.engines.steps.native import Library, pointwise_library
from bundle.networks import SineLayer


def use_compiled_sines(network: nn.Module) -> Callable[[], None]:
    """Let the sine layers of a network on the CPU compute in fp32 by the compiled functions, where there are any.

    Returns:
        what ends it.
    """
    library, _ = pointwise_library(torch.float32)
    layers = [m for m in network.modules() if type(m) is SineLayer] if library is not None else []
    for layer in layers:
        parts = (layer.linear.weight, layer.linear.bias, layer.omega_0, library)
        layer.forward = partial(_forward, parts)  # type: ignore[method-assign]

    def end() -> None:
        for layer in layers:
            del layer.forward

    return end


def _forward(parts: tuple, x: torch.Tensor) -> torch.Tensor:
    return _Sine.apply(x.contiguous(), *parts)


class _Sine(torch.autograd.Function):
    """``sin(omega * (x W^T + b))`` of (N, inputs), (width, inputs) and (width,) float32."""

    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, omega: float, library: Library
    ) -> torch.Tensor:
        folded = omega * weight
        sine = x @ folded.T
        cosine = torch.empty_like(sine)
        library.function("hidden")(
            *_size(sine), ctypes.c_float(omega), _pointer(bias), None, _pointer(sine), _pointer(cosine)
        )
        ctx.save_for_backward(x, folded, cosine)
        ctx.omega, ctx.library = omega, library
        return sine

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple:
        x, folded, grad = ctx.saved_tensors
        given = grads[0].contiguous()
        bias = torch.empty(given.shape[1])
        # the product of both takes the cosine's place, which is needed no more, as a graph is gone back through once
        pointers = (_pointer(given), _pointer(grad), _pointer(bias))
        ctx.library.function("back")(*_size(grad), ctypes.c_float(ctx.omega), *pointers)
        # x^T grad: its transpose is several times slower where x is three coordinates
        weight = ctx.omega * (x.T @ grad).T
        return grad @ folded if ctx.needs_input_grad[0] else None, weight, bias, None, None


def _size(array: torch.Tensor) -> tuple[ctypes.c_long, ctypes.c_long]:
    return ctypes.c_long(array.shape[0]), ctypes.c_long(array.shape[1])


def _pointer(tensor: torch.Tensor) -> ctypes.c_void_p:
    return ctypes.c_void_p(tensor.data_ptr())
