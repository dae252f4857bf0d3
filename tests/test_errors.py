"""One sentence is one line, whatever it quotes."""

import functools
import logging
import os
import pickle
import signal
import subprocess
import sys
import time

import pytest
from helpers.nodules import ROOT
from hypothesis import given
from hypothesis import strategies as st

from bundle.errors import InputError, OutputError, exit_on_mistake


@given(st.text(st.characters(codec=None, categories=["Cc", "Zl", "Zp", "Zs", "Lu", "Cs"])))
def test_a_message_is_one_line_without_signs_of_control_and_stays_what_it_is(text):
    fault = InputError(text)
    told = str(fault)
    assert len(told.splitlines()) <= 1
    assert told == told.rstrip("\r\n")
    assert "\x1b" not in told
    assert str(InputError(told)) == told
    assert str(pickle.loads(pickle.dumps(fault))) == told


def test_names_are_told_as_they_are():
    assert str(OutputError(" a  b /ä 日本\udcff ")) == " a  b /ä 日本\udcff "
    assert str(InputError("series 1.2.3\r\n.4 in\tx\x07")) == r"series 1.2.3 .4 in\tx\x07"


def test_a_mistake_that_a_handler_logs_with_its_traceback_is_told_once(capfd):
    def train():
        try:
            raise InputError("the disk is full")
        except InputError as fault:
            logging.exception("Exception: %s", fault)  # as MONAI's StatsHandler does
            raise

    handler = logging.StreamHandler()
    logging.getLogger().addHandler(handler)
    try:
        with pytest.raises(SystemExit, match="error: the disk is full"):
            exit_on_mistake(train)
        logging.exception("no mistake")
    finally:
        logging.getLogger().removeHandler(handler)
    told = capfd.readouterr().err
    assert "the disk is full" not in told
    assert "no mistake" in told


def test_a_stopped_training_ends_with_one_line_and_no_traceback(nodule_folder, tmp_path):
    out = tmp_path / "out"
    options = {"datalist": nodule_folder(2), "ckpt_dir": out, "epochs": 1000, "steps": 2, "batch_size": 2}
    options |= {"train_folds": "[0,1,2,3,4]", "validation_folds": "[0,1,2,3,4]", "device": "cpu"}
    words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    process = subprocess.Popen(
        [sys.executable, "-m", "monai.bundle", "run", "--config_file", "configs/train.json", *words], cwd=ROOT,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
        preexec_fn=functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    end = time.monotonic() + 300
    while not list(out.glob("checkpoint*.pt")):
        assert process.poll() is None, process.communicate()[0].decode()
        assert time.monotonic() < end
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGINT)
    told = process.communicate(timeout=60)[0].decode()
    assert process.returncode == 130
    assert told.rstrip().endswith("stopped: what was finished is kept, give the same command again to go on")
    assert "Traceback" not in told
    assert "terminating" not in told
