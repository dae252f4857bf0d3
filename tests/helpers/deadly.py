"""A method that kills its process."""

import os
import signal
from pathlib import Path

from bundle.inferers import PriorInferer


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
