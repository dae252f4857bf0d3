"""Weights of slice synthesis: read from a file that may be absent, damaged, a pointer, or of another network."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from bundle.errors import InputError

_LFS = b"version https://git-lfs"


def read_weights(weights: str | Path) -> dict[str, torch.Tensor]:
    """Read a state dict from a file, which may hold it under ``"model"``.

    Raises:
        InputError: the file is missing, is the pointer that git-lfs leaves in its place, or is no state dict.

    Example:
        >>> read_weights("models/model.pt").keys()  # doctest: +SKIP
    """
    path = Path(weights)
    if not path.is_file():
        raise InputError(
            f"{path} is missing: expected the weights of slice synthesis; start in the bundle's folder, name "
            "it by --bundle_root, or train the weights, see docs/model_card.md"
        )
    with path.open("rb") as file:
        if file.read(len(_LFS)) == _LFS:
            raise InputError(f"{path} is the pointer that git-lfs leaves for a file: fetch the file by 'git lfs pull'")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        return state.get("model", state)
    except Exception as error:
        raise InputError(f"{path} is damaged or no file of weights: give the one that a training wrote") from error


def load_weights(network: nn.Module, weights: str | Path) -> nn.Module:
    """Load a state dict into a network, in place.

    Args:
        network: as it was trained.
        weights: file of a state dict, or of a dictionary with one under ``"model"``.

    Raises:
        InputError: as :func:`read_weights`; the weights are of another network.

    Example:
        >>> load_weights(network, "models/model.pt").training  # doctest: +SKIP
        False
    """
    return started(network, weights).eval().requires_grad_(False)


def started(network: nn.Module, weights: str | Path | None) -> nn.Module:
    """Load a state dict into a network that is to be trained further, in place.

    Args:
        network: as it was trained.
        weights: as for :func:`load_weights`; None: the network stays as it is.

    Raises:
        InputError: as :func:`load_weights`.

    Example:
        >>> started(nn.Linear(1, 1), None)
        Linear(in_features=1, out_features=1, bias=True)
    """
    if weights is None:
        return network
    state = read_weights(weights)
    try:
        network.load_state_dict(state)
    except Exception as error:
        raise InputError(
            f"{weights} holds no weights of {type(network).__name__}: give the file that its training wrote"
        ) from error
    return network


def weights_fit(network: nn.Module, weights: str | Path) -> bool:
    """Whether a file holds weights of this network, so that a checkpoint loader may be let at it.

    Example:
        >>> weights_fit(nn.Linear(1, 1), "absent.pt")
        False
    """
    try:
        state = read_weights(weights)
    except InputError:
        return False
    shapes = {name: tensor.shape for name, tensor in network.state_dict().items()}
    return shapes == {name: getattr(tensor, "shape", None) for name, tensor in state.items()}
