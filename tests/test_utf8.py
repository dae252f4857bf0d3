"""Every text file is utf-8, whatever the locale."""

import ast
import json
import os
import subprocess
import sys

import pytest
from helpers.nodules import ROOT, small_nodule, write_nodule

from bundle.data import open_source

PLAIN = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


def calls_without_encoding(tree: ast.AST) -> list[int]:
    """Lines of calls that read or write text in the locale's encoding; a store's own ``write_text`` is utf-8."""
    lines = []
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or "encoding" in {word.arg for word in node.keywords}:
            continue
        name = getattr(node.func, "attr", getattr(node.func, "id", ""))
        owner = ast.unparse(node.func.value) if isinstance(node.func, ast.Attribute) else ""
        words = [
            arg.value for arg in [*node.args, *(word.value for word in node.keywords)] if isinstance(arg, ast.Constant)
        ]
        binary = any(isinstance(word, str) and "b" in word and set(word) <= set("rwab+x") for word in words)
        opened = name == "open" and not binary and owner not in ("gzip", "Image")
        whole = (
            name in ("read_text", "write_text")
            and owner
            and owner.split("(")[0] not in ("store", "self", "ResultStore")
        )
        spoken = name in ("run", "Popen", "check_output") and "text" in {word.arg for word in node.keywords}
        if whole or opened or spoken:
            lines.append(node.lineno)
    return lines


def test_the_search_finds_what_it_should():
    lines = (
        "p.read_text()",
        "p.open()",
        "open(p, 'rb')",
        "p.read_text(encoding='utf-8')",
        "run(c, text=True)",
        "p.open('w')",
    )
    assert calls_without_encoding(ast.parse("\n".join(lines))) == [1, 2, 5, 6]


@pytest.mark.parametrize("folder", ["bundle", "scripts"])
def test_no_text_is_read_or_written_in_the_encoding_of_the_locale(folder):
    found = [
        f"{path.relative_to(ROOT)}:{line}"
        for path in sorted((ROOT / folder).rglob("*.py"))
        for line in calls_without_encoding(ast.parse(path.read_text(encoding="utf-8")))
    ]
    assert found == []


def test_a_study_in_the_locale_c_writes_utf8(tmp_path):
    write_nodule(tmp_path / "in", "n0", *small_nodule())
    (tmp_path / "list.json").write_text(
        json.dumps([{"image": "in/n0_image.nii.gz", "label": "in/n0_mask.nii.gz"}]), encoding="utf-8-sig"
    )
    command = [
        sys.executable, "-m", "monai.bundle", "run", "--config_file", "configs/study.json", "--datalist",
        str(tmp_path / "list.json"), "--methods", "['linear']", "--workers", "1", "--output_dir", str(tmp_path / "öut"),
    ]  # fmt: skip
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, **PLAIN}, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert b"Traceback" not in done.stderr
    texts = [path for path in (tmp_path / "öut").rglob("*") if path.suffix in (".json", ".csv", ".md", ".html", ".tex")]
    assert {"report.html", "methods.md", "study.json", "metrics.csv"} <= {path.name for path in texts}
    for path in texts:
        path.read_bytes().decode("utf-8")
    assert "±" in (tmp_path / "öut" / "tables" / "table1.md").read_text(encoding="utf-8")
    assert "öut" in json.loads((tmp_path / "öut" / "study.json").read_text(encoding="utf-8"))["command"]


def test_an_id_that_the_locale_has_no_file_name_for_is_told(tmp_path):
    write_nodule(tmp_path, "n0", *small_nodule())
    rows = [{"image": "n0_image.nii.gz", "label": "n0_mask.nii.gz", "nodule_id": "結節"}]
    (tmp_path / "list.json").write_text(json.dumps(rows), encoding="utf-8")
    program = (
        "import sys\nfrom bundle.data import open_source\nfrom bundle.errors import exit_on_mistake\n"
        "exit_on_mistake(lambda: open_source(datalist=sys.argv[1]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "list.json")],
        cwd=ROOT, env={**os.environ, **PLAIN}, capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    assert b"set PYTHONUTF8=1" in done.stderr
    assert b"Traceback" not in done.stderr
    if sys.getfilesystemencoding() == "utf-8":  # of this process
        assert open_source(datalist=tmp_path / "list.json").ids == ["結節"]
