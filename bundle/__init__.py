"""Recover the missing axial slices of a CT around a lung nodule, and measure how well.

What docs/using_the_parts.md teaches is imported from here, and nothing else; each name is loaded when it is first asked
for, so that ``import bundle`` costs nothing. docs/architecture.md says which room is for what.

Example:
    >>> from bundle import Decimated, InputError
    >>> Decimated("image").__class__.__module__
    'bundle.transforms.decimate'
"""

from importlib import import_module
from typing import Any

from bundle.version import __version__

_FACE = {
    "bundle.data": ("load_volume", "save_volume", "write_series"),
    "bundle.data.formats": ("read_image",),
    "bundle.errors": ("InputError",),
    "bundle.inferers": ("CubicInferer", "DenseInferer", "PchipInferer", "SignedDistanceInferer", "method_factories"),
    "bundle.metrics": (
        "dice_score", "hausdorff_mm", "mae", "psnr", "roi_mask", "ssim_map", "threshold_mask", "volume_error"
    ),
    "bundle.networks": ("Siren",),
    "bundle.transforms": ("HU_MAX", "HU_MIN", "CropWithMargind", "Decimated", "to_unit"),
}  # fmt: skip
_ROOM = {name: room for room, names in _FACE.items() for name in names}

__all__ = ["__version__", *sorted(_ROOM)]


def __getattr__(name: str) -> Any:
    if name not in _ROOM:
        raise AttributeError(f"module 'bundle' has no attribute {name!r}")
    return getattr(import_module(_ROOM[name]), name)


def __dir__() -> list[str]:
    return __all__
