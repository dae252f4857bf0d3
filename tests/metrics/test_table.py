"""The table of metrics: complete, and right about each metric's behaviour."""

import numpy as np
import pytest
import torch
from conftest import ROOT
from monai.bundle import ConfigParser

import bundle.metrics
from bundle.errors import InputError
from bundle.metrics import METRICS, MaskMetric, VolumeMetric, build_metrics, metric_of, metrics_of
from bundle.metrics.uncertainty import ErrorMapMetric


def _value(metric, prediction, truth):
    """Of the metric's class, on volumes of normalised intensity; masks are what is above 0.5."""
    pair = [torch.from_numpy(v)[None, None] for v in (prediction, truth)]
    if issubclass(metric.measure, MaskMetric):
        return metric.measure()(*((v > 0.5).float() for v in pair), (1.0, 1.0, 1.0)).item()
    return metric.measure()(*pair, torch.ones_like(pair[0])).item()


def test_every_metric_class_has_a_line():
    public = [value for value in vars(bundle.metrics).values() if isinstance(value, type)]
    concrete = {c for c in public if issubclass(c, VolumeMetric) and not c.__abstractmethods__}
    assert concrete == {metric.measure for metric in METRICS}
    assert len({metric.name for metric in METRICS}) == len(METRICS)


def test_the_study_measures_what_the_table_has():
    parser = ConfigParser()
    parser.read_config(ROOT / "configs" / "study.json")
    metrics, texture, uncertainty = (parser.get_parsed_content(key) for key in ("metrics", "texture", "uncertainty"))
    measured = {
        "radiometric": metrics.radiometric,
        "geometric": metrics.geometric,
        "texture": texture.metrics,
        "interval": uncertainty.interval_metrics,
        "error": uncertainty.error_metrics,
    }
    for family, made in measured.items():
        assert {name: type(m) for name, m in made.items()} == {m.name: m.measure for m in metrics_of(family)}


@pytest.mark.parametrize("metric", [m for m in METRICS if m.better], ids=lambda m: m.name)
def test_better_is_what_a_smaller_error_gives(metric):
    rng = np.random.default_rng(0)
    truth = np.pad(rng.random((8, 8, 4)) * 0.4 + 0.6, ((4, 4), (4, 4), (2, 2)))
    noise = rng.normal(0, 1, truth.shape)
    near, far = (_value(metric, np.clip(truth + size * noise, 0, 1), truth) for size in (0.12, 0.4))
    assert (near > far) if metric.better == "higher" else (near < far)


@pytest.mark.parametrize("metric", METRICS, ids=lambda m: m.name)
def test_an_undefined_value_has_a_reason_that_is_true(metric):
    nothing = torch.zeros(1, 1, 4, 4, 4)
    if issubclass(metric.measure, MaskMetric):
        value = metric.measure()(nothing, nothing)  # both masks are empty
    elif issubclass(metric.measure, ErrorMapMetric):
        value = metric.measure()(nothing, nothing, nothing, nothing)  # no voxel is there
    else:
        value = metric.measure()(nothing, nothing, nothing)
    assert value.isnan().all()
    assert metric.undefined


def test_headings():
    assert metric_of("hd_mm").heading() == "HD, mm"
    assert metric_of("ssim").heading("tumour") == "SSIM tumour"
    assert metric_of("width_hu_90").heading() == "width of 90 %, HU"
    assert metric_of("coverage_99.5").label == "within 99.5 % interval"
    assert [metric.name for metric in METRICS if metric.whole_volume] == ["hd_mm"]


def test_metrics_are_made_with_their_options_and_what_is_unknown_is_refused():
    made = build_metrics("radiometric", psnr={"max_value": 2.0})
    assert {name: type(metric) for name, metric in made.items()} == {
        metric.name: metric.measure for metric in metrics_of("radiometric")
    }
    assert made["psnr"].max_value == 2.0
    with pytest.raises(InputError, match='no metrics of family "shapes"'):
        build_metrics("shapes")
    with pytest.raises(InputError, match=r"geometric metrics \['psnr'\] are unknown"):
        build_metrics("geometric", psnr={})


@pytest.mark.parametrize("name", ["mine", "mine_90", "psnr_90", "_", ""])
def test_a_name_that_the_table_lacks_is_shown_as_it_is(name):
    metric = metric_of(name)
    assert (metric.name, metric.heading(), metric.measure, metric.better) == (name, name, None, None)
