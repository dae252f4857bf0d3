"""Volumes in and out of a batch, with what is known of each in the meta."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor

from bundle.data.notes import notes_of

# what a volume's reconstruction needs of its meta, one value a volume
_OF_EACH = ("padding_hu", "slice_thickness")


def item_of(batch: MetaTensor, index: int) -> MetaTensor:
    """One volume of a batch, (C, X, Y, K), with its affine, slice positions, notes, padding and thickness.

    Example:
        >>> batch = MetaTensor(torch.zeros(1, 1, 2, 2, 3), affine=torch.eye(4), meta={"padding_hu": [-2000.0]})
        >>> item_of(batch, 0).meta["padding_hu"]
        -2000.0
    """
    meta: dict[str, Any] = {"notes": "\n".join(notes_of(batch))}
    if "slice_positions" in batch.meta:
        # collated, there is one row a volume
        rows = np.asarray(batch.meta["slice_positions"], dtype=float).reshape(-1, batch.shape[-1])
        meta["slice_positions"] = rows[min(index, len(rows) - 1)]
    for name in _OF_EACH:
        if batch.meta.get(name) is not None:
            values = np.asarray(batch.meta[name], dtype=float).reshape(-1)
            meta[name] = float(values[min(index, len(values) - 1)])
    affine = batch.affine.reshape(-1, 4, 4)
    return MetaTensor(batch.as_tensor()[index], affine=affine[min(index, len(affine) - 1)], meta=meta)


def as_batch(meta: Mapping[str, Any], batched: bool) -> dict[str, Any]:
    """Meta of one volume as collated meta, so that it can be taken apart again.

    Example:
        >>> as_batch({"content": "hu"}, True)
        {'content': ['hu']}
    """
    if not batched:
        return dict(meta)
    return {k: torch.as_tensor(v)[None] if isinstance(v, np.ndarray) else [v] for k, v in meta.items()}


def batch_of_one(items: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Collate one item, whatever its values are: a tensor becomes a batch of one, anything else a list of one.

    Example:
        >>> batch_of_one([{"image": torch.zeros(1, 2, 2, 2), "name": "scan"}])["name"]
        ['scan']
    """
    (item,) = items
    out: dict[str, Any] = {}
    for key, value in item.items():
        if isinstance(value, MetaTensor):
            meta = as_batch({k: v for k, v in value.meta.items() if k != "affine"}, True)
            out[key] = MetaTensor(value.as_tensor()[None], affine=value.affine[None], meta=meta)
            out[key].is_batch = True
        else:
            out[key] = value[None] if isinstance(value, torch.Tensor) else [value]
    return out
