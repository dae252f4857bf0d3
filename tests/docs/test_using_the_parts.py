"""docs/using_the_parts.md: every example runs, and does what the page says."""

import re
import shutil

import nibabel as nib
import numpy as np
import pytest
from helpers.nodules import ROOT, small_nodule

from bundle.data import read_series

PAGE = (ROOT / "docs" / "using_the_parts.md").read_text(encoding="utf-8")
EXAMPLES = dict(re.findall(r"^## (.+?)\n.*?^```python\n(.+?)^```", PAGE, flags=re.M | re.S))


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Run the example under a heading among the files that the page names; its variables."""
    hu, mask = small_nodule((40, 38, 24))
    affine = np.diag([0.7, -0.7, 1.4, 1.0])  # LoadImage gives another orientation than LPS
    affine[:3, 3] = 10, 20, -30
    blurred = (hu + np.random.default_rng(1).normal(0, 30, hu.shape)).astype(np.int16)
    for name, voxels in (("scan", hu), ("nodule", mask), ("reconstruction", blurred)):
        nib.save(nib.Nifti1Image(voxels, affine), tmp_path / f"{name}.nii.gz")
    shutil.copytree(ROOT / "configs", tmp_path / "configs")
    monkeypatch.chdir(tmp_path)

    def execute(heading):
        found = {"hu": hu, "mask": mask, "blurred": blurred, "scan_affine": affine}
        exec(compile(EXAMPLES[heading], heading, "exec"), found)
        return found

    return execute


def test_every_heading_has_one_example():
    assert list(EXAMPLES) == re.findall(r"^## (.+)$", PAGE, flags=re.M)
    assert PAGE.count("```python") == len(EXAMPLES) == 6
    assert max(len(line) for line in PAGE.splitlines()) <= 120


def test_transforms_and_back(run):
    made = run("Transforms in a CT pipeline, and back")
    pred = made["pred"]
    assert pred.shape == (1, 40, 38, 24)
    np.testing.assert_allclose(pred.affine.numpy(), made["scan_affine"], atol=1e-5)
    assert made["batch"]["image"].shape[2:] < pred.shape[1:]
    # brighter than the middle of the window in the slices that were kept, nothing elsewhere
    kept = np.flatnonzero(pred[0].numpy().any(axis=(0, 1)))
    assert set(np.diff(kept)) == {3}
    np.testing.assert_array_equal(pred[0, ..., kept].numpy() > 0, made["hu"][..., kept] > -300)


def test_siren_in_a_trainer_of_ones_own(run):
    losses = run("SIREN in your own trainer")["losses"]
    assert losses[-1] < 0.3 * losses[0]


def test_inferers_on_an_array(run):
    made = run("An inferer on an array")
    assert made["dense"].shape == made["smooth"].shape == made["shape"].shape == (32, 32, 21)
    np.testing.assert_allclose(made["dense"][..., [0, 5, 10, 20]], made["slices"], atol=1e-6)
    np.testing.assert_array_equal(made["shape"][..., 20] > 0, made["slices"][..., 3] > 0.5)


def test_a_dense_volume(run, tmp_path):
    made = run("A dense volume of a scan")
    saved = nib.load(tmp_path / "dense.nii.gz")
    assert saved.shape == (40, 38, 47)
    # back to the scan's own axes: x was towards the right
    np.testing.assert_array_equal(np.asarray(saved.dataobj)[::-1, :, ::2], made["hu"])
    dicom = read_series(tmp_path / "dense_dicom")
    np.testing.assert_array_equal(dicom.volume, np.asarray(saved.dataobj))


def test_metrics_on_two_files(run):
    made = run("Metrics on two NIfTI files")
    inside = made["mask"]
    apart = np.clip(made["blurred"], -1000, 400) - np.clip(made["hu"].astype(float), -1000, 400)
    assert made["mae"](made["made"], made["truth"], inside) == pytest.approx(np.abs(apart[inside]).mean() / 1400)
    assert made["found"].any()


def test_one_part_out_of_a_config(run):
    made = run("One part out of a config")
    assert made["options"].epochs == 5
    assert made["options"].learning_rate == 5e-5
    assert sum(p.numel() for p in made["network"].parameters()) == 198657
