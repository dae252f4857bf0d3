"""The check of options as users meet it: typed after ``python -m monai.bundle run``, or set in Python."""

import json
import runpy
import sys
from pathlib import Path

import pytest
from helpers.nodules import ROOT
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from monai.bundle import ConfigParser, ConfigWorkflow
from monai.bundle import run as monai_run

from bundle.errors import InputError, mistake_behind

CONFIG = {
    "imports": ["$import json", "$import pathlib", "$from bundle.options import check_options"],
    "checked": "$check_options()",
    "bundle_root": str(ROOT),
    "where": None,
    "output_dir": "$@bundle_root + '/output'",
    "datalist": None,
    "stride": 5,
    "profile_mm": None,
    "keep_observed": "$not @profile_mm",
    "limit": None,
    "seen": ["@output_dir", "@datalist", "@stride", "@keep_observed", "@limit", "@profile_mm"],
    "initialize": ["@checked"],
    "run": ["$pathlib.Path(@where).write_text(json.dumps(@seen))"],
}


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "small.json"
    path.write_text(json.dumps({**CONFIG, "where": str(tmp_path / "seen.json")}))
    return path


def typed(config, *words):
    """What the config saw when the words were typed; a mistake ends it as it would end the program."""
    argv, sys.argv = sys.argv, ["monai.bundle", "run", "--config_file", str(config), *words]
    try:
        runpy.run_module("monai.bundle", run_name="__main__", alter_sys=True)
    finally:
        sys.argv = argv
    seen = json.loads((config.parent / "seen.json").read_text())
    return {name[1:]: value for name, value in zip(CONFIG["seen"], seen, strict=False)}


def refused(config, *words):
    """The sentence that ends the program; the config runs nothing."""
    with pytest.raises(SystemExit) as stop:
        typed(config, *words)
    assert str(stop.value.code).startswith("error: --")
    assert "\n" not in str(stop.value.code)
    assert not (config.parent / "seen.json").exists()
    return stop.value.code


def test_defaults(config):
    assert typed(config) == {
        "output_dir": f"{ROOT}/output", "datalist": None, "stride": 5, "keep_observed": True, "limit": None,
        "profile_mm": None,
    }  # fmt: skip


@pytest.mark.parametrize(
    "path",
    [
        "1", "20260101", "1e3", "True", "a#1", "/x/a#1", "a::b", "@", "@home", "me@mail/My Drive", "[x]", "{a: 1}",
        "(1,2)", "50%", "it's", "a,b", "a=b", "x\n", "a\\b", "-x", "日本",
    ],
)  # fmt: skip
def test_a_path_is_the_text_that_was_typed(config, path):
    assert typed(config, f"--output_dir={path}")["output_dir"] == path


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=12))
def test_any_path_is_taken_as_typed_or_refused(config, text):
    if text.startswith("%"):
        return  # a macro of MONAI's, which it reads before anything of a config runs
    (config.parent / "seen.json").unlink(missing_ok=True)
    if text.startswith("$") or not text.strip() or text.strip().lower() in ("none", "null") or text[0] == "~":
        assert "--output_dir is " in refused(config, f"--output_dir={text}")
        return
    seen = typed(config, f"--output_dir={text}")["output_dir"]
    quoted = len(text) > 2 and text[0] == text[-1] and text[0] in "'\""
    assert Path(seen) == Path(text[1:-1] if quoted and seen != text else text)


@pytest.mark.parametrize("word", ["None", "none", "null"])
def test_none_means_none_or_is_refused(config, word):
    assert typed(config, "--datalist", word, "--limit", word)["datalist"] is None
    (config.parent / "seen.json").unlink()
    assert "--output_dir is None, expected the name of a file or folder" in refused(config, "--output_dir", word)
    assert "--stride is None, expected a whole number" in refused(config, "--stride", word)


def test_home_is_expanded_in_every_path(config, monkeypatch):
    monkeypatch.setenv("HOME", "/somewhere")
    seen = typed(config, "--output_dir", "~/out", "--datalist=~")
    assert (seen["output_dir"], seen["datalist"]) == ("/somewhere/out", "/somewhere")


@pytest.mark.parametrize("word", ["false", "No", "FALSE", "0", "no"])
def test_no_is_no(config, word):
    assert typed(config, "--keep_observed", word)["keep_observed"] is False


def test_an_expression_sees_the_values_that_were_meant(config):
    assert typed(config, "--profile_mm", "None")["keep_observed"] is True
    assert typed(config, "--profile_mm", "2.5")["keep_observed"] is False
    assert typed(config, "--output_dir", "$@bundle_root + '/x'")["output_dir"] == f"{ROOT}/x"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--keep_observed", "maybe"], "--keep_observed is 'maybe', expected true or false"),
        (["--stride", "2.5"], "--stride is 2.5, expected a whole number, 1 or more"),
        (["--limt", "3"], "--limt is no option here, nothing in the config reads it: did you mean 'limit'?"),
        (["--strides", "3"], "did you mean 'stride'?"),
        (["--slice_spacing", "0.7"], "--slice_spacing is no option here"),
        (["--limt", "None"], "--limt is no option here"),
        (["--output_dir", "$nothing"], "can't make out (name 'nothing' is not defined)"),
        (["--stride", "@nothing"], "--stride is '@nothing', which MONAI takes for an expression or a reference"),
        (["--bundle_root", "/nowhere"], "no configs/metadata.json: give the command in the bundle's folder"),
    ],
)
def test_a_mistake_is_one_sentence(config, words, sentence):
    assert sentence in refused(config, *words)


def test_a_mistake_in_the_run_is_one_sentence_too(config):
    overlay = config.with_name("overlay.json")
    overlay.write_text(
        json.dumps({"source": {"_target_": "bundle.data.open_source", "limit": -1}, "seen": ["@source"]})
    )
    with pytest.raises(SystemExit, match="expected a whole number of nodules"):
        typed(config, "--config_file", f"['{config}','{overlay}']")


def test_overlays_may_have_entries_of_their_own(config, tmp_path):
    overlay = tmp_path / "overlay.json"
    overlay.write_text(json.dumps({"sigma": 2, "limit": "$@sigma + 1"}))
    assert typed(config, "--config_file", f"['{config}','{overlay}']", "--sigma", "4")["limit"] == 5
    overlay.write_text(json.dumps({"limt": 3}))
    with pytest.raises(SystemExit, match="did you mean 'limit'"):
        typed(config, "--config_file", f"['{config}','{overlay}']")
    overlay.write_text(json.dumps({"cheked": {"_target_": "dict"}}))
    with pytest.raises(SystemExit, match="--cheked is no option"):
        typed(config, "--config_file", f"['{config}','{overlay}']")


def raised(call):
    with pytest.raises(Exception) as fault:  # noqa: PT011 (MONAI wraps what an expression raises)
        call()
    return mistake_behind(fault.value)


def test_in_python_a_mistake_is_raised_and_ends_no_program(config):
    assert "did you mean 'limit'" in str(raised(lambda: monai_run(config_file=str(config), limt=3)))
    workflow = ConfigWorkflow(str(config), stride=0)
    assert "--stride is 0" in str(raised(workflow.initialize))


def test_a_part_asks_for_the_check_where_nobody_initializes():
    parser = ConfigParser({**CONFIG, "part": {"_target_": "dict", "_requires_": "@checked", "x": "@keep_observed"}})
    parser["keep_observed"] = "no"
    assert parser.get_parsed_content("part") == {"x": False}
    parser["keep_observed"] = "perhaps"
    assert isinstance(raised(lambda: parser.get_parsed_content("part")), InputError)


def test_in_python_a_hash_in_a_path_is_refused_and_not_another_folder():
    parser = ConfigParser({**CONFIG, "output_dir": "/x/a#1"})
    assert "MONAI turns '#' in a config into '::'" in str(raised(lambda: parser.get_parsed_content("initialize")))


def test_the_command_line_is_of_the_config_that_it_names_and_no_other(config, tmp_path):
    """A config that reads another one, as a step of its run, hands on none of its own options."""
    inner = tmp_path / "inner.json"
    inner.write_text(json.dumps({**CONFIG, "output_dir": "/inner"}))
    overlay = tmp_path / "overlay.json"
    overlay.write_text(json.dumps({"other": "$monai.bundle.ConfigWorkflow(@inner)", "inner": str(inner),
                                   "seen": ["$@other.initialize()[0]['output_dir']", "@output_dir"]}))  # fmt: skip
    sees = typed(config, "--config_file", f"['{config}','{overlay}']", "--output_dir", "7")
    assert list(sees.values())[:2] == ["/inner", "7"]


def test_a_setting_within_a_part_that_it_does_not_have_is_told(config, tmp_path):
    overlay = tmp_path / "overlay.json"
    part = {"part": {"_target_": "fractions.Fraction", "_requires_": "@checked", "numerator": 3}}
    overlay.write_text(json.dumps(part | {"seen": ["$str(@part)"]}))
    both = ("--config_file", f"['{config}','{overlay}']")
    assert typed(config, *both, "--part#denominator", "4")["output_dir"] == "3/4"
    for name, value in (("part#nix", "4"), ("part#denominator", "x")):
        assert refused_any(config, *both, f"--{name}", value).startswith(f"error: --{name} can't be used so: ")


def test_a_path_with_a_space_that_was_not_quoted_is_told(config):
    assert "'scan.nii' belongs to no option" in refused_any(config, "--datalist", "my", "scan.nii", "--limit", "3")
    assert "'linear' belongs to no option" in refused_any(config, "linear")
    assert typed(config, "--limit=3", "--datalist", "my scan.nii")["datalist"] == "my scan.nii"


def refused_any(config, *words):
    with pytest.raises(SystemExit) as stop:
        typed(config, *words)
    return stop.value.code


def test_a_refused_run_leaves_nothing_of_its_tracking_either(config, tmp_path):
    out = tmp_path / "out"
    refused(config, "--tracking", "mlflow", "--output_dir", str(out), "--stride", "0")
    assert not out.exists()
    out.mkdir()
    (out / "mine.txt").touch()
    refused(config, "--tracking", "mlflow", "--output_dir", str(out), "--stride", "0")
    assert [path.name for path in out.iterdir()] == ["mine.txt"]
    typed(config, "--tracking", "mlflow", "--output_dir", str(tmp_path / "good"))
    assert [path.suffix for path in (tmp_path / "good").iterdir()] == [".json"]
