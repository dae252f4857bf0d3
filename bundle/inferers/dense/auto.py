"""Which method is the best for a scan where none was asked for: what learned on other patients, within what it saw."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

from bundle.errors import InputError
from bundle.inferers.base import SliceInferer
from bundle.slices import ObservedSlices

log = logging.getLogger(__name__)

AUTO = "auto"
_LEARNED, _OTHERWISE = "prior", "pchip"


def choose(
    methods: Mapping[str, SliceInferer | Callable[[], SliceInferer]], observed: ObservedSlices
) -> tuple[str, str]:
    """Choose ``prior`` where the scan lies within what its network was trained on, else PCHIP.

    Args:
        methods: what can be chosen from, by name.
        observed: where the slices lie; no brightness is looked at.

    Returns:
        name, and the reason in a sentence.

    Example:
        >>> import numpy as np
        >>> from bundle.inferers import PchipInferer
        >>> choose({"pchip": PchipInferer()}, ObservedSlices(None, None, np.arange(2.0), np.arange(2.0)))
        ('pchip', 'auto chose pchip: prior is not among the methods')
    """
    made = methods.get(_LEARNED)
    if made is None:
        return _OTHERWISE, f"{AUTO} chose {_OTHERWISE}: {_LEARNED} is not among the methods"
    try:
        method = made if isinstance(made, SliceInferer) else made()
    except InputError as error:
        return _OTHERWISE, f"{AUTO} chose {_OTHERWISE}: {error}"
    if outside := method.outside(observed):
        return _OTHERWISE, f"{AUTO} chose {_OTHERWISE}: {'; '.join(outside)}"
    return _LEARNED, f"{AUTO} chose {_LEARNED}: the scan lies within what its network was trained on"
