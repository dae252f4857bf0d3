"""Sizes of the nodules in a scan without truth: how large, how sure, and what growth could not be told.

A nodule that was drawn on the observed slices is measured as it is there, each slice as thick as the gap, and from a
dense mask that a mask method makes of it. That mask is then scanned again: slices as thick as the scan's and as far
apart are taken from it, the first one at ten places within the gap, and each set is measured. How far these differ is
the work of position and thickness of slices alone; noise, breathing and whoever draws add to it.

A dense mask is smoother than a nodule: of readers' outlines what sets of slices differ by is 1.9 times as far, and for
one in ten pairs more than 2.5 times as far, as their dense masks tell (`scripts/compare_sizes.py`). So all that is said
of the spread is widened by 2.5.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from monai.data import MetaTensor
from scipy.ndimage import uniform_filter1d

from bundle.data.parts import Part, parts_of
from bundle.files import write_text
from bundle.inferers.base import SliceInferer
from bundle.inferers.dense.grid import checked_thickness
from bundle.inferers.masks.sphere import SphereDistanceInferer
from bundle.metrics.categories import SCHEMES
from bundle.metrics.size_evaluator import sizes
from bundle.metrics.sizes import axial_diameters, volume_mm3
from bundle.slices import ObservedSlices
from bundle.transforms import slice_positions, to_unit
from bundle.version import __version__

log = logging.getLogger(__name__)

FIRST_SLICES = 10
_VARIED = ("volume_mm3", "longest_diameter_mm", "mean_diameter_mm")
DEFAULT = "sphere_distance"
# of the normal distribution: 95 of 100 within so many sd; of the difference of two, so many times more
INTERVAL, REPEATED = 1.96, 1.96 * 2**0.5
WIDER = 2.5  # see the module


@dataclasses.dataclass(frozen=True)
class Measured:
    """One nodule.

    Attributes:
        observed: sizes from the observed slices alone, by the names of :mod:`bundle.metrics.size_evaluator`.
        dense: sizes of the dense mask; mass and mean are nan.
        again: volume and axial diameters of the dense mask, scanned again with the first slice elsewhere; nan where no
            slice met it.
    """

    observed: Mapping[str, float]
    dense: Mapping[str, float]
    again: Sequence[Mapping[str, float]]

    def spread(self, quantity: str) -> float:
        """:func:`variation` of a quantity."""
        return variation([one[quantity] for one in self.again])

    def interval(self, quantity: str) -> tuple[float, float]:
        """What the nodule may measure, given what it measures here: nine of ten outlines do, from 6 mm up."""
        value, half = self.observed[quantity], WIDER * INTERVAL * self.spread(quantity)
        return max(value * (1 - half), 0.0), value * (1 + half)

    @property
    def untold(self) -> float:
        """Growth of the volume, a part of 1, that slices alone can make."""
        return WIDER * REPEATED * self.spread("volume_mm3")

    @property
    def missed(self) -> float:
        """Share of first slices with which no slice meets the nodule."""
        return float(np.mean([math.isnan(one["volume_mm3"]) for one in self.again]))


def measure(observed: ObservedSlices, method: SliceInferer, hu: np.ndarray | None = None) -> Measured:
    """Measure one nodule.

    Args:
        observed: its mask on the observed slices; ``targets`` are not looked at.
        method: of masks.
        hu: (X, Y, K) brightness, for mass and mean.

    Raises:
        InputError: what the method refuses.

    Example:
        >>> from bundle.inferers.masks.sphere import SphereDistanceInferer
        >>> ball = [[[(x - 6) ** 2 + (y - 6) ** 2 < 36 - z**2 for z in (-9, -4, 1, 6)] for y in range(13)]
        ...         for x in range(13)]
        >>> seen = ObservedSlices(None, np.array(ball), np.array([0.0, 5, 10, 15]), np.zeros(1))
        >>> found = measure(seen, SphereDistanceInferer())
        >>> found.observed["volume_mm3"], 0.3 < found.untold < 0.9
        (850.0, True)
    """
    assert observed.mask is not None
    dense, targets = dense_mask(observed, method)
    pixel, again = observed.spacing, []
    for mask, places in rescanned(dense, targets, observed):
        axial = axial_diameters(mask, (*pixel, places))
        values = (volume_mm3(mask, (*pixel, places)), axial.longest, axial.mean)
        again.append(dict(zip(_VARIED, values, strict=True)))
    step = float(targets[1] - targets[0])
    return Measured(sizes(observed.mask, (*pixel, observed.positions), hu), sizes(dense, (*pixel, step)), again)


def dense_mask(observed: ObservedSlices, method: SliceInferer) -> tuple[np.ndarray, np.ndarray]:
    """The nodule on slices a tenth of the gap apart, (X, Y, Z) bool, and their places, (Z,) mm.

    Raises:
        InputError: what the method refuses.
    """
    gaps = np.diff(observed.positions)
    step = float(np.median(gaps)) / FIRST_SLICES
    first, last = observed.positions[0] - gaps[0] / 2, observed.positions[-1] + gaps[-1] / 2
    # every observed slice is one of these where gaps are even
    targets = observed.positions[0] + np.arange(-int(gaps[0] / 2 / step + 1e-6), int((last - first) / step)) * step
    dense = method.reconstruct(dataclasses.replace(observed, targets=targets)).mask
    assert dense is not None
    return dense, targets


def rescanned(
    dense: np.ndarray, targets: np.ndarray, observed: ObservedSlices
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Masks (X, Y, K) of a dense one on slices such as the observed ones, and their places; the first one elsewhere."""
    step = float(targets[1] - targets[0])
    for k in range(-(FIRST_SLICES // 2), FIRST_SLICES - FIRST_SLICES // 2):
        places = observed.positions + k * step
        yield scanned(dense, targets, places, observed.thickness_mm), places


def variation(values: Sequence[float]) -> float:
    """Coefficient of variation over first slices, a part of 1; nan of fewer than two that met the nodule.

    Example:
        >>> variation([90.0, 110.0, math.nan])
        0.1
    """
    found = np.array([value for value in values if math.isfinite(value)])
    return float(found.std() / found.mean()) if len(found) > 1 else math.nan


def scanned(dense: np.ndarray, targets: np.ndarray, places: np.ndarray, thickness_mm: float) -> np.ndarray:
    """Slices of a dense mask, as a reader outlines them: what fills at least half of a slice's thickness.

    Args:
        dense: (X, Y, Z) bool.
        targets: (Z,) mm, evenly spaced.
        places: (K,) mm, of the slices; empty outside of the dense mask.
        thickness_mm: of the slices; 0: planes.

    Returns:
        (X, Y, K) bool.

    Example:
        >>> ramp = np.arange(10)[None, None] >= 4
        >>> scanned(ramp, np.arange(10.0), np.array([2.0, 3.0, 5.0, 12.0]), 3.0)[0, 0]
        array([False, False,  True, False])
    """
    step = float(targets[1] - targets[0])
    thin = max(1, round(thickness_mm / step))
    filled = (
        dense if thin == 1 else uniform_filter1d(dense.astype(np.float64), thin, axis=2, mode="constant") > 0.5 - 1e-9
    )
    index = np.rint((places - targets[0]) / step).astype(int)
    inside = (index >= 0) & (index < len(targets))
    return filled[..., np.clip(index, 0, len(targets) - 1)] & inside


class Measurements:
    """Writes ``<name>_measurements.json`` beside the result of a scan with a mask, and a table into the log.

    Args:
        methods: by name: inferers, or what makes one.
        method: the one that was chosen; if it gives no mask, ``sphere_distance`` makes the dense one.
        thickness_mm: of the slices; None: as the scan's header says, or planes.

    Example:
        >>> # Measurements(method_factories()).write(Path("out"), "scan_dense_prior", {}, image)
    """

    def __init__(self, methods: Mapping[str, Any], method: str = "", thickness_mm: float | None = None) -> None:
        self.named, self.method = DEFAULT, _made(methods.get(DEFAULT, SphereDistanceInferer))
        if method in methods and (chosen := _made(methods[method])).kind == "mask":
            self.named, self.method = method, chosen
        self.thickness_mm = thickness_mm

    def there(self, folder: Path, name: str) -> bool:
        """Whether a result has its measurements."""
        return _path(folder, name).is_file()

    def forget(self, folder: Path, name: str) -> None:
        """Delete those of a result that is made anew."""
        _path(folder, name).unlink(missing_ok=True)

    def write(
        self, folder: Path, name: str, record: Mapping[str, Any], image: MetaTensor, pred: MetaTensor | None = None
    ) -> None:
        """Measure what a mask holds.

        Args:
            folder: of the results.
            name: of this one.
            record: not looked at.
            image: (2, X, Y, K) HU and label map, whose affine says where slices are.
            pred: not looked at.

        Raises:
            OutputError: the file can't be written.
        """
        nodules = self.nodules(image)
        content = {"method": self.named, "nodules": nodules, "limits": {n: s.source for n, s in SCHEMES.items()}}
        text = json.dumps(content | {"version": __version__}, indent=2, ensure_ascii=False)
        write_text(_path(folder, name), text + "\n")
        log.info("sizes (solid nodules; for research):\n%s", "\n".join(table_lines(nodules)))

    def nodules(self, image: MetaTensor) -> list[dict[str, Any]]:
        """What there is to say of each part of each label, as JSON can hold it; see docs/measurements.md."""
        hu, labels = image.as_tensor().detach().cpu().numpy()
        affine = image.affine.double().cpu().numpy()
        x, y = (float(step) for step in np.linalg.norm(affine[:3, :2], axis=0))
        thickness = image.meta.get("slice_thickness", 0.0) if self.thickness_mm is None else self.thickness_mm
        image_unit = to_unit(hu.astype(np.float64))
        observed = ObservedSlices(
            image_unit, labels > 0, slice_positions(image), np.zeros(1), (x, y),
            thickness_mm=checked_thickness(thickness),
        )  # fmt: skip
        found = []
        for part in parts_of(labels.astype(int), (x, y)):
            box = nodule_box(part.mask, observed)
            seen = dataclasses.replace(observed, image=image_unit[box], mask=part.mask[box])
            found.append(_described(part, seen, measure(seen, self.method, hu[box])))
        return found


def _made(method: Any) -> SliceInferer:
    return method if isinstance(method, SliceInferer) else method()


def _path(folder: Path, name: str) -> Path:
    return folder / f"{name}_measurements.json"


def nodule_box(mask: np.ndarray, observed: ObservedSlices) -> tuple[slice, slice]:
    """The part of the plane that a nodule's sections can lie in, and what is around them, for speed."""
    box = []
    for axis in (0, 1):
        met = np.flatnonzero(mask.any(axis=(1 - axis, 2)))
        reach = math.ceil(max(observed.gap_mm, 4.0) / observed.spacing[axis]) + 2
        box.append(slice(max(int(met[0]) - reach, 0), int(met[-1]) + reach + 1))
    return box[0], box[1]


def _described(part: Part, observed: ObservedSlices, found: Measured) -> dict[str, Any]:
    categories = {}
    for name, scheme in SCHEMES.items():
        value, bounds = found.observed[scheme.quantity], found.interval(scheme.quantity)
        low, high = (scheme.category(bound) for bound in bounds)
        categories[name] = {"category": scheme.category(value), "lowest": low, "highest": high, "crosses": low != high}
    assert observed.mask is not None
    intervals = {q: [_number(bound) for bound in found.interval(q)] for q in ("volume_mm3", "mean_diameter_mm")}
    return {
        "label": part.label,
        "part": part.number,
        "slices": int(observed.mask.any(axis=(0, 1)).sum()),
        "gap_mm": round(observed.gap_mm, 3),
        "thickness_mm": observed.thickness_mm,
        "observed": {name: _number(value) for name, value in found.observed.items()},
        "dense": {name: _number(value) for name, value in found.dense.items() if not math.isnan(value)},
        "interval": intervals,
        "growth_untold_percent": _number(100 * found.untold),
        "missed_share": found.missed,
        "categories": categories,
        "sentence": _sentence(found),
    }


def _sentence(found: Measured) -> str:
    if math.isnan(found.untold):
        return "position of slices alone decides whether the nodule is seen: no growth can be told"
    told = (
        f"thickness and position of slices alone explain ±{100 * found.untold:.0f} % of volume: growth below that "
        "cannot be told"
    )
    return told + (f"; with {100 * found.missed:.0f} % of first slices it is missed" if found.missed else "")


def table_lines(nodules: Sequence[Mapping[str, Any]]) -> list[str]:
    """The main figures, two lines a nodule."""
    lines = []
    for one in nodules:
        seen, (low, high) = one["observed"], one["interval"]["volume_mm3"]
        between = "" if low is None else f" ({low:.0f} to {high:.0f})"
        rads = one["categories"]["lung_rads_volume"]
        sure = f"{rads['lowest']} to {rads['highest']}" if rads["crosses"] else "within its limits"
        lines += [
            f"nodule {one['label']}.{one['part']}, {one['slices']} slices {one['gap_mm']:g} mm apart: "
            f"{seen['volume_mm3']:.0f} mm3{between}, dense mask {one['dense']['volume_mm3']:.0f} mm3, "
            f"{seen['longest_diameter_mm']:.1f} x {seen['perpendicular_diameter_mm']:.1f} mm; "
            f"Lung-RADS size {rads['category']}, {sure}",
            f"  {one['sentence']}",
        ]
    return lines or ["the mask is empty"]


def _number(value: float) -> float | None:
    return None if math.isnan(value) else round(value, 3)
