"""The one exception that means "the input is wrong", as opposed to a fault of the program."""

from __future__ import annotations


class InputError(ValueError):
    """A user's mistake or a nodule that can't be used, told in one sentence.

    The message names the file or value, what was expected and what to do. The study records it as the
    failure of that nodule and goes on; a command ends with it, without a traceback and with a non-zero status.

    Example:
        >>> from bundle.errors import InputError
        >>> str(InputError("scan.nii.gz has 2 axes, expected 3: give a volume"))
        'scan.nii.gz has 2 axes, expected 3: give a volume'
    """
