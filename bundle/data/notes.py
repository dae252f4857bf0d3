"""What was odd about an input and was accepted: sentences that travel with a volume into its result, log and preview.

In the meta of a MetaTensor they are one text under ``"notes"``, a sentence a line, which any collation leaves whole.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from monai.data import MetaTensor


def notes_of(volume: Any) -> list[str]:
    """The notes of a volume, of a batch of one, or of anything without notes.

    Example:
        >>> import torch
        >>> notes_of(MetaTensor(torch.zeros(1), meta={"notes": "one\\ntwo"})), notes_of(torch.zeros(1))
        (['one', 'two'], [])
    """
    text = getattr(volume, "meta", {}).get("notes") or ""
    lines = [text] if isinstance(text, str) else text
    return [note for line in lines for note in str(line).splitlines() if note]


def add_notes(volume: MetaTensor, notes: Iterable[str]) -> None:
    """Add sentences to a volume's notes, none twice.

    Example:
        >>> import torch
        >>> scan = MetaTensor(torch.zeros(1), meta={"notes": "one"})
        >>> add_notes(scan, ["two", "one"])
        >>> notes_of(scan)
        ['one', 'two']
    """
    volume.meta["notes"] = "\n".join(dict.fromkeys([*notes_of(volume), *notes]))
