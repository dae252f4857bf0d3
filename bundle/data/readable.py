"""The nodules of a source that can be read."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from bundle.errors import InputError

log = logging.getLogger(__name__)


def readable_nodules(source: Sequence[dict[str, Any]], indices: Sequence[int]) -> list[dict[str, Any]]:
    """Nodules of a source, without those that can't be read; these are counted and named in the log.

    Args:
        source: such as :class:`bundle.data.NoduleSource`; indexing it may raise :class:`bundle.errors.InputError`.
        indices: of the nodules.

    Raises:
        InputError: none can be read.

    Example:
        >>> readable_nodules([{"nodule_id": "a"}, {"nodule_id": "b"}], [1])
        [{'nodule_id': 'b'}]
    """
    found, faults = [], []
    for index in indices:
        try:
            found.append(source[index])
        except InputError as fault:
            faults.append(str(fault))
    if not found:
        raise InputError(f"none of {len(indices)} nodules can be read: {'; '.join(faults) or 'none is given'}")
    if faults:
        log.warning("%d of %d nodules are left out: %s", len(faults), len(indices), "; ".join(faults))
    return found
