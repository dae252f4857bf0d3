"""Fixtures that several rooms' tests use: small nodules on disk, real CT where it is at hand."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from helpers.nodules import ROOT, small_nodule, write_nodule

REAL_DATA = ROOT.parent / "shared" / "data"


@pytest.fixture
def real_data() -> Path:
    """Folder of real CT; the test is skipped where it is absent."""
    if not REAL_DATA.is_dir():
        pytest.skip("no real CT beside the repository")
    return REAL_DATA


@pytest.fixture
def nodule_folder(tmp_path: Path) -> Callable[..., Path]:
    """Make a folder of ``count`` small nodules named n0, n1, ..."""

    def make(count: int = 2, **kwargs) -> Path:
        folder = tmp_path / "nodules"
        for i in range(count):
            write_nodule(folder, f"n{i}", *small_nodule(seed=i, **kwargs))
        return folder

    return make


@pytest.fixture
def fresh_library() -> Iterator[None]:
    """The compiled library of the fits is asked for anew, in the test and after it."""
    from bundle.engines.steps import native

    native.pointwise_library.cache_clear()
    yield
    native.pointwise_library.cache_clear()
