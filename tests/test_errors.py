"""One sentence is one line, whatever it quotes."""

import pickle

from hypothesis import given
from hypothesis import strategies as st

from bundle.errors import InputError, OutputError


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
