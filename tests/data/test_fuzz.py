"""Damaged DICOM, NIfTI, MetaImage and NRRD: one sentence or a volume, never a traceback, never longer than 10 s.

``FUZZ_FILES=10000 python -m pytest tests/data/test_fuzz.py`` tries so many.
"""

from __future__ import annotations

import os
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
from helpers.synthetic_dicom import write_series
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bundle.data import load_volume
from bundle.data.formats import write_image
from bundle.errors import InputError

FILES = int(os.environ.get("FUZZ_FILES", "240"))
HU = np.random.default_rng(0).integers(-1000, 400, (6, 5, 3)).astype(np.int16)
AFFINE = np.diag([-0.7, -0.7, 2.5, 1.0])

place = st.integers(0, 2**20)
edits = st.lists(
    st.one_of(
        st.tuples(st.just("bytes"), place, st.binary(min_size=1, max_size=8)),
        st.tuples(st.just("cut"), place, st.none()),
        st.tuples(st.just("insert"), place, st.binary(min_size=1, max_size=40)),
        st.tuples(st.just("drop"), place, st.integers(1, 60)),
        st.tuples(st.just("zero"), place, st.integers(1, 60)),
    ),
    min_size=1,
    max_size=4,
)


def damaged(raw: bytes, changes: list, head: int) -> bytes:
    """The bytes with changes, three of four in the first ``head`` of them, where the header is."""
    for kind, where, what in changes:
        at = where % (head if where % 4 else max(len(raw), 1))
        if kind == "bytes":
            raw = raw[:at] + what + raw[at + len(what) :]
        elif kind == "cut":
            raw = raw[:at]
        elif kind == "insert":
            raw = raw[:at] + what + raw[at:]
        elif kind == "drop":
            raw = raw[:at] + raw[at + what :]
        else:
            raw = raw[:at] + b"\0" * what + raw[at + what :]
    return raw


def tried(path: Path) -> None:
    started, told = time.monotonic(), ""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            volume = load_volume(path)
    except InputError as error:
        told = str(error)
    else:
        assert volume.ndim == 4
        assert np.isfinite(volume.numpy()).all()
    assert "\n" not in told
    assert time.monotonic() - started < 10


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".mha", ".nrrd", ".dcm"])
def test_damaged_files_are_one_sentence_or_a_volume(tmp_path: Path, suffix: str):
    if suffix == ".dcm":
        folder = tmp_path / "series"
        target = write_series(folder, HU, np.arange(3) * 2.5)[1]
    else:
        folder = target = tmp_path / f"a{suffix}"
        write_image(target, HU, AFFINE)
    whole = target.read_bytes()
    head = {".dcm": len(whole), ".mha": 400, ".nrrd": 400}.get(suffix, 352)

    @settings(max_examples=FILES // 5, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    @given(edits)
    def fuzz(changes):
        target.write_bytes(damaged(whole, changes, head))
        tried(folder)

    fuzz()
