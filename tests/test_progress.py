"""One bar on a terminal, whole lines in a file, and a summary that fits."""

import contextlib
import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios

import pytest
from helpers.configs import make_study
from helpers.nodules import ROOT

from bundle import progress
from bundle.progress import COLUMNS, ProgressBars, WorkBar, counted, wrapped_lines
from bundle.report.tables.study_tables import main_figures
from bundle.report.tidy import Summary


@pytest.fixture
def without_pause(monkeypatch):
    monkeypatch.setattr(progress, "PAUSE_S", 0)


def test_each_thing_has_lines_until_it_is_done(capsys, without_pause):
    with ProgressBars("epoch", keep=True) as report:
        first, second = report("first"), report("second")
        first(1, 4, "loss 0.5")
        second(2, 2, "")
        first(4, 4, "loss 0.1")
        assert report._bars == {}
    shown = capsys.readouterr().err
    assert re.fullmatch(
        r"first: 25%, 1 of 4 epochs in 00:\d\d, 00:\d\d left, loss 0\.5\n"
        r"second: 100%, 2 of 2 epochs in 00:\d\d\nfirst: 100%, 4 of 4 epochs in 00:\d\d, loss 0\.1\n",
        shown,
    )


@pytest.mark.parametrize("total", [3, 10, 1000])
def test_in_a_file_there_is_a_line_at_each_tenth_at_most(capsys, without_pause, total):
    assert list(counted(range(total), "reading", "file")) == list(range(total))
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == min(total, 10)
    assert [float(line.split()[1].rstrip("%,")) for line in lines] == [
        pytest.approx(100 * (k + 1) / len(lines), abs=1) for k in range(len(lines))
    ]
    assert not any({"\r", "\x1b"} & set(line) for line in lines)


def test_what_is_quick_has_one_line_and_what_waits_for_a_delay_none(capsys, monkeypatch):
    monkeypatch.setattr(progress, "PAUSE_S", 1e6)
    list(counted(range(50), "scans", "scan"))
    list(counted(range(50), "headers", "file", delay=1e6))
    list(counted(range(3), "few", "file", least=5))
    assert [line.split(":")[0] for line in capsys.readouterr().err.splitlines()] == ["scans"]


def test_the_bar_of_many_names_what_is_in_hand_and_how_long_it_takes(capsys, without_pause):
    with WorkBar("study", 2, "nodule") as bar:
        bar("n0 siren")(0, 4, "loss 1")
        bar("n0 siren")(2, 4, "loss 0.5")
        bar.advance()
        bar("n1 linear")(0, 1, "")
        bar.advance()
    lines = capsys.readouterr().err.splitlines()
    assert [line[:11] for line in lines] == ["study: 50%,", "study: 100%"]


def test_time_counts_from_when_a_thing_is_begun(capsys, monkeypatch):
    clock = iter((100.0, 149.0, 149.0))
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    ProgressBars("tile")("prior")(1, 1, "")
    assert capsys.readouterr().err == "prior: 100%, 1 of 1 tiles in 00:49\n"


def test_what_ends_early_leaves_no_bar_behind():
    with contextlib.suppress(ValueError), ProgressBars("epoch") as report:
        report("fit")(1, 4, "")
        assert report._bars
        raise ValueError
    assert report._bars == {}


def test_nothing_is_shown_where_nothing_is_wanted_or_there_is_nothing(capsys):
    with ProgressBars("epoch", show=False) as report:
        report("fit")(1, 1, "loss 0.1")
    with WorkBar("study", 0, "nodule"):
        pass
    assert list(counted([], "scans", "scan")) == []
    assert capsys.readouterr().err == ""


ON_SCREEN = """
import logging, sys
logging.basicConfig(level="INFO", stream=sys.stdout)
from bundle.progress import WorkBar
with WorkBar("study", 2, "nodule") as bar:
    tell = bar("LIDC-0001 siren")
    for epoch in range(5):
        tell(epoch, 5, "loss 0.1")
    logging.info("a word between")
    bar._bars._bars["study"]._shown = 0
    tell(2, 5, "")
    bar.advance()
    bar.advance()
print("end")
"""


def test_on_a_terminal_it_is_one_bar_without_colour_and_a_logger_does_not_tear_it():
    screen, end = pty.openpty()
    fcntl.ioctl(end, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 100, 0, 0))
    command = [sys.executable, "-c", ON_SCREEN]
    environment = {**os.environ, "TERM": "xterm-256color", "NO_COLOR": "1", "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, stdin=end, stdout=end, stderr=end, env=environment, close_fds=True):
        os.close(end)
        shown = b""
        with contextlib.suppress(OSError):  # the other end was closed
            while piece := os.read(screen, 4096):
                shown += piece
    os.close(screen)
    text = shown.decode()
    assert "\x1b[" not in text
    lines = [line.split("\r")[-1].strip() for line in text.replace("\r\n", "\n").strip().split("\n")]
    assert lines[0] == "INFO:root:a word between"
    assert re.match(r"study: 100%\|█+\| 2/2 nodules \[", lines[1])
    assert lines[2:] == ["end"]
    assert re.search(r"study:   0%\| +\| 0/2 nodules \[00:0\d<\?, LIDC-0001 siren 40%, 0\d:\d\d left\]", text)


def test_a_study_in_a_file_writes_whole_lines_that_fit(nodule_folder, tmp_path, capsys):
    make_study(nodule_folder(2), tmp_path, ["nearest", "linear", "pchip", "gate", "signed_distance"]).run()
    out, told = capsys.readouterr()
    assert "\r" not in out + told
    assert told.splitlines()[-1].startswith("study: 100%, 2 of 2 nodules in ")
    for line in (out + told).replace(str(tmp_path), "").splitlines():
        assert len(line) <= COLUMNS


def test_figures_for_a_terminal_fit_whatever_the_numbers_are():
    places = [("global", None, "psnr"), ("tumour", None, "psnr"), ("tumour", None, "ssim")]
    found = {
        ("guided_distance", "unobserved", *place): Summary(20.123, 10.456, 100 - i, i) for i, place in enumerate(places)
    }
    found["guided_distance", "unobserved", "roi", None, "dsc"] = Summary(0.123, 0.456, 80, 20)
    found["guided_distance", "all", "roi", None, "hd_mm"] = Summary(200.123, 100.456, 70, 30)
    text = main_figures(found, ["guided_distance"], "ct")
    table = text.splitlines()[1:]
    assert max(map(len, table)) <= COLUMNS
    assert "200.12, of 70" in text


def test_long_lines_are_wrapped_and_paths_stay_whole():
    path = "/a" * 80
    lines = wrapped_lines(f"{'word ' * 40}results in {path}\nshort").splitlines()
    assert lines[-2].strip() == path
    assert lines[-1] == "short"
    assert all(len(line) <= COLUMNS for line in lines if path not in line)
