"""Many scans on many processes or machines: each reads the config anew, as an evaluator can't be sent to another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from monai.bundle import ConfigParser

from bundle.data.scans import DicomSeries
from bundle.progress import Report


@dataclass
class ManyScans:
    """Work on scans, one a piece.

    Attributes:
        config: content of the config, its options settled (:func:`bundle.options.check.config_content`).
        scans: of :func:`bundle.data.scans.find_scans`.
        made: the run over scans that the config makes, if this process has it.
    """

    config: Mapping[str, Any]
    scans: Sequence[Mapping[str, Any]]
    made: list[Any] = field(default_factory=list, repr=False)

    def __call__(self, piece: int, report: Report) -> tuple[dict[str, Any] | None, str]:
        """The record of a scan; None and the reason where it can't be used.

        Raises:
            OutputError: nothing can be written.
        """
        return self.attempt(self.scans[piece], report)

    def attempt(self, scan: Mapping[str, Any], report: Report) -> tuple[dict[str, Any] | None, str]:
        """See :meth:`__call__`."""
        run = self.run()
        inferer = run.evaluator.inferer
        inferer.progress, inferer.on_progress = False, report(str(scan["name"]))
        return run.attempt(scan, several=True)

    def cost(self, piece: int) -> float:
        """Bytes of a scan's files."""
        image = self.scans[piece]["image"]
        files = image.files if isinstance(image, DicomSeries) else [Path(str(image))]
        return float(sum(file.stat().st_size for file in files if file.is_file()))

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "made": []}

    def run(self) -> Any:
        """The run over scans, made once a process."""
        if not self.made:
            parser = ConfigParser()
            parser.read_config(dict(self.config))
            parser.get_parsed_content("initialize")
            self.made.append(parser.get_parsed_content("scan_run"))
        return self.made[0]
