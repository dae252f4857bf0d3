"""Radiomic features in a study: radiomics.csv, resumed, with failures, and of others' reconstructions."""

import json
import shutil

import numpy as np
import pytest
from helpers.configs import make_evaluation, make_study, mistake_in
from helpers.nodules import small_nodule, write_nodule

from bundle.errors import InputError
from bundle.metrics.radiomics import library
from bundle.metrics.radiomics.features import FEATURES
from bundle.report.tidy import RADIOMICS, read_rows

pytest.importorskip("fastrad")
METHODS = ["linear", "pchip", "sphere_distance"]


@pytest.fixture(scope="module")
def studied(tmp_path_factory):
    root = tmp_path_factory.mktemp("radiomics")
    for i in range(2):
        write_nodule(root / "in", f"n{i}", *small_nodule(seed=i))
    write_nodule(root / "in", "short", *(volume[..., 5:9] for volume in small_nodule()))
    make_study(root / "in", root / "out", METHODS, radiomics=True).run()
    return root


def test_every_nodule_image_method_and_feature_has_a_row(studied):
    rows = read_rows(studied / "out" / "radiomics.csv", RADIOMICS)
    assert {row["method"] for row in rows} == {"truth", "linear", "pchip"}
    assert len(rows) == 3 * 3 * 2 * len(FEATURES)
    short = [row for row in rows if row["nodule_id"] == "short" and row["method"] != "truth"]
    assert all(np.isnan(row["value"]) and "observed slice" in row["reason"] for row in short)
    settings = json.loads((studied / "out" / "study.json").read_text(encoding="utf-8"))["radiomics"]
    wanted = {"library": "fastrad 1.0.0", "definitions": "pyradiomics", "bin_width": 25.0, "bin_origin": -1000.0,
              "hu_clip": [-1000.0, 400.0], "spacings_mm": [None, 1.0], "minimum_voxels": 64}  # fmt: skip
    assert settings | wanted == settings
    assert "13 directions" in settings["aggregation"]


def test_rows_are_read_from_one_result_after_the_other(studied):
    work = make_study(studied / "in", studied / "out", METHODS, radiomics=True).work()
    outcome = work.gather(work.source.ids.index("n0"), {})
    assert outcome.radiomics == {}
    assert outcome.measured == {"truth", "linear", "pchip"}
    stored = work.store.rows("n0", "pchip", "radiomics")
    table = read_rows(studied / "out" / "radiomics.csv", RADIOMICS)
    assert [row["value"] for row in table if (row["nodule_id"], row["method"]) == ("n0", "pchip")] == pytest.approx(
        [row["value"] for row in stored], nan_ok=True
    )
    with pytest.raises(InputError, match="is gone while the run is at work"):
        work.store.rows("n0", "cubic", "radiomics")


def test_a_resumed_study_has_the_same_features(studied):
    before = (studied / "out" / "radiomics.csv").read_bytes()
    make_study(studied / "in", studied / "out", METHODS, radiomics=True).run()
    assert (studied / "out" / "radiomics.csv").read_bytes() == before


def test_without_the_option_there_are_none_and_results_of_before_stay_good(studied, tmp_path, capsys):
    make_study(studied / "in", tmp_path, ["linear"]).run()
    assert not (tmp_path / "radiomics.csv").exists()
    for path in tmp_path.glob("nodules/*/*/result.json"):  # of a version that did not know of radiomics
        assert json.loads(path.read_text(encoding="utf-8")).get("radiomics", []) == []
    capsys.readouterr()
    make_study(studied / "in", tmp_path, ["linear"]).run()
    assert "2 reconstructed (2 of them earlier), 1 failed" in " ".join(capsys.readouterr().out.split())


def test_reconstructions_on_disk_have_the_same_features(studied, tmp_path):
    shutil.copytree(studied / "out", tmp_path / "theirs")
    native = {"features#spacings_mm": [None]}
    make_evaluation(studied / "in", tmp_path / "theirs", tmp_path / "out", radiomics=True, **native).run()
    made = {path.name for path in (tmp_path / "out" / "tables").glob("*.csv")}
    assert {f"table_{name}.csv" for name in ("radiomics", "radiomics_classes", "size_agreement")} <= made
    assert (tmp_path / "out" / "agreement.csv").exists()
    places = [key for key in RADIOMICS if key not in ("value", "reason")]
    ours, theirs = (
        {tuple(row[key] for key in places): row["value"] for row in read_rows(path, RADIOMICS) if not row["reason"]}
        for path in (studied / "out" / "radiomics.csv", tmp_path / "out" / "radiomics.csv")
    )
    assert theirs.keys() == {key for key in ours if key[2] == "native"}
    near = [abs(theirs[key] - ours[key]) <= 0.02 * abs(ours[key]) + 1e-3 for key in theirs]
    assert np.mean(near) > 0.95  # saved in whole HU: a voxel at the edge of a bin may be in the next


def test_the_option_without_the_library_is_one_sentence(studied, tmp_path, monkeypatch):
    library.load_library.cache_clear()
    monkeypatch.setattr(library, "version", lambda name: "0.1")
    words = mistake_in(make_study, studied / "in", tmp_path / "out", METHODS, radiomics=True)
    assert words == "fastrad 0.1 is installed, expected 1.0.0: pip install -e '.[radiomics]'"
    assert not (tmp_path / "out").exists()
    library.load_library.cache_clear()
