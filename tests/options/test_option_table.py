"""The table of options against the configs that have them, and the page that describes them."""

import json
import re
import warnings

import pytest
from helpers.nodules import ROOT
from monai.bundle import ConfigParser

from bundle.errors import mistake_behind
from bundle.options.check import PARTS, READ_BY_MONAI, check_names, is_run
from bundle.options.table import OPTIONS, options_table

WORKFLOWS = ("study", "inference", "train", "fit_nodule")
OVERLAYS = ("evaluate", "calibrate", "published_protocol", "multi_gpu_study", "slurm", "sweep")
OWN_CHECK = ("evaluate", "calibrate", "sweep")  # whose check comes before all else
NAMES = WORKFLOWS + OVERLAYS
CONFIGS = {name: json.loads((ROOT / "configs" / f"{name}.json").read_text(encoding="utf-8")) for name in NAMES}


def test_every_workflow_is_here():
    others = {"metadata", "cohort", "uncertainty"}
    assert {path.stem for path in (ROOT / "configs").glob("*.json")} == {*NAMES, *others}


@pytest.mark.parametrize("name", NAMES)
def test_every_plain_value_of_a_config_is_an_option(name):
    plain = {key for key, value in CONFIGS[name].items() if not isinstance(value, dict) and not is_run(value)}
    merged = {key for key in plain if key.startswith("+") or "#" in key}
    assert plain - merged - READ_BY_MONAI - {"checked", "scans", "handlers"} - PARTS <= OPTIONS.keys()


def test_every_option_is_in_a_config():
    own = {name for name, option in OPTIONS.items() if not option.of_monai}
    assert {key for config in CONFIGS.values() for key in config} >= own


@pytest.mark.parametrize("names", [[name] for name in WORKFLOWS] + [["study", name] for name in OVERLAYS])
def test_every_option_is_read_and_every_default_is_of_its_kind(names):
    parser = ConfigParser()
    parser.read_config([ROOT / "configs" / f"{name}.json" for name in names])
    parser.update({"bundle_root": str(ROOT), "device": "cpu"})
    own = OPTIONS.keys() & CONFIGS[names[-1]].keys()
    if "ckpt_dir" in own:
        own -= {"dataset_dir", "output_dir"}  # which MONAI wants in a train.json, and its tracking reads
    check_names(parser.get(), own)
    assert parser.get_parsed_content("checked").keys() >= own


@pytest.mark.parametrize("name", OVERLAYS)
def test_an_overlay_alone_says_what_it_changes(name):
    parser = ConfigParser()
    with warnings.catch_warnings(record=True) as told_by_monai:
        parser.read_config(ROOT / "configs" / f"{name}.json")
    assert any("copying instead" in str(one.message) for one in told_by_monai) == (name not in OWN_CHECK)
    with pytest.raises(Exception) as fault:  # noqa: PT011 (MONAI wraps what an expression raises)
        parser.get_parsed_content("initialize")
    told = str(mistake_behind(fault.value))
    assert told == (
        f"configs/{name}.json changes configs/study.json or one like it, and none was given before it: give both, as "
        f"in --config_file \"['configs/study.json','configs/{name}.json']\""
    )


@pytest.mark.parametrize("name", OWN_CHECK)
@pytest.mark.parametrize("base", ["inference", "fit_nodule", "train"])
def test_an_overlay_of_the_study_over_another_config_says_so_first(name, base):
    parser = ConfigParser()
    parser.read_config([ROOT / "configs" / f"{one}.json" for one in (base, name)])
    with pytest.raises(Exception) as fault:  # noqa: PT011 (MONAI wraps what a part raises)
        parser.get_parsed_content("initialize::0")
    assert f"configs/{name}.json changes configs/study.json" in str(mistake_behind(fault.value))


def test_an_overlay_whose_check_comes_first_leaves_nothing_out_that_the_study_initializes():
    for name in OWN_CHECK:
        assert CONFIGS[name]["initialize"][1:] == CONFIGS["study"]["initialize"]


def test_the_page_of_options_has_the_table():
    text = (ROOT / "docs" / "options.md").read_text(encoding="utf-8")
    own = {n: {key: CONFIGS[n][key] for key in CONFIGS[n].keys() - CONFIGS["study"].keys()} for n in OVERLAYS}
    table = options_table({**CONFIGS, **own, "evaluate": CONFIGS["evaluate"]})
    assert table in text, f"put this into docs/options.md:\n{table}"


def test_the_guide_to_dense_volumes_names_options_and_does_not_list_them_again():
    text = (ROOT / "docs" / "dense_volume.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`--(\w+)", text))
    assert named <= OPTIONS.keys() & CONFIGS["inference"].keys()
    assert named >= {"image", "mask", "center", "method", "slice_spacing", "thickness_mm", "dicom_output", "tile"}
    assert "| `--" not in text
