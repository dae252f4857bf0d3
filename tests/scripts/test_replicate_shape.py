"""The script that recomputes the paper's morphological row, against the paper and a second computation."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path

import numpy as np
import pytest
import replicate_shape
from scipy.ndimage import binary_erosion
from scipy.spatial.distance import cdist

from bundle.data.lidc.annotations import consensus_mask

SCRIPT = Path(__file__).parents[2] / "scripts" / "replicate_shape.py"
KEYS = ["n", "dsc", "dsc_sd", "hd_mm", "hd_mm_sd", "arve", "arve_sd", "n_failed"]


@pytest.fixture(scope="module")
def script():
    clusters = replicate_shape.lidc_clusters()
    with pytest.MonkeyPatch.context() as patch:  # looked up once, not for every test
        patch.setattr(replicate_shape, "lidc_clusters", lambda: clusters)
        yield replicate_shape


@pytest.fixture(scope="module")
def figures(script):
    """What ``--json`` prints."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        assert script.main(["--json"]) == 0
    return json.loads(printed.getvalue())


def test_json_has_both_protocols(figures):
    assert list(figures) == ["published", "axial"]
    assert list(figures["published"]) == KEYS
    assert list(figures["axial"]) == KEYS


def test_the_published_protocol_gives_the_published_row(figures):
    found = figures["published"]
    assert (found["n"], found["n_failed"]) == (58, 0)
    # the paper: .837 +- .061, 1.98 +- .55, .039 +- .048, over 50 of these nodules
    for name, paper, near in (("dsc", 0.837, 0.01), ("hd_mm", 1.98, 0.02), ("arve", 0.039, 0.004)):
        assert found[name] == pytest.approx(paper, abs=near)
    for name, paper, near in (("dsc_sd", 0.061, 0.006), ("hd_mm_sd", 0.55, 0.04), ("arve_sd", 0.048, 0.002)):
        assert found[name] == pytest.approx(paper, abs=near)


def test_axial_slices_give_much_less(figures):
    found = figures["axial"]
    assert (found["n"], found["n_failed"]) == (58, 5)
    assert found["dsc"] == pytest.approx(0.62, abs=0.01)
    assert found["dsc_sd"] == pytest.approx(0.26, abs=0.01)


def test_the_published_bookkeeping_by_a_second_computation(script):
    """Rows in pylidc's own (row, column, slice) order, from the description in docs/replication.md alone."""
    for cluster in script.lidc_clusters()[::4]:
        consensus, _ = consensus_mask(cluster.annotation_ids)
        mask = consensus.transpose(1, 0, 2)
        mm = np.array([cluster.slice_thickness, cluster.pixel_spacing, cluster.pixel_spacing])
        mask = np.pad(mask, [(width, width) for width in np.ceil(10 / mm).astype(int)])
        filled = mask.copy()
        for first in range(0, len(mask) - 5, 5):
            for step in range(1, 5):
                filled[first + step] = (1 - step / 5) * mask[first] + step / 5 * mask[first + 5] > 0.5
        rows = [row for row in range(len(mask)) if row % 5]
        a, b = filled[rows], mask[rows]
        shells = [np.argwhere(m & ~binary_erosion(m)) * mm for m in (a, b)]
        distances = cdist(*shells)
        expected = {
            "dsc": 2 * (a & b).sum() / (a.sum() + b.sum()),
            "hd_mm": max(distances.min(axis=0).max(), distances.min(axis=1).max()),
            "arve": abs(a.sum() / b.sum() - 1),
        }
        assert script.published(cluster, consensus) == pytest.approx(expected, abs=1e-5)


def test_summary_counts_what_is_undefined(script):
    nodules = [{"dsc": 0.0, "hd_mm": float("nan"), "arve": 1.0}, {"dsc": 1.0, "hd_mm": 2.0, "arve": 0.0}]
    found = script.summary(nodules)
    assert (found["n"], found["n_failed"], found["dsc"], found["hd_mm"]) == (2, 1, 0.5, 2.0)


def test_the_table_names_the_paper_and_both_protocols(script, figures):
    text = script.table(figures)
    assert [line.split("  ")[0] for line in text.splitlines()[1:]] == [
        "paper, Table 3",
        "published protocol",
        "axial protocol",
    ]
    assert "0.831 ± 0.065" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["--exclude", "nobody"], "nobody is no nodule"), (["--offset", "7"], "offset 7")],
)
def test_a_mistake_ends_in_one_sentence(script, capsys, arguments, message):
    assert script.main(arguments) == 2
    said = capsys.readouterr().err
    assert message in said
    assert len(said.splitlines()) == 1
