"""Error and gradient of a stack of SIRENs written out in torch operations, for any device.

The same formulas as ``pointwise.c``: one forward and one backward pass over flat parameters with a leading
axis for the nodules, so that the products are batched and the rest can be fused by ``torch.compile``.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from bundle.engines.steps.draws import unpack_keep
from bundle.engines.steps.siren_native import SirenShape


class StackedSiren:
    """Calling it gives error and gradient of each nodule of a stack.

    Args:
        shape: of the networks, the same for all.
        store: type of activations and of the operands of products, float32 or bfloat16.
        widen: multiply the rounded operands in fp32, for a device whose product of ``store`` is wrong or slow.
    """

    def __init__(self, shape: SirenShape, store: torch.dtype = torch.float32, widen: bool = False) -> None:
        self.shape = shape
        self.store = store
        self._operand = torch.float32 if widen else store
        drops = shape.drop > 0
        self.widths = [shape.width] * shape.hidden if drops else []
        self.drops = [shape.drop] * shape.hidden if drops else []

    def __call__(
        self,
        parameters: torch.Tensor,
        places: torch.Tensor,
        truth: torch.Tensor,
        weight: torch.Tensor,
        keep: Sequence[torch.Tensor],
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Weighted squared error (S,) and its gradient (S, P).

        Args:
            parameters: (S, P) float32.
            places: (S, N, 3) float32.
            truth: (S, N).
            weight: (S, N), 0 for rows that only fill the shape.
            keep: packed units kept by each dropout layer, each (S, >= N / 32, width).
        """
        shape, omega, rows = self.shape, self.shape.omega, places.shape[-2]
        layers = [self._layer(parameters, i) for i in range(shape.hidden + 2)]
        fold = shape.fold if keep else 1.0
        w, b = layers[0]
        angle = (omega * b)[:, None] + places[..., 0, None] * (omega * w[..., 0])[:, None]
        for axis in (1, 2):
            angle.addcmul_(places[..., axis, None], (omega * w[..., axis])[:, None])
        sine, cosine = [torch.sin(angle).to(self.store)], [torch.cos(angle).to(self.store)]
        folded = []
        for i in range(1, shape.hidden + 1):
            w, b = layers[i]
            folded.append((omega * (fold if i > 1 else 1.0) * w).to(self.store))
            angle = self._product(sine[-1], folded[-1].mT).float().add_((omega * b)[:, None])
            sine.append(torch.sin(angle).to(self.store))
            cosine.append(torch.cos(angle).to(self.store))
            if keep:
                kept = unpack_keep(keep[i - 1], rows, self.store)
                sine[-1].mul_(kept)
                cosine[-1].mul_(kept)
        head, bias = layers[-1]
        head = fold * head
        error = (sine[-1] * head).sum(-1) + bias - truth
        slope = 2 * weight * error
        parts = [(slope[..., None] * sine[-1]).sum(-2) * fold, slope.sum(-1, keepdim=True)]
        grad = (slope[..., None] * head).mul_(cosine[-1]).to(self.store)
        for i in range(shape.hidden, 0, -1):
            factor = omega * (fold if i > 1 else 1.0)
            weights = self._product(grad.mT, sine[i - 1]).float().flatten(-2)
            parts = [factor * weights, omega * grad.sum(-2, dtype=torch.float32), *parts]
            grad = self._product(grad, folded[i - 1]).mul_(cosine[i - 1])
        # elementwise: as products these two would be rounded to TF32 on a GPU
        first = torch.stack([(grad * places[..., axis, None]).sum(-2) for axis in range(3)], dim=-1)
        parts = [omega * first.flatten(-2), omega * grad.sum(-2, dtype=torch.float32), *parts]
        return (weight * error * error).sum(-1), torch.cat(parts, dim=-1)

    def _layer(self, parameters: torch.Tensor, layer: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Weight and bias; of the head (S, 1, width) and (S, 1)."""
        width, hidden = self.shape.width, self.shape.hidden
        inputs, outputs = (3 if layer == 0 else width), (1 if layer > hidden else width)
        start, middle = self.shape.offset(layer)
        weight = parameters[:, start:middle].unflatten(-1, (outputs, inputs))
        return weight, parameters[:, middle : middle + outputs]

    def _product(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        """Batched matrix product; a batch of one as a plain product, which is faster on a CPU."""
        a, b = a.to(self._operand), b.to(self._operand)
        return (torch.mm(a[0], b[0])[None] if len(a) == 1 else torch.bmm(a, b)).to(self.store)
