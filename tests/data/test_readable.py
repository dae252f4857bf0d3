"""Nodules that can be read, of a list in which some can't."""

import pytest
from helpers.nodules import small_nodule, write_nodule

from bundle.data import open_source, readable_nodules
from bundle.errors import InputError


@pytest.fixture
def folder(tmp_path):
    for i in range(4):
        write_nodule(tmp_path, f"n{i}", *small_nodule(seed=i))
    return tmp_path


def cut(path):
    path.write_bytes(path.read_bytes()[:-500])


def test_what_cannot_be_read_is_left_out_counted_and_named(folder, caplog):
    cut(folder / "n1_image.nii.gz")
    cut(folder / "n3_mask.nii.gz")
    found = readable_nodules(open_source(datalist=str(folder)), [0, 1, 2, 3])
    assert [item["nodule_id"] for item in found] == ["n0", "n2"]
    assert "2 of 4 nodules are left out" in caplog.text
    assert "n1_image.nii.gz" in caplog.text
    assert "n3_mask.nii.gz" in caplog.text


def test_nothing_is_said_where_all_can_be_read(folder, caplog):
    assert len(readable_nodules(open_source(datalist=str(folder)), [2, 0])) == 2
    assert caplog.text == ""


def test_none_that_can_be_read_is_a_mistake(folder):
    cut(folder / "n1_image.nii.gz")
    with pytest.raises(InputError, match=r"none of 1 nodules can be read: .*n1_image\.nii\.gz"):
        readable_nodules(open_source(datalist=str(folder)), [1])
