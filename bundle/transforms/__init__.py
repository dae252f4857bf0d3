"""Transforms of a nodule's image and mask, MONAI style: an array and a dictionary class (``...d``) each."""

from bundle.transforms.crop import CropWithMargin, CropWithMargind, margin_in_voxels, published_margin
from bundle.transforms.decimate import Decimate, Decimated, observed_indices
from bundle.transforms.dilate import DilateMask, DilateMaskd, dilate_mask_mm
from bundle.transforms.grid import bounding_box, check_same_place, voxel_spacing
from bundle.transforms.hu import HU_MAX, HU_MIN, HU_RANGE, to_hu, to_unit
from bundle.transforms.region import CropRegiond, box_around_mask, box_around_point, cut, slice_positions
from bundle.transforms.region_lung import lung_box
from bundle.units import check_binary, check_unit, refuse_normalised

__all__ = [
    "HU_MAX",
    "HU_MIN",
    "HU_RANGE",
    "CropRegiond",
    "CropWithMargin",
    "CropWithMargind",
    "Decimate",
    "Decimated",
    "DilateMask",
    "DilateMaskd",
    "bounding_box",
    "box_around_mask",
    "box_around_point",
    "check_binary",
    "check_same_place",
    "check_unit",
    "cut",
    "dilate_mask_mm",
    "lung_box",
    "margin_in_voxels",
    "observed_indices",
    "published_margin",
    "refuse_normalised",
    "slice_positions",
    "to_hu",
    "to_unit",
    "voxel_spacing",
]
