"""Which scans lie at a place: image files, DICOM series wherever they lie below a folder, and what a zip holds."""

from __future__ import annotations

import filecmp
import re
import tempfile
import zipfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bundle.data.dicom.consistency import split_passes
from bundle.data.dicom.header import read_headers
from bundle.data.dicom.search import series_tags, walk
from bundle.data.formats import stem_of, suffix_of
from bundle.errors import InputError
from bundle.progress import counted

# how this program names its own results, which are no scans to work on
_RESULT = re.compile(r"_dense_[a-z_]+(-[0-9a-f]{8})?(_uncertainty|_sample\d+)?$")
# folders of unpacked archives, which live as long as the program
_unpacked: list[tempfile.TemporaryDirectory[str]] = []


@dataclass(frozen=True)
class DicomSeries:
    """The files of one CT series.

    Attributes:
        folder: that holds the first of them.
        files: of the series, and what lies beside them in its folders and can't be told to be of another.
        uid: SeriesInstanceUID.
        name: for a person.
        copies: how many files were left out that are copies of these.
    """

    folder: Path
    files: tuple[Path, ...]
    uid: str
    name: str
    copies: int = 0

    def __str__(self) -> str:
        return str(self.folder)


def find_scans(
    image: str | Path | None, folder: str | Path, mask: str | Path | None = None, split: bool = False
) -> list[dict[str, Any]]:
    """The scans to work on, each with a name of its own for its results.

    Args:
        image: an image file, a folder of image files or of DICOM series, however deep, or a zip of these.
        folder: used if ``image`` is None.
        mask: drawn on the scan.
        split: make a scan of each pass of a series that has several.

    Returns:
        ``image``: a path or a :class:`DicomSeries`; ``name``; ``mask`` where there is one; ``origin``, its place in a
        zip. Hidden files and results of this program are left out. Where nothing is found, the place itself, for the
        loader to say what is wrong.

    Raises:
        InputError: a zip that is damaged or locked.

    Example:
        >>> find_scans("scan.nii.gz", "input")
        [{'image': 'scan.nii.gz', 'name': 'scan'}]
    """
    named = Path(folder if image is None else image).expanduser()
    place = _unzipped(named) if named.is_file() and named.suffix.lower() == ".zip" else named
    found: list[dict[str, Any]] = [{"image": str(place), "name": stem_of(named)}]
    if place.is_dir():
        images, series = _below(place, named)
        found = [{"image": str(path), "name": _name(path, place, named)} for path in images]
        for one in series:
            parts = _passes(one) if split else [one]
            found += [{"image": part, "name": part.name} for part in parts]
        found = found or [{"image": str(place), "name": named.stem}]
    drawn = {} if mask is None else {"mask": str(mask)}
    if place != named:  # where it was unpacked to is another folder each time
        found = [item | {"origin": str(named / Path(str(item["image"])).relative_to(place))} for item in found]
    return [item | drawn for item in _named_apart(found)]


def is_result(path: Path) -> bool:
    """Whether a file is named as this program names a dense volume, its uncertainty or its samples.

    Example:
        >>> names = "scan_dense_pchip.nii.gz", "scan_dense_prior-01234567_sample1.nii.gz", "scan.nii.gz"
        >>> [is_result(Path(name)) for name in names]
        [True, True, False]
    """
    return bool(_RESULT.search(stem_of(path)))


def _below(root: Path, named: Path) -> tuple[list[Path], list[DicomSeries]]:
    """Image files and DICOM series below a folder, or what a zip of this name was unpacked to."""
    images: list[Path] = []
    others: list[Path] = []
    for _, files in walk(root):
        for path in files:
            (images if suffix_of(path) else others).append(path)
    images = [path for path in images if not is_result(path)]
    members: dict[str, dict[str, Path]] = {}
    copies: Counter[str] = Counter()
    unknown: list[Path] = []
    for path in counted(others, "reading DICOM headers", "file", delay=1):
        uid, sop, modality = series_tags(path)
        if uid is None or modality not in ("CT", ""):
            unknown.append(path)
        else:
            known = members.setdefault(uid, {})
            if sop in known and filecmp.cmp(known[sop], path, shallow=False):
                copies[uid] += 1  # a copy elsewhere in the tree is no second slice
            else:
                known[sop if sop and sop not in known else str(path)] = path
    series = []
    for uid, found in members.items():
        paths = list(found.values())
        folders = {path.parent for path in paths}
        alone = sum(any(p.parent in folders for p in other.values()) for other in members.values()) == 1
        name = _name(paths[0].parent, root, named) + ("" if alone else f"_{uid.rsplit('.', 1)[-1][-8:]}")
        beside = [path for path in unknown if path.parent in folders]
        series.append(DicomSeries(paths[0].parent, (*paths, *beside), uid, name, copies[uid]))
    return images, series


def _passes(series: DicomSeries) -> list[DicomSeries]:
    headers = {path: read_headers(path) for path in series.files}
    passes = split_passes([one for found in headers.values() for one in found if one.series_uid == series.uid])
    if len(passes) < 2:
        return [series]
    return [
        replace(
            series,
            files=tuple(dict.fromkeys(one.path for one in slices)),
            name=re.sub(r"[^\w.-]+", "_", f"{series.name}_{name}").strip("_"),
        )
        for name, slices in passes.items()
    ]


def _name(path: Path, root: Path, named: Path) -> str:
    """A scan's name: its place below the folder that was named."""
    parts = path.relative_to(root).parts
    if not parts:
        return named.stem if named.suffix.lower() == ".zip" else named.resolve().name
    return "_".join([*parts[:-1], stem_of(parts[-1])])


def _named_apart(found: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The same with names that differ by more than case: a.nii and a.nii.gz are two scans."""
    taken: set[str] = set()
    out = []
    for item in found:
        name, number = item["name"], 1
        while item["name"].lower() in taken:
            number += 1
            item = item | {"name": f"{name}_{number}"}
        taken.add(item["name"].lower())
        out.append(item)
    return out


def _unzipped(path: Path) -> Path:
    """Unpack an archive into a folder that goes when the program ends."""
    folder = tempfile.TemporaryDirectory(prefix="scan-")
    _unpacked.append(folder)
    try:
        with zipfile.ZipFile(path) as archive:
            # extract() takes drive letters, .. and leading slashes out of names
            archive.extractall(folder.name)
    except (zipfile.BadZipFile, RuntimeError, NotImplementedError, OSError, EOFError, ValueError) as error:
        raise InputError(f"{path} can't be unpacked ({error}): copy it again, or unpack it yourself") from error
    return Path(folder.name)
