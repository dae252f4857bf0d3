"""A dense volume from a thick or widely spaced one, as MONAI's evaluators call an inferer.

Every slice of the input is an observed slice. Where the slices lie is read from the affine that travels with
the tensor, and the affine of the result says where the new ones are.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from monai.inferers import Inferer

from bundle.errors import InputError
from bundle.inferers.base import SliceInferer
from bundle.inferers.names import chosen_names


class DenseInferer(Inferer):
    """Fill in slices at a wanted spacing with any method of the bundle.

    Args:
        methods: what can be chosen from, by name.
        method: name of the chosen one.
        slice_spacing: mm between the new slices; None: the pixel spacing along x.
        seed: of whatever is random in the method.

    Example:
        >>> from bundle.inferers import LinearInferer
        >>> thick = MetaTensor(torch.rand(1, 1, 8, 8, 3), affine=torch.diag(torch.tensor([1.0, 1, 5, 1]))[None])
        >>> dense = DenseInferer({"linear": LinearInferer()}, "linear")(thick)
        >>> tuple(dense.shape), torch.diagonal(dense.affine[0]).tolist()
        ((1, 1, 8, 8, 11), [1.0, 1.0, 1.0, 1.0])
    """

    def __init__(
        self,
        methods: Mapping[str, SliceInferer],
        method: str = "pchip",
        slice_spacing: float | None = None,
        seed: int = 0,
    ) -> None:
        self.methods = methods
        self.method = method
        self.slice_spacing = slice_spacing
        self.seed = seed

    def __call__(self, inputs: torch.Tensor, network: Any = None, *args: Any, **kwargs: Any) -> MetaTensor:
        """Reconstruct a batch.

        Args:
            inputs: (B, 1, X, Y, K) MetaTensor, normalised; slices along the last axis, evenly spaced.
            network: passed on to the method; a method that fits a network fits a copy of it.

        Returns:
            (B, 1, X, Y, Z) MetaTensor: the first slice where the input's first is, the last not beyond its last.

        Raises:
            InputError: an unknown method, a spacing of 0 or less, no affine, another number of axes, or fewer
                than two slices.
        """
        if self.slice_spacing is not None and not self.slice_spacing > 0:
            raise InputError(f"slice_spacing is {self.slice_spacing}, expected mm above 0")
        method = self.methods[chosen_names([self.method], list(self.methods), "method")[0]]
        if not isinstance(inputs, MetaTensor) or inputs.ndim != 5:
            raise InputError(
                f"a {type(inputs).__name__} of shape {tuple(inputs.shape)} can't be made dense: "
                "expected a MetaTensor (B, 1, X, Y, K), whose affine says where the slices are"
            )
        affines = inputs.affine.reshape(-1, 4, 4).double().cpu().numpy()
        results, new_affines = [], []
        for volume, affine in zip(inputs.as_tensor(), affines, strict=True):
            spacing = np.linalg.norm(affine[:3, :3], axis=0)
            step = self.slice_spacing or float(spacing[0])
            positions = np.arange(volume.shape[-1]) * spacing[2]
            targets = np.arange(int(np.floor(positions[-1] / step + 1e-6)) + 1) * step
            dense = method(
                volume, network, positions=positions, targets=targets,
                spacing=(float(spacing[0]), float(spacing[1])), seed=self.seed,
            )  # fmt: skip
            new = affine.copy()
            new[:3, 2] *= step / spacing[2]
            results.append(torch.as_tensor(dense))
            new_affines.append(torch.as_tensor(new))
        if len({tuple(r.shape) for r in results}) > 1:
            raise InputError("volumes of different spacing can't be one batch: use a batch size of 1")
        out = MetaTensor(torch.stack(results), affine=torch.stack(new_affines))
        out.is_batch = True
        return out
