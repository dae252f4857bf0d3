"""One bar for each thing in hand, and none for what is done."""

import contextlib

from bundle.progress import ProgressBars


def test_each_thing_has_a_bar_until_it_is_done(capsys):
    with ProgressBars("epoch", keep=True) as report:
        first, second = report("first"), report("second")
        first(1, 4, "loss 0.5")
        second(2, 2, "")
        first(4, 4, "loss 0.1")
        assert report._bars == {}
    shown = capsys.readouterr().err
    for words in ("first: 100%", "second: 100%", "4/4 epochs", "2/2 epochs", "loss 0.1"):
        assert words in shown


def test_what_ends_early_leaves_no_bar_behind():
    with contextlib.suppress(ValueError), ProgressBars("epoch", show=False) as report:
        report("fit")(1, 4, "")
        bar = report._bars["fit"]
        raise ValueError
    assert report._bars == {}
    assert bar.disable


def test_parts_of_a_tile_move_the_bar_too():
    with ProgressBars("tile") as report:
        for done in (0.25, 0.5, 1.75):
            report("siren")(done, 2, "")
            assert report._bars["siren"].n == done


def test_nothing_is_shown_where_nothing_is_wanted(capsys):
    with ProgressBars("epoch", show=False) as report:
        report("fit")(1, 1, "loss 0.1")
    assert capsys.readouterr().err == ""
