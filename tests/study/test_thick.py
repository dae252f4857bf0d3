"""A study whose observed slices are averages: what methods see, what is measured, and what is said."""

import numpy as np
import pytest
from helpers.configs import make_study

from bundle.errors import InputError
from bundle.report.results import StudyResults
from bundle.report.tidy import read_rows

METHODS = ["linear", "kriging", "morphological"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    from helpers.nodules import small_nodule, write_nodule

    root = tmp_path_factory.mktemp("nodules")
    write_nodule(root, "n0", *small_nodule((20, 18, 17)))
    return root


@pytest.mark.parametrize(("stride", "average", "profile"), [(4, 4, "box"), (2, 4, "bell")])
def test_all_thin_slices_are_measured_and_linear_is_numpys(folder, tmp_path, stride, average, profile):
    options = {"stride": stride, "slice_average": average, "slice_profile": profile, "margin_mm": None}
    make_study(folder, tmp_path, METHODS, **options).run()
    rows = {
        (r["method"], r["slices"], r["region"], r["metric"]): r["value"] for r in read_rows(tmp_path / "metrics.csv")
    }
    results = StudyResults(tmp_path)
    nodule = results.nodules[0]
    truth = (results.image_hu(nodule, "truth").clip(-1000, 400) + 1000) / 1400
    centres = np.arange(0, 17 - average + 1, stride) + (average - 1) / 2
    distance = np.arange(17) - centres[:, None]
    if profile == "box":
        weights = (np.abs(distance) < average / 2) * 1.0
    else:
        # fine sums over each cell of a Gaussian of that width
        fine = np.linspace(-0.5, 0.5, 201)
        weights = np.exp(-4 * np.log(2) * ((distance[..., None] + fine) / average) ** 2).mean(-1)
    thick = truth @ (weights / weights.sum(1, keepdims=True)).T
    seen = results.image_hu(nodule, "linear")
    made = (seen + 1000) / 1400
    between = (np.arange(17) >= centres[0]) & (np.arange(17) <= centres[-1])
    for slices, chosen in (("unobserved", np.ones(17, bool)), ("interpolated", between)):
        error = (made - truth)[..., chosen]
        assert rows["linear", slices, "global", "mae"] == pytest.approx(np.abs(error).mean(), abs=5e-4)
    # it agrees with what was measured, but for HU being whole numbers on disk and the window's limits
    assert np.abs(made @ (weights / weights.sum(1, keepdims=True)).T - thick).max() < 2e-3
    assert rows["kriging", "unobserved", "global", "psnr"] > 10
    assert np.isfinite(rows["morphological", "unobserved", "roi", "dsc"])
    assert f"the mean of {average} slices ({profile})" in results.protocol_words


def test_an_average_of_more_slices_than_there_are_is_a_sentence(folder, tmp_path):
    with pytest.raises(InputError, match="nothing could be reconstructed"):
        make_study(folder, tmp_path, ["linear"], slice_average=40, margin_mm=None).run()
    assert "holds no 40 slices" in (tmp_path / "failures.csv").read_text()
