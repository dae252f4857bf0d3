"""Reconstructions from elsewhere against the observed slices: each kind of mistake is named, no honest method is."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
from helpers.configs import make_evaluation, save
from helpers.nodules import small_nodule
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter, zoom

from bundle.errors import InputError
from bundle.inferers import CubicInferer, LinearInferer, NearestInferer, ObservedSlices, StoredInferer
from bundle.inferers.stored_check import compare_image, compare_mask
from bundle.report.tidy import read_rows
from bundle.transforms import Decimate, to_hu, to_unit

HU, MASK = (volume.astype(float) for volume in small_nodule((18, 18, 21), seed=3))
HU += np.tensordot((60, 90, 120), np.indices(HU.shape) / 20, 1)  # not the same from any two sides
LOPSIDED = MASK > 0
LOPSIDED[:9, :7] = LOPSIDED[..., :5] = False
AT = np.arange(0, 21, 5)
LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def observed(hu=HU, mask=LOPSIDED, at=AT):
    return ObservedSlices(to_unit(hu)[..., at], mask[..., at], at * 1.25, np.arange(hu.shape[2]) * 1.25)


WRONG = {
    "normalised intensity": to_unit(HU),
    "8 bit": np.rint(255 * to_unit(HU)),
    "per cent": 100 * to_unit(HU),
    "a range of -1 to 1": 2 * to_unit(HU) - 1,
    "HU with an offset of 1000": HU + 1000,
    "HU with an offset of 1024": HU + 1024,
    "another unit: 0.3419 x value -1000": 4095 * to_unit(HU),
    "another unit: 1 x value -700": HU + 700,
    "another unit: -1": -HU,
    "flipped along x": HU[::-1],
    "flipped along y": HU[:, ::-1],
    "flipped along z": HU[..., ::-1],
    "flipped along x and z": HU[::-1, :, ::-1],
    "turned, with x and y exchanged": HU.swapaxes(0, 1),
    "turned, with x and y exchanged and flipped along x": np.rot90(HU, -1),
    "shifted by 1 slice along z": np.roll(HU, 1, 2),
    "shifted by 2 slices along z": np.roll(HU, -2, 2),
    "a mask": MASK,
}


@pytest.mark.parametrize(("words", "volume"), WRONG.items(), ids=WRONG.keys())
def test_each_mistake_is_refused_and_named(words, volume):
    with pytest.raises(InputError, match=f"^ours.nii.gz .* looks (like )?{words}"):
        compare_image(volume, observed(), "ours.nii.gz")


def test_what_may_be_meant_is_only_noted():
    (note,) = compare_image(np.roll(HU, 1, 0), observed(), "ours")
    assert "it looks shifted by 1 voxel along x" in note
    (note,) = compare_image(1.2 * HU + 50, observed(), "ours")
    assert "another unit: 0.8" in note
    (note,) = compare_image(np.full(HU.shape, -300.0), observed(), "ours")
    assert note.endswith("from the observed slices, which every method is given")


@pytest.mark.parametrize("inferer", [NearestInferer, LinearInferer, CubicInferer])
def test_methods_have_nothing_to_explain(inferer):
    assert compare_image(to_hu(inferer().reconstruct(observed()).image), observed(), "ours") == []


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 1000), st.floats(0, 2), st.floats(0, 120))
def test_blur_and_noise_are_not_taken_for_a_mistake(seed, sigma, noise):
    rng = np.random.default_rng(seed)
    made = gaussian_filter(HU, sigma) + rng.normal(0, noise, HU.shape)
    assert all(note.endswith("which every method is given") for note in compare_image(made, observed(), "ours"))


def test_hu_beyond_the_window_and_rounding_are_no_difference():
    hu = HU.copy()
    hu[2:5, 2:5] = 2500.0
    hu[10:] = -1024.0
    assert compare_image(np.rint(hu), observed(hu), "ours") == []
    assert compare_image(np.rint(hu).clip(-1000, 400), observed(hu), "ours") == []


def test_averages_are_compared_as_averages():
    decimate = Decimate(5, average=3)
    centres = decimate.centres(21)
    seen = ObservedSlices(
        decimate.averaged(to_unit(HU), axis=2), None, centres * 1.25, np.arange(21) * 1.25, thickness_mm=3.75
    )
    assert compare_image(HU, seen, "ours") == []
    with pytest.raises(InputError, match="flipped along y"):
        compare_image(HU[:, ::-1], seen, "ours")


def test_a_large_volume_is_compared_by_some_of_its_voxels():
    large = zoom(HU, (20, 20, 1), order=1)
    assert compare_image(large, observed(large, np.ones(large.shape, bool)), "ours") == []
    with pytest.raises(InputError, match="flipped along x"):
        compare_image(large[::-1], observed(large, np.ones(large.shape, bool)), "ours")


@pytest.mark.parametrize(
    ("words", "mask"),
    [
        ("inverted", ~LOPSIDED),
        ("flipped along x", LOPSIDED[::-1]),
        ("flipped along x and y", LOPSIDED[::-1, ::-1]),
        ("shifted by 1 slice along z", np.roll(LOPSIDED, 1, 2)),
    ],
)
def test_masks_are_compared_too(words, mask):
    assert compare_mask(LOPSIDED, observed(), "ours") == []
    with pytest.raises(InputError, match=f"Dice score of .* it looks {words}"):
        compare_mask(mask, observed(), "ours")


def test_a_mask_that_finds_little_or_other_is_measured():
    for mask in (np.zeros_like(LOPSIDED), np.ones_like(LOPSIDED), gaussian_filter(LOPSIDED.astype(float), 2) > 0.3):
        assert compare_mask(mask, observed(), "ours") == []
    (note,) = compare_mask(np.roll(LOPSIDED, 2, 1), observed(), "ours")
    assert "shifted by 2 voxels along y" in note


def test_axes_are_named_as_in_the_file(tmp_path):
    """Rows decimated: what is along y in the file is along the last axis of the comparison."""
    rows = ObservedSlices(to_unit(np.moveaxis(HU, 1, 2)[..., ::5]), None, np.arange(0, 18, 5.0), np.arange(18.0))
    save(tmp_path / "ours" / "a.nii.gz", HU[:, ::-1].astype(np.int16), LPS)
    with pytest.raises(InputError, match=r"a.nii.gz differs .* flipped along y"):
        StoredInferer(str(tmp_path), "ours").read("a", HU.shape, LPS, rows, axis=1)


def test_a_soft_mask_is_refused(tmp_path):
    save(tmp_path / "net" / "a_mask.nii.gz", gaussian_filter(MASK, 1).astype(np.float32), LPS)
    with pytest.raises(InputError, match=r"a_mask.nii.gz has .* soft mask"):
        StoredInferer(str(tmp_path), "net").read("a", HU.shape, LPS)


def test_an_evaluation_refuses_one_notes_one_and_measures_the_others(nodule_folder, tmp_path, capsys):
    folder = nodule_folder(2)
    for name in ("good", "moved", "unit"):
        for i, path in enumerate(sorted(folder.glob("*_image.nii.gz"))):
            image = nib.load(path)
            hu = np.asarray(image.dataobj).astype(np.float32)
            made = to_unit(hu) if name == "unit" and i == 0 else hu
            made = np.roll(hu, 1, 0) if name == "moved" else made
            save(tmp_path / "rec" / name / path.name.replace("_image", ""), made, image.affine)
    make_evaluation(folder, tmp_path / "rec", tmp_path / "out").run()
    reasons = (tmp_path / "out" / "failures.csv").read_text().splitlines()[1:]
    assert len(reasons) == 1
    assert "unit" in reasons[0]
    assert "looks like normalised intensity (0 to 1): save HU" in reasons[0]
    psnr = [r["value"] for r in read_rows(tmp_path / "out" / "metrics.csv") if r["metric"] == "psnr"]
    assert sum(np.isnan(psnr)) == 4
    out = capsys.readouterr().out
    told = " ".join(out.split())
    assert "unit, failed on 1 nodules: n0: " in told
    assert "moved, note on 2 nodules: n0: " in told
    assert "it looks shifted by 1 voxel along x" in told
    assert "good, " not in out.split("failed\n")[-1]
    assert sum(np.isinf(psnr)) == 12
