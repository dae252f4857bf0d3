"""Small synthetic CT series on disk, good ones and bad ones."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

UID = "1.2.826.0.1.3680043.8.498.1"


def write_series(
    folder: Path,
    volume: np.ndarray,
    z: Sequence[float],
    *,
    series_uid: str = UID,
    origin: tuple[float, float] = (-50.0, -40.0),
    spacing: tuple[float, float] = (0.7, 0.8),
    orientation: Sequence[float] = (1, 0, 0, 0, 1, 0),
    intercept: float = -1024,
    slope: float = 1,
    thickness: float | None = 1.0,
    patient_id: str = "LIDC-IDRI-9999",
    edit: Callable[[int, FileDataset], None] | None = None,
) -> list[Path]:
    """Write one file a slice under names in random order; volume is HU (x, y, z), spacing and origin (x, y)."""
    folder.mkdir(parents=True, exist_ok=True)
    names = [f"{k:04d}.dcm" for k in range(len(z))]
    random.Random(0).shuffle(names)
    paths = []
    for k, position in enumerate(z):
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID = CTImageStorage
        meta.MediaStorageSOPInstanceUID = generate_uid()
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        ds = FileDataset(str(folder / names[k]), {}, file_meta=meta, preamble=b"\0" * 128)
        if int(pydicom.__version__.split(".")[0]) < 3:
            ds.is_little_endian, ds.is_implicit_VR = True, False
        ds.SOPClassUID, ds.SOPInstanceUID = CTImageStorage, meta.MediaStorageSOPInstanceUID
        ds.SeriesInstanceUID, ds.Modality, ds.PatientID = series_uid, "CT", patient_id
        ds.ImagePositionPatient = [*origin, float(position)]
        ds.ImageOrientationPatient = list(orientation)
        ds.PixelSpacing = [spacing[1], spacing[0]]
        ds.InstanceNumber = len(z) - k
        if thickness is not None:
            ds.SliceThickness = thickness
        ds.Columns, ds.Rows = volume.shape[:2]
        ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
        ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 16, 15, 1
        ds.RescaleIntercept, ds.RescaleSlope = intercept, slope
        stored = np.round((volume[:, :, k].T - intercept) / slope).astype("<i2")
        ds.PixelData = stored.tobytes()
        if edit is not None:
            edit(k, ds)
        ds.save_as(folder / names[k])
        paths.append(folder / names[k])
    return paths


def as_a_viewer(folder):
    """Sort by position along the normal, spacing from the positions: volume (x, y, z), RAS affine, headers."""
    headers = [pydicom.dcmread(path) for path in folder.iterdir()]
    row, column = np.array(headers[0].ImageOrientationPatient, dtype=float).reshape(2, 3)
    normal = np.cross(row, column)
    headers.sort(key=lambda h: np.dot(normal, np.array(h.ImagePositionPatient, dtype=float)))
    places = np.array([h.ImagePositionPatient for h in headers], dtype=float)
    affine = np.eye(4)
    affine[:3, 0] = row * float(headers[0].PixelSpacing[1])
    affine[:3, 1] = column * float(headers[0].PixelSpacing[0])
    affine[:3, 2] = (places[-1] - places[0]) / (len(places) - 1)
    affine[:3, 3] = places[0]
    affine[:2] *= -1
    hu = [h.pixel_array.T * float(h.RescaleSlope) + float(h.RescaleIntercept) for h in headers]
    return np.stack(hu, axis=-1), affine, headers
