"""Pieces of work, and a method, that any process can import."""

import os
import signal
from pathlib import Path

from bundle.inferers import PriorInferer


class Double:
    """Twice the number of the piece."""

    def __call__(self, index, report):
        return 2 * index


class DiesOnce(PriorInferer):
    """Kills its process, unless a file is there: which it makes."""

    def __init__(self, mark, **options):
        super().__init__(**options)
        self.mark = Path(mark)

    def reconstruct(self, observed):
        try:
            self.mark.touch(exist_ok=False)
        except FileExistsError:
            return super().reconstruct(observed)
        os.kill(os.getpid(), signal.SIGKILL)
