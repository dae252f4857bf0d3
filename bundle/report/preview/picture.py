"""The preview as one picture, for where no page can be: a mail, a slide, a folder's thumbnails."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo

from bundle.report.pictures import data_address
from bundle.report.preview.planes import Shown

GAP, LINE, TEXT = 10, 20, 15
THUMBNAIL = (320, 160)
# says in the file where its first row is, before and after, without words
_PLACE = "before and after"


def sheet(lines: Sequence[str], shown: Shown) -> bytes:
    """All panels on white under what was done, as the content of a PNG file."""
    font = ImageFont.load_default(TEXT)
    width = max(sum(p.picture.width + GAP for p in row.panels) for row in shown.rows) + GAP
    width = max(width, 480)
    # Pillow's own font has no sign of multiplication
    told = [piece for line in lines for piece in textwrap.wrap(line.replace("×", "x"), int(width / (0.52 * TEXT)))]
    rows = [2 * LINE + max(panel.picture.height for panel in row.panels) + GAP for row in shown.rows]
    page = Image.new("RGB", (width, GAP + LINE * len(told) + sum(rows) + GAP), "white")
    pen = ImageDraw.Draw(page)
    top = GAP
    for piece in told:
        pen.text((GAP, top), piece, "black", font)
        top += LINE
    place = None
    for row, height in zip(shown.rows, rows, strict=True):
        pen.text((GAP, top), row.words, "black", font)
        left = GAP
        for number, panel in enumerate(row.panels):
            pen.text((left, top + LINE), panel.words, "#57606a", font)
            page.paste(panel.picture.convert("RGB"), (left, top + 2 * LINE))
            left += panel.picture.width + GAP
            if number == 1 and place is None:
                place = (GAP, top + 2 * LINE, left - GAP, top + 2 * LINE + panel.picture.height)
        top += height
    facts = PngInfo()
    facts.add_text(_PLACE, " ".join(map(str, place or (0, 0, *page.size))))
    out = io.BytesIO()
    page.save(out, "png", pnginfo=facts)
    return out.getvalue()


def thumbnail(path: Path) -> str:
    """The first row of a :func:`sheet`, small, as a ``data:`` address; "" where the file is none."""
    try:
        with Image.open(path) as page:
            place = [int(number) for number in page.info[_PLACE].split()]
            small = page.crop(tuple(place)).convert("L")  # type: ignore[arg-type]
    except (OSError, KeyError, ValueError):
        return ""
    small.thumbnail(THUMBNAIL)
    return data_address(small, 70)
