"""The command as it was typed, before MONAI turns its words into values."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path


def is_monai_bundle(arguments: Sequence[str] | None = None) -> bool:
    """Whether this program is ``python -m monai.bundle``, and no other that has MONAI in it.

    Example:
        >>> is_monai_bundle(["/lib/monai/bundle/__main__.py", "run"])
        True
    """
    program = Path((sys.argv if arguments is None else arguments)[0])
    return program.parent.parts[-2:] == ("monai", "bundle") and program.name == "__main__.py"


def typed_options(arguments: Sequence[str] | None = None) -> dict[str, str]:
    """What was typed for each option, as text; nothing if the program is not ``python -m monai.bundle``.

    Example:
        >>> typed_options(["/lib/monai/bundle/__main__.py", "run", "--output_dir", "20260101", "--limit=3"])
        {'output_dir': '20260101', 'limit': '3'}
    """
    words = list(sys.argv if arguments is None else arguments)
    typed: dict[str, str] = {}
    if not is_monai_bundle(words):
        return typed
    for word, following in zip(words[1:], [*words[2:], "--"], strict=True):
        if not _is_flag(word):
            continue
        name, equals, value = word.lstrip("-").partition("=")
        if not equals:
            value = "True" if _is_flag(following) else following
        typed[name.replace("-", "_")] = value
    return typed


def stray_words(arguments: Sequence[str] | None = None) -> list[str]:
    """What was typed and is neither an option nor the value of one, after ``python -m monai.bundle run``.

    Example:
        >>> stray_words(["/lib/monai/bundle/__main__.py", "run", "--image", "my", "scan.nii", "--limit=3"])
        ['scan.nii']
    """
    words = list(sys.argv if arguments is None else arguments)
    if not is_monai_bundle(words):
        return []
    before = ["--x=", *words[2:]]
    taken = [_is_flag(flag) and "=" not in flag for flag in before]
    return [word for word, value in zip(words[2:], taken, strict=False) if not value and not _is_flag(word)]


def command_line(arguments: Sequence[str]) -> str:
    """The command as a shell takes it: ``python -m monai.bundle`` for that module's ``__main__.py``.

    Example:
        >>> print(command_line(["/lib/monai/bundle/__main__.py", "run", "--methods", "['linear', 'cubic']"]))
        python -m monai.bundle run --methods "['linear', 'cubic']"
        >>> print(command_line(["study.py", "--features#bin_origin", "$None"]))
        study.py '--features#bin_origin' '$None'
    """

    def quoted(word: str) -> str:
        # lists hold single quotes: in double ones they can be read, where nothing in them is the shell's
        return shlex.quote(word) if "'" not in word or set(word) & set('"$`\\!') else f'"{word}"'

    words = [quoted(word) for word in arguments[1:]]
    return " ".join(["python -m monai.bundle" if is_monai_bundle(arguments) else Path(arguments[0]).name, *words])


def _is_flag(word: str) -> bool:
    return word == "--" or re.match(r"--.|-[A-Za-z]", word) is not None
