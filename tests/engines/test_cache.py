"""The compiled library in the user's cache: whole or made anew, by one process for all; a word where it can't be."""

import multiprocessing
import os
import subprocess

import pytest
import torch

from bundle.engines.steps import native
from bundle.engines.steps.cache import is_whole, whole_files

needs_compiler = pytest.mark.skipif(native.find_compiler() is None, reason="no C compiler")
needs_root = pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs root to mount")


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path, fresh_library):
    monkeypatch.setenv("LUNG_NODULE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(native, "_COMMON", ("-O0", "-shared", "-fPIC"))  # compiled sooner
    monkeypatch.setattr(native, "_TUNING", ((),))
    return tmp_path / "cache" / "lung_nodule_ct_reconstruction"


def _ask(queue):
    torch.set_num_threads(1)
    native.pointwise_library.cache_clear()
    queue.put([native.pointwise_library(dtype)[1] for dtype in (torch.float32, torch.bfloat16)])


def asked_in_processes(count=1):
    """Why there is no library, for each type, as new processes find; "killed" for one that a signal ended."""
    context = multiprocessing.get_context("fork")
    queue = context.SimpleQueue()
    processes = [context.Process(target=_ask, args=(queue,)) for _ in range(count)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    return [queue.get() if process.exitcode == 0 else "killed" for process in processes]


def damaged(path, content):
    path.unlink()  # another file in its place: one that is loaded must not change under its process
    path.write_bytes(content)


@needs_compiler
def test_processes_share_what_one_of_them_compiles(cache):
    assert asked_in_processes(3) == [["", ""]] * 3
    libraries = sorted(cache.glob("*.so"))
    assert len(libraries) == 2
    assert all(map(is_whole, libraries))
    assert not [path for path in cache.iterdir() if path.name.startswith(".")]
    made = [path.stat().st_mtime_ns for path in libraries]
    assert asked_in_processes() == [["", ""]]
    assert [path.stat().st_mtime_ns for path in libraries] == made


@needs_compiler
@pytest.mark.parametrize("left", [0, 1 / 3, 0.99])
def test_a_library_cut_short_is_compiled_again(cache, left):
    asked_in_processes()
    for path in cache.glob("*.so"):
        whole = path.read_bytes()
        damaged(path, whole[: int(left * len(whole))])
    assert asked_in_processes(2) == [["", ""]] * 2
    assert all(map(is_whole, cache.glob("*.so")))


@needs_compiler
def test_a_library_without_its_checksum_is_not_loaded(cache):
    asked_in_processes()
    for path in cache.glob("*.so"):
        damaged(path, b"not a library")
        path.with_name(path.name + ".checksum").unlink()
    assert asked_in_processes() == [["", ""]]


@needs_compiler
def test_a_library_that_others_made_is_used_from_a_folder_that_cannot_be_written(cache, monkeypatch):
    asked_in_processes()
    monkeypatch.setattr(native, "_compile", lambda *a: pytest.fail("compiled again"))
    for path in cache.glob("*.lock"):
        path.unlink()
    cache.chmod(0o500)
    try:
        assert asked_in_processes() == [["", ""]]
        assert not list(cache.glob("*.lock"))
    finally:
        cache.chmod(0o700)


@needs_compiler
def test_a_cache_that_is_no_folder_gives_way_to_a_temporary_one(cache):
    cache.parent.write_text("a file")
    assert native.pointwise_library(torch.float32)[1] == ""


@needs_root
@needs_compiler
@pytest.mark.parametrize("options", ["noexec", "ro", "size=4k"])
def test_a_cache_of_no_use_gives_way_to_a_temporary_one(cache, options):
    cache.mkdir(parents=True)
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(cache)], capture_output=True)
    if mounted.returncode:
        pytest.skip("nothing may be mounted here")
    try:
        assert asked_in_processes() == [["", ""]]
        assert not [path for path in cache.iterdir() if path.suffix == ".so" and not is_whole(path)]
    finally:
        subprocess.run(["umount", str(cache)], check=True)


@needs_compiler
def test_nowhere_to_keep_it_is_said(cache, monkeypatch):
    cache.parent.write_text("a file")

    def refuse(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tempfile.mkdtemp", refuse)
    library, why = native.pointwise_library(torch.float32)
    assert library is None
    assert "No space left on device" in why


@pytest.mark.parametrize(
    ("command", "word"),
    [("no-such-compiler", "no C compiler found"), ("'unclosed", "No closing quotation"), ("", ""),
     ("{folder}/broken", "broken failed (it is broken)"), ("{folder}/silent", "silent wrote no library")],
)  # fmt: skip
def test_a_compiler_of_no_use_is_said(command, word, monkeypatch, tmp_path):
    for name, body in (("broken", "echo it is broken >&2; exit 1"), ("silent", "exit 0")):
        compiler = tmp_path / name
        compiler.write_text(f'#!/bin/sh\n[ "$1" = --version ] && echo 1 && exit 0\n{body}\n')
        compiler.chmod(0o755)
    monkeypatch.setenv("CC", command.format(folder=tmp_path))
    library, why = native.pointwise_library(torch.float32)
    assert word in why
    assert (library is None) == bool(word) or native.find_compiler() is None


def test_switched_off(monkeypatch):
    monkeypatch.setenv("LUNG_NODULE_NATIVE", "0")
    library, why = native.pointwise_library(torch.float32)
    assert library is None
    assert "LUNG_NODULE_NATIVE" in why


def test_a_user_without_a_home_still_has_a_folder(monkeypatch):
    def nameless():
        raise RuntimeError("Could not determine home directory.")

    for name in ("LUNG_NODULE_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("pathlib.Path.home", nameless)
    (path,) = whole_files("made.txt", lambda path: path.write_text("made"))
    assert path.read_text() == "made"


def test_what_cannot_be_made_raises_why():
    def make(path):
        raise RuntimeError("not to be made")

    with pytest.raises(RuntimeError, match="not to be made"):
        next(whole_files("never.txt", make))
