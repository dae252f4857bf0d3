"""Implicit reconstruction: fit a coordinate network to the observed slices, read it between them.

Each axis of the crop is scaled to [-1, 1], as in the paper. So the gap between observed slices is a larger
part of the range in a crop with few slices, and a sine network with a high ``omega_0`` oscillates in it.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn

from bundle.engines import CoordinateBatches, FitOptions, NoduleTrainer, coordinate_grid, predict, unit_axis
from bundle.errors import InputError
from bundle.inferers.base import ObservedSlices, Reconstruction, SliceInferer


class ImplicitInferer(SliceInferer):
    """Fit one network per nodule from scratch and evaluate it on all target slices: the paper's method.

    Args:
        network: makes a new network, mapping (N, 3) to (N, 1); in a config, a ``_target_`` with
            ``"_mode_": "callable"``.
        options: how to fit it; None: the paper's values.
        device: where to fit; None: the first GPU if there is one, else the CPU.
        chunk: voxels at a time in the dense evaluation.
        keep_observed: return the observed slices as they are, not as the network renders them. Metrics on
            unobserved slices are the same either way.

    The result is seeded by ``observed.seed`` alone; torch's global generators are left as they were.

    Example:
        >>> from bundle.networks import Siren
        >>> siren = ImplicitInferer(Siren, FitOptions(epochs=2), device="cpu")
        >>> siren(np.zeros((8, 8, 3)), positions=[0, 5, 10], targets=range(11)).shape
        (8, 8, 11)
    """

    kind = "density"

    def __init__(
        self,
        network: Callable[[], nn.Module],
        options: FitOptions | None = None,
        device: str | None = None,
        chunk: int = 65536,
        keep_observed: bool = True,
    ) -> None:
        self.network = network
        self.options = (options or FitOptions()).check()
        self.device = device
        self.chunk = chunk
        self.keep_observed = keep_observed
        self.on_epoch: Callable[[int, int, float], None] | None = None

    def reconstruct(self, observed: ObservedSlices) -> Reconstruction:
        """Fit and evaluate; ``history`` has the loss and learning rate, ``state`` the fitted network."""
        return self._fit(observed, self.network)

    def _run(self, observed: ObservedSlices, network: Any) -> np.ndarray:
        image = self._fit(observed, self.network if network is None else lambda: _copy(network)).image
        assert image is not None
        return image

    def _fit(self, observed: ObservedSlices, make: Callable[[], nn.Module]) -> Reconstruction:
        if observed.image is None:
            raise InputError("an implicit reconstruction needs observed slices of brightness, got none")
        if not np.isfinite(observed.image).all():
            raise InputError("the observed slices hold nan or infinite voxels: replace them before the fit")
        device = self.device or ("cuda" if torch.cuda.is_available() else "cpu")
        _, wanted = scaled_slices(observed)
        shape = observed.image.shape[:2]
        # MONAI Label and evaluators call inferers under no_grad
        with torch.random.fork_rng(), torch.enable_grad():
            torch.manual_seed(observed.seed)
            network = make()
            batches = coordinate_batches(observed, self.options.batch_size, self.options.jitter)
            trainer = NoduleTrainer(network, batches, self.options, device, on_epoch=self.on_epoch)
            trainer.run()
        dense = predict(network, coordinate_grid(shape, wanted), self.chunk)
        image = dense.reshape(*shape, len(wanted)).clamp(0, 1).numpy()
        if self.keep_observed:
            image = with_observed(image, observed)
        state = {name: tensor.detach().cpu() for name, tensor in network.state_dict().items()}
        return Reconstruction(image=image, history=trainer.history, state=state)


def coordinate_batches(observed: ObservedSlices, batch_size: int = 2048, jitter: float = 1e-4) -> CoordinateBatches:
    """Training data of a network: every observed voxel, its place scaled to [-1, 1].

    Example:
        >>> seen = ObservedSlices(np.zeros((4, 4, 2)), None, np.array([0.0, 5.0]), np.arange(6.0))
        >>> len(coordinate_batches(seen, batch_size=16))
        2
    """
    assert observed.image is not None
    values = torch.as_tensor(np.asarray(observed.image, dtype=np.float32)).reshape(-1)
    places = coordinate_grid(observed.image.shape[:2], scaled_slices(observed)[0])  # type: ignore[arg-type]
    return CoordinateBatches(places, values, batch_size, jitter)


def scaled_slices(observed: ObservedSlices) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates in [-1, 1] of the observed and of the target slices; the range spans both.

    Example:
        >>> seen = ObservedSlices(np.zeros((2, 2, 2)), None, np.array([0.0, 5.0]), np.arange(9.0))
        >>> scaled_slices(seen)[0].tolist()
        [-1.0, 0.25]
    """
    both = np.concatenate([observed.positions, observed.targets])
    low, high = float(both.min()), float(both.max())
    return unit_axis(observed.positions, low, high), unit_axis(observed.targets, low, high)


def with_observed(image: np.ndarray, observed: ObservedSlices) -> np.ndarray:
    """Put the observed slices, unchanged, where their positions are among the targets.

    Args:
        image: (X, Y, Z) at ``observed.targets``.
        observed: the slices that were kept.

    Returns:
        a new (X, Y, Z) array.

    Example:
        >>> seen = ObservedSlices(np.ones((1, 1, 2)), None, np.array([0.0, 2.0]), np.arange(3.0))
        >>> with_observed(np.zeros((1, 1, 3)), seen).ravel().tolist()
        [1.0, 0.0, 1.0]
    """
    assert observed.image is not None
    out = image.copy()
    for k, position in enumerate(observed.positions):
        for z in np.flatnonzero(np.isclose(observed.targets, position, rtol=0, atol=1e-6)):
            out[..., z] = observed.image[..., k]
    return out


def _copy(network: nn.Module) -> nn.Module:
    return copy.deepcopy(network)
