"""The report's reading of an output folder, and what it does about bad input: it says so and goes on."""

import json
import runpy
import shutil
import sys

import numpy as np
import pytest
from helpers.configs import make_study
from helpers.page import Words
from helpers.report_folder import SHAPE_XYZ, save, write_study

from bundle.errors import InputError
from bundle.inferers import PriorInferer
from bundle.networks import SliceSynthesisNet
from bundle.report.build import build_report
from bundle.report.figures import draw as figures
from bundle.report.figures import style
from bundle.report.page.page import _flat
from bundle.report.results import StudyResults
from bundle.store import describe


@pytest.fixture
def _coarse(monkeypatch):
    """Figures of few pixels: quick to draw."""
    monkeypatch.setattr(style, "PRINT_DPI", 40)
    monkeypatch.setattr(style, "SCREEN_DPI", 40)


@pytest.fixture
def _unsaved(monkeypatch):
    """Figures that are made, but not laid out and saved."""
    monkeypatch.setattr(figures, "save", lambda *_: "data:,")


def test_everything_is_read(tmp_path):
    results = StudyResults(write_study(tmp_path, count=2, failed=[("n1", "siren")]))
    assert results.problems == []
    assert results.kind_words == "phantom data, not CT"
    assert results.methods == ("linear", "cubic", "siren", "morphological")
    assert (results.image_methods, results.mask_methods) == (("linear", "cubic", "siren"), ("morphological",))
    assert results.main_threshold == -400
    assert results.facts["n0"].gap_mm == 5
    assert results.facts["n0"].unobserved == (1, 2, 3, 4, 6, 7, 8, 9, 11, 12)
    assert results.image_hu("n0", "siren").shape == SHAPE_XYZ
    assert results.mask("n0", "morphological", -400).sum() == results.truth_mask("n0").sum()
    assert results.image_hu("n1", "siren") is None
    assert list(results.history("n0", "siren")) == ["epoch", "loss", "lr"]
    assert results.history("n0", "cubic") == {}
    assert results.values("cubic", "unobserved", "global", None, "mae") == {"n0": 0.2, "n1": 0.4}
    assert results.problems == []


def test_what_an_earlier_run_left_of_a_failed_method_is_not_shown(tmp_path):
    root = write_study(tmp_path, count=1)
    (root / "failures.csv").write_text("nodule_id,method,reason\nn0,cubic,no\n")
    results = StudyResults(root)
    assert results.image_hu("n0", "cubic") is None
    assert results.mask("n0", "cubic", -400) is None
    assert results.notes("n0", "cubic") == []


def test_no_metrics_is_one_clear_sentence(tmp_path):
    with pytest.raises(InputError, match=f"{tmp_path} has no metrics.csv: expected the output folder of a study"):
        build_report(tmp_path)
    (tmp_path / "metrics.csv").write_text("nodule_id,method,slices,region,threshold_hu,metric,value\n")
    with pytest.raises(InputError, match="has no rows"):
        build_report(tmp_path)
    (tmp_path / "metrics.csv").write_text("a,b\n1,2\n")
    with pytest.raises(InputError, match="has columns"):
        build_report(tmp_path)


@pytest.mark.parametrize("name", ["study.json", "failures.csv", "timings.csv", "texture.csv"])
def test_a_missing_file_is_named(tmp_path, name):
    root = write_study(tmp_path, count=1)
    (root / name).unlink()
    assert [p for p in StudyResults(root).problems if name in p]


def test_broken_volumes_are_named_and_left_out(tmp_path):
    root = write_study(tmp_path, count=2)
    nodule = root / "nodules" / "n0"
    path = nodule / "cubic" / "image.nii.gz"
    path.write_bytes(path.read_bytes()[:200])
    (nodule / "linear" / "image.nii.gz").unlink()
    save(nodule / "siren" / "image.nii.gz", np.zeros((4, 4, 4), np.int16))
    (nodule / "siren" / "history.csv").write_text("epoch,loss\n1,what\n")
    (root / "nodules" / "n1" / "truth" / "result.json").write_text("{")
    results = StudyResults(root)
    assert [results.image_hu("n0", m) for m in ("cubic", "linear", "siren")] == [None] * 3
    assert results.history("n0", "siren") == {}
    assert results.truth_hu("n1") is None
    text = "\n".join(results.problems)
    for part in ("n0/cubic/image", "n0/linear/image", "n0/siren/image.nii.gz has shape (4, 4, 4)"):
        assert part in text
    assert "n0/siren/history.csv can't be read" in text
    assert "n1/truth/result.json is absent or can't be read" in text


def ruin(root, what):
    """Spoil an output folder in one way; gives the words that the report must have."""
    if what == "a method that failed throughout":
        shutil.rmtree(root)
        write_study(root, count=2, failed=[("n0", "siren"), ("n1", "siren")])
        return "1 observed slice | too few"
    if what == "every method failed":
        shutil.rmtree(root)
        write_study(root, count=1, failed=[("n0", m) for m in ("linear", "cubic", "siren", "morphological")])
        return "there is nothing to show"
    if what == "one nodule":
        shutil.rmtree(root)
        write_study(root, count=1)
        return "One nodule only: there is no sd, and no paired test"
    if what == "no volumes":
        shutil.rmtree(root / "nodules")
        return "this nodule has no pictures"
    if what == "metrics alone":
        for path in root.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.name == "metrics.csv" or path.unlink()
        return "study.json is absent"
    if what == "an undefined value":
        text = (root / "metrics.csv").read_text().splitlines()
        line = next(i for i, row in enumerate(text) if row.startswith("n1,cubic,all,roi,-400,hd_mm"))
        text[line] = text[line].rpartition(",")[0] + ",nan"
        (root / "metrics.csv").write_text("\n".join(text) + "\n")
        return "hd_mm of roi at -400 HU on the all slices is undefined"
    if what == "a region of few voxels":
        mask = np.zeros(SHAPE_XYZ, np.uint8)
        mask[9, 9, 6] = 1
        save(root / "nodules" / "n0" / "truth" / "mask.nii.gz", mask)
        return "only 1 voxels in the masked region"
    if what == "an empty mask":
        save(root / "nodules" / "n0" / "truth" / "mask.nii.gz", np.zeros(SHAPE_XYZ, np.uint8))
        return "only 0 voxels in the masked region"
    if what == "equal values":
        text = (root / "metrics.csv").read_text().splitlines()
        (root / "metrics.csv").write_text(
            "\n".join([text[0], *(r.rpartition(",")[0] + ",0.5" for r in text[1:])]) + "\n"
        )
        return "the methods are equal on all 2 nodules"
    raise AssertionError(what)


@pytest.mark.usefixtures("_unsaved")
@pytest.mark.parametrize(
    "what",
    [
        "a method that failed throughout",
        "every method failed",
        "one nodule",
        "no volumes",
        "metrics alone",
        "an undefined value",
        "a region of few voxels",
        "an empty mask",
        "equal values",
    ],
)
def test_bad_input_is_told_in_the_report(tmp_path, what):
    root = write_study(tmp_path / "out", count=2)
    words = ruin(root, what)
    shown = Words(build_report(root).read_text()).words
    assert words in " ".join(shown)
    assert not {"nan", "None", "inf"}.intersection(shown)


@pytest.mark.usefixtures("_coarse")
def test_the_report_of_a_real_run_is_complete(nodule_folder, tmp_path):
    out = tmp_path / "out"
    make_study(nodule_folder(2), out, ["linear", "cubic", "pchip", "morphological", "siren"], epochs=2).run()
    assert build_report(out) == out / "report.html"
    assert StudyResults(out).problems == []
    names = {path.name for path in (out / "figures").iterdir()}
    stems = {"figure2_errors", "figure3_texture", "figure4_thresholds", "figure5_masks", "figure_along_gap"}
    stems |= {"figure_learning", "figure_paired", "figure_volumes", "figure_categories"}
    assert names == {f"{stem}.{ending}" for stem in stems for ending in ("png", "pdf")}
    assert {f"table{i}.{ending}" for i in (1, 2, 3) for ending in ("md", "csv", "tex")} <= {
        path.name for path in (out / "tables").iterdir()
    }
    assert "not complete" not in (out / "report.html").read_text()


@pytest.mark.usefixtures("_coarse")
def test_the_same_results_give_the_same_files(tmp_path, monkeypatch):
    few = ("figure_along_gap", "figure4_thresholds")
    monkeypatch.setattr(figures, "FIGURES", {name: figures.FIGURES[name] for name in few})
    root = write_study(tmp_path, count=2)
    first = {}
    for _ in range(2):
        build_report(root)
        kept = [root / "statistics.csv", root / "report.html", *sorted((root / "tables").iterdir())]
        kept += sorted((root / "figures").iterdir())
        content = {path.name: path.read_bytes() for path in kept}
        assert first in ({}, content)
        first = content


def test_the_command_tells_a_mistake_in_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["bundle.report", str(tmp_path / "nothing")])
    with pytest.raises(SystemExit) as stop:
        runpy.run_module("bundle.report", run_name="__main__")
    assert str(stop.value.code).startswith("error: ")  # told on stderr, with a status of 1
    assert "\n" not in str(stop.value.code)


def test_a_network_is_named_and_not_spelt_out():
    part = describe(PriorInferer(SliceSynthesisNet(features=(8, 8))))
    shown = dict(_flat(part))
    assert shown["network"] == "SliceSynthesisNet"
    assert len(shown["network.state"]) == 64
    assert not [value for value in shown.values() if "Conv2d" in value]


def test_protocol_words_name_axis_and_stride(tmp_path):
    root = write_study(tmp_path, count=1)
    study = json.loads((root / "study.json").read_text())
    study["decimate"] |= {"axis": 1, "stride": 4}
    (root / "study.json").write_text(json.dumps(study))
    assert StudyResults(root).protocol_words == "1 slice in 4 along y observed"
