"""Whether the slices of a series are one pass of one patient, and whether their pixels are HU."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from bundle.data.dicom.header import SliceHeader
from bundle.errors import InputError

# values of ImageType (PS3.3 C.8.2.1.1, C.8.15.3.1) of images that are no slice of the body, or no HU
_NO_SLICE = ("LOCALIZER", "SCOUT", "TOPOGRAM", "DOSE_INFO", "SCREEN SAVE", "SCREEN_SAVE", "PROJECTION IMAGE")
_PROJECTED = ("MAXIMUM_IP", "MINIMUM_IP", "MIN_IP", "MAX_IP", "MIP", "MINIP", "MAXIP", "PROJECTION", "VOLUME_RENDER",
              "VOLUME_RENDERED", "SURFACE_RENDER", "SURFACE_SHADED", "CSA MIP", "CURVED MPR")  # fmt: skip
_NO_HU = ("MAT_SPECIFIC", "MAT_FRACTIONAL", "MAT_VALUE_BASED", "EFF_ATOMIC_NUM", "ELECTRON_DENSITY", "IODINE",
          "EFF_Z", "Z_EFF", "PERFUSION", "SUBTRACTION")  # fmt: skip
_LEAST_SLOPE = 1e-4  # the 16 bits of a pixel span 7 HU with it
_VIRTUAL = ("VMI", "MONO", "MONOENERGETIC", "VNC", "MAT_MODIFIED", "MAT_REMOVED", "ENERGY_PROP_WT")


def _values(header: SliceHeader, tag: str) -> str:
    """A tag's value in one spelling: 120 and 120.0 are one number; of ImageType what tells kinds apart."""
    value = dict(header.passes).get(tag, "")
    if tag == "ImageType":
        return "\\".join(part.strip().upper() for part in value.split("\\")[:4])
    try:
        return f"{float(value):g}"
    except ValueError:
        return value.strip()


def pass_tags(slices: Sequence[SliceHeader]) -> list[str]:
    """The tags in which the slices differ, of those that tell passes apart.

    A slice without the tag differs from none. Acquisitions that follow each other along the table, one number for
    each turn of the tube, are one pass.
    """
    differ = []
    for tag in dict.fromkeys(name for header in slices for name, _ in header.passes):
        found = {value for header in slices if (value := _values(header, tag))}
        if len(found) > 1 and not (tag == "AcquisitionNumber" and _follow_each_other(slices, len(found))):
            differ.append(tag)
    return differ


def _follow_each_other(slices: Sequence[SliceHeader], count: int) -> bool:
    """Whether three acquisitions or more lie one above the other."""
    ordered = sorted(slices, key=lambda header: header.position[2])
    numbers = [_values(header, "AcquisitionNumber") for header in ordered]
    changes = sum(a != b for a, b in itertools.pairwise(numbers))
    return count > 2 and changes == count - 1


def split_passes(slices: Sequence[SliceHeader]) -> dict[str, list[SliceHeader]]:
    """The slices of each pass, by its tags in words; one of no name where there is one pass.

    Example:
        >>> list(split_passes([]))
        []
    """
    tags = pass_tags(slices)
    passes: dict[str, list[SliceHeader]] = {}
    for header in slices:
        name = ", ".join(f"{tag} {_values(header, tag) or 'none'}" for tag in tags)
        passes.setdefault(name, []).append(header)
    return passes


def check_one_pass(slices: Sequence[SliceHeader], where: str) -> list[str]:
    """Refuse slices of two patients, passes, phases or kinds.

    Returns:
        what is odd and harmless, a sentence each.

    Raises:
        InputError: naming the tag and its values.
    """
    tags = pass_tags(slices)
    if tags:
        tag = tags[0]
        found = sorted({_values(header, tag) for header in slices} - {""})
        odd = min(found, key=lambda value: sum(_values(header, tag) == value for header in slices))
        example = next(header.name for header in slices if _values(header, tag) == odd)
        values = f"{', '.join(found[:4])}{', ...' if len(found) > 4 else ''}"
        raise InputError(
            f"the series in {where} has {len(found)} values of {tag} ({values}; {example} has {odd}), so it is no "
            "single pass of one patient: move the others out, or give --split_passes true for a result of each"
        )
    numbers = {_values(header, "AcquisitionNumber") for header in slices}
    return [f"{len(numbers)} acquisitions that follow each other are taken as one scan"] if len(numbers) > 2 else []


def check_kind(slices: Sequence[SliceHeader], where: str) -> list[str]:
    """Refuse images that are no slices of a CT, by ImageType.

    Returns:
        a note where the HU are virtual ones, and where they were compressed with loss.

    Raises:
        InputError: a localizer, a projection, a map of something else than HU.
    """
    notes = []
    for header in slices:
        kinds = [part.strip().upper() for part in dict(header.passes).get("ImageType", "").split("\\")]
        for listed, what in (
            (_NO_SLICE, "no slice of the body"),
            (_PROJECTED, "a projection through several slices"),
            (_NO_HU, "no map of HU"),
        ):
            if found := next((kind for kind in kinds if kind in listed), None):
                raise InputError(
                    f"{header.path.parent.name}/{header.name} in {where} is {what} (ImageType has {found}): "
                    "move such images out, and use the series of plain axial slices"
                )
        if found := next((kind for kind in kinds if kind in _VIRTUAL or kind.startswith("MONO_")), None):
            notes.append(f"ImageType has {found}: HU of a virtual energy or material, not of a plain scan")
    if lossy := sum(header.lossy for header in slices):
        notes.append(f"{lossy} of {len(slices)} slices were compressed with loss, which changed their HU")
    return sorted(set(notes))


def check_unit(slices: Sequence[SliceHeader], where: str) -> list[str]:
    """Refuse pixels that the header does not turn into HU.

    Returns:
        what is odd and was done nevertheless.

    Raises:
        InputError: RescaleSlope or RescaleIntercept absent in all slices or in some, 0 or no number; a RescaleType that
            says something else than HU.
    """
    notes = set()
    for header in slices:
        slope, intercept, unit = header.rescale
        if unit.strip().upper() not in ("", "HU"):
            raise InputError(
                f"{header.name} in {where} has RescaleType {unit}, so its pixels are no HU: use the series in HU"
            )
        if header.lut:
            notes.add("a modality LUT gives the HU")
            continue
        for name, value in (("RescaleSlope", slope), ("RescaleIntercept", intercept)):
            if not _is_number(value):
                lacking = sum(not _is_number(other.rescale[name == "RescaleIntercept"]) for other in slices)
                raise InputError(
                    f"{header.name} in {where} has {f'{name} {value!r}' if value else f'no {name}'} ({lacking} of "
                    f"{len(slices)} slices), so its pixels can't be turned into HU: export the series again, or "
                    "write the tag"
                )
        if abs(float(slope)) < _LEAST_SLOPE:
            raise InputError(
                f"{header.name} in {where} has RescaleSlope {float(slope):g}, which makes all pixels alike: export "
                "it again"
            )
        if float(slope) < 0:
            notes.add(f"RescaleSlope is {float(slope):g}: bright pixels are stored as small numbers")
    told = sorted({f"{float(s):g} and {float(i):g}" for s, i in (h.rescale[:2] for h in slices if not h.lut)})
    if len(told) > 1:
        notes.add(f"RescaleSlope and RescaleIntercept differ from slice to slice ({'; '.join(told[:3])})")
    if any(header.lut for header in slices) and told:
        raise InputError(f"the series in {where} has a modality LUT in some slices only: export the series again")
    return sorted(notes)


def _is_number(text: str) -> bool:
    try:
        return bool(np.isfinite(float(text)))
    except ValueError:
        return False
