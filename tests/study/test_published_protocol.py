"""The overlay of the published protocol: it merges onto the study, runs, and stops by withheld voxels."""

import csv
import json
import math

import numpy as np
import pytest
from helpers.nodules import ROOT
from monai.bundle import ConfigParser

from bundle.engines import FitOptions
from bundle.errors import InputError
from bundle.inferers import ImplicitInferer, ObservedSlices
from bundle.networks import Siren
from bundle.report.tidy import read_rows

CONFIGS = [str(ROOT / "configs" / name) for name in ("study.json", "published_protocol.json")]


def published(**overrides) -> ConfigParser:
    parser = ConfigParser()
    parser.read_config(CONFIGS)
    parser.update({"bundle_root": str(ROOT), "workers": 1, "report": False, "device": "cpu", **overrides})
    return parser


def test_each_difference_reaches_its_part():
    parser = published()
    assert parser.get_parsed_content("decimate").axis == 1
    evaluator = parser.get_parsed_content("metrics")
    assert (evaluator.intensity_range, list(evaluator.image_slices)) == ("truth", [2, 5])
    assert evaluator.radiometric["ssim"].layout == "folded"
    assert evaluator.mask_stack
    assert evaluator.truth_beyond
    assert evaluator.spacing_convention == "thickness_on_rows"
    assert parser.get_parsed_content("texture").slices == ("all",)
    assert not parser.get_parsed_content("texture").clip_truth
    crop = parser.get_parsed_content("crop")
    assert crop.label_key == "label"
    siren = parser.get_parsed_content("inferers")["siren"]()
    assert (siren.stop_patience, siren.keep_observed) == (200, False)
    assert sum(layer.__class__.__name__ == "SineLayer" for layer in siren.network().layers) == 3
    assert parser.get_parsed_content("study").reveal_unobserved


def test_the_default_reveals_nothing():
    study = json.loads((ROOT / "configs" / "study.json").read_text())
    assert study["reveal_unobserved"] is False
    assert study["stop_patience"] is None


def test_a_study_runs_and_stops_early(nodule_folder, tmp_path):
    parser = published(
        datalist=str(nodule_folder(1)), output_dir=str(tmp_path), epochs=12, stop_patience=1,
        methods=["cubic", "morphological", "siren"],
    )  # fmt: skip
    parser.get_parsed_content("study").run()
    rows = read_rows(tmp_path / "metrics.csv")
    assert {r["method"] for r in rows} == {"cubic", "morphological", "siren"}
    assert all(math.isfinite(r["value"]) for r in rows if r["metric"] == "mae")
    assert json.loads((tmp_path / "study.json").read_text())["reveal_unobserved"] is True
    with (tmp_path / "nodules" / "n0" / "siren" / "history.csv").open() as file:
        history = list(csv.DictReader(file))
    errors = [float(row["withheld"]) for row in history]
    # one epoch without a smaller error ends the fit
    best = int(np.argmin(errors))
    assert len(errors) == 12 or best == len(errors) - 2
    assert all(np.diff(errors[: best + 1]) < 0)


def test_stopping_needs_the_withheld_voxels():
    siren = ImplicitInferer(Siren, FitOptions(epochs=2), device="cpu", stop_patience=1)
    with pytest.raises(InputError, match="needs the unobserved slices"):
        siren.reconstruct(ObservedSlices(np.zeros((8, 8, 2)), None, np.array([0.0, 5.0]), np.arange(6.0)))
    with pytest.raises(InputError, match="needs engine 'auto'"):
        ImplicitInferer(Siren, stop_patience=1, engine="plain")


def test_the_best_epoch_is_what_is_kept():
    """With values that no network can learn from the observed voxels, the first epochs are the best."""
    rng = np.random.default_rng(0)
    image = rng.random((8, 8, 6))
    observed = ObservedSlices(
        image[..., ::5], None, np.array([0.0, 5.0]), np.arange(6.0), withheld=np.full_like(image, 5.0)
    )
    options = FitOptions(epochs=30, learning_rate=1e-2, warmup=0, precision="fp32")
    siren = ImplicitInferer(Siren, options, device="cpu", stop_patience=3, keep_observed=False)
    made = siren.reconstruct(observed)
    errors = made.history["withheld"]
    assert len(errors) < 30
    network = Siren()
    network.load_state_dict(made.state)
    from bundle.engines import coordinate_grid, predict, unit_axis

    hidden = coordinate_grid((8, 8), unit_axis(np.arange(1.0, 5.0), 0, 5))
    error = float(((predict(network, hidden) - 5.0) ** 2).mean())
    assert error == pytest.approx(min(errors), rel=1e-3)
