"""Write a label map as a DICOM SEG that refers to the series it lies on; by highdicom, an extra of its own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pydicom

from bundle.errors import InputError
from bundle.files import write_whole
from bundle.version import __version__

# SNOMED CT
_CATEGORY = ("49755003", "SCT", "Morphologically abnormal structure")
_NODULE = ("27925004", "SCT", "Nodule")


def highdicom_or_refusal() -> Any:
    """The module highdicom.

    Raises:
        InputError: it is not installed, or not with the pydicom that is.

    Example:
        >>> highdicom_or_refusal().__name__  # doctest: +SKIP
        'highdicom'
    """
    try:
        import highdicom
    except ImportError as error:
        raise InputError(
            f"a mask as DICOM SEG needs the extra outlines, highdicom with pydicom 3 ({error}): install it, or leave "
            "out --dicom_output"
        ) from error
    return highdicom


def write_segmentation(path: Path, labels: np.ndarray, series: Sequence[Path], method: str) -> None:
    """Write a label map as a binary DICOM SEG, a segment a label.

    Args:
        path: the file to write.
        labels: (X, Y, Z) whole numbers, 0 outside, some above 0.
        series: files of the series that it lies on, one a slice, slice 0 first.
        method: how the mask came to be.

    Raises:
        InputError: highdicom is not installed.
        OutputError: the file can't be written.

    Example:
        >>> write_segmentation(Path("seg.dcm"), labels, files, "signed_distance")  # doctest: +SKIP
    """
    hd = highdicom_or_refusal()
    from highdicom.sr.coding import CodedConcept

    sources = [pydicom.dcmread(file) for file in series]
    values = [int(value) for value in np.unique(labels) if value]
    frames = np.zeros((labels.shape[2], labels.shape[1], labels.shape[0]), dtype=np.uint16)
    for number, value in enumerate(values, 1):
        frames[value == labels.T] = number
    algorithm = hd.AlgorithmIdentificationSequence(
        name=f"lung_nodule_ct_reconstruction {method}",
        version=__version__,
        family=CodedConcept("123109", "DCM", "Manual Processing"),
    )
    segments = [
        hd.seg.SegmentDescription(
            segment_number=number,
            segment_label=f"Nodule {value}",
            segmented_property_category=CodedConcept(*_CATEGORY),
            segmented_property_type=CodedConcept(*_NODULE),
            algorithm_type=hd.seg.SegmentAlgorithmTypeValues.SEMIAUTOMATIC,
            algorithm_identification=algorithm,
            tracking_uid=hd.UID(),
            tracking_id=f"label {value}",
        )
        for number, value in enumerate(values, 1)
    ]
    made = hd.seg.Segmentation(
        source_images=sources,
        pixel_array=frames,
        segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=segments,
        series_instance_uid=hd.UID(),
        series_number=int(sources[0].SeriesNumber) % 2**30 + 1,
        sop_instance_uid=hd.UID(),
        instance_number=1,
        manufacturer="lung_nodule_ct_reconstruction",
        manufacturer_model_name="research, not a medical device",
        software_versions=__version__,
        device_serial_number="none",
        series_description=f"nodules carried by {method}"[:64],
        content_label="NODULES",
    )
    write_whole(path, made.save_as)
