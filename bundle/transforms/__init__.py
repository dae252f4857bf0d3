"""Transforms of a nodule's image and mask, MONAI style: an array and a dictionary class (``...d``) each."""

from bundle.transforms.dilate import DilateMask, DilateMaskd, dilate_mask_mm

__all__ = ["DilateMask", "DilateMaskd", "dilate_mask_mm"]
