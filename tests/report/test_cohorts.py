"""Cohorts side by side: Welch's test against scipy's permutations and its formula, and a page of two studies."""

import csv
import json
import math
import re

import numpy as np
import pytest
from helpers.report_folder import write_study
from scipy import stats

from bundle.errors import InputError
from bundle.report.__main__ import main
from bundle.report.cohorts import CohortResults
from bundle.report.figures import style
from bundle.report.figures.cohorts import figure_cohorts
from bundle.report.page.cohort_page import answers
from bundle.report.side_by_side import build_cohort_report
from bundle.report.statistics.cohorts import compare_cohorts, welch
from bundle.report.statistics.tests import holm
from bundle.report.tables.cohort_tables import cohort_tables
from bundle.report.tidy import to_csv

METHODS = ("linear", "cubic", "siren")


def write_cohort(root, seed, shift=0.0, patients=8, methods=METHODS, kind="lidc"):
    """Two nodules a patient; siren gains 1 dB and ``shift``, linear nothing, each with a spread over patients."""
    folder = write_study(root, 2, methods, kind=kind)
    rng, rows = np.random.default_rng(seed), []
    for k in range(patients):
        own = {"linear": rng.normal(0, 0.2), "cubic": 0.0, "siren": 1 + shift + rng.normal(0, 0.3)}
        for i in range(2):
            base = 20 + rng.normal()
            for m in methods:
                for region in ("global", "tumour"):
                    row = {"nodule_id": f"{root.name}{k}_{i}", "method": m, "slices": "interpolated", "region": region}
                    rows.append(row | {"threshold_hu": None, "metric": "psnr", "value": base + own.get(m, 0.0)})
    (folder / "metrics.csv").write_text(to_csv(rows))
    names = list(dict.fromkeys(row["nodule_id"] for row in rows))
    for n, name in enumerate(names):
        (folder / "nodules" / name / "truth").mkdir(parents=True)
        facts = {"spacing": [0.7, 0.7, 1.0], "shape": [9, 9, 13], "axis": 2, "observed": [0, 5, 10]}
        facts |= {"scanner": {"manufacturer": "GE" if n % 4 else "SIEMENS", "kernel": "B30f"}}
        (folder / "nodules" / name / "truth" / "result.json").write_text(json.dumps(facts))
    return folder


def test_welch_equals_its_formula_and_agrees_with_permutations():
    rng = np.random.default_rng(3)
    first, second = rng.normal(0, 1, 14), rng.normal(0.9, 2, 11)
    difference, low, high, p_value, reason = welch(first, second)
    parts = [v.var(ddof=1) / len(v) for v in (first, second)]
    error = math.sqrt(sum(parts))
    freedom = sum(parts) ** 2 / (parts[0] ** 2 / 13 + parts[1] ** 2 / 10)
    assert difference == pytest.approx(second.mean() - first.mean())
    assert p_value == pytest.approx(2 * stats.t.sf(abs(difference) / error, freedom))
    reach = stats.t.ppf(0.975, freedom) * error
    assert (low, high, reason) == (pytest.approx(difference - reach), pytest.approx(difference + reach), "")

    def t(a, b):
        return stats.ttest_ind(a, b, equal_var=False).statistic

    drawn = stats.permutation_test((second, first), t, n_resamples=2000, vectorized=False, random_state=rng)
    assert drawn.pvalue == pytest.approx(p_value, abs=0.06)


@pytest.mark.parametrize(
    ("first", "second", "words"),
    [
        ([], [1.0, 2.0], "no value"),
        ([1.0], [1.0, 2.0], "one patient only"),
        ([1.0, 1.0], [2.0, 2.0], "needs a spread"),
    ],
)
def test_no_test_has_a_reason(first, second, words):
    *_, p_value, reason = welch(np.array(first), np.array(second))
    assert math.isnan(p_value)
    assert words in reason


def test_p_values_are_corrected_over_methods_and_cohorts():
    rng = np.random.default_rng(0)
    gains = {name: {m: rng.normal(k, 1, 9) for m in ("x", "y")} for k, name in enumerate("abc")}
    found = compare_cohorts(gains, ["x", "y"])
    assert [(d.cohort, d.method) for d in found] == [("b", "x"), ("b", "y"), ("c", "x"), ("c", "y")]
    plain = [stats.ttest_ind(gains[d.cohort][d.method], gains["a"][d.method], equal_var=False).pvalue for d in found]
    assert [d.p_holm for d in found] == pytest.approx(holm(plain))


def test_two_studies_in_one_report(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(style, "PRINT_DPI", 150)
    folders = [write_cohort(tmp_path / "paper", 0), write_cohort(tmp_path / "mine", 1, shift=1.0)]
    main([*map(str, folders), "--to", str(tmp_path / "both")])
    assert capsys.readouterr().out.strip() == str(tmp_path / "both" / "report.html")
    with (tmp_path / "both" / "tables" / "cohorts.csv").open(newline="") as file:
        rows = {(r["region"], r["method"]): r for r in csv.DictReader(file)}
    with (tmp_path / "both" / "cohorts.csv").open(newline="") as file:
        nodules = [r for r in csv.DictReader(file) if (r["method"], r["region"]) == ("siren", "global")]
    means = {
        cohort: [
            np.mean([float(r["gain"]) for r in nodules if r["patient"] == f"{cohort}{k}"]) for k in range(8)
        ]
        for cohort in ("paper", "mine")
    }  # fmt: skip
    found = rows["global", "siren"]
    assert float(found["difference"]) == pytest.approx(np.mean(means["mine"]) - np.mean(means["paper"]))
    assert float(found["p"]) == pytest.approx(stats.ttest_ind(means["mine"], means["paper"], equal_var=False).pvalue)
    assert (found["patients"], found["first_patients"], len(nodules)) == ("8", "8", 32)
    page = (tmp_path / "both" / "report.html").read_text(encoding="utf-8")
    assert not re.search(r"(src|href)=\"(?!data:|#)", page)
    assert "Gains differ in the field of view, mine against paper: SIREN by +" in page
    assert "GE 12, SIEMENS 4" in page
    assert "To be kept in mind" not in page


def test_what_makes_the_cohorts_no_fair_pair_is_told(tmp_path):
    first, second = write_cohort(tmp_path / "a", 0), write_cohort(tmp_path / "b", 0, kind="phantom")
    study = json.loads((second / "study.json").read_text())
    study["decimate"]["stride"], study["methods"]["siren"]["beyond"] = 3, "other"
    (second / "study.json").write_text(json.dumps(study))
    text = (second / "metrics.csv").read_text()
    (second / "metrics.csv").write_text(text.replace("b0_", "a0_"))
    (second / "nodules" / "b0_0").rename(second / "nodules" / "a0_0")
    (second / "nodules" / "b0_1").rename(second / "nodules" / "a0_1")
    told = " ".join(CohortResults([first, second]).problems)
    assert "different kinds of data" in told
    assert "b was made with another decimation, parameters of siren than a" in told
    assert "1 patients by their ids are in a and in b (a0)" in told
    found = CohortResults([first, write_cohort(tmp_path / "c", 2, methods=("cubic", "siren"))])
    assert found.problems == ["not in all studies, and left out: linear"]
    assert found.methods == ["siren"]
    assert next(iter(answers(found))).startswith("No gain differs in the field of view, c against a, of 1 methods")


def test_three_cohorts_are_each_compared_with_the_first(tmp_path):
    found = CohortResults([write_cohort(tmp_path / name, k) for k, name in enumerate("abc")])
    assert [row[2] for row in cohort_tables(found)[1].rows] == ["b", "b", "c", "c"] * 2
    drawn, _, far = figure_cohorts(found)
    assert far == []
    assert {line.get_label() for line in drawn.axes[0].get_lines()} >= {f"{name} (8 patients)" for name in "abc"}


def test_what_can_not_be_laid_side_by_side_is_refused_in_a_sentence(tmp_path):
    a = write_cohort(tmp_path / "a", 0)
    alone = write_cohort(tmp_path / "alone", 0, methods=("cubic",))
    (tmp_path / "sweep").mkdir()
    (tmp_path / "sweep" / "sweep.json").write_text("{}")
    for roots, to, words in (
        ([a, a], tmp_path / "to", "expected the output folders of two different studies"),
        ([a, tmp_path / "sweep"], tmp_path / "to", "is a sweep: give the folder of one of its settings"),
        ([a, alone], tmp_path / "to", "no method of brightness in common beside cubic"),
        ([a, tmp_path / "none"], tmp_path / "to", f"{tmp_path / 'none'} has no metrics.csv: expected"),
        ([a, alone], None, "name it by --to FOLDER"),
        ([a, alone], alone, "holds a study of its own"),
    ):
        with pytest.raises(InputError, match=re.escape(words)):
            build_cohort_report(roots, to)
    with pytest.raises(SystemExit, match="--to x is for several studies"):
        main([str(a), "--to", "x"])
