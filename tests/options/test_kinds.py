"""Kinds of option values: what MONAI's command line makes of words, and what is meant by them."""

import contextlib
import math

import pytest
from fire.parser import DefaultParseValue
from hypothesis import given, settings
from hypothesis import strategies as st

from bundle.errors import InputError
from bundle.options.kinds import DEVICE, FLAG, PATH, number, numbers, one_of, whole
from bundle.options.table import OPTIONS
from bundle.study.shards import Shard

MEANT = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


@given(word=st.sampled_from(sorted(MEANT)), upper=st.lists(st.booleans(), min_size=5, max_size=5))
def test_a_flag_is_what_its_word_says_in_any_case(word, upper):
    typed = "".join(c.upper() if u else c for c, u in zip(word, upper, strict=False))
    assert FLAG.value("x", DefaultParseValue(typed)) is MEANT[word]


@given(st.text() | st.floats() | st.integers(2) | st.lists(st.integers()) | st.none())
def test_whatever_is_no_such_word_is_refused(value):
    if str(value).strip().lower() not in MEANT and value not in (0.0, 1.0):
        with pytest.raises(InputError, match="expected true or false"):
            FLAG.value("keep_observed", value)


@given(st.integers(), st.integers(-5, 5))
def test_whole_numbers_keep_their_value_or_are_refused(value, least):
    kind = whole(least)
    if value < least:
        with pytest.raises(InputError, match="expected a whole number"):
            kind.value("x", value)
    else:
        assert kind.value("x", value) == kind.value("x", str(value)) == value


@pytest.mark.parametrize("value", [2.5, "2.5", "five", True, [5], math.nan, math.inf, 1e400, "", {}])
def test_no_whole_number(value):
    with pytest.raises(InputError, match=r"--stride is .*, expected a whole number, 1 or more$"):
        whole(1).value("stride", value)


@given(st.floats(width=32))
def test_numbers_are_finite_and_in_their_range(value):
    kind = number(above=0, unit="mm")
    if math.isfinite(value) and value > 0:
        assert kind.value("slice_spacing", value) == value
    else:
        with pytest.raises(InputError, match="expected a number above 0 mm"):
            kind.value("slice_spacing", value)


@pytest.mark.parametrize("value", [[], "a", ["a"], [math.nan], [-400, -400.0], {"a": 1}, [[1]]])
def test_no_list_of_different_numbers(value):
    with pytest.raises(InputError, match="expected different numbers"):
        numbers().value("thresholds_hu", value)


def test_lists_of_numbers():
    assert numbers().value("thresholds_hu", -400) == [-400]
    assert numbers(3).or_none().value("center", (1, 2.5, -3)) == [1, 2.5, -3]
    with pytest.raises(InputError, match="three numbers"):
        numbers(3).value("center", 4)


@pytest.mark.parametrize("value", ["none", "None", "NULL", None])
def test_nothing_is_a_value_only_where_it_may_be(value):
    assert whole(1).or_none().value("limit", value) is None
    with pytest.raises(InputError, match="expected a whole number"):
        whole(1).value("epochs", value)


def test_paths(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert PATH.value("output_dir", "~/out") == str(tmp_path / "out")
    for value in ("", " ", 20260101, True, ["x"], "~nobody-of-this-name/x", "a\0b"):
        with pytest.raises(InputError, match="expected the name of a file or folder"):
            PATH.value("output_dir", value)


@pytest.mark.parametrize("value", ["gpu", "cuda:99", "meta", 7.5, ""])
def test_a_device_that_is_not_there(value):
    with pytest.raises(InputError, match="expected a device of this machine"):
        DEVICE.value("device", value)


def test_a_share_is_below_one():
    assert number(above=0, below=1).value("average", "0.5") == 0.5
    for value in (0, 1, 2, math.inf):
        with pytest.raises(InputError, match="expected a number above 0 and below 1"):
            number(above=0, below=1).value("average", value)


def test_words():
    assert one_of("mm", "voxel").value("center_unit", "voxel") == "voxel"
    with pytest.raises(InputError, match="--center_unit is 'cm', expected 'mm' or 'voxel'"):
        one_of("mm", "voxel").value("center_unit", "cm")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=5,
)


@given(value=JSON)
@settings(max_examples=30)
def test_every_option_takes_what_it_is_given_or_refuses_it_in_a_sentence(value):
    for name, option in OPTIONS.items():
        with contextlib.suppress(InputError):  # anything else fails
            read = option.kind.value(name, value)
            assert option.kind is not FLAG or isinstance(read, bool)


def test_no_word_is_a_share_of_the_nodules():
    assert OPTIONS["shard"].kind.value("shard", Shard(1, 2)) == Shard(1, 2)
    for value in (3, "0/2", [0, 2], {}):
        with pytest.raises(InputError, match=r"--shard is .* expected what configs/multi_gpu_study.json sets"):
            OPTIONS["shard"].kind.value("shard", value)
