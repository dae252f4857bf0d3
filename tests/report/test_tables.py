"""The tables of a study: means, failures, what data they are of."""

import csv
import math
from dataclasses import dataclass, field

import pytest

from bundle.report.tables.study_tables import main_figures, summary_csv, write_tables
from bundle.report.tidy import read_rows, summarise_rows
from bundle.store import ResultStore


@dataclass
class Outcome:
    rows: dict
    failures: dict = field(default_factory=dict)
    seconds: dict = field(default_factory=dict)
    texture: dict = field(default_factory=dict)
    uncertainty: dict = field(default_factory=dict)
    sizes: dict = field(default_factory=dict)
    radiomics: dict = field(default_factory=dict)
    measured: set = field(default_factory=set)


def row(metric, value, slices="unobserved", region="global", threshold=None):
    return {"slices": slices, "region": region, "threshold_hu": threshold, "metric": metric, "value": value}


def rows_of(method, values, **place):
    return [{"nodule_id": str(i), "method": method, **row("psnr", v, **place)} for i, v in enumerate(values)]


def test_csv_has_every_summary():
    rows = rows_of("linear", [1.0, 2.0])
    rows.append({"nodule_id": "a", "method": "cubic", **row("dsc", 0.5, "all", "roi", -400.0)})
    lines = list(csv.DictReader(summary_csv(summarise_rows(rows), "phantom").splitlines()))
    assert [(x["table"], x["method"], x["mean"], x["n"], x["data"]) for x in lines] == [
        ("1", "linear", "1.5", "2", "phantom"),
        ("3", "cubic", "0.5", "1", "phantom"),
    ]


def test_main_figures_take_a_mask_methods_mask_and_a_image_methods_threshold():
    rows = [
        {"nodule_id": "a", "method": "cubic", **row("dsc", 0.25, "unobserved", "roi", -400.0)},
        {"nodule_id": "a", "method": "cubic", **row("hd_mm", 1.5, "all", "roi", -400.0)},
        {"nodule_id": "a", "method": "morphological", **row("dsc", 0.75, "unobserved", "roi")},
        {"nodule_id": "a", "method": "morphological", **row("hd_mm", 2.5, "all", "roi")},
    ]
    lines = main_figures(summarise_rows(rows), ["cubic", "morphological"], "phantom").splitlines()
    assert "phantom" in lines[0]
    assert lines[2].split()[:1] + lines[2].split()[4:6] == ["cubic", "0.250", "1.50"]
    assert lines[3].split()[:1] + lines[3].split()[4:6] == ["morphological", "0.750", "2.50"]


def test_files_keep_the_order_of_nodules_and_methods(tmp_path):
    outcomes = [
        (nodule, Outcome({"linear": [row("psnr", first)], "cubic": [row("psnr", second)]}, failures, {"linear": 0.5}))
        for nodule, first, second, failures in (("b", 20.0, math.nan, {"cubic": "no"}), ("a", 22.0, 24.0, {}))
    ]
    printed = write_tables(ResultStore(tmp_path), outcomes, ["linear", "cubic"], "lidc")
    rows = read_rows(tmp_path / "metrics.csv")
    assert [r["nodule_id"] + r["method"] for r in rows] == ["blinear", "bcubic", "alinear", "acubic"]
    assert rows[0]["value"] == 20.0
    assert math.isnan(rows[1]["value"])
    assert (tmp_path / "failures.csv").read_text() == "nodule_id,method,reason\nb,cubic,no\n"
    assert (tmp_path / "timings.csv").read_text().splitlines()[1] == "b,linear,0.5"
    assert "24.00" in printed


@pytest.mark.parametrize("kind", ["phantom", "lidc"])
def test_no_rows_at_all_is_no_crash(kind):
    assert main_figures({}, ["linear"], kind).splitlines()[-1].split() == ["linear", *["–"] * 5, "0", "0"]
