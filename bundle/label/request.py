"""What a client may ask the server for, and the check of it.

A *request* is a dictionary: what the client sent, over what the server offers in ``/info/`` (``displayable_configs`` in
``configs/inference.json``). Viewers send every value as text. The *answer* is ``"image"``, the dense image of a
region, or ``"mask"``, the nodule on all slices of the source.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from bundle.errors import InputError
from bundle.inferers.dense.auto import AUTO
from bundle.inferers.names import chosen_names
from bundle.inferers.registry import names_of

MASK_METHODS = names_of("mask")
# where MONAI Label's folder of studies keeps what was drawn, newest kind first
LABEL_TAGS = ("final", "original")
INT16_HU = (-32768, 32767)


@dataclass(frozen=True)
class Request:
    """A request whose every value is usable.

    Attributes:
        image: file or folder on the server.
        mask: file with what was drawn on some slices, if there is one.
        answer: "image" or "mask".
        method: what fills the gap; for the answer "mask" a mask method.
        epochs: of a fit.
        center: (x, y, z), or None.
        center_unit: "mm" (RAS) or "voxel" (of the stored file).
        size_mm: length of the region's sides, (x, y, z).
        threshold_hu: what is above belongs to the nodule, where no mask was drawn.
        max_seconds: after which the request is given up.
        result_dtype: number format of the answer.
    """

    image: str
    mask: str | None
    answer: Literal["image", "mask"]
    method: str
    epochs: int
    center: tuple[float, ...] | None
    center_unit: Literal["mm", "voxel"]
    size_mm: tuple[float, ...]
    threshold_hu: float
    max_seconds: float
    result_dtype: str = "float32"


def read_request(data: Mapping[str, Any], methods: Sequence[str]) -> Request:
    """Check a request.

    Args:
        data: what MONAI Label hands on.
        methods: what can be asked for.

    Raises:
        InputError: no such image, a value that is no number or out of its range, an unknown method, or a
            number format that can't hold the answer.

    Example:
        >>> read_request({"image": ".", "method": "linear", "epochs": "5", "center": "1, 2, 3"}, ["linear"]).center
        (1.0, 2.0, 3.0)
    """
    method = chosen_names([str(data.get("method") or AUTO)], [AUTO, *methods], "method")[0]
    answer = str(data.get("answer") or "auto")
    dtype = str(data.get("result_dtype") or "")
    eight_bits = dtype == "uint8"
    if answer == "auto":
        # viewers show label maps and ask for them as uint8
        answer = "mask" if eight_bits or method in MASK_METHODS else "image"
    if answer not in ("image", "mask"):
        raise InputError(f"answer is {answer!r}, expected 'image', 'mask' or 'auto'")
    dtype = dtype or ("uint8" if answer == "mask" else "float32")
    if answer == "image" and not all(holds(dtype, hu) for hu in INT16_HU):
        raise InputError(f"HU don't fit into result_dtype {dtype}: ask for answer 'mask', or for float32 or int16")
    if not holds(dtype, 1):
        raise InputError(f"result_dtype is {dtype!r}, expected a number format such as uint8, int16 or float32")
    if answer == "image" and method in MASK_METHODS:
        raise InputError(f"method {method} carries masks, not brightness: ask for answer 'mask' or another method")
    if answer == "mask" and method not in MASK_METHODS:
        method = "signed_distance"
    unit = str(data.get("center_unit") or "mm")
    if unit not in ("mm", "voxel"):
        raise InputError(f"center_unit is {unit!r}, expected 'mm' or 'voxel'")
    image = str(data.get("image") or "")
    if not image or not Path(image).exists():
        raise InputError("the server has no such image: name one of those that /datastore/?output=all lists")
    center = _numbers("center", data.get("center"))
    return Request(
        image=image,
        mask=drawn_mask(image, data.get("label")),
        answer=answer,  # type: ignore[arg-type]
        method=method,
        epochs=_whole("epochs", data.get("epochs", 100)),
        center=center,
        center_unit=unit,  # type: ignore[arg-type]
        size_mm=_numbers("size_mm", data.get("size_mm"), above=0) or (50.0,) * 3,
        threshold_hu=_number("threshold_hu", data.get("threshold_hu", -400.0)),
        max_seconds=_number("max_seconds", data.get("max_seconds", 300.0), above=0),
        result_dtype=dtype,
    )


def holds(dtype: str, value: float) -> bool:
    """Whether a number format, by its name, has a whole number exactly; no format of another kind has any.

    Example:
        >>> holds("int16", -1024), holds("uint16", -1024), holds("float16", 2049), holds("text", 0)
        (True, False, False, False)
    """
    try:
        kind = np.dtype(dtype)
    except TypeError:
        return False
    if kind.kind not in "iuf":
        return False
    with np.errstate(over="ignore"):
        limits = np.iinfo(kind) if kind.kind in "iu" else np.finfo(kind)
        return bool(limits.min <= value <= limits.max and float(kind.type(value)) == value)


def whole_number(value: Any) -> Any:
    """A whole number given as text as a number; anything else as it is, for :func:`read_request` to refuse.

    Example:
        >>> whole_number("200"), whole_number("many")
        (200, 'many')
    """
    try:
        return int(value)
    except (TypeError, ValueError):
        return value


def drawn_mask(image: str, sent: str | None = None) -> str | None:
    """The mask drawn on an image: sent along, else the one that MONAI Label keeps beside it; None if there is none.

    Example:
        >>> drawn_mask("scan.nii.gz", "drawn.nii.gz")
        'drawn.nii.gz'
    """
    if sent:
        return str(sent)
    path = Path(image)
    kept = [path.parent / "labels" / tag / path.name for tag in LABEL_TAGS]
    return next((str(label) for label in kept if label.is_file()), None)


def _split(value: Any) -> list[Any]:
    if isinstance(value, str):
        return value.strip("[]() ").replace(",", " ").split()
    return list(value) if isinstance(value, list | tuple | np.ndarray) else [value]


def _numbers(name: str, value: Any, above: float = -np.inf) -> tuple[float, ...] | None:
    """Three numbers, or one for all three; None for none."""
    if value is None or value in ("", "None"):
        return None
    try:
        numbers = [float(part) for part in _split(value)]
    except (TypeError, ValueError):
        numbers = []
    wanted = (1, 3) if name == "size_mm" else (3,)
    if len(numbers) not in wanted or not all(np.isfinite(n) and n > above for n in numbers):
        more = f" above {above:g}" if np.isfinite(above) else ""
        raise InputError(f"{name} is {value!r}, expected three numbers{more}, such as [40, 40, 30]")
    return tuple(numbers * (3 // len(numbers)))


def _number(name: str, value: Any, above: float = -np.inf) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = float("nan")
    if not (np.isfinite(number) and number > above):
        more = f" above {above:g}" if np.isfinite(above) else ""
        raise InputError(f"{name} is {value!r}, expected a number{more}")
    return number


def _whole(name: str, value: Any) -> int:
    number = _number(name, value, above=0)
    if number != int(number):
        raise InputError(f"{name} is {value!r}, expected a whole number above 0")
    return int(number)
