"""Every figure of the study against a computation of its own, by numpy, scipy and scikit-image alone.

Nothing here imports the bundle's arithmetic: the crop, the window, the interpolation, the masks and all metrics
are written again from the protocol's text.
"""

import csv
import json
import math
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from helpers.configs import make_study
from helpers.nodules import small_nodule, write_nodule
from scipy.interpolate import CubicSpline, PchipInterpolator, interp1d
from scipy.ndimage import binary_dilation, binary_erosion, distance_transform_edt
from scipy.spatial import cKDTree
from skimage.metrics import structural_similarity
from skimage.morphology import ball

METHODS = ["nearest", "linear", "cubic", "pchip", "morphological"]
THRESHOLDS = [-500, -450, -400, -350, -300]


def load(folder: Path, name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    image = nib.load(folder / f"{name}_image.nii.gz")
    mask = np.asarray(nib.load(folder / f"{name}_mask.nii.gz").dataobj) > 0
    spacing = np.linalg.norm(image.affine[:3, :3], axis=0)
    where = np.argwhere(mask)
    low = where.min(0) - np.ceil(10 / spacing).astype(int)
    high = where.max(0) + np.ceil(10 / spacing).astype(int) + 1
    crop = tuple(slice(max(a, 0), b) for a, b in zip(low, high, strict=True))
    return np.asarray(image.dataobj)[crop].astype(float), mask[crop], spacing


def interpolated(volume: np.ndarray, method: str) -> np.ndarray:
    places, seen = np.arange(volume.shape[2]), np.arange(0, volume.shape[2], 5)
    known = volume[..., seen]
    if method == "nearest":
        out = known[..., [int(np.argmin(np.abs(seen - p))) for p in places]]
    elif method == "linear":
        out = interp1d(seen, known, axis=2, bounds_error=False, fill_value=(known[..., 0], known[..., -1]))(places)
    elif method == "cubic":
        out = CubicSpline(seen, known, axis=2)(places)
    else:
        out = PchipInterpolator(seen, known, axis=2)(np.minimum(places, seen[-1]))
    return np.clip(out, 0, 1)


def eq3(mask: np.ndarray) -> np.ndarray:
    out = np.zeros_like(mask)
    seen = list(range(0, mask.shape[2], 5))
    for z in range(mask.shape[2]):
        below = max(s for s in seen if s <= z)
        above = min((s for s in seen if s >= z), default=below)
        a = 0.0 if above == below else (z - below) / (above - below)
        out[..., z] = ((1 - a) * mask[..., below] + a * mask[..., above]) > 0.5
    return out


def hausdorff(a: np.ndarray, b: np.ndarray, spacing: np.ndarray) -> float:
    if not a.any() or not b.any():
        return math.nan
    # between the surfaces: voxels with a 6-neighbour outside
    one, other = (np.argwhere(m & ~binary_erosion(m)) * spacing for m in (a, b))
    return max(cKDTree(other).query(one)[0].max(), cKDTree(one).query(other)[0].max())


def shape_values(predicted: np.ndarray, truth: np.ndarray, sets: dict, spacing: np.ndarray, threshold) -> dict:
    values = {}
    for name, chosen in sets.items():
        p, t = predicted[..., chosen], truth[..., chosen]
        empty = not t.any()
        both = p.sum() + t.sum()
        values[name, "roi", threshold, "dsc"] = 2 * (p & t).sum() / both if both else math.nan
        values[name, "roi", threshold, "arve"] = math.nan if empty else abs(int(p.sum()) - int(t.sum())) / t.sum()
    values["all", "roi", threshold, "hd_mm"] = hausdorff(predicted, truth, spacing)
    return values


def expected(folder: Path, name: str, method: str) -> dict:
    hu, mask, spacing = load(folder, name)
    places = np.arange(hu.shape[2])
    last = places[::5][-1]
    unobserved = places % 5 != 0
    sets = {"unobserved": unobserved, "interpolated": unobserved & (places < last), "all": places >= 0}
    if method == "morphological":
        return shape_values(eq3(mask), mask, sets, spacing, None)
    truth = (np.clip(hu, -1000, 400) + 1000) / 1400
    made = interpolated(truth, method)
    maps = np.stack(
        [
            structural_similarity(
                made[..., z], truth[..., z], data_range=1, gaussian_weights=True, sigma=1.5,
                use_sample_covariance=False, full=True,
            )[1]
            for z in places
        ],
        axis=2,
    )  # fmt: skip
    values = {}
    for slices in ("unobserved", "interpolated"):
        for region, inside in (("global", np.ones_like(mask)), ("tumour", mask)):
            chosen = inside & sets[slices]
            error = (made - truth)[chosen]
            some = len(error) > 0
            mse = np.mean(error**2) if some else math.nan
            values[slices, region, None, "mae"] = np.mean(np.abs(error)) if some else math.nan
            values[slices, region, None, "rmse"] = math.sqrt(mse) if some else math.nan
            values[slices, region, None, "psnr"] = -10 * math.log10(mse) if some else math.nan
            values[slices, region, None, "ssim"] = maps[chosen].mean() if some else math.nan
    roi = distance_transform_edt(~mask, sampling=spacing) <= 3
    for threshold in THRESHOLDS:
        predicted = (np.round(made * 1400 - 1000, 3) > threshold) & roi
        values |= shape_values(predicted, mask, sets, spacing, threshold)
    return values


def compare(folder: Path, out: Path, names: list[str]) -> int:
    with (out / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    compared = 0
    for name in names:
        for method in METHODS:
            wanted = expected(folder, name, method)
            found = {
                (r["slices"], r["region"], float(r["threshold_hu"]) if r["threshold_hu"] else None, r["metric"]): float(
                    r["value"]
                )
                for r in rows
                if (r["nodule_id"], r["method"]) == (name, method)
            }
            assert found.keys() == wanted.keys()
            for key, value in wanted.items():
                assert found[key] == pytest.approx(value, abs=1e-4, nan_ok=True), (name, method, key)
            compared += len(wanted)
    return compared


def test_small_nodules(tmp_path):
    folder = tmp_path / "nodules"
    write_nodule(folder, "plain", *small_nodule((24, 22, 16)))
    write_nodule(folder, "thin", *small_nodule((22, 24, 13), seed=1), spacing=(0.9, 0.9, 0.45))
    write_nodule(folder, "wide", *small_nodule((30, 30, 27), seed=2), spacing=(0.6, 0.6, 2.0))
    make_study(folder, tmp_path / "out", METHODS).run()
    assert compare(folder, tmp_path / "out", ["plain", "thin", "wide"]) == 3 * (4 * 51 + 7)


def test_phantoms(tmp_path):
    out = tmp_path / "out"
    make_study(None, out, METHODS, phantom_count=2).run()
    # the study saves the crop that it measured on
    folder = tmp_path / "nodules"
    folder.mkdir()
    names = sorted(p.name for p in (out / "nodules").iterdir())
    for name in names:
        for part in ("image", "mask"):
            (folder / f"{name}_{part}.nii.gz").write_bytes(
                (out / "nodules" / name / "truth" / f"{part}.nii.gz").read_bytes()
            )
    assert compare(folder, out, names) == 2 * (4 * 51 + 7)


def test_dilation_within_the_roi_is_a_ball():
    """The distance rule used above is dilation by a ball where voxels are cubes."""
    mask = np.zeros((11, 11, 11), bool)
    mask[5, 5, 5] = True
    np.testing.assert_array_equal(distance_transform_edt(~mask) <= 3, binary_dilation(mask, ball(3)))


@pytest.mark.realdata
@pytest.mark.slow
def test_real_cohort(real_data, tmp_path):
    folder = real_data / "lidc_cohort"
    make_study(folder, tmp_path, METHODS, workers=2).run()
    usable = [n["nodule_id"] for n in json.loads((folder / "index.json").read_text()) if n["shape"][2] > 5]
    assert compare(folder, tmp_path, usable) == 25 * (4 * 51 + 7)
