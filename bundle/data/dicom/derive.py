"""What a DICOM series says that was derived from another: whose it is, what it is, what it was made of.

Of what tells who the patient is, only attributes of the patient and study modules are copied, as the source has them,
so nothing that the source's de-identification removed comes back; private and free-text attributes are not. A volume
without a DICOM source gets placeholders.
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.charset import python_encoding
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.multival import MultiValue
from pydicom.uid import CTImageStorage, generate_uid

from bundle.data.dicom.geometry import read_geometry
from bundle.data.dicom.header import BROKEN, SliceHeader, read_dataset
from bundle.data.dicom.search import OWN
from bundle.slices import SAME_PLANE_MM
from bundle.version import __version__

# what files a series with its patient and study, how it was scanned, and how to show it
_KEPT = (
    "SpecificCharacterSet",
    "PatientName",
    "PatientID",
    "IssuerOfPatientID",
    "PatientBirthDate",
    "PatientSex",
    "PatientAge",
    "PatientIdentityRemoved",
    "DeidentificationMethod",
    "DeidentificationMethodCodeSequence",
    "StudyInstanceUID",
    "StudyDate",
    "StudyTime",
    "StudyID",
    "StudyDescription",
    "AccessionNumber",
    "ReferringPhysicianName",
    "FrameOfReferenceUID",
    "PositionReferenceIndicator",
    "BodyPartExamined",
    "Laterality",
    "PatientPosition",
    "KVP",
    "ConvolutionKernel",
    "AcquisitionNumber",
    "AcquisitionDate",
    "LossyImageCompression",
    "LossyImageCompressionRatio",
    "LossyImageCompressionMethod",
    "BurnedInAnnotation",
)
# attributes that must be there, if only empty
_TYPE_2 = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyDate",
    "StudyTime",
    "StudyID",
    "AccessionNumber",
    "ReferringPhysicianName",
    "PositionReferenceIndicator",
    "KVP",
    "AcquisitionNumber",
)


@dataclass(frozen=True)
class SourceSlices:
    """The slices that a volume was made of.

    Attributes:
        header: of the lowest one's file, without pixels.
        slices: their own headers, lowest first.
        places: (K,) mm of each along the normal of the new volume's planes.
    """

    header: Dataset
    slices: tuple[SliceHeader, ...]
    places: np.ndarray


def read_source(
    files: str | Path | Sequence[str | Path], normal: np.ndarray, ends: tuple[float, float]
) -> SourceSlices:
    """Read what a derived series must know of its source.

    Args:
        files: of the source and no others, or the folder that holds them.
        normal: (3,) unit vector in LPS, towards the head.
        ends: mm along the normal, first and last plane of the new volume; slices that are not needed to reach
            from one to the other are left out.

    Example:
        >>> len(read_source(["1.dcm", "2.dcm"], np.array([0.0, 0, 1]), (-120.0, -100.0)).slices)  # doctest: +SKIP
        2
    """
    geometry = read_geometry(files, allow_uneven=True)
    places = np.array([header.position @ normal for header in geometry.slices])
    first = read_dataset(geometry.slices[0].path, stop_before_pixels=True)
    start = max(int(np.searchsorted(places, ends[0] + SAME_PLANE_MM, side="right")) - 1, 0)
    stop = int(np.searchsorted(places, ends[1] - SAME_PLANE_MM)) + 1
    return SourceSlices(first, geometry.slices[start:stop], places[start:stop])


def _copy(new: Dataset, header: Dataset, name: str) -> None:
    """Copy an attribute; one whose value can't be read or written is left out, and so empty or made anew."""
    try:
        alone = Dataset()
        alone[name] = header[name]
        stream = DicomBytesIO()
        stream.is_little_endian, stream.is_implicit_VR = True, False
        write_dataset(stream, alone)
        new[name] = header[name]
    except (*BROKEN, LookupError):
        return


def _series_number(header: Dataset) -> int:
    """The source's number and 1,000, where that is a number that DICOM can hold."""
    try:
        number = int(header.get("SeriesNumber") or 0) + 1000
    except BROKEN:
        return 1000
    return number if 0 < number < 2**31 else 1000


def _window(header: Dataset) -> tuple[Any, Any]:
    """The source's way of showing it where that is whole, else the lung's."""
    try:
        center, width = header.get("WindowCenter"), header.get("WindowWidth")
        pairs = [(float(c), float(w)) for c, w in zip(_list(center), _list(width), strict=True)]
    except BROKEN:
        pairs = []
    return (center, width) if pairs and min(w for _, w in pairs) >= 1 else (-600, 1500)


def _list(value: Any) -> list[Any]:
    return [] if value is None else list(value) if isinstance(value, list | MultiValue) else [value]


def common_attributes(slices: SourceSlices | None, description: str) -> Dataset:
    """What all slices of the new series share."""
    now = datetime.datetime.now()
    new = Dataset()
    header = slices.header if slices is not None else Dataset()
    for name in _KEPT:
        if name in header:
            _copy(new, header, name)
    if any(name not in python_encoding for name in _list(new.get("SpecificCharacterSet"))):
        new.SpecificCharacterSet = "ISO_IR 192"
    if slices is None:
        new.PatientName, new.PatientID, new.PatientIdentityRemoved = "anonymous", "anonymous", "YES"
        new.DeidentificationMethod = "made from a file without a patient"
    for name in _TYPE_2:
        if name not in new:
            setattr(new, name, None)
    if not new.get("BodyPartExamined") and "Laterality" not in new:
        new.Laterality = None
    for name in ("StudyInstanceUID", "FrameOfReferenceUID"):
        if not new.get(name):
            setattr(new, name, generate_uid())
    new.SOPClassUID, new.Modality = CTImageStorage, "CT"
    new.SeriesInstanceUID = generate_uid()
    new.SeriesNumber = _series_number(header)
    new.SeriesDescription = description[:64]
    new.ImageType = ["DERIVED", "SECONDARY", "AXIAL"]
    new.Manufacturer, new.ManufacturerModelName = OWN, "research, not a medical device"
    new.SoftwareVersions = __version__
    new.ContentDate = new.SeriesDate = new.InstanceCreationDate = now.strftime("%Y%m%d")
    new.ContentTime = new.SeriesTime = new.InstanceCreationTime = now.strftime("%H%M%S")
    new.SamplesPerPixel, new.PhotometricInterpretation = 1, "MONOCHROME2"
    new.BitsAllocated, new.BitsStored, new.HighBit, new.PixelRepresentation = 16, 16, 15, 1
    new.RescaleIntercept, new.RescaleSlope, new.RescaleType = 0, 1, "HU"
    if "PatientPosition" not in new:
        new.PatientPosition = "HFS"
    new.WindowCenter, new.WindowWidth = _window(header)
    if slices is not None and (references := _references(slices.slices)) and header.get("SeriesInstanceUID"):
        item = Dataset()
        item.SeriesInstanceUID, item.ReferencedInstanceSequence = header.SeriesInstanceUID, references
        new.ReferencedSeriesSequence = [item]
    return new


def _references(slices: Sequence[SliceHeader]) -> list[Dataset]:
    """References to slices, frames of one file together; none to a slice without a UID."""
    items: dict[str, Dataset] = {}
    for header in slices:
        if not header.sop_uid:
            continue
        item = items.setdefault(header.sop_uid, Dataset())
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = header.sop_class, header.sop_uid
        if header.frame is not None:
            item.ReferencedFrameNumber = [*_list(item.get("ReferencedFrameNumber")), header.frame + 1]
    return list(items.values())


def _code(value: str, meaning: str) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, "DCM", meaning
    return item


def tell_derivation(new: Dataset, slices: SourceSlices | None, place: float, derivation: str) -> None:
    """Say how a slice came to be, and between which slices of the source it lies."""
    new.DerivationDescription = derivation[:1024]
    new.DerivationCodeSequence = [_code("113085", "Spatial resampling")]
    if slices is None:
        return
    above = int(np.searchsorted(slices.places, place - SAME_PLANE_MM))
    same = above < len(slices.places) and abs(slices.places[above] - place) <= SAME_PLANE_MM
    around = [above] if same else [above - 1, above]
    items = _references([slices.slices[k] for k in around if 0 <= k < len(slices.slices)])
    for item in items:
        item.PurposeOfReferenceCodeSequence = [_code("121322", "Source image for image processing operation")]
    if items:
        new.SourceImageSequence = items
