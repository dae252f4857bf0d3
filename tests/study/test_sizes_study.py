"""Sizes in a study: clinical.csv, its table, resumed and with failures."""

import csv
import shutil

import numpy as np
import pytest
from helpers.configs import make_evaluation, make_study
from helpers.nodules import small_nodule, write_nodule

from bundle.errors import InputError
from bundle.metrics.size_evaluator import QUANTITIES
from bundle.report.figures.first_slice import figure_first_slice
from bundle.report.first_slices import first_slice_values, first_slices
from bundle.report.results import StudyResults
from bundle.report.statistics.repeatability import within_cv
from bundle.report.tables.repeat_tables import repeat_tables
from bundle.report.tables.size_tables import size_tables
from bundle.report.tidy import CLINICAL, read_rows

METHODS = ["linear", "sphere_distance"]


@pytest.fixture(scope="module")
def studied(tmp_path_factory):
    root = tmp_path_factory.mktemp("sizes")
    for i in range(2):
        write_nodule(root / "in", f"n{i}", *small_nodule(seed=i))
    write_nodule(root / "in", "short", *(volume[..., 5:9] for volume in small_nodule()))
    make_study(root / "in", root / "out", METHODS).run()
    return root


def test_every_nodule_method_and_quantity_has_a_row_in_one_reference(studied):
    rows = read_rows(studied / "out" / "clinical.csv", CLINICAL)
    places = {(row["method"], row["reference"]) for row in rows}
    assert places == {("truth", "outline"), ("truth", "seg"), ("sum_of_areas", "outline"), ("linear", "seg"),
                      ("sphere_distance", "outline")}  # fmt: skip
    assert len(rows) == 3 * len(places) * len(QUANTITIES)
    short = [row for row in rows if row["nodule_id"] == "short" and row["method"] not in ("truth", "sphere_distance")]
    assert all(np.isnan(row["value"]) and "observed slice" in row["reason"] for row in short)
    mask = small_nodule(seed=0)[1]
    true = next(row for row in rows if row["method"] == "truth")
    assert true["value"] == pytest.approx(mask.sum() * 0.49, rel=1e-6)


def test_a_resumed_study_has_the_same_sizes(studied):
    before = (studied / "out" / "clinical.csv").read_bytes()
    make_study(studied / "in", studied / "out", METHODS).run()
    assert (studied / "out" / "clinical.csv").read_bytes() == before


def test_the_table_is_measured_minus_true(studied):
    results = StudyResults(studied / "out")
    (table,) = size_tables(results)
    assert [row[:2] for row in table.rows] == [("outlines", "sum of areas"), ("outlines", "sphere distance"),
                                               ("segmentation", "linear")]  # fmt: skip
    by_hand = {}
    for row in results.clinical:
        if row["quantity"] == "volume_mm3" and row["reference"] == "seg":
            by_hand.setdefault(row["nodule_id"], {})[row["method"]] = row["value"]
    off = [100 * (v["linear"] / v["truth"] - 1) for v in by_hand.values() if not np.isnan(v["linear"])]
    record = next(r for r in csv.DictReader(table.csv().splitlines()) if r["method"] == "linear")
    assert record["metric"] == "volume_difference"
    assert float(record["mean"]) == pytest.approx(np.mean(off))
    assert (record["n"], record["n_failed"]) == ("2", "1")
    assert "phantom" not in table.caption
    assert "above -400 HU, at most 3 mm from the consensus" in table.caption


def test_a_folder_of_before_is_read_without_sizes(studied, tmp_path):
    for name in ("metrics.csv", "study.json"):
        (tmp_path / name).write_bytes((studied / "out" / name).read_bytes())
    results = StudyResults(tmp_path)
    assert results.clinical == []
    assert size_tables(results) == []
    assert not any("clinical" in problem for problem in results.problems)


def test_every_first_slice_is_a_study_of_its_own_and_the_main_one_is_as_without(studied, tmp_path):
    make_study(studied / "in", tmp_path, METHODS, offsets="all", stride=3, offset=1).run()
    alone = tmp_path / "alone"
    make_study(studied / "in", alone, METHODS, stride=3, offset=1).run()
    for name in ("metrics.csv", "clinical.csv", "summary.csv"):
        assert (tmp_path / name).read_bytes() == (alone / name).read_bytes()
    assert sorted(p.name for p in (tmp_path / "offsets").iterdir()) == ["0", "2"]
    results = StudyResults(tmp_path)
    assert list(first_slices(results)) == [0, 1, 2]
    mask = small_nodule(seed=0)[1]
    areas = [mask[..., k::3].sum() * 0.49 * 3 for k in range(3)]
    volumes = first_slice_values(results)
    np.testing.assert_allclose(volumes["outline", "sum_of_areas", "volume_mm3"][0], areas, rtol=1e-6)
    assert np.ptp(volumes["seg", "truth", "volume_mm3"], axis=1).max() == 0
    (table,) = repeat_tables(results)
    assert [row[:2] for row in table.rows] == [("outlines", "sum of areas"), ("outlines", "sphere distance"),
                                               ("segmentation", "linear")]  # fmt: skip
    record = table.records[0]
    assert record["wcv"] == pytest.approx(within_cv(volumes["outline", "sum_of_areas", "volume_mm3"]))
    assert (tmp_path / "tables" / "table_repeatability.md").read_text().count("| outlines |") == 2
    drawn, caption = figure_first_slice(results)
    assert len(drawn.axes) == 2 * 2  # references, nodules with pictures of all methods
    assert drawn.axes[0].get_title(loc="left").startswith("n0\n")
    assert "first observed slice" in caption


def test_first_slices_of_other_parameters_are_left_out_and_told(studied, tmp_path):
    make_study(studied / "in", tmp_path, ["linear"], offsets="all", stride=2).run()
    assert list(first_slices(StudyResults(tmp_path))) == [0, 1]
    make_study(studied / "in", tmp_path, METHODS, stride=2).run()
    results = StudyResults(tmp_path)
    assert list(first_slices(results)) == [0]
    assert "offsets/1 is unfinished, of other parameters or of other nodules: it is left out" in results.problems
    assert repeat_tables(results) == []
    assert figure_first_slice(results) is None


def test_first_slices_of_nodules_that_were_changed_since_are_left_out(studied, tmp_path):
    shutil.copytree(studied / "in", tmp_path / "in")
    make_study(tmp_path / "in", tmp_path / "out", ["linear"], offsets="all", stride=2).run()
    hu, mask = small_nodule(seed=0)
    write_nodule(tmp_path / "in", "n0", hu, mask * (np.arange(mask.shape[2]) != 6))
    make_study(tmp_path / "in", tmp_path / "out", ["linear"], stride=2).run()
    assert list(first_slices(StudyResults(tmp_path / "out"))) == [0]


def test_reconstructions_on_disk_have_one_first_slice(studied, tmp_path):
    study = make_evaluation(studied / "in", studied / "out", tmp_path, offsets="all")
    with pytest.raises(InputError, match="--offsets all wants methods that are run"):
        study.run()
