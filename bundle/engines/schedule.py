"""The learning rate over the epochs of a fit: linear warm-up, then cosine annealing with warm restarts."""

from __future__ import annotations

import math


def learning_rate_factor(epoch: int, warmup: int = 50, t_0: int = 100, t_mult: int = 2) -> float:
    """Factor of the base learning rate in an epoch.

    During the first ``warmup`` epochs the factor rises by equal steps to 1. Then it falls along half a cosine
    from 1 towards 0 over ``t_0`` epochs, jumps back to 1 (a *warm restart*), and falls again over a period
    ``t_mult`` times as long, and so on.

    Args:
        epoch: counted from 0.
        warmup: epochs of warm-up; 0 for none.
        t_0: length of the first cosine period in epochs; 0 keeps the factor at 1 after the warm-up.
        t_mult: factor between the lengths of successive periods.

    Returns:
        a number in (0, 1].

    Source: Loshchilov and Hutter, *SGDR: Stochastic Gradient Descent with Warm Restarts*, ICLR 2017.

    Example:
        >>> [round(learning_rate_factor(e), 2) for e in (0, 49, 50, 100, 149, 150)]
        [0.02, 1.0, 1.0, 0.5, 0.0, 1.0]
    """
    if epoch < warmup:
        return (epoch + 1) / warmup
    if t_0 == 0:
        return 1.0
    since, period = epoch - warmup, t_0
    while since >= period:
        since -= period
        period *= t_mult
    return 0.5 * (1 + math.cos(math.pi * since / period))
