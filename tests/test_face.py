"""The public face: what docs/using_the_parts.md teaches, and nothing else; nothing is loaded before it is asked for."""

import re
import subprocess
import sys

import pytest
from helpers.nodules import ROOT

import bundle

PAGE = (ROOT / "docs" / "using_the_parts.md").read_text(encoding="utf-8")


def test_the_face_is_what_the_guide_teaches():
    taught = {name for line in re.findall(r"^from bundle import (.+)$", PAGE, flags=re.M) for name in line.split(", ")}
    assert taught | {"InputError", "__version__"} == set(bundle.__all__)
    assert not re.findall(r"from bundle\.\w+", PAGE)


@pytest.mark.parametrize("name", bundle.__all__)
def test_every_name_is_there(name):
    assert getattr(bundle, name) is not None
    assert name in dir(bundle)


def test_another_name_is_none():
    with pytest.raises(AttributeError, match="no attribute 'Sirens'"):
        bundle.Sirens  # noqa: B018


def test_importing_the_package_loads_no_library():
    code = "import sys, bundle; print([m for m in ('torch', 'monai', 'numpy', 'bundle.data') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
