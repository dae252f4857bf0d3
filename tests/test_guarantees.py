"""docs/guarantees.md: the tests that it names exist, and the two promises that no other test holds."""

import ast
import gzip
import os
import re
import sys
import tempfile
from pathlib import Path

import pytest
from helpers.configs import make_study, run_config
from helpers.nodules import ROOT, small_nodule
from helpers.synthetic_dicom import write_series

PAGE = (ROOT / "docs" / "guarantees.md").read_text(encoding="utf-8")
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT
# what the interpreter tells before it changes a file; the place of the paths among the arguments
CHANGES = {
    "os.rename": (0, 1),
    "os.remove": (0,),
    "os.mkdir": (0,),
    "os.rmdir": (0,),
    "os.link": (1,),
    "os.symlink": (1,),
}

_written: set[str] = set()
_listening = False


def _listen(event, arguments):
    if not _listening:
        return
    if event == "open" and isinstance(arguments[0], str | bytes | Path):
        mode, flags = arguments[1], arguments[2] or 0
        if (mode and set(mode) & set("wax+")) or (not mode and flags & WRITES):
            _written.add(os.fsdecode(arguments[0]))
    for place in CHANGES.get(event, ()):
        _written.add(os.fsdecode(arguments[place]))


sys.addaudithook(_listen)


@pytest.fixture
def written():
    """Paths that are written, made or removed while the test runs."""
    global _listening
    _written.clear()
    _listening = True
    yield _written
    _listening = False


def test_the_tests_that_are_named_exist():
    named = re.findall(r"^- `(tests/[\w/]+\.py)::(\w+)`$", PAGE, flags=re.M)
    assert len(named) == PAGE.count("\n- ") > 15
    for file, test in named:
        tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
        assert test in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}, f"{file}::{test}"
    for section in re.split(r"^## ", PAGE, flags=re.M)[1:]:
        assert "\n- `tests/" in section, section
    assert len(PAGE.splitlines()) < 60


def test_nothing_is_written_outside_of_the_output_folder(nodule_folder, tmp_path, written):
    folder, out = nodule_folder(2), tmp_path / "out"
    written.clear()
    make_study(folder, out, ["linear", "siren"], epochs=2).run()
    run_config(tmp_path / "out2", image=str(folder / "n0_image.nii.gz"), method="linear", slice_spacing=0.5)
    places = {Path(path).absolute() for path in written}
    assert out / "study.json" in {path.with_name(path.name.split("-")[-1]) for path in places}
    own = [out, tmp_path / "out2", Path("/dev/null"), Path(os.environ.get("LUNG_NODULE_CACHE", Path.home() / ".cache"))]
    for path in places:
        temporary = path.is_relative_to(tempfile.gettempdir()) and not path.is_relative_to(tmp_path)
        assert temporary or any(path.is_relative_to(place) for place in own), path


def test_no_patient_is_named_in_a_result(tmp_path):
    secrets = {
        "PatientName": "Doe^Jane",
        "PatientID": "MRN4711",
        "PatientBirthDate": "19550307",
        "AccessionNumber": "AC815",
    }

    def edit(_, dataset):
        for name, value in secrets.items():
            setattr(dataset, name, value)

    write_series(tmp_path / "scan", small_nodule((20, 18, 6))[0], [0, 4, 8, 12, 16, 20], edit=edit)
    for ending in (".nii.gz", ".nrrd", ".mha"):
        run_config(tmp_path / "out", image=str(tmp_path / "scan"), method="linear", output_format=ending)
    files = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert {path.suffix for path in files} >= {".gz", ".nrrd", ".mha", ".json", ".csv"}
    for path in files:
        content = path.read_bytes()
        content += gzip.decompress(content) if path.suffix == ".gz" else b""
        for value in secrets.values():
            assert value.encode() not in content, path
