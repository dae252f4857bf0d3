"""Kinds of values that an option takes.

MONAI parses what is typed on the command line: ``false`` arrives as text, ``1`` as a number, ``a,b`` as a tuple. A
*kind* reads whatever arrives as the value that was meant, or refuses it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bundle.errors import InputError

WORDS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
NOTHING = ("none", "null")


@dataclass(frozen=True)
class Kind:
    """What an option takes.

    Attributes:
        expected: in words, for the one who gave something else.
        read: makes the value; raises ValueError or TypeError for what is not expected.
        optional: whether None, or the word for it, is a value too.
        is_path: whether it is text that names a file or folder, to be taken as it was typed.

    Example:
        >>> FLAG.value("keep_observed", "No"), whole(1).value("epochs", 5), whole(1).or_none().value("limit", "none")
        (False, 5, None)
    """

    expected: str
    read: Callable[[Any], Any]
    optional: bool = False
    is_path: bool = False

    def or_none(self) -> Kind:
        """The same kind, with None as a value."""
        return replace(self, optional=True)

    def value(self, name: str, given: Any) -> Any:
        """Read an option's value.

        Args:
            name: of the option.
            given: from the command line, a config or Python.

        Raises:
            InputError: it is not of this kind; says what was expected.
        """
        if is_nothing(given):
            if self.optional:
                return None
            raise InputError(f"--{name} is {given}, expected {self.expected}")
        try:
            return self.read(given)
        except (TypeError, ValueError, OverflowError):
            raise InputError(
                f"--{name} is {given!r}, expected {self.expected}{' or None' if self.optional else ''}"
            ) from None


def is_nothing(given: Any) -> bool:
    """Whether a value stands for "none": None, or its name in Python or JSON.

    Example:
        >>> is_nothing("None"), is_nothing("nodules")
        (True, False)
    """
    return given is None or (isinstance(given, str) and given.strip().lower() in NOTHING)


def whole(least: int, most: int | None = None) -> Kind:
    """Whole numbers from ``least`` on.

    Example:
        >>> whole(0, 2).value("axis", 3)
        Traceback (most recent call last):
        ...
        bundle.errors.InputError: --axis is 3, expected a whole number, 0 to 2
    """
    return Kind(f"a whole number, {_range(least, most)}", lambda given: _whole(given, least, most))


def number(least: float = -math.inf, above: float = -math.inf, unit: str = "", below: float = math.inf) -> Kind:
    """Finite numbers from ``least`` on, or greater than ``above``; less than ``below``.

    Example:
        >>> number(above=0, unit="mm").value("slice_spacing", "0,7")
        Traceback (most recent call last):
        ...
        bundle.errors.InputError: --slice_spacing is '0,7', expected a number above 0 mm
    """
    span = f", {least:g} or more" if math.isfinite(least) else f" above {above:g}" if math.isfinite(above) else ""
    span += f" and below {below:g}" if math.isfinite(below) else ""
    expected = f"a number{span}{f' {unit}' if span and unit else f' of {unit}' if unit else ''}"
    return Kind(expected, lambda given: _number(given, least, above, below))


def numbers(count: int | None = None, above: float = -math.inf, single: bool = False) -> Kind:
    """Lists of finite numbers, none twice where their count is free; a single number is a list of one.

    Args:
        count: how many; None: any number but none.
        above: bound of each.
        single: one number stands for ``count`` equal ones.

    Example:
        >>> numbers(3, above=0, single=True).value("size_mm", 40)
        [40, 40, 40]
        >>> numbers().value("thresholds_hu", [-400, -400])
        Traceback (most recent call last):
        ...
        bundle.errors.InputError: --thresholds_hu is [-400, -400], expected different numbers, such as [-500, -400]
    """

    def read(given: Any) -> list[float]:
        many = list(given) if isinstance(given, list | tuple) else [given] * (count if single and count else 1)
        found = [_number(one, above=above) for one in many]
        if not found or len(found) != (count or len(found)) or (not count and len(set(found)) < len(found)):
            raise ValueError
        return found

    least = f" above {above:g}" if math.isfinite(above) else ""
    examples = {None: "different numbers, such as [-500, -400]", 3: f"three numbers{least}, such as [40, 40, 30]"}
    return Kind(examples[count], read)


def one_of(*names: str) -> Kind:
    """One of some words.

    Example:
        >>> one_of("mm", "voxel").value("center_unit", "mm")
        'mm'
    """

    def read(given: Any) -> str:
        if given not in names:
            raise ValueError
        return str(given)

    return Kind(f"{', '.join(map(repr, names[:-1]))}{' or ' if names[:-1] else ''}{names[-1]!r}", read)


def either(first: Kind, second: Kind) -> Kind:
    """Values of either kind, the first where both would do.

    Example:
        >>> either(numbers(3), FLAG).value("x", "yes")
        True
    """

    def read(given: Any) -> Any:
        try:
            return first.read(given)
        except (TypeError, ValueError):
            return second.read(given)

    return Kind(f"{first.expected}, or {second.expected}", read, is_path=first.is_path or second.is_path)


def _range(least: int, most: int | None) -> str:
    return f"{least} or more" if most is None else f"{least} to {most}"


def _number(given: Any, least: float = -math.inf, above: float = -math.inf, below: float = math.inf) -> float:
    if isinstance(given, bool):
        raise TypeError
    found = given if isinstance(given, int) else float(given)
    if not (math.isfinite(found) and least <= found < below and found > above):
        raise ValueError
    return found


def _whole(given: Any, least: int, most: int | None = None) -> int:
    found = int(given)  # text of many digits keeps them all
    if isinstance(given, bool) or found < least or (not isinstance(given, str) and found != given):
        raise ValueError
    if most is not None and found > most:
        raise ValueError
    return found


def _flag(given: Any) -> bool:
    if isinstance(given, bool):
        return given
    word = str(given).strip().lower()
    if word not in WORDS:
        raise ValueError
    return WORDS[word]


def _path(given: Any) -> str:
    if not isinstance(given, str | Path) or not str(given).strip() or "\0" in str(given):
        raise ValueError
    try:
        return str(Path(given).expanduser())
    except RuntimeError:  # nobody of that name
        raise ValueError from None


def _device(given: Any) -> str:
    import torch  # here, since the options of a command are known before torch is

    try:
        device = torch.device(str(given))
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError):
        raise ValueError from None
    if device.type == "meta":
        raise ValueError
    return str(device)


def _names(given: Any) -> list[str]:
    return [str(name) for name in given] if isinstance(given, list | tuple) else [str(given)]


def _pairs(given: Any) -> list[list[int]]:
    if not isinstance(given, list | tuple) or any(len(pair) != 2 for pair in given):
        raise ValueError
    return [[_whole(number, 1) for number in pair] for pair in given]


def _strides(given: Any) -> list[int]:
    found = [_whole(one, 2) for one in (given if isinstance(given, list | tuple) else [given])]
    if not found or len(set(found)) < len(found):
        raise ValueError
    return found


def _share(given: Any) -> Any:
    if not hasattr(given, "indices"):
        raise TypeError("no bundle.study.shards.Shard")
    return given


FLAG = Kind("true or false (or yes, no, 1, 0)", _flag)
PATH = Kind("the name of a file or folder", _path, is_path=True)
TEXT = Kind("a word", str)
TEXTS = Kind("a list of words", lambda given: _names(given) if given not in ((), []) else [])
NAMES = Kind("names, such as \"['linear','cubic']\"", _names, optional=True)
DEVICE = Kind("a device of this machine, such as 'cpu' or 'cuda:0'", _device)
STRIDES = Kind("different whole numbers of 2 or more, such as [2, 3, 5]", _strides)
PAIRS = Kind("pairs of whole numbers, such as [[3,3],[2,4]]", _pairs)
SHARE = Kind("what configs/multi_gpu_study.json sets, as no word can", _share, optional=True)
