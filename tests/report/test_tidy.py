import math
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bundle.errors import InputError
from bundle.report.tidy import COLUMNS, read_rows, summarise, summarise_rows, summary_texts, to_csv


@given(st.lists(st.floats(-1e6, 1e6) | st.just(math.nan), min_size=0))
def test_summary_equals_the_statistics_module(values):
    finite = [v for v in values if math.isfinite(v)]
    summary = summarise(values)
    assert (summary.n, summary.n_failed) == (len(finite), len(values) - len(finite))
    if finite:
        assert summary.mean == pytest.approx(statistics.fmean(finite), rel=1e-9, abs=1e-6)
    else:
        assert math.isnan(summary.mean)
    if len(finite) > 1:
        assert summary.sd == pytest.approx(statistics.stdev(finite), rel=1e-9, abs=1e-6)
    else:
        assert math.isnan(summary.sd)


@given(st.lists(st.floats(allow_nan=True, allow_infinity=True), min_size=1, max_size=20))
def test_csv_keeps_every_digit(tmp_path_factory, values):
    rows = [
        {"nodule_id": f"n{i}", "method": "linear", "slices": "all", "region": "roi"}
        | {"threshold_hu": -400.0 if i % 2 else None, "metric": "dsc", "value": value}
        for i, value in enumerate(values)
    ]
    path = tmp_path_factory.mktemp("tidy") / "metrics.csv"
    path.write_text(to_csv(rows))
    for row, again in zip(rows, read_rows(path), strict=True):
        assert again["threshold_hu"] == row["threshold_hu"]
        assert again["value"] == row["value"] or (math.isnan(again["value"]) and math.isnan(row["value"]))
    assert path.read_text().splitlines()[0] == ",".join(COLUMNS)


def test_summaries_group_by_everything_but_the_nodule():
    base = {"method": "m", "slices": "all", "region": "roi", "threshold_hu": -400, "metric": "dsc"}
    rows = [base | {"nodule_id": n, "value": v} for n, v in (("a", 0.5), ("b", math.nan))]
    rows.append(base | {"nodule_id": "a", "threshold_hu": -300, "value": 0.25})
    summaries = summarise_rows(rows)
    assert summaries["m", "all", "roi", -400, "dsc"].n_failed == 1
    assert summaries["m", "all", "roi", -300, "dsc"].mean == 0.25


def test_summary_text():
    assert summarise([0.5, 0.7]).text(2) == "0.60 ± 0.14"
    assert summarise([0.5]).text(1) == "0.5"
    assert summarise([math.nan]).text(1) == "–"


@given(st.lists(st.floats(-1e6, 1e6) | st.just(math.nan)))
def test_an_infinite_value_is_a_value(values):
    summary = summarise([*values, math.inf])
    assert summary.n == sum(not math.isnan(v) for v in values) + 1
    assert summary.n_failed == sum(math.isnan(v) for v in values)
    assert summary.text(2) == "∞"


def test_cells_of_a_row_say_for_how_many_nodules_they_stand():
    psnr, found, missed = (
        summarise([30.0, 31.0, 32.0]),
        summarise([1.5, 2.5, 2.0]),
        summarise([1.0, math.nan, math.nan]),
    )
    assert summary_texts([psnr, found], (1, 1)) == ["31.0 ± 1.0", "2.0 ± 0.5"]
    assert summary_texts([psnr, missed, None], (1, 1, 1)) == ["31.0 ± 1.0", "1.0, of 1", "–"]
    # a method that failed on a nodule altogether: the row's own n says so
    assert summary_texts([missed, missed], (1, 1)) == ["1.0", "1.0"]
    assert summary_texts([psnr, summarise([math.nan] * 3)], (1, 1)) == ["31.0 ± 1.0", "–"]
    assert summary_texts([], ()) == []


def test_reading_what_is_no_metrics_file(tmp_path):
    with pytest.raises(InputError, match="can't be read"):
        read_rows(tmp_path / "absent.csv")
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    with pytest.raises(InputError, match=r"has columns .* expected nodule_id"):
        read_rows(tmp_path / "other.csv")
