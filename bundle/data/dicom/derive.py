"""What a DICOM series says that was derived from another: whose it is, what it is, what it was made of.

Of what tells who the patient is, only attributes of the patient and study modules are copied, as the source has them,
so nothing that the source's de-identification removed comes back; private and free-text attributes are not. A volume
without a DICOM source gets placeholders.
"""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import Dataset
from pydicom.uid import CTImageStorage, generate_uid

from bundle.data.dicom.geometry import read_geometry
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
    "PatientPosition",
    "KVP",
    "ConvolutionKernel",
    "AcquisitionNumber",
    "AcquisitionDate",
    "LossyImageCompression",
    "LossyImageCompressionRatio",
    "LossyImageCompressionMethod",
    "WindowCenter",
    "WindowWidth",
    "BurnedInAnnotation",
)
# attributes that must be there, if only empty
_TYPE_2 = (
    "PatientName",
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
        header: of the lowest, without pixels.
        uids: SOP Instance UID of each, lowest first.
        places: (K,) mm of each along the normal of the new volume's planes.
    """

    header: Dataset
    uids: tuple[str, ...]
    places: np.ndarray


def read_source(folder: str | Path, normal: np.ndarray, ends: tuple[float, float]) -> SourceSlices:
    """Read what a derived series must know of its source.

    Args:
        folder: of the source's files.
        normal: (3,) unit vector in LPS, towards the head.
        ends: mm along the normal, first and last plane of the new volume; slices that are not needed to reach
            from one to the other are left out.

    Example:
        >>> len(read_source("scan", np.array([0.0, 0, 1]), (-120.0, -100.0)).uids)  # doctest: +SKIP
        9
    """
    geometry = read_geometry(folder, allow_uneven=True)
    tags = ["SOPInstanceUID", "ImagePositionPatient"]
    headers = [pydicom.dcmread(path, stop_before_pixels=True, specific_tags=tags) for path in geometry.files]
    points = np.array([[float(v) for v in header.ImagePositionPatient] for header in headers])
    first = pydicom.dcmread(geometry.files[0], stop_before_pixels=True)
    places, uids = points @ normal, [str(header.SOPInstanceUID) for header in headers]
    start = max(int(np.searchsorted(places, ends[0] + SAME_PLANE_MM, side="right")) - 1, 0)
    stop = int(np.searchsorted(places, ends[1] - SAME_PLANE_MM)) + 1
    return SourceSlices(first, tuple(uids[start:stop]), places[start:stop])


def common_attributes(slices: SourceSlices | None, description: str) -> Dataset:
    """What all slices of the new series share."""
    now = datetime.datetime.now()
    new = Dataset()
    header = slices.header if slices is not None else Dataset()
    for name in _KEPT:
        if name in header:
            new[name] = header[name]
    if slices is None:
        new.PatientName, new.PatientID, new.PatientIdentityRemoved = "anonymous", "anonymous", "YES"
        new.DeidentificationMethod = "made from a file without a patient"
    for name in _TYPE_2:
        if name not in new:
            setattr(new, name, None)
    for name in ("StudyInstanceUID", "FrameOfReferenceUID"):
        if not new.get(name):
            setattr(new, name, generate_uid())
    new.SOPClassUID, new.Modality = CTImageStorage, "CT"
    new.SeriesInstanceUID = generate_uid()
    new.SeriesNumber = int(header.get("SeriesNumber") or 0) + 1000
    new.SeriesDescription = description[:64]
    new.ImageType = ["DERIVED", "SECONDARY", "AXIAL"]
    new.Manufacturer, new.ManufacturerModelName = "lung_nodule_ct_reconstruction", "research, not a medical device"
    new.SoftwareVersions = __version__
    new.ContentDate = new.SeriesDate = new.InstanceCreationDate = now.strftime("%Y%m%d")
    new.ContentTime = new.SeriesTime = new.InstanceCreationTime = now.strftime("%H%M%S")
    new.SamplesPerPixel, new.PhotometricInterpretation = 1, "MONOCHROME2"
    new.BitsAllocated, new.BitsStored, new.HighBit, new.PixelRepresentation = 16, 16, 15, 1
    new.RescaleIntercept, new.RescaleSlope, new.RescaleType = 0, 1, "HU"
    if "PatientPosition" not in new:
        new.PatientPosition = "HFS"
    if "WindowCenter" not in new:
        new.WindowCenter, new.WindowWidth = -600, 1500
    if slices is not None:
        new.ReferencedSeriesSequence = [_referenced_series(slices)]
    return new


def _reference(uid: str) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = CTImageStorage, uid
    return item


def _referenced_series(slices: SourceSlices) -> Dataset:
    item = Dataset()
    item.SeriesInstanceUID = slices.header.SeriesInstanceUID
    item.ReferencedInstanceSequence = [_reference(uid) for uid in slices.uids]
    return item


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
    new.SourceImageSequence = []
    for k in around:
        if 0 <= k < len(slices.uids):
            item = _reference(slices.uids[k])
            item.PurposeOfReferenceCodeSequence = [_code("121322", "Source image for image processing operation")]
            new.SourceImageSequence.append(item)
