"""The headers of CT slices: what each image of a file says of its place, its unit, and the pass it belongs to.

Vocabulary: a *slice* is one CT image, a file of its own or one *frame* of a multi-frame file. Vectors are LPS mm.
"""

from __future__ import annotations

import struct
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.dataset import Dataset
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.uid import CTImageStorage

from bundle.data.scanner import SCANNER_TAGS
from bundle.errors import InputError

# whatever pydicom raises on a file that is cut short, damaged or compressed in a way it can't undo
BROKEN = (
    OSError,
    EOFError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    AttributeError,
    NotImplementedError,
    RuntimeError,
    MemoryError,
    RecursionError,
    struct.error,
    BytesLengthException,
)
# what differs between two passes of a scanner, which never are one volume
PASS_TAGS = (
    "PatientID",
    "StudyInstanceUID",
    "FrameOfReferenceUID",
    "AcquisitionNumber",
    "ConvolutionKernel",
    "KVP",
    "NominalPercentageOfCardiacPhase",
    "NominalCardiacTriggerDelayTime",
    "TemporalPositionIdentifier",
    "TemporalPositionIndex",
    "ContrastBolusAgent",
    "ImageType",
)
_TAGS = (
    *dict.fromkeys((*PASS_TAGS, *SCANNER_TAGS)),
    "SOPClassUID",
    "SOPInstanceUID",
    "SeriesInstanceUID",
    "Modality",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "PixelSpacing",
    "Rows",
    "Columns",
    "NumberOfFrames",
    "SliceThickness",
    "GantryDetectorTilt",
    "RescaleSlope",
    "RescaleIntercept",
    "RescaleType",
    "ModalityLUTSequence",
    "LossyImageCompression",
    "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
)
# DICOM files have such names or none; others beside them (a licence, a thumbnail) are passed over
_DICOM_SUFFIXES = (".dcm", ".ima", ".img", ".dicom")


@dataclass(frozen=True)
class SliceHeader:
    """What one CT image says of itself, without its pixels.

    Attributes:
        path: of its file.
        frame: number in a multi-frame file, from 0; None in a file of one image.
        series_uid: SeriesInstanceUID.
        position: (3,) ImagePositionPatient, LPS mm.
        orientation: (2, 3) directions of a row and of a column.
        pixel_spacing: mm (x, y).
        size: (columns, rows).
        thickness: SliceThickness in mm; None where the header has none.
        tilt: GantryDetectorTilt in degrees, which is nominal; 0 where there is none.
        passes: the tags of ``PASS_TAGS`` that it has, as text.
        scanner: the tags of ``SCANNER_TAGS`` that it has, as text.
        rescale: RescaleSlope, RescaleIntercept and RescaleType as text; "" where absent or empty.
        lut: whether a modality LUT takes the place of slope and intercept.
        lossy: whether pixels were once compressed with loss.
        sop_uid: SOPInstanceUID; "" where absent.
        sop_class: SOPClassUID.
    """

    path: Path
    frame: int | None
    series_uid: str
    position: np.ndarray
    orientation: np.ndarray
    pixel_spacing: tuple[float, float]
    size: tuple[int, int]
    thickness: float | None = None
    tilt: float = 0.0
    passes: tuple[tuple[str, str], ...] = ()
    scanner: tuple[tuple[str, str], ...] = ()
    rescale: tuple[str, str, str] = ("1", "0", "")
    lut: bool = False
    lossy: bool = False
    sop_uid: str = ""
    sop_class: str = CTImageStorage

    @property
    def name(self) -> str:
        """File name, and the frame's number where there are several."""
        return self.path.name if self.frame is None else f"{self.path.name}, frame {self.frame + 1}"


def read_dataset(path: Path, **options: Any) -> Any:
    """Read a DICOM file, also one without the preamble or without a transfer syntax in its header.

    Raises:
        InvalidDicomError: it is no DICOM. Any of ``BROKEN``: it is damaged.

    Example:
        >>> read_dataset(Path("slice.dcm"), stop_before_pixels=True).Modality  # doctest: +SKIP
        'CT'
    """
    try:
        dataset: Any = pydicom.dcmread(path, **options)
    except InvalidDicomError:
        with path.open("rb") as stream:
            start = stream.read(8)
        # an object without preamble starts with its file meta or its identifying group, in little endian
        if len(start) < 8 or start[0] not in (2, 8) or start[1] or start[3]:
            raise
        dataset = pydicom.dcmread(path, force=True, **options)
    if getattr(dataset, "file_meta", None) is None:
        dataset.file_meta = pydicom.dataset.FileMetaDataset()
    if "TransferSyntaxUID" not in dataset.file_meta:
        implicit, uids = dataset.is_implicit_VR, pydicom.uid
        dataset.file_meta.TransferSyntaxUID = uids.ImplicitVRLittleEndian if implicit else uids.ExplicitVRLittleEndian
    return dataset


def read_headers(path: Path) -> list[SliceHeader]:
    """The CT images of a file; none where it isn't DICOM and doesn't claim to be, or is no image.

    Raises:
        InputError: empty, damaged, or an image without what places it in space.

    Example:
        >>> read_headers(Path("series/0001.dcm"))[0].size  # doctest: +SKIP
        (512, 512)
    """
    # names that are UIDs or end in a number have no suffix
    claims = path.suffix.lower() in (*_DICOM_SUFFIXES, "") or path.suffix[1:].isdigit()
    try:
        if claims and path.stat().st_size == 0:
            raise InputError(f"{path} is empty, so its slice would be a hole in the scan: copy or download it again")
        header = read_dataset(path, stop_before_pixels=True, specific_tags=list(_TAGS))
        # values are read only when they are asked for, so that here, too, a damaged file shows
        modality, names_series = str(header.get("Modality", "")), "SeriesInstanceUID" in header
    except InvalidDicomError:
        if path.suffix.lower() in _DICOM_SUFFIXES:
            raise InputError(f"{path} is not a readable DICOM file: copy or download it again") from None
        return []
    except InputError:
        raise
    except BROKEN as error:
        raise InputError(f"{path} can't be read ({_reason(error)}): copy or download it again") from error
    if not names_series and path.name.upper() == "DICOMDIR":
        return []
    if modality not in ("CT", ""):
        return []
    try:
        return list(_images(path, header))
    except BROKEN as error:
        raise InputError(
            f"{path} is cut short or lacks what places a CT slice in space ({_reason(error)}): "
            "copy or download it again"
        ) from error


def _reason(error: BaseException) -> str:
    return " ".join(str(error).split())[:120] or type(error).__name__


def other_objects(paths: list[Path], series_uids: Collection[str]) -> str | None:
    """Say which files of a folder are no CT images; one that claims to be of the CT's own series is refused.

    Raises:
        InputError: a file has the CT's SeriesInstanceUID and another modality, or none.
    """
    left: dict[str, int] = {}
    for path in paths:
        try:
            header = read_dataset(path, stop_before_pixels=True, specific_tags=["Modality", "SeriesInstanceUID"])
            modality, uid = str(header.get("Modality", "")), str(header.get("SeriesInstanceUID", ""))
        except (InvalidDicomError, *BROKEN):
            continue
        if not modality or modality == "CT":
            continue
        if not uid:
            raise InputError(f"{path} is cut short or names no series (modality {modality}): copy or download it again")
        if uid in series_uids:
            raise InputError(f"{path} has modality {modality}, expected CT only: move it out of the series")
        left[modality] = left.get(modality, 0) + 1
    told = ", ".join(f"{count} of {name}" for name, count in sorted(left.items()))
    return f"files that are no CT were left out: {told}" if told else None


def _images(path: Path, header: Dataset) -> Iterator[SliceHeader]:
    """One header an image: a frame's own groups go before the shared ones, these before the file's top level."""
    per_frame = header.get("PerFrameFunctionalGroupsSequence") or []
    count = int(header.get("NumberOfFrames") or 1)
    if count > 1 and len(per_frame) != count:
        raise ValueError(f"{count} frames, but {len(per_frame)} frames' own attributes")
    shared = header.get("SharedFunctionalGroupsSequence") or []
    common = _flat(shared[0]) if shared else {}
    for frame in range(count):
        own = _flat(per_frame[frame]) if per_frame else {}
        yield _image(path, frame if per_frame else None, header, own, common)


def _flat(group: Dataset) -> dict[str, Any]:
    """Attributes in a functional group: those of the first item of each of its sequences."""
    found: dict[str, Any] = {}
    for element in group:
        if element.VR == "SQ" and element.value:
            found |= {inner.keyword: inner.value for inner in element.value[0] if inner.keyword}
    return found


def _image(path: Path, frame: int | None, header: Dataset, own: dict[str, Any], common: dict[str, Any]) -> SliceHeader:
    def get(name: str) -> Any:
        for place in (own, common):
            if name in place:
                return place[name]
        return header.get(name)

    def need(name: str, count: int) -> np.ndarray:
        if get(name) in (None, ""):
            raise AttributeError(f"no {name}")
        values = np.array([float(v) for v in get(name)])
        if values.shape != (count,) or not np.isfinite(values).all():
            raise ValueError(f"{name} is {get(name)}")
        return values

    def number(name: str) -> float | None:
        value = get(name)
        return None if value in (None, "") or not np.isfinite(float(value)) else float(value)

    def said(name: str) -> str:
        try:
            return _text(get(name))
        except BROKEN:  # a tag that only tells passes or scanners apart may be out of order
            return ""

    passes = {name: said(name) for name in PASS_TAGS}
    if frame is not None:
        passes["ImageType"] = said("FrameType") or passes["ImageType"]
        passes["AcquisitionNumber"] = said("FrameAcquisitionNumber")
    spacing = need("PixelSpacing", 2)
    if not (spacing > 0).all():
        raise ValueError(f"PixelSpacing is {get('PixelSpacing')}")
    slope, intercept, unit = (said(name) for name in ("RescaleSlope", "RescaleIntercept", "RescaleType"))
    return SliceHeader(
        path=path,
        frame=frame,
        series_uid=str(header.SeriesInstanceUID),
        position=need("ImagePositionPatient", 3),
        orientation=need("ImageOrientationPatient", 6).reshape(2, 3),
        pixel_spacing=(float(spacing[1]), float(spacing[0])),
        size=(int(header.Columns), int(header.Rows)),
        thickness=number("SliceThickness"),
        tilt=number("GantryDetectorTilt") or 0.0,
        passes=tuple((name, value) for name, value in passes.items() if value),
        scanner=tuple((name, value) for name in SCANNER_TAGS if (value := said(name))),
        rescale=(slope, intercept, unit),
        lut=bool(header.get("ModalityLUTSequence")),
        lossy=said("LossyImageCompression") == "01",
        sop_uid=_text(header.get("SOPInstanceUID")),
        sop_class=_text(header.get("SOPClassUID")) or CTImageStorage,
    )


def _text(value: Any) -> str:
    """A value of any multiplicity as text; "" for none."""
    if value is None:
        return ""
    return "\\".join(map(str, value)) if isinstance(value, list | tuple | pydicom.multival.MultiValue) else str(value)
