"""Which method is best: none that has a value on fewer nodules than another."""

import math

from bundle.report.results import StudyResults
from bundle.report.tables.main_columns import MAIN_COLUMNS, best_first
from bundle.report.tidy import to_csv

HD = next(column for column in MAIN_COLUMNS if column.metric == "hd_mm")
PSNR = next(column for column in MAIN_COLUMNS if column.metric == "psnr")


def _study(tmp_path, values, column):
    place = {"slices": column.slices, "region": column.region, "threshold_hu": None, "metric": column.metric}
    rows = [
        {"nodule_id": f"n{i}", "method": method, "value": float(value)} | place
        for method, found in values.items()
        for i, value in enumerate(found)
    ]
    (tmp_path / "metrics.csv").write_text(to_csv(rows))
    return StudyResults(tmp_path)


def test_who_finds_one_nodule_of_three_is_not_the_best(tmp_path):
    nan = math.nan
    values = {"half": [0.5, nan, nan], "fair": [1.0, 1.2, 1.1], "poor": [4, 4, 4], "none": [nan] * 3}
    results = _study(tmp_path, values, HD)
    assert best_first(results, values, HD) == ["fair", "poor", "half"]


def test_a_perfect_reconstruction_is_the_best(tmp_path):
    values = {"good": [40, 41], "truth_itself": [math.inf, math.inf], "poor": [20, 20]}
    assert best_first(_study(tmp_path, values, PSNR), values, PSNR) == ["truth_itself", "good", "poor"]
