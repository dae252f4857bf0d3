"""Ids name one nodule each, over scans and on every file system; files are hashed whole, once."""

import os
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bundle.data.identity import FileHashes, check_ids
from bundle.data.lidc.annotations import lidc_clusters
from bundle.data.source import NoduleSource
from bundle.data.windows import patient_of
from bundle.errors import InputError


@pytest.mark.parametrize("ids", [["x", "x"], ["x", "X"], ["Straße", "STRASSE"], ["e\u0301", "é"]])
def test_ids_of_one_folder_are_refused_by_every_source(ids):
    with pytest.raises(InputError, match=f'a list has .*{ids[1]}.*: give each nodule a "nodule_id" of its own'):
        NoduleSource("datalist", [{"nodule_id": name} for name in ids], dict, "a list")


@given(st.lists(st.text("abcABCäÄ12", min_size=1, max_size=3), max_size=6))
def test_ids_pass_exactly_if_no_two_are_alike(ids):
    alike = len({name.casefold() for name in ids}) < len(ids)
    try:
        check_ids(ids, "a list")
    except InputError:
        assert alike
    else:
        assert not alike


def test_two_scans_of_one_patient_have_nodules_of_their_own():
    """Of 8 patients LIDC-IDRI has two scans; these two are small."""
    uids = {
        "1.3.6.1.4.1.14519.5.2.1.6279.6001.170344311940983984999167745197",
        "1.3.6.1.4.1.14519.5.2.1.6279.6001.147979688121667984912633630926",
    }
    clusters = lidc_clusters(3.0, 0.0, frozenset(uids))
    ids = [cluster.nodule_id for cluster in clusters]
    assert len({cluster.series_uid for cluster in clusters}) == 2
    assert len(set(ids)) == len(ids)
    assert {name.split("_nodule_")[0] for name in ids} == {"LIDC-IDRI-0355_scan_1", "LIDC-IDRI-0355_scan_2"}
    assert {patient_of(name) for name in ids} == {"LIDC-IDRI-0355"}


def test_a_file_is_hashed_whole_and_again_when_it_changed(tmp_path):
    path, hashes = tmp_path / "n_image.nii.gz", FileHashes()
    path.write_bytes(bytes(10_000_000))
    old = time.time() - 100
    os.utime(path, (old, old))
    first = hashes.identity(path)
    with path.open("r+b") as file:
        file.seek(5_000_000)
        file.write(b"1")
    os.utime(path, (old, old))
    assert hashes.identity(path)["hash"] != first["hash"]
    assert hashes.identity(path)["size"] == first["size"] == 10_000_000


def test_what_was_hashed_is_not_read_again(tmp_path, monkeypatch):
    path, hashes = tmp_path / "PATIENT^NAME.nii", FileHashes()
    path.write_bytes(b"voxels")
    monkeypatch.setattr("bundle.data.identity._SETTLED_NS", -1)
    first = hashes.identity(path)
    memory = tmp_path / "inputs.json"
    memory.write_text(hashes.text(), encoding="utf-8")
    assert "PATIENT" not in hashes.text()

    def fail(path):
        raise AssertionError(f"{path} is read again")

    monkeypatch.setattr("bundle.data.identity.file_digest", fail)
    later = FileHashes()
    later.load(memory)
    assert later.identity(path) == first
    for damaged in ("[1]", "{", '{"a": 1}', '{"a": [1]}'):
        memory.write_text(damaged, encoding="utf-8")
        FileHashes().load(memory)


def test_a_file_that_is_gone():
    assert FileHashes().identity("no/such.nii") == {"name": "such.nii", "size": None}
