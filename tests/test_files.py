"""Files and folders that are whole or not there, names that stay in their folder, text in utf-8."""

import os
from pathlib import Path

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from bundle.errors import InputError, OutputError
from bundle.files import file_digest, folder_name, save_torch, whole_folder, write_text, write_whole

NAMES = st.text(min_size=1, max_size=80) | st.sampled_from(
    ["..", "../x", "a/b", "a\\b", "CON", "nul.txt", "a\0b", "a\nb", " a", "a.", ".a", "x" * 300, "日" * 70, "\udcc3"]
)


@given(NAMES)
@example("scan (1)")
@example("lesion[2]")
@example("n?")
@example("結節 №1 ± ä")
def test_a_name_is_one_folder_that_can_be_read_back_or_is_refused(tmp_path_factory, name):
    root = tmp_path_factory.getbasetemp() / "names"
    root.mkdir(exist_ok=True)
    try:
        folder = root / folder_name(name, "nodule id")
    except InputError:
        return
    folder.mkdir(exist_ok=True)
    assert folder.parent.samefile(root)
    assert name in os.listdir(root)


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "../../x", "/x", "a\\b", "CON", "aux.1", "x" * 201, "ä" * 101])
def test_names_that_are_refused(name):
    with pytest.raises(InputError, match="no folder can be called so: choose another"):
        folder_name(name, "nodule id")


def test_a_file_that_could_not_be_written_leaves_the_old_one(tmp_path):
    target = tmp_path / "metrics.csv"
    target.write_bytes(b"old")

    def fail(path: Path) -> None:
        path.write_bytes(b"ne")
        raise OSError(28, "No space left on device")

    with pytest.raises(OutputError, match=r"metrics\.csv can't be written \(No space left on device\): make room"):
        write_whole(target, fail)
    assert target.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["metrics.csv"]


@pytest.mark.parametrize(
    "fault", [OSError(28, "No space left on device"), RuntimeError("half way"), KeyboardInterrupt()]
)
def test_a_folder_that_could_not_be_filled_is_not_there(tmp_path, fault):
    with pytest.raises((OutputError, RuntimeError, KeyboardInterrupt)), whole_folder(tmp_path / "series") as folder:  # noqa: PT012
        (folder / "0001").write_bytes(b"0")
        raise fault
    assert os.listdir(tmp_path) == []


def test_a_folder_is_filled_over_an_empty_one_but_over_no_other(tmp_path):
    (tmp_path / "series").mkdir()
    with whole_folder(tmp_path / "series") as folder:
        (folder / "0001").write_bytes(b"0")
    with pytest.raises(OutputError, match="series can't be written"), whole_folder(tmp_path / "series") as folder:
        (folder / "0001").write_bytes(b"1")
    assert (tmp_path / "series" / "0001").read_bytes() == b"0"
    assert os.listdir(tmp_path) == ["series"]


@given(st.text())
@example("/data/p\udcc3\udca4th")
def test_text_is_utf8(tmp_path_factory, text):
    target = tmp_path_factory.getbasetemp() / "a.txt"
    if any(0xD800 <= ord(sign) < 0xDC80 or 0xDCFF < ord(sign) < 0xE000 for sign in text):
        return  # no path and no JSON of ours holds such halves
    write_text(target, text)
    read = target.read_bytes().decode("utf-8")
    assert read == text or "\udcc3" in text or any(0xDC80 <= ord(sign) <= 0xDCFF for sign in text)


def test_bytes_of_a_path_come_out_as_the_utf8_that_they_are(tmp_path):
    write_text(tmp_path / "a.txt", "/data/p\udcc3\udca4th")
    assert (tmp_path / "a.txt").read_text(encoding="utf-8") == "/data/päth"


def test_digest_sees_every_byte(tmp_path):
    (tmp_path / "a").write_bytes(b"0" * 10_000_000)
    first = file_digest(tmp_path / "a")
    with (tmp_path / "a").open("r+b") as file:
        file.seek(5_000_000)
        file.write(b"1")
    assert file_digest(tmp_path / "a") != first


def test_tensors_come_back(tmp_path):
    save_torch(tmp_path / "a.pt", {"x": torch.arange(3.0)})
    torch.testing.assert_close(torch.load(tmp_path / "a.pt", weights_only=True)["x"], torch.arange(3.0))
