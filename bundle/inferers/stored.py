"""Reconstructions that are already on disk, ours or anyone's, taken as methods of a study.

One folder a method, named after it; in it a NIfTI file a nodule: ``<nodule id>.nii.gz`` or
``<nodule id>_image.nii.gz`` (HU), or ``<nodule id>_mask.nii.gz`` (not 0 inside) from a mask method. The output
folder of a study is taken too: ``nodules/<nodule id>/<method>/image.nii.gz`` or ``mask.nii.gz``. A file is on the
grid of the crop, or on a larger one that holds it, such as the whole scan's. Beside an image there may be its
expected absolute error in HU, ``<nodule id>_uncertainty.nii.gz`` (in a study: ``uncertainty.nii.gz``).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from bundle.data.formats import read_image
from bundle.data.nodule import in_lps
from bundle.errors import InputError
from bundle.inferers.base import SliceInferer
from bundle.inferers.calibration.intervals import check_errors
from bundle.inferers.registry import METHODS
from bundle.inferers.stored_check import compare_image, compare_mask
from bundle.slices import ObservedSlices, Reconstruction
from bundle.transforms import HU_RANGE, check_binary, to_unit

GRID_TOLERANCE = 1e-2  # of a voxel
ERROR_END = "_uncertainty.nii.gz"


def stored_methods(folder: str | Path, device: str | None = None) -> dict[str, Callable[[], StoredInferer]]:
    """The methods of a folder of reconstructions, by name.

    Args:
        folder: holds one folder a method, or is the output folder of a study.
        device: where a cluster's config (``configs/slurm.json``) has methods work; reading needs none.

    Returns:
        for each method what makes its inferer, in alphabetical order.

    Raises:
        InputError: no such folder, or no method in it.

    Example:
        >>> stored_methods("reconstructions")  # doctest: +SKIP
        {'cubic': functools.partial(...), 'ours': functools.partial(...)}
    """
    root = Path(folder).expanduser()
    if not root.is_dir():
        raise InputError(f"{root} is no folder: expected one with a folder of NIfTI files for each method")
    if (root / "nodules").is_dir():
        names = {path.name for path in root.glob("nodules/*/*") if path.is_dir()} - {"truth"}
    else:
        names = {path.name for path in root.iterdir() if path.is_dir()}
    names = {name for name in names if not name.startswith(".")}
    if not names:
        raise InputError(f"{root} holds no folder of a method: expected {root}/<method>/<nodule id>.nii.gz")
    return {name: partial(StoredInferer, str(root), name) for name in sorted(names)}


class StoredInferer(SliceInferer):
    """One method's reconstructions on disk; "reconstructs" a nodule by reading its file.

    Args:
        folder: see the module.
        method: name of the method.

    Raises:
        InputError: the method has no NIfTI file at all.
    """

    def __init__(self, folder: str, method: str) -> None:
        self.folder = folder
        self.method = method
        files = [path.name for path in self._all_files()]
        if not files:
            raise InputError(
                f"{Path(folder) / method} holds no NIfTI file: "
                "expected <nodule id>.nii.gz, <nodule id>_image.nii.gz or <nodule id>_mask.nii.gz"
            )
        self.sample = method in METHODS and METHODS[method].make.sample
        self.kind = "mask" if all(name.endswith(("_mask.nii.gz", "mask.nii.gz")) for name in files) else "image"

    @property
    def root(self) -> Path:
        """The folder, where it lies."""
        return Path(self.folder).expanduser()

    def reconstruct(self, observed: ObservedSlices) -> Reconstruction:
        """Not possible: which nodule it is has to be known, see :meth:`read`."""
        raise InputError(f"the reconstructions of {self.method} are files: they can't fill another gap")

    def identity(self, nodule_id: str, whole: str | None = None) -> str:
        """Hash of the nodule's files, so that a changed file is measured anew; empty if there is none."""
        nodule_id = self._known_as(nodule_id, whole)
        files = self._files(nodule_id)[:1]
        content = b"".join(path.read_bytes() for path in (*files, *self._files(nodule_id, error=True)))
        return hashlib.sha256(content).hexdigest() if files else ""

    def read(
        self,
        nodule_id: str,
        shape: tuple[int, ...],
        affine: np.ndarray,
        observed: ObservedSlices | None = None,
        axis: int = 2,
        whole: str | None = None,
    ) -> Reconstruction:
        """The stored reconstruction of a nodule on the grid of its crop.

        Args:
            nodule_id: of the nodule.
            shape: (X, Y, Z) of the crop.
            affine: (4, 4) of the crop, voxel to RAS mm.
            observed: what the file is compared with, see :mod:`bundle.inferers.stored_check`; None: it is not.
            axis: the decimated one.
            whole: id of the mask that the nodule is one of several in; an image that is named after it will do.

        Raises:
            InputError: no file, a damaged one, one whose grid does not hold the crop's, a soft mask, one that looks
                like another unit, flipped or shifted along the slices, or a negative expected error.
        """
        files = self._files(name := self._known_as(nodule_id, whole))
        if not files:
            raise InputError(f"{self.method} has no reconstruction of {nodule_id} in {self.folder}")
        volume = _on_grid(files[0], shape, affine)
        axes = "xyz".replace("xyz"[axis], "") + "xyz"[axis]
        if self.kind == "mask":
            check_binary(str(files[0]), volume)
            result = Reconstruction(mask=volume > 0)
            if observed is not None:
                result.notes += compare_mask(np.moveaxis(volume > 0, axis, 2), observed, str(files[0]), axes)
            return result
        result = Reconstruction(image=to_unit(volume.astype(np.float64)))
        if observed is not None:
            result.notes += compare_image(np.moveaxis(volume, axis, 2), observed, str(files[0]), axes)
        for path in self._files(name, error=True):
            error = _on_grid(path, shape, affine) / HU_RANGE
            try:
                check_errors(error)
            except InputError as fault:
                raise InputError(f"{path}: {fault}") from None
            result.error = error
        return result

    def _known_as(self, nodule_id: str, whole: str | None) -> str:
        """The id that the nodule's files are named after."""
        images = self.kind == "image" and whole is not None
        return whole if images and whole and not self._files(nodule_id) else nodule_id

    def _files(self, nodule_id: str, error: bool = False) -> list[Path]:
        """Files of a nodule's reconstruction, an image before a mask; or of its expected error."""
        root = self.root
        if (root / "nodules").is_dir():
            folder = root / "nodules" / nodule_id / self.method
            places = [folder / f"{name}.nii.gz" for name in (("uncertainty",) if error else ("image", "mask"))]
        else:
            ends = (ERROR_END,) if error else ("_image.nii.gz", ".nii.gz", "_mask.nii.gz")
            places = [root / self.method / f"{nodule_id}{end}" for end in ends]
        return [path for path in places if path.is_file()]

    def _all_files(self) -> list[Path]:
        """Files of all reconstructions."""
        root = self.root
        if (root / "nodules").is_dir():
            return [path for nodule in sorted((root / "nodules").iterdir()) for path in self._files(nodule.name)]
        every = sorted((root / self.method).glob("*.nii.gz"))
        return [path for path in every if not path.name.startswith(".") and not path.name.endswith(ERROR_END)]


def _on_grid(path: Path, shape: tuple[int, ...], affine: np.ndarray) -> np.ndarray:
    """The part of a file that lies on the crop's grid, in whatever unit it is; (X, Y, Z) float32."""
    voxels, stored_affine, _ = read_image(path, "reconstruction")
    broken = int(voxels.size - np.isfinite(voxels).sum())
    if broken:
        raise InputError(f"{path} has {broken} voxels that are nan or infinite: give each a number")
    volume = in_lps(voxels, stored_affine, np.float32)
    array = volume[0].numpy()
    to_file = np.linalg.inv(np.asarray(volume.affine, dtype=float)) @ affine
    start = np.rint(to_file[:3, 3]).astype(int)
    end = start + shape
    moved = to_file - np.eye(4)
    moved[:3, 3] -= start
    corners = np.abs(moved[:3, :3]) @ np.asarray(shape) + np.abs(moved[:3, 3])
    if (corners > GRID_TOLERANCE).any():
        raise InputError(
            f"{path} lies on another grid than the nodule's crop (voxels up to {corners.max():.3g} voxels apart): "
            "save it with the affine of the crop or of the whole scan"
        )
    if (start < 0).any() or (end > array.shape).any():
        raise InputError(
            f"{path} has shape {array.shape} and covers only part of the nodule's crop of {shape} voxels: "
            "save the whole crop"
        )
    return array[tuple(slice(a, b) for a, b in zip(start, end, strict=True))]
