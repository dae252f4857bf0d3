"""A small output folder of a study, written straight to disk: what the report reads, with known values."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import nibabel as nib
import numpy as np
from helpers.nodules import small_nodule

from bundle.inferers.registry import names_of
from bundle.metrics.radiomics.features import FEATURES
from bundle.metrics.size_evaluator import QUANTITIES
from bundle.report.tidy import CLINICAL, RADIOMICS, to_csv

THRESHOLDS = (-500.0, -450.0, -400.0, -350.0, -300.0)
DENSITY = ("linear", "cubic", "siren")
SHAPE = ("morphological",)
SHAPE_XYZ = (20, 18, 13)
SPACING = (0.7, 0.7, 1.0)
OBSERVED = (0, 5, 10)
LEVELS = (50.0, 80.0, 90.0, 95.0)


def is_density(method: str) -> bool:
    """Whether a method gives brightness."""
    return method not in names_of("mask")


def places(method: str) -> list[tuple[str, str, float | None, str]]:
    """Slices, region, threshold and metric of every row of a method."""
    if is_density(method):
        found: list[tuple[str, str, float | None, str]] = [
            (slices, region, None, metric)
            for slices in ("unobserved", "interpolated")
            for region in ("global", "tumour")
            for metric in ("mae", "rmse", "psnr", "ssim")
        ]
        thresholds: Sequence[float | None] = THRESHOLDS
    else:
        found, thresholds = [], (None,)
    for threshold in thresholds:
        found += [(s, "roi", threshold, m) for s in ("unobserved", "interpolated", "all") for m in ("dsc", "arve")]
        found.append(("all", "roi", threshold, "hd_mm"))
    return found


def write_study(
    root: Path,
    count: int = 3,
    methods: Sequence[str] = (*DENSITY, *SHAPE),
    failed: Sequence[tuple[str, str]] = (),
    kind: str = "phantom",
    texture: bool = True,
    unsure: Sequence[str] = (),
    agreement: bool = False,
) -> Path:
    """Write the folder; the value of a metric is 0.1 (nodule + 1) (method + 1), nan where the method failed.

    Of sizes and radiomic features, with ``agreement``, it is (1 + nodule) (1 + 0.1 method), the truth's 1 + nodule.
    """
    ids = [f"n{i}" for i in range(count)]
    rows, textured = [], []
    for i, nodule in enumerate(ids):
        for j, method in enumerate(methods):
            value = float("nan") if (nodule, method) in failed else 0.1 * (i + 1) * (j + 1)
            row = {"nodule_id": nodule, "method": method, "value": value}
            keys = ("slices", "region", "threshold_hu", "metric")
            rows += [row | dict(zip(keys, place, strict=True)) for place in places(method)]
            if is_density(method):
                textured += [
                    row | {"slices": s, "region": r, "threshold_hu": None, "metric": m}
                    for s in ("unobserved", "interpolated")
                    for r in ("global", "tumour")
                    for m in ("mean_hu", "sd_hu", "sd_ratio", "kurtosis")
                ]
        textured += [
            {"nodule_id": nodule, "method": "truth", "slices": "unobserved", "region": "tumour"}
            | {"threshold_hu": None, "metric": "kurtosis", "value": 3.0 + i}
        ]
    root.mkdir(parents=True, exist_ok=True)
    (root / "metrics.csv").write_text(to_csv(rows))
    if texture:
        (root / "texture.csv").write_text(to_csv(textured))
    if unsure:
        (root / "uncertainty.csv").write_text(to_csv(uncertainty_rows(ids, unsure, failed)))
    if agreement:
        (root / "clinical.csv").write_text(to_csv(size_rows(ids, methods, failed), CLINICAL))
        (root / "radiomics.csv").write_text(to_csv(radiomics_rows(ids, methods, failed), RADIOMICS))
    reasons = [{"nodule_id": n, "method": m, "reason": "1 observed slice | too few"} for n, m in failed]
    (root / "failures.csv").write_text(to_csv(reasons, ("nodule_id", "method", "reason")))
    done = [(n, m) for n in ids for m in methods if (n, m) not in failed]
    seconds = [{"nodule_id": n, "method": m, "seconds": 0.5} for n, m in done]
    (root / "timings.csv").write_text(to_csv(seconds, ("nodule_id", "method", "seconds")))
    study = {
        "command": "python -m monai.bundle run --config_file configs/study.json <b>&",
        "nodules": f"{count} made for a test",
        "data": kind,
        "seed": 7,
        "decimate": {"is": "bundle.transforms.decimate.Decimate", "axis": 2, "offset": 0, "stride": 5},
        "methods": {m: {"is": f"bundle.inferers.{m.title()}Inferer", "beyond": "hold"} for m in methods},
        "versions": {"monai": "1.6.1"},
    }
    (root / "study.json").write_text(json.dumps(study))
    for i, nodule in enumerate(ids):
        write_volumes(root / "nodules" / nodule, i, [m for m in methods if (nodule, m) not in failed], unsure)
    return root


def size_rows(ids: Sequence[str], methods: Sequence[str], failed: Sequence[tuple[str, str]]) -> list[dict]:
    """Every quantity in each reference that a method has."""
    of_method = {name: "seg" if is_density(name) else "outline" for name in methods}
    places = [("outline", "truth", 0), ("seg", "truth", 0), ("outline", "sum_of_areas", 1)]
    places += [(reference, name, j + 1) for j, (name, reference) in enumerate(of_method.items())]
    return [
        {"nodule_id": nodule, "method": name, "reference": reference, "quantity": quantity.name, "unit": quantity.unit}
        | {"value": float("nan") if (nodule, name) in failed else 60.0 * (1 + i) * (1 + 0.1 * j), "reason": None}
        for i, nodule in enumerate(ids)
        for reference, name, j in places
        for quantity in QUANTITIES
    ]


def radiomics_rows(ids: Sequence[str], methods: Sequence[str], failed: Sequence[tuple[str, str]]) -> list[dict]:
    """Every feature of the truth and of each method that gives brightness, at both resamplings."""
    return [
        {"nodule_id": nodule, "method": name, "resampling": resampling, "class": group, "feature": feature}
        | {"value": float("nan") if (nodule, name) in failed else (1.0 + i) * (1 + 0.1 * j), "reason": None}
        for i, nodule in enumerate(ids)
        for j, name in enumerate(("truth", *filter(is_density, methods)))
        for resampling in ("native", "1 mm")
        for group, feature in FEATURES
    ]


def uncertainty_rows(ids: Sequence[str], unsure: Sequence[str], failed: Sequence[tuple[str, str]]) -> list[dict]:
    """Coverage of each level: the level itself in the field of view, 0.05 less in the tumour."""
    rows = []
    for i, nodule in enumerate(ids):
        for method in unsure:
            for slices in ("unobserved", "interpolated"):
                for region, less in (("global", 0.0), ("tumour", 0.05)):
                    values = {f"coverage_{level:g}": level / 100 - less for level in LEVELS}
                    values |= {f"width_hu_{level:g}": 3.0 * level + i for level in LEVELS}
                    values |= {"error_ratio": 1.0 + less, "rank_correlation": 0.4}
                    gone = (nodule, method) in failed
                    head = {"nodule_id": nodule, "method": method, "slices": slices, "region": region}
                    rows += [
                        head | {"threshold_hu": None, "metric": m, "value": float("nan") if gone else v}
                        for m, v in values.items()
                    ]
    return rows


def write_volumes(folder: Path, seed: int, methods: Sequence[str], unsure: Sequence[str] = ()) -> None:
    """Truth, reconstructions, masks and a learning curve of one nodule."""
    hu, mask = small_nodule(SHAPE_XYZ, seed)
    rng = np.random.default_rng(seed)
    facts = {"spacing": SPACING, "shape": SHAPE_XYZ, "axis": 2, "observed": OBSERVED, "slice_thickness": 1.0}
    facts |= {"diameter_mm": 9.0 + seed, "ratings": {"malignancy": 3.5}, "source": "phantom"}
    save(folder / "truth" / "image.nii.gz", hu)
    save(folder / "truth" / "mask.nii.gz", mask)
    (folder / "truth" / "result.json").write_text(json.dumps(facts))
    for method in methods:
        made = (hu + rng.normal(0, 40, hu.shape)).clip(-1000, 400).astype(np.int16)
        if is_density(method):
            save(folder / method / "image.nii.gz", made)
            if method in unsure:
                save(folder / method / "uncertainty.nii.gz", rng.uniform(0, 60, hu.shape).astype(np.float32))
            for threshold in THRESHOLDS:
                save(
                    folder / method / f"mask_{threshold:+.0f}HU.nii.gz", ((made > threshold) & (mask > 0)).astype("u1")
                )
        else:
            save(folder / method / "mask.nii.gz", np.roll(mask, 1, axis=0))
        (folder / method / "result.json").write_text(json.dumps({"notes": ["a fallback was taken"]}))
        if method.startswith("siren"):
            curve = "\n".join(f"{e},{1 / (e + seed)},5e-5" for e in range(1, 21))
            (folder / method / "history.csv").write_text(f"epoch,loss,lr\n{curve}\n")


def save(path: Path, volume: np.ndarray) -> None:
    """Save a volume, with the affine of the other tests' nodules."""
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(volume, np.diag([-SPACING[0], -SPACING[1], SPACING[2], 1.0])), path)
