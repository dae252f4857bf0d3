"""One training step of a SIREN on a CPU: matrix products by torch, all that lies between them in compiled C.

The step is written out (forward, backward, clipping, Adam) over one flat vector of parameters. Sine and cosine
are computed together, ``omega_0`` and dropout's 1 / (1 - p) are folded into the weights, the first layer and
the head are done without a matrix product, in fp32. With ``bfloat16``, activations, their gradients and the
operands of the matrix products are rounded to bfloat16; sums, parameters and Adam's moments stay fp32.
"""

from __future__ import annotations

import ctypes
from ctypes import c_float, c_long, c_uint64, c_void_p
from dataclasses import dataclass

import torch
from torch import nn

from bundle.engines.steps.counter_random import DROPOUT, words_per_bit
from bundle.engines.steps.draws import NoduleData
from bundle.engines.steps.fit import BETA1, BETA2, EPSILON
from bundle.engines.steps.native import Library
from bundle.engines.steps.products import bfloat16_product, own_product
from bundle.networks import SineLayer, Siren


@dataclass(frozen=True)
class SirenShape:
    """What the step must know of a SIREN.

    Attributes:
        width: units of every sine layer.
        hidden: sine layers after the first.
        omega: frequency factor.
        drop: dropout's probability after each hidden layer.
    """

    width: int
    hidden: int
    omega: float
    drop: float

    @property
    def fold(self) -> float:
        """Factor of the weights that follow a dropout layer."""
        return 1 / (1 - self.drop)

    @property
    def parameters(self) -> int:
        """Length of the flat vector."""
        return 4 * self.width + self.hidden * self.width * (self.width + 1) + self.width + 1

    def offset(self, layer: int) -> tuple[int, int]:
        """Where weight and bias of a layer begin in the flat vector; layer hidden + 1 is the head."""
        if layer == 0:
            return 0, 3 * self.width
        start = 4 * self.width + (layer - 1) * self.width * (self.width + 1)
        return start, start + (self.width if layer > self.hidden else self.width * self.width)


def siren_shape(network: nn.Module) -> SirenShape | None:
    """Shape of a SIREN from three coordinates to one value; None for any other network, and without hidden layers.

    Example:
        >>> siren_shape(Siren())
        SirenShape(width=256, hidden=3, omega=30.0, drop=0.5)
    """
    if type(network) is not Siren or network.layers.__class__ is not nn.Sequential:
        return None
    modules = list(network.layers)
    sines = [m for m in modules if isinstance(m, SineLayer)]
    drops = [m.p for m in modules if isinstance(m, nn.Dropout)]
    head = modules[-1]
    hidden = len(sines) - 1
    expected: list[type] = [SineLayer]
    for _ in range(hidden):
        expected += [SineLayer, nn.Dropout] if drops else [SineLayer]
    if [type(m) for m in modules] != [*expected, nn.Linear] or not isinstance(head, nn.Linear):
        return None
    width = sines[0].linear.out_features
    widths = {(m.linear.in_features, m.linear.out_features) for m in sines[1:]}
    omegas = {m.omega_0 for m in sines}
    plain = sines[0].linear.in_features == 3 and head.out_features == 1 and widths <= {(width, width)}
    drop = drops[0] if drops else 0.0
    if hidden < 1 or not plain or len(omegas) != 1 or len(set(drops)) > 1 or drop >= 1 or width > 4096:
        return None
    return SirenShape(width, hidden, float(omegas.pop()), float(drop))


class NativeSirenStep:
    """Takes steps with one nodule at a time; holds the buffers, no state between steps.

    Args:
        shape: of the network.
        rows: most places a step.
        library: compiled functions; its type is that of the buffers.
    """

    def __init__(self, shape: SirenShape, rows: int, library: Library) -> None:
        self.shape = shape
        self.rows = rows
        dtype, width, hidden = library.dtype, shape.width, shape.hidden
        self._multiply = bfloat16_product() if dtype == torch.bfloat16 else own_product
        self._functions = {
            name: library.function(name)
            for name in (
                "first",
                "hidden",
                "head",
                "back",
                "back_first",
                "fold",
                "unfold",
                "adam",
                "splitmix",
                "first_sine",
                "hidden_sine",
                "dot",
            )
        }
        self._sine = [torch.empty(rows, width, dtype=dtype) for _ in range(hidden + 1)]
        self._cosine = [torch.empty(rows, width, dtype=dtype) for _ in range(hidden + 1)]
        self._grad = [torch.empty(rows, width, dtype=dtype) for _ in range(2)]
        self._weight = [torch.empty(width, width, dtype=dtype) for _ in range(hidden)]
        self._weight_grad = torch.empty(width, width, dtype=dtype)
        self._flat_grad = torch.empty(shape.parameters)

    @torch.no_grad()
    def gradient(
        self,
        parameters: torch.Tensor,
        places: torch.Tensor,
        truth: torch.Tensor,
        weight: torch.Tensor,
        keep: list[torch.Tensor] | None,
    ) -> tuple[float, torch.Tensor]:
        """Weighted squared error and its gradient.

        Args:
            parameters: (P,) float32.
            places: (N, 3) float32, contiguous, N <= rows.
            truth: (N,) float32.
            weight: (N,) float32; 1/N each for a mean.
            keep: for each hidden layer (>= N / 32, width) int32, see :meth:`NoduleData.keep`; None keeps all
                units, without the factor 1 / (1 - p).

        Returns:
            the error, and (P,) the gradient, in a buffer that the next call overwrites.
        """
        shape, call = self.shape, self._functions
        n, width, omega = c_long(len(places)), c_long(shape.width), c_float(shape.omega)
        count = len(places)
        fold = shape.fold if keep is not None else 1.0
        hidden = shape.hidden
        p, g = parameters.data_ptr(), self._flat_grad.data_ptr()

        def at(base: int, layer: int, part: int) -> c_void_p:
            return c_void_p(base + 4 * shape.offset(layer)[part])

        sine, cosine = ([t[:count] for t in buffers] for buffers in (self._sine, self._cosine))
        x = _pointer(places)
        call["first"](n, width, omega, x, at(p, 0, 0), at(p, 0, 1), _pointer(sine[0]), _pointer(cosine[0]))
        factors = [shape.omega * (fold if layer > 1 else 1.0) for layer in range(1, hidden + 1)]
        square = c_long(shape.width * shape.width)
        for layer in range(1, hidden + 1):
            folded = self._weight[layer - 1]
            call["fold"](square, c_float(factors[layer - 1]), at(p, layer, 0), _pointer(folded))
            self._multiply(sine[layer - 1], folded.T, sine[layer])
            bits = _pointer(keep[layer - 1]) if keep is not None else None
            call["hidden"](n, width, omega, at(p, layer, 1), bits, _pointer(sine[layer]), _pointer(cosine[layer]))
        last, grad, spare = hidden, self._grad[0][:count], self._grad[1][:count]
        error = call["head"](
            n, width, omega, c_float(fold), at(p, last + 1, 0), at(p, last + 1, 1), _pointer(sine[last]),
            _pointer(cosine[last]), _pointer(truth), _pointer(weight), _pointer(grad),
            at(g, last + 1, 0), at(g, last + 1, 1), at(g, last, 1),
        )  # fmt: skip
        for layer in range(hidden, 0, -1):
            self._multiply(grad.T, sine[layer - 1], self._weight_grad)
            call["unfold"](square, c_float(factors[layer - 1]), _pointer(self._weight_grad), at(g, layer, 0))
            self._multiply(grad, self._weight[layer - 1], spare)
            grad, spare = spare, grad
            if layer > 1:
                call["back"](n, width, omega, _pointer(cosine[layer - 1]), _pointer(grad), at(g, layer - 1, 1))
        call["back_first"](n, width, omega, x, _pointer(cosine[0]), _pointer(grad), at(g, 0, 0), at(g, 0, 1))
        return float(error), self._flat_grad

    def update(
        self,
        gradient: torch.Tensor,
        parameters: torch.Tensor,
        first: torch.Tensor,
        second: torch.Tensor,
        rate: float,
        step: int,
        clip: float,
    ) -> None:
        """Clip to the norm (0: not) and take Adam's step number ``step`` (from 1), in place."""
        self._functions["adam"](
            c_long(self.shape.parameters), c_float(rate), c_float(BETA1), c_float(BETA2), c_float(EPSILON),
            c_float(1 - BETA1**step), c_float(1 - BETA2**step), c_float(clip),
            *map(_pointer, (gradient, parameters, first, second)),
        )  # fmt: skip

    def keep(self, data: NoduleData, step: int) -> list[torch.Tensor] | None:
        """Units kept in a step of the whole fit, as :meth:`NoduleData.keep` gives them; None without dropout."""
        shape = self.shape
        if shape.drop == 0:
            return None
        if words_per_bit(shape.drop) > 1:
            return data.keep(step, [shape.width] * shape.hidden, [shape.drop] * shape.hidden)
        blocks = -(-data.batch_size // 64)
        out = torch.empty(shape.hidden * blocks * shape.width, dtype=torch.int64)
        words = self.words(data.keys[DROPOUT], step << 32, out)
        return list(words.view(torch.int32).reshape(shape.hidden, 2 * blocks, shape.width))

    @torch.no_grad()
    def predict(self, parameters: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
        """Evaluate without dropout: (N, 3) contiguous float32 to (N,) float32, N of any size."""
        shape, call = self.shape, self._functions
        width, omega, p = c_long(shape.width), c_float(shape.omega), parameters.data_ptr()

        def at(layer: int, part: int) -> c_void_p:
            return c_void_p(p + 4 * shape.offset(layer)[part])

        square = c_long(shape.width * shape.width)
        for layer in range(1, shape.hidden + 1):
            call["fold"](square, omega, at(layer, 0), _pointer(self._weight[layer - 1]))
        out = torch.empty(len(places))
        for part, result in zip(places.split(self.rows), out.split(self.rows), strict=True):
            n, (even, odd) = c_long(len(part)), (t[: len(part)] for t in self._sine[:2])
            call["first_sine"](n, width, omega, _pointer(part), at(0, 0), at(0, 1), _pointer(even))
            for layer in range(1, shape.hidden + 1):
                self._multiply(even, self._weight[layer - 1].T, odd)
                call["hidden_sine"](n, width, omega, at(layer, 1), _pointer(odd))
                even, odd = odd, even
            call["dot"](n, width, at(shape.hidden + 1, 0), at(shape.hidden + 1, 1), _pointer(even), _pointer(result))
        return out

    def words(self, key: int, counter: int, out: torch.Tensor) -> torch.Tensor:
        """Fill an int64 tensor with :func:`bundle.engines.steps.counter_random.splitmix64` of counters from one on."""
        self._functions["splitmix"](c_long(out.numel()), c_uint64(key), c_uint64(counter), _pointer(out))
        return out


def _pointer(tensor: torch.Tensor) -> ctypes.c_void_p:
    return c_void_p(tensor.data_ptr())
