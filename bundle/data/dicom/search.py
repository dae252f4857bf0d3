"""Find the files of DICOM series below a folder, wherever they lie."""

from __future__ import annotations

import filecmp
import os
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from pydicom.errors import InvalidDicomError
from pydicom.uid import CTImageStorage, EnhancedCTImageStorage

from bundle.data.dicom.header import BROKEN, read_dataset
from bundle.errors import InputError
from bundle.progress import counted

OWN = "lung_nodule_ct_reconstruction"  # Manufacturer of the series that this program makes


def walk(root: Path) -> Iterator[tuple[Path, list[Path]]]:
    """List folders below root with their visible files, through symbolic links but never round in circles.

    Example:
        >>> [folder.name for folder, _ in walk(Path("configs"))]  # doctest: +SKIP
        ['configs']
    """
    seen: set[str] = set()
    for folder, subfolders, names in os.walk(root, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:
            subfolders.clear()
            continue
        seen.add(real)
        subfolders.sort()
        # macOS leaves ._name files beside the real ones
        yield Path(folder), [Path(folder, name) for name in sorted(names) if not name.startswith(".")]


def series_tags(path: Path) -> tuple[str | None, str, str]:
    """SeriesInstanceUID, SOPInstanceUID and modality of a file.

    None, "", "" where it is no DICOM of a series, or a CT slice that is cut short in its header, whose UID may be cut
    too, or of a series that this program made: that is no scan to work on.

    Example:
        >>> series_tags(Path("README.md"))
        (None, '', '')
    """
    tags = ["SeriesInstanceUID", "SOPInstanceUID", "Modality", "Manufacturer", "SOPClassUID", "Rows"]
    try:
        header = read_dataset(path, stop_before_pixels=True, specific_tags=tags)
        cut = header.get("SOPClassUID") in (CTImageStorage, EnhancedCTImageStorage) and "Rows" not in header
        if cut or header.get("Manufacturer") == OWN:
            return None, "", ""
        return str(header.SeriesInstanceUID), str(header.get("SOPInstanceUID", "")), str(header.get("Modality", ""))
    except (InvalidDicomError, *BROKEN):
        return None, "", ""


def find_series(
    root: str | Path, series_uids: Collection[str], patient_ids: Collection[str] = ()
) -> dict[str, list[Path]]:
    """Find the files of DICOM series wherever they lie below a folder.

    A folder named as a series is taken to hold it. Headers are read (with a progress bar) only for series not
    found so, first in folders named after a patient, then everywhere else; what isn't DICOM is passed over.

    Args:
        root: folder to search, symbolic links included.
        series_uids: SeriesInstanceUID of the series wanted.
        patient_ids: names of folders that are likely to hold them, e.g. ``LIDC-IDRI-0001``.

    Returns:
        SeriesInstanceUID -> files, for the series that were found; a file that lies there twice once.

    Raises:
        InputError: `root` is not a folder.

    Example:
        >>> find_series(".", [])
        {}
    """
    root = Path(root).expanduser()
    if not root.is_dir():
        raise InputError(f"{root} is not a folder: expected the folder that holds the DICOM files")
    wanted, likely = set(series_uids), set(patient_ids)
    if not wanted:
        return {}
    found: dict[str, list[Path]] = {}
    near: list[Path] = []
    elsewhere: list[Path] = []
    for folder, files in walk(root):
        if folder.name in wanted and files:
            found.setdefault(folder.name, []).extend(files)
        elif likely.intersection(folder.parts):
            near.extend(files)
        else:
            elsewhere.extend(files)
    for files in (near, elsewhere):
        missing = wanted - found.keys()
        if not missing:
            break
        for path in counted(files, "reading DICOM headers", "file", delay=1):
            uid = series_tags(path)[0]
            if uid in missing:
                found.setdefault(uid, []).append(path)
    return {uid: without_copies(files) for uid, files in found.items()}


def without_copies(paths: Sequence[Path]) -> list[Path]:
    """Leave out files that have the name and the bytes of an earlier one, as in a backup below the same folder.

    Example:
        >>> without_copies([Path("series/0001.dcm"), Path("backup/0001.dcm")])  # doctest: +SKIP
        [PosixPath('series/0001.dcm')]
    """
    kept: list[Path] = []
    first: dict[str, Path] = {}
    for path in paths:
        if first.setdefault(path.name, path) == path or not filecmp.cmp(first[path.name], path, shallow=False):
            kept.append(path)
    return kept
