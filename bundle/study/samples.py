"""Samples of a dense volume: images that could be as well, for the texture and the sizes that are measured on it.

They are drawn from what is on disk, the dense volume and its expected error, so that one more costs no network and a
run that was stopped goes on with the very same.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from monai.data import MetaTensor

from bundle.data.formats import read_image
from bundle.data.parts import parts_of
from bundle.data.save import save_volume
from bundle.errors import InputError
from bundle.files import file_digest, write_text
from bundle.inferers.consistency import agree_with_observed
from bundle.inferers.dense.auto import AUTO
from bundle.inferers.dense.grid import checked_thickness
from bundle.inferers.learned.sample import NOTE, sampled
from bundle.inferers.masks.sphere import SphereDistanceInferer
from bundle.inferers.registry import METHODS
from bundle.metrics.radiomics.evaluator import RadiomicsEvaluator
from bundle.metrics.rows import Row
from bundle.metrics.sizes import segment, volume_mm3
from bundle.report.tidy import to_csv
from bundle.slices import ObservedSlices
from bundle.store import describe
from bundle.study.case import nodule_seed
from bundle.study.measure import nodule_box
from bundle.transforms import slice_positions
from bundle.version import __version__

log = logging.getLogger(__name__)

# the segmentation rule of a study
THRESHOLD_HU, MARGIN_MM = -400.0, 3.0
_COLUMNS = ("nodule", "resampling", "class", "feature", "dense", "median", "low_90", "high_90", "n")
FEWEST = 10  # samples that an interval of 90 % is told of


class Samples:
    """Writes ``<name>_sample<k>`` beside a dense volume, and ``<name>_samples.json``, which says what they are.

    Args:
        count: how many; 0: none.
        seed: of all that is random in the run.
        thickness_mm: of the slices; None: as the scan's header says, or planes.
        slice_profile: how a slice weighs its thickness.
        radiomics: measures features of each nodule in each sample, and of the dense volume, within the mask that
            `sphere_distance` makes of the one drawn: ``<name>_samples_radiomics.csv``; None: not.
        method: that makes the dense volumes.
        methods: what makes each method, by name; None: the bundle's.
        mask: that is drawn on the scans; None: there is none.

    Raises:
        InputError: features are asked for, and no samples or no mask; samples of a method of the bundle that expects
            no error.

    Example:
        >>> # Samples(8).write(Path("out"), "scan_dense_prior", record, image)
    """

    def __init__(
        self,
        count: int,
        seed: int = 0,
        thickness_mm: float | None = None,
        slice_profile: str = "trapezoid",
        radiomics: RadiomicsEvaluator | None = None,
        method: str = AUTO,
        methods: Mapping[str, Any] | None = None,
        mask: str | None = None,
    ) -> None:
        if radiomics is not None and not count:
            raise InputError("--radiomics true measures samples here, and none are drawn: give --sample, and a --mask")
        if radiomics is not None and mask is None:
            raise InputError("--radiomics true measures a nodule in samples, and none is drawn: give --mask")
        if count and method in METHODS:
            make = METHODS[method].make
            given = (methods or {}).get(method, make)
            if getattr(given, "func", given) is make and not make.gives_error:
                raise _no_error(count, method)
        self.radiomics = radiomics
        self.count, self.seed = count, seed
        self.thickness_mm, self.slice_profile = thickness_mm, slice_profile

    def there(self, folder: Path, name: str) -> bool:
        """Whether all samples of a result are there, and whole."""
        if not self.count:
            return True
        try:
            content = json.loads(_path(folder, name).read_text(encoding="utf-8"))
            files, features = content["files"], content["features"]
            whole = len(files) == self.count and (features or self.radiomics is None)
            return bool(whole) and all(file_digest(folder / n) == digest for n, digest in {**files, **features}.items())
        except (OSError, ValueError, KeyError, TypeError):
            return False

    def forget(self, folder: Path, name: str) -> None:
        """Delete those of a result that is made anew."""
        _path(folder, name).unlink(missing_ok=True)
        for file in folder.glob(f"{name}_sample[0-9]*"):
            file.unlink()
        _table(folder, name).unlink(missing_ok=True)

    def write(
        self, folder: Path, name: str, record: Mapping[str, Any], image: MetaTensor, pred: MetaTensor | None = None
    ) -> None:
        """Draw from a result.

        Args:
            folder: of the results.
            name: of this one.
            record: names its file.
            image: (C, X, Y, K) HU, and a label map if there is one, whose affine says where slices are.
            pred: not looked at.

        Raises:
            InputError: the method gives no expected error.
            OutputError: a file can't be written.
        """
        if not self.count:
            return
        output = str(record["output"])
        unsure = output.replace(name, f"{name}_uncertainty", 1)
        if unsure not in record["files"]:
            if record["options"]["method"] == AUTO:
                log.warning("%s has no samples: %s, which was chosen for it, expects no error", name, record["method"])
                return
            raise _no_error(self.count, record["method"])
        dense, error = read_image(folder / output), read_image(folder / unsure).voxels
        spacing = np.linalg.norm(dense.affine[:3, :3], axis=0)
        observed = self._observed(image, spacing, dense.voxels.shape[2])
        files, nodules = {}, _nodules(image, observed)
        volumes: dict[str, list[float]] = {part: [] for part in nodules}
        measured = {part: [self._features(dense.voxels, *of, spacing)] for part, of in nodules.items()}
        for k in range(1, self.count + 1):
            seed = nodule_seed(self.seed, name, f"sample {k}")
            made = sampled(dense.voxels.astype(np.float32), error, observed, seed)
            made = agree_with_observed(made, observed, None)
            path = folder / output.replace(name, f"{name}_sample{k}", 1)
            save_volume(path, made, dense.affine, description=f"sample {k} of {self.count}: {NOTE}")
            files[path.name] = file_digest(path)
            for part, (box, mask) in nodules.items():
                nodule = segment(made[box], mask, spacing.tolist(), THRESHOLD_HU, MARGIN_MM)
                volumes[part].append(volume_mm3(nodule, tuple(spacing.tolist())))
                measured[part].append(self._features(np.rint(made), box, mask, spacing))
            log.info("saved %s, %s", path, NOTE)
        rule = f"above {THRESHOLD_HU:g} HU in the mask and {MARGIN_MM:g} mm around it; measurements are of outlines"
        content = {"note": NOTE, "files": files, "seed": self.seed, "measured": rule, "volumes": _intervals(volumes)}
        content["features"] = {}
        if self.radiomics is not None and measured:
            write_text(_table(folder, name), to_csv(_spreads(measured), _COLUMNS))
            content["features"] = {_table(folder, name).name: file_digest(_table(folder, name))}
            content["radiomics"] = describe(self.radiomics)
        text = json.dumps(content | {"version": __version__}, indent=2, ensure_ascii=False)
        write_text(_path(folder, name), text + "\n")

    def _features(self, volume: np.ndarray, box: Any, mask: np.ndarray, spacing: np.ndarray) -> list[Row]:
        return [] if self.radiomics is None else self.radiomics.features(volume[box], mask, spacing.tolist())

    def _observed(self, image: MetaTensor, spacing: np.ndarray, count: int) -> ObservedSlices:
        thickness = image.meta.get("slice_thickness", 0.0) if self.thickness_mm is None else self.thickness_mm
        positions = slice_positions(image)
        return ObservedSlices(
            image[0].detach().cpu().numpy().astype(np.float64), None, positions,
            positions[0] + spacing[2] * np.arange(count), (float(spacing[0]), float(spacing[1])),
            thickness_mm=checked_thickness(thickness), profile=self.slice_profile,
        )  # fmt: skip


def _no_error(count: int, method: str) -> InputError:
    return InputError(
        f"--sample {count} draws by the error that a method expects, and {method} gives none: give --method prior"
    )


def _path(folder: Path, name: str) -> Path:
    return folder / f"{name}_samples.json"


def _table(folder: Path, name: str) -> Path:
    return folder / f"{name}_samples_radiomics.csv"


def _nodules(image: MetaTensor, observed: ObservedSlices) -> dict[str, tuple[tuple[slice, slice], np.ndarray]]:
    """Of each part of each label, where it is in plane and its mask there on every slice; {} without a mask."""
    found = {}
    for part in parts_of(image[1].numpy().astype(int), observed.spacing) if len(image) > 1 else ():
        box = nodule_box(part.mask, observed)
        mask = SphereDistanceInferer().reconstruct(replace(observed, image=None, mask=part.mask[box])).mask
        assert mask is not None
        found[f"{part.label}.{part.number}"] = box, mask
    return found


def _intervals(volumes: Mapping[str, list[float]]) -> dict[str, dict[str, Any]]:
    """By part: each sample's volume, and the interval that 90 % of them lie in; None where fewer than 10 are known."""
    found = {}
    for part, values in volumes.items():
        known = [value for value in values if not math.isnan(value)]
        ends = np.quantile(known, (0.05, 0.95)).round(3).tolist() if len(known) >= FEWEST else None
        found[part] = {"mm3": [round(value, 3) for value in known], "interval_90": ends}
    return found


def _spreads(measured: Mapping[str, list[list[Row]]]) -> list[Row]:
    """Of each feature of each part its value in the dense volume, and where those of the samples lie.

    Args:
        measured: by part the rows of the dense volume, then those of each sample.
    """
    rows = []
    for part, (dense, *samples) in measured.items():
        for first, *others in zip(dense, *samples, strict=True):
            known = [one["value"] for one in others if not math.isnan(one["value"])]
            low, high = np.quantile(known, (0.05, 0.95)) if len(known) >= FEWEST else (math.nan, math.nan)
            median = float(np.median(known)) if known else math.nan
            values = {"dense": first["value"], "median": median, "low_90": low, "high_90": high, "n": len(known)}
            rows.append({"nodule": part, **{key: first[key] for key in ("resampling", "class", "feature")}, **values})
    return rows
