"""The registry of methods: what configs make of it, what an overlay may add, and that documents list what it lists."""

import json
import re

import numpy as np
import pytest
from helpers.nodules import ROOT
from monai.bundle import ConfigParser

from bundle.errors import InputError
from bundle.inferers import METHODS, LinearInferer, NearestInferer, SliceInferer, method_factories
from bundle.inferers.registry import Method, default_methods, label
from bundle.report.figures.style import looks

OURS = {"_target_": "helpers.unsure.UnsureInferer", "_mode_": "callable"}


def parts(config, key, tmp_path, overlay):
    """An entry of a config with an overlay, as ``--config_file "[...]"`` reads both."""
    (tmp_path / "overlay.json").write_text(json.dumps(overlay))
    parser = ConfigParser()
    parser.read_config([str(ROOT / "configs" / config), str(tmp_path / "overlay.json")])
    parser.update({"bundle_root": str(ROOT), "device": "cpu"})
    return parser.get_parsed_content(key)


@pytest.mark.parametrize("config", ["study.json", "inference.json"])
def test_configs_offer_every_method_and_what_an_overlay_adds(config, tmp_path):
    overlay = {"inferers#ours": OURS, "inferers#linear": {"_target_": "bundle.inferers.NearestInferer"}}
    overlay["inferers#gate"] = {"densities": [0], "weights": [[1, 0, 0, 0]]}
    made = parts(config, "inferers", tmp_path, overlay)
    assert list(made) == [*METHODS, "ours"]
    for name, factory in made.items():
        method = factory()
        assert isinstance(method, SliceInferer)
        assert name not in METHODS or method.kind == METHODS[name].make.kind
    assert type(made["ours"]()).__name__ == "UnsureInferer"
    assert isinstance(made["linear"](), NearestInferer)
    assert made["gate"]().weights.tolist() == [[1, 0, 0, 0]]


def test_the_study_hands_its_options_to_the_methods(tmp_path):
    overlay = {"siren_mm_epochs": 3, "epochs": 7, "keep_observed": False, "network": {"dropout": 0.1}}
    made = parts(
        "study.json", "inferers", tmp_path, {"+network" if k == "network" else k: v for k, v in overlay.items()}
    )
    assert made["siren_mm"]().options.epochs == 3
    siren = made["siren"]()
    assert (siren.options.epochs, siren.keep_observed, siren.device) == (7, False, "cpu")
    prior, with_prior = made["prior"](), made["siren_prior"]()
    for name, weights in prior.network.state_dict().items():
        np.testing.assert_array_equal(weights, with_prior.prior.network.state_dict()[name])


def test_another_prior_guides_the_method_that_needs_one():
    assert isinstance(method_factories(prior=LinearInferer())["siren_prior"]().prior, LinearInferer)


def test_without_options_the_prior_has_its_weights():
    made, bare = method_factories()["prior"](), METHODS["prior"].make()
    values = np.random.default_rng(0).random((16, 16, 4))
    assert not np.allclose(made(values), bare(values))


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"siren_nm": {"epochs": 2}}, "did you mean 'siren_mm'"),
        ({"siren_mm": {"epochs": 2}}, "takes no epochs"),
        ({"siren_mm": {"ensemble": {"epoch": 2}}}, "epoch is no option of a fit"),
        ({"siren": {"options": {"epoch": 2}}}, "epoch is no option of a fit"),
        ({"ours": "my.Inferer"}, "expected the _target_"),
        ({"linear": None}, "expected the _target_"),
    ],
)
def test_a_mistake_is_told_in_a_sentence(given, words):
    with pytest.raises(InputError, match=words):
        method_factories(**given)


def test_what_waits_to_be_asked_for_is_not_in_the_default_study(monkeypatch):
    waiting = ["hash_grid", "fourier", "prior_sample"]
    assert default_methods([*METHODS, "ours"]) == [name for name in (*METHODS, "ours") if name not in waiting]
    slow = Method("slow", LinearInferer, METHODS["linear"].look, on_request=True)
    monkeypatch.setitem(METHODS, "slow", slow)
    assert "slow" in method_factories()
    assert default_methods(["linear", "slow", "ours"]) == ["linear", "ours"]


def test_methods_are_told_apart_in_figures():
    found = looks([*METHODS, "truth", "mine", "yours"])
    assert len({(look.color, str(look.linestyle), look.marker) for look in found.values()}) == len(found)
    assert len({(str(look.linestyle), look.marker) for look in found.values()}) == len(found)  # in grey
    points = {(method.look.color, method.look.marker) for method in METHODS.values()}
    assert len(points) == len(METHODS)  # where no line joins them
    assert len({label(name) for name in METHODS}) == len(METHODS)


def test_every_method_has_a_section_of_its_own_and_no_other_has():
    sections = (ROOT / "docs" / "methods.md").read_text(encoding="utf-8").split("\n## ")[1:]
    named = [name for section in sections for name in re.findall(r"`(\w+)`", section.splitlines()[0])]
    assert sorted(named) == sorted(METHODS)


@pytest.mark.parametrize("document", ["docs/options.md", "docs/monai_label.md"])
def test_options_point_to_the_methods_instead_of_listing_them(document):
    text = (ROOT / document).read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if re.match(r"\| `(--methods?|method)` \|", line)]
    assert any("methods.md)" in line for line in lines)
