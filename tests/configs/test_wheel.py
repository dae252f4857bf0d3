"""The wheel that ``pip install .`` builds: it imports from any folder, with all that belongs to it."""

import os
import shutil
import subprocess
import sys
import zipfile

from helpers.nodules import ROOT

USE = """
import importlib, pkgutil
from pathlib import Path
import bundle
for module in pkgutil.walk_packages(bundle.__path__, "bundle."):
    if not module.name.startswith("bundle.configs"):
        importlib.import_module(module.name)
from bundle.data import load_cohort, open_source
from bundle.engines.steps.native import SOURCE
assert SOURCE.is_file()
assert len(load_cohort()) == 57
assert [p.name for p in (Path(bundle.__file__).parent / "configs").glob("study.json")]
print(bundle.__file__, tuple(open_source(limit=1)[0]["image"].shape))
"""


def test_the_wheel_imports_from_any_folder(tmp_path):
    # from a copy, so that the build leaves nothing in the repository
    copy = tmp_path / "copy"
    for name in ("bundle", "configs"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    build = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", str(tmp_path), "."]
    done = subprocess.run(build, cwd=copy, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "installed")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    used = subprocess.run(
        [sys.executable, "-c", USE],
        cwd=elsewhere,
        env={**os.environ, "PYTHONPATH": str(tmp_path / "installed")},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert used.returncode == 0, used.stderr[-2000:]
    assert str(tmp_path / "installed") in used.stdout
