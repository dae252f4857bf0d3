"""Names of methods as a user gives them, checked against those that are known."""

from __future__ import annotations

from collections.abc import Sequence

from bundle.errors import InputError, nearest
from bundle.files import folder_name

TRUTH = "truth"


def chosen_names(asked: Sequence[str] | str, known: Sequence[str], option: str = "methods") -> list[str]:
    """The names asked for, each known, none twice, and each the name of a folder of its own.

    Args:
        asked: names, or one name.
        known: what can be asked for.
        option: what the user calls it on the command line.

    Raises:
        InputError: none asked for, one asked for twice or unknown; names the nearest right name. Or one that can't
            name a folder beside the others: ``truth`` is the CT's own.

    Example:
        >>> chosen_names("linear", ["linear", "cubic"])
        ['linear']
    """
    names = [asked] if isinstance(asked, str) else list(asked)
    if not names:
        raise InputError(f"--{option} is empty: choose from {', '.join(known)}")
    for name in names:
        if name not in known:
            near = nearest(str(name), known)
            hint = f"did you mean '{near}'? " if near else ""
            raise InputError(f"--{option} has '{name}', which is no method: {hint}choose from {', '.join(known)}")
        if names.count(name) > 1:
            raise InputError(f"--{option} has '{name}' twice: name each method once")
        alike = [other for other in names if other.casefold() == folder_name(name, "method").casefold()]
        if len(alike) > 1:
            raise InputError(f"--{option} has '{alike[0]}' and '{alike[1]}', which name one folder: rename one")
        if name.casefold() == TRUTH:
            raise InputError(f"--{option} has '{name}', the name of the CT itself in all results: rename the method")
    return names
