"""Random numbers that are a function of (key, counter): the same in any stack, on any device, in any order.

A nodule's *key* comes from its seed. Everything random in its fit (the order of the voxels, the jitter, the
units that dropout keeps) is SplitMix64 of that key and of a counter made from epoch and step; there is no
state to carry, so a nodule draws the same numbers alone, in a stack of 57, on a GPU, or from epoch 700 on.

Source: Steele, Lea and Flood, *Fast splittable pseudorandom number generators*, OOPSLA 2014.
"""

from __future__ import annotations

import math

import torch

_MASK = (1 << 64) - 1
_GOLDEN, _MIX1, _MIX2 = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
# what a key is for; a nodule uses one key for each
ORDER, JITTER, DROPOUT = 1, 2, 3


def derive_key(seed: int, purpose: int) -> int:
    """Key of one purpose of one seed: an unsigned 64-bit number.

    Example:
        >>> derive_key(0, ORDER) != derive_key(0, JITTER) != derive_key(1, ORDER)
        True
    """
    return _mix(_mix(seed & _MASK) + purpose)


def _mix(value: int) -> int:
    z = (value + _GOLDEN) & _MASK
    z = ((z ^ (z >> 30)) * _MIX1) & _MASK
    z = ((z ^ (z >> 27)) * _MIX2) & _MASK
    return z ^ (z >> 31)


def _signed(value: int) -> int:
    """The int64 with the same bits: torch has no arithmetic on uint64."""
    value &= _MASK
    return value - (1 << 64) if value >> 63 else value


def _shift(z: torch.Tensor, by: int) -> torch.Tensor:
    """Logical right shift of int64."""
    return (z >> by) & ((1 << (64 - by)) - 1)


def signed_keys(keys: list[int], device: torch.device | str = "cpu") -> torch.Tensor:
    """Keys as an int64 tensor (S,), to draw for a stack of nodules at once."""
    return torch.tensor([_signed(key) for key in keys], dtype=torch.int64, device=device)


def splitmix64(key: int | torch.Tensor, counter: torch.Tensor) -> torch.Tensor:
    """64 random bits for each counter.

    Args:
        key: of :func:`derive_key`, or int64 tensor of :func:`signed_keys` that broadcasts with ``counter``.
        counter: int64, any shape.

    Returns:
        int64 of the broadcast shape; all 64 bits are random.

    Example:
        >>> hex(splitmix64(0, torch.zeros(1, dtype=torch.int64)).item() & (1 << 64) - 1)
        '0xe220a8397b1dcdaf'
    """
    start = _signed(key) if isinstance(key, int) else key
    z = (counter + 1) * _signed(_GOLDEN) + start
    z = (z ^ _shift(z, 30)) * _signed(_MIX1)
    z = (z ^ _shift(z, 27)) * _signed(_MIX2)
    return z ^ _shift(z, 31)


def normals(words: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Two independent N(0, 1) numbers from each word, by Box and Muller.

    Args:
        words: int64 of :func:`splitmix64`, any shape.

    Returns:
        two float32 of that shape; none is beyond 5.8 because 24 bits are used.
    """
    radius = torch.sqrt(-2 * torch.log((_shift(words, 40) + 1).float() * 2.0**-24))
    angle = (words & 0xFFFFFF).float() * (2 * math.pi * 2.0**-24)
    return radius * torch.cos(angle), radius * torch.sin(angle)


def words_per_bit(drop: float) -> int:
    """Random bits that one keep bit is made of: 1 for a drop probability of one half, at most 16.

    Example:
        >>> words_per_bit(0.5), words_per_bit(0.75), words_per_bit(0.1)
        (1, 2, 15)
    """
    parts = round((1 - drop) * 65536)
    return 16 - (parts & -parts).bit_length() + 1 if 0 < parts < 65536 else 1


def keep_bits(words: torch.Tensor, drop: float) -> torch.Tensor:
    """Packed bits that are set with probability 1 - ``drop`` (rounded to a multiple of 2^-16).

    Bit by bit, ``and`` halves the probability p of a set bit and ``or`` takes it to (1 + p) / 2; following the
    binary digits of the wanted probability from the last to the first gives exactly that probability.

    Args:
        words: (k, ...) int64, random, with k = :func:`words_per_bit` of ``drop``.
        drop: probability of a 0, in [0, 1).

    Returns:
        (...) int64.
    """
    parts = round((1 - drop) * 65536)
    if parts >= 65536:
        return torch.full_like(words[0], -1)
    digits = [(parts >> (15 - i)) & 1 for i in range(len(words))]  # from one half down
    kept = torch.zeros_like(words[0])
    for word, digit in zip(words, reversed(digits), strict=True):
        kept = word | kept if digit else word & kept
    return kept
