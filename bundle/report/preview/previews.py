"""The previews of a run over scans: which there are, and what their pages say."""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast
from urllib.parse import quote

import numpy as np
from monai.data import MetaTensor

from bundle.data import gaps_in_words
from bundle.data.formats import read_image
from bundle.files import write_text, write_whole
from bundle.inferers.learned.sample import NOTE
from bundle.inferers.registry import label
from bundle.version import __version__

log = logging.getLogger(__name__)

_PAGE, _PICTURE = "_preview.html", "_preview.png"
# they come with scikit-image and torch, but are the report's
_WANTED = {"PIL": "Pillow", "jinja2": "Jinja2"}


class Previews:
    """Writes ``<name>_preview.html`` and ``<name>_preview.png`` beside each result, and an index of many.

    Without the packages of the extra ``report`` none are made, which is told in one line.

    Example:
        >>> Previews().there(Path("absent"), "scan_dense_prior")
        False
    """

    def __init__(self) -> None:
        missing = [name for module, name in _WANTED.items() if importlib.util.find_spec(module) is None]
        self.able = not missing
        if missing:
            log.warning("no previews: %s is not installed (pip install '.[report]')", " and ".join(missing))

    def there(self, folder: Path, name: str) -> bool:
        """Whether a result has its preview, or none can be made."""
        return not self.able or all((folder / f"{name}{end}").is_file() for end in (_PAGE, _PICTURE))

    def forget(self, folder: Path, name: str) -> None:
        """Delete a preview, of a result that is made anew."""
        for end in (_PAGE, _PICTURE):
            (folder / f"{name}{end}").unlink(missing_ok=True)

    def write(
        self, folder: Path, name: str, record: Mapping[str, Any], image: MetaTensor, pred: MetaTensor | None = None
    ) -> None:
        """Make the preview of one result.

        Args:
            folder: of the results.
            name: of this one.
            record: what is known of it.
            image: (C, X, Y, K) the region it was made of: HU, and a mask if there is one.
            pred: (1, X, Y, Z) the result, with ``meta["expected_error"]``; None: what the folder has.

        Raises:
            OutputError: the files can't be written.
        """
        if not self.able:
            return
        from bundle.report.page.template import template
        from bundle.report.preview.picture import sheet
        from bundle.report.preview.planes import WINDOWS, Dense, shown

        dense, step, error = _stored(folder, name, record) if pred is None else _handed(pred)
        volume = Dense(cast(MetaTensor, image.cpu()), dense, record["nodules"] is not None, step, error)
        lines, (first, second) = _lines(record, volume), WINDOWS
        seen = shown(volume, first)
        page = template("preview.html.j2").render(
            name=name, lines=lines, notes=record["notes"], shown=seen, other=shown(volume, second), version=__version__
        )
        picture = sheet([name, *lines], seen)
        write_whole(folder / f"{name}{_PICTURE}", lambda temporary: temporary.write_bytes(picture))
        write_text(folder / f"{name}{_PAGE}", page)

    def index(
        self, folder: Path, records: Iterable[Mapping[str, Any]], failures: Sequence[Mapping[str, Any]]
    ) -> Path | None:
        """Write ``index.html``, a thumbnail for each result.

        Args:
            folder: of the results.
            records: of all that are whole.
            failures: ``input`` and ``reason`` of each scan that was left out.

        Returns:
            its path; None where no previews are made.
        """
        if not self.able:
            return None
        from bundle.report.page.template import template
        from bundle.report.preview.picture import thumbnail

        cards = []
        for record in records:
            name = Path(record["record"]).stem
            page = f"{name}{_PAGE}" if self.there(folder, name) else ""
            words = f"{label(record['method'])}, {' × '.join(map(str, record['shape']))} voxels"
            cards.append({"name": name, "page": quote(page), "thumbnail": thumbnail(folder / f"{name}{_PICTURE}"),
                          "words": words, "notes": record["notes"]})  # fmt: skip
        text = template("index.html.j2").render(
            title="Dense volumes", cards=cards, failures=failures, version=__version__
        )
        write_text(folder / "index.html", text)
        return folder / "index.html"


def _handed(pred: MetaTensor) -> tuple[np.ndarray, float, np.ndarray | None]:
    error = pred.meta.get("expected_error")
    return pred.as_tensor()[0].cpu().numpy(), _step(pred.affine), None if error is None else np.asarray(error)


def _stored(folder: Path, name: str, record: Mapping[str, Any]) -> tuple[np.ndarray, float, np.ndarray | None]:
    made = read_image(folder / record["output"])
    unsure = folder / record["output"].replace(name, f"{name}_uncertainty", 1)
    error = read_image(unsure).voxels if unsure.name in record["files"] else None
    return made.voxels, _step(made.affine), error


def _step(affine: Any) -> float:
    return float(np.linalg.norm(np.asarray(affine, dtype=float)[:3, 2]))


def _lines(record: Mapping[str, Any], volume: Any) -> list[str]:
    """What was done, in two or three lines."""
    thick, dense = len(volume.positions), volume.dense.shape[2]
    gaps = gaps_in_words(volume.positions)
    what = "the mask on" if volume.is_mask else ""
    made = f"{label(record['method'])} made {what} {dense} slices {volume.step:.3g} mm apart".replace("  ", " ")
    kept, samples = record.get("observed_kept", True), record.get("options", {}).get("sample")
    _, place = volume.centre()
    return [
        f"{made} of {thick} slices {gaps} mm apart; {volume.dense.shape[0]} × {volume.dense.shape[1]} pixels of "
        f"{volume.spacing[0]:.3g} × {volume.spacing[1]:.3g} mm.",
        f"Through {place}; observed slices are {'kept as they were' if kept else 'made anew too'}"
        f"{'' if volume.error is None else '; expected errors are given'}; {record['seconds']:.1f} s.",
        *([f"Beside it {samples} samples, each {NOTE}."] if samples and volume.error is not None else []),
    ]
