import dataclasses
import functools
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bundle.errors import InputError
from bundle.store import ResultStore, describe, fingerprint


@dataclasses.dataclass(frozen=True)
class Options:
    epochs: int = 3
    rate: float = 0.1


class Part:
    def __init__(self, stride=5, table=None):
        self.stride = stride
        self.table = table
        self._cache = object()
        self.on_epoch = print


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda s: st.lists(s) | st.tuples(s, s)))
def test_describe_gives_json(value):
    assert json.loads(json.dumps(describe(value))) == describe(value)


def test_describe_sees_every_public_attribute_and_no_callback():
    assert describe(Part(4, {"a": np.float64(1.5)})) == {"is": f"{__name__}.Part", "stride": 4, "table": {"a": 1.5}}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (Part(5), Part(4)),
        (Options(), Options(epochs=4)),
        (functools.partial(Part, 5), functools.partial(Part, 6)),
        (functools.partial(Part, stride=5), functools.partial(Options, 5)),
        (np.arange(3), np.arange(4)),
        ({"a": 1}, {"b": 1}),
        (torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)),
        (torch.float32, torch.float64),
        (0.1, np.nextafter(0.1, 1)),
    ],
)
def test_fingerprint_differs_with_any_parameter(one, other):
    assert fingerprint(one) != fingerprint(other)
    assert fingerprint(one) == fingerprint(one)


def test_fingerprint_tells_kinds_of_devices_apart_but_not_two_gpus_of_one_machine():
    cpu, first, second = (Part() for _ in range(3))
    cpu.device, first.device, second.device = "cpu", "cuda:0", "cuda:1"
    assert fingerprint(first) == fingerprint(second) != fingerprint(cpu)


def test_fingerprint_does_not_depend_on_dictionary_order():
    assert fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1})


def test_result_appears_whole_or_not_at_all(tmp_path):
    store = ResultStore(tmp_path)

    def write_half() -> None:
        with store.writing("n", "linear", "f1") as folder:
            (folder / "image").write_text("x")
            raise RuntimeError("half way")

    with pytest.raises(RuntimeError, match="half way"):
        write_half()
    assert not store.folder("n", "linear").exists()
    assert list((tmp_path / "nodules" / "n").iterdir()) == []

    result: dict = {}
    with store.writing("n", "linear", "f1", result) as folder:
        (folder / "image").write_text("x")
        result["rows"] = [1]
        assert not store.folder("n", "linear").exists()
    assert store.read("n", "linear", "f1") == {"fingerprint": "f1", "rows": [1]}
    assert (store.folder("n", "linear") / "image").read_text() == "x"


def test_result_of_other_parameters_is_not_read_and_not_lost(tmp_path):
    store = ResultStore(tmp_path)
    for wanted in ("f1", "f2"):
        with store.writing("n", "linear", wanted) as folder:
            (folder / "image").write_text(wanted)
    assert store.read("n", "linear", "f1") is None
    assert store.is_stale("n", "linear", "f1")
    assert not store.is_stale("n", "linear", "f2")
    assert not store.is_stale("n", "cubic", "f2")
    assert (tmp_path / "superseded" / "n" / "linear-f1" / "image").read_text() == "f1"


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def change(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b"0.25", b"0.75"))


@pytest.mark.parametrize(
    ("name", "harm", "told"),
    [
        ("result.json", cut, "result.json is cut short or gone"),
        ("result.json", Path.unlink, "result.json is cut short or gone"),
        ("result.json", lambda path: path.write_text("[1]", encoding="utf-8"), "result.json is cut short or gone"),
        ("result.json", change, "result.json was changed"),
        ("image", cut, "image is cut short or was changed"),
        ("image", lambda path: path.write_bytes(b""), "image is cut short or was changed"),
        ("image", Path.unlink, "image is gone"),
    ],
)
def test_damaged_result_is_not_read_and_told(tmp_path, name, harm, told):
    store = ResultStore(tmp_path)
    result = {"rows": [{"value": 0.25, "threshold_hu": None}, {"value": float("nan")}]}
    for _ in range(2):  # written again over the damaged one
        with store.writing("n", "linear", "f1", result) as folder:
            (folder / "image").write_bytes(b"voxels" * 10)
        assert store.damage("n", "linear") is None
        assert store.read("n", "linear", "f1")["rows"][0] == result["rows"][0]
        harm(store.folder("n", "linear") / name)
        assert store.damage("n", "linear") == told
        assert store.read("n", "linear", "f1") is None
        assert not store.is_stale("n", "linear", "f1")


@given(st.dictionaries(st.text(), st.integers() | st.floats() | st.text() | st.lists(st.none() | st.booleans())))
def test_whatever_is_stored_is_read_back(tmp_path_factory, result):
    store = ResultStore(tmp_path_factory.getbasetemp() / "any")
    result = {key: value for key, value in result.items() if key not in ("fingerprint", "files", "check")}
    with store.writing("n", "linear", "f1", result):
        pass
    assert repr(store.read("n", "linear", "f1")) == repr({"fingerprint": "f1", **result})


def test_clean_removes_what_a_killed_run_left(tmp_path):
    store = ResultStore(tmp_path)
    left = tmp_path / "nodules" / "n" / ".linear-abc"
    left.mkdir(parents=True)
    with store.writing("n", "linear", "f1"):
        pass
    store.clean("n")
    assert not left.exists()
    assert store.folder("n", "linear").exists()


def test_folder_that_cannot_be_written(tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(InputError, match=r"output folder .*file.* can't be written .*--output_dir"):
        ResultStore(blocked / "below")
