"""Small nodules, in memory and on disk; the repository's root."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np

ROOT = Path(__file__).parents[2]


def small_nodule(shape: tuple[int, int, int] = (20, 18, 14), seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A smooth blob in noisy parenchyma: HU (int16) and mask (uint8), both (x, y, z)."""
    rng = np.random.default_rng(seed)
    axes = np.meshgrid(*[np.linspace(-1, 1, n) for n in shape], indexing="ij")
    radius = np.sqrt(sum((a / s) ** 2 for a, s in zip(axes, (0.5, 0.6, 0.7), strict=True)))
    hu = -850 + 880 / (1 + np.exp(12 * (radius - 1))) + rng.normal(0, 25, shape)
    return hu.astype(np.int16), (radius < 1).astype(np.uint8)


def write_nodule(
    folder: Path,
    name: str,
    hu: np.ndarray,
    mask: np.ndarray | None,
    spacing: tuple[float, float, float] = (0.7, 0.7, 1),
) -> None:
    """Write ``<name>_image.nii.gz`` and, unless it is None, ``<name>_mask.nii.gz``."""
    affine = np.diag([-spacing[0], -spacing[1], spacing[2], 1.0])
    affine[:3, 3] = 10, 20, -30
    folder.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(hu, affine), folder / f"{name}_image.nii.gz")
    if mask is not None:
        nib.save(nib.Nifti1Image(mask, affine), folder / f"{name}_mask.nii.gz")
