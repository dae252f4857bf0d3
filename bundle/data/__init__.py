"""Where nodules come from: LIDC-IDRI's DICOM, anyone's NIfTI, phantoms around real contours; one dictionary."""

from bundle.data.datalist import LoadNiftiNodule, datalist_entries
from bundle.data.dicom.export import SaveDicomSeriesd, check_empty_folder, write_series
from bundle.data.dicom.geometry import SeriesGeometry, read_geometry
from bundle.data.dicom.read import CtVolume, read_series, read_voxels
from bundle.data.dicom.search import find_series
from bundle.data.lidc.annotations import LidcCluster, consensus_mask, lidc_clusters
from bundle.data.lidc.cohort import load_cohort, make_cohort
from bundle.data.lidc.nodules import LoadLidcNodule, lidc_entries
from bundle.data.masks import LoadMaskd, load_mask
from bundle.data.nodule import make_item
from bundle.data.phantom.make import make_phantom
from bundle.data.readable import readable_nodules
from bundle.data.save import SaveVolumed, save_volume
from bundle.data.scans import DicomSeries, find_scans
from bundle.data.source import LoadPhantom, NoduleSource, open_source
from bundle.data.volume import LoadVolumed, gaps_in_words, load_volume
from bundle.data.window_draws import WindowOptions
from bundle.data.window_geometry import Windows, geometry_of, windows_at
from bundle.data.windows import WindowDataset, fold_of, in_folds, join_windows, patient_of

__all__ = [
    "CtVolume",
    "DicomSeries",
    "LidcCluster",
    "LoadLidcNodule",
    "LoadMaskd",
    "LoadNiftiNodule",
    "LoadPhantom",
    "LoadVolumed",
    "NoduleSource",
    "SaveDicomSeriesd",
    "SaveVolumed",
    "SeriesGeometry",
    "WindowDataset",
    "WindowOptions",
    "Windows",
    "check_empty_folder",
    "consensus_mask",
    "datalist_entries",
    "find_scans",
    "find_series",
    "fold_of",
    "gaps_in_words",
    "geometry_of",
    "in_folds",
    "join_windows",
    "lidc_clusters",
    "lidc_entries",
    "load_cohort",
    "load_mask",
    "load_volume",
    "make_cohort",
    "make_item",
    "make_phantom",
    "open_source",
    "patient_of",
    "read_geometry",
    "read_series",
    "read_voxels",
    "readable_nodules",
    "save_volume",
    "windows_at",
    "write_series",
]
