"""The comparison of sizes: its figures, from volumes that are known."""

import json

import compare_sizes
import numpy as np
import pytest
from helpers.nodules import ROOT

from bundle.data.lidc.annotations import lidc_clusters
from bundle.report.statistics.repeatability import RC


def test_figures_of_known_volumes():
    true = np.array([100.0, 200.0])
    areas = np.array([[90.0, 110, 100, 100, 100], [200, 200, 200, np.nan, 300]])
    told = np.full((2, 5), 0.13)
    found = compare_sizes.figures(true, areas, told, areas)
    cvs = [np.std(row[np.isfinite(row)], ddof=1) / np.nanmean(row) for row in areas]
    assert found["rc"] == pytest.approx(RC * np.sqrt(np.mean(np.square(cvs))))
    assert found["bias"] == pytest.approx(np.nanmean(areas / true[:, None]) - 1)
    assert found["missed"] == 0.1
    assert found["grown"] == pytest.approx(3 / 32)  # 200 to 300
    assert found["flips"] == pytest.approx(1 / 9)  # 300 is of the next class
    # of 20 and 12 ordered pairs those from 200 to 300 and back are farther off than 26 %
    assert found["held"] == pytest.approx(26 / 32)
    nothing = compare_sizes.figures(true, areas, np.full((2, 5), np.nan), areas)
    assert np.isnan([nothing["told"], nothing["held"]]).all()


def test_a_nodule_from_end_to_end(monkeypatch, capsys):
    nodules = json.loads((ROOT / "configs" / "cohort.json").read_text())["nodules"]
    clusters = lidc_clusters(series_uids=frozenset(n["series_uid"] for n in nodules[:2]))
    monkeypatch.setattr(compare_sizes, "development_clusters", lambda: clusters)
    monkeypatch.setattr(compare_sizes, "LEAST_GAP", 0.0)
    assert compare_sizes.main(["--limit", "1", "--methods", "sphere_distance", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["method"] for row in rows] == ["sum_of_areas", "sphere_distance"]
    assert {row["n"] for row in rows} == {1}
