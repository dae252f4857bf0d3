"""The viewer of the report in a real browser: what it paints is what the volumes hold, whatever is chosen."""

import json

import numpy as np
import pytest
from helpers.page import Page, count, picture_of
from helpers.report_folder import SHAPE_XYZ, SPACING

from bundle.report.figures.views import Cut
from bundle.report.results import StudyResults


def panel(browser, axis: int, number: int) -> np.ndarray:
    """(rows, columns, 3) colours of a panel's voxels; truth is 0, the observed slices 1."""
    browser.drawn()
    shape = [n for i, n in enumerate(SHAPE_XYZ) if i != axis]
    found = browser.run(
        f"(c => {{ const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data, s = c.width / {shape[0]};"
        f"return Array.from({{length: {shape[0] * shape[1]}}}, (_, i) => {{ const x = i % {shape[0]}, y = (i - x) /"
        f" {shape[0]}; const at = 4 * (Math.floor((y + .5) * s) * c.width + Math.floor((x + .5) * s));"
        f"return [d[at], d[at + 1], d[at + 2]]; }}); }})"
        f"(document.querySelectorAll('[data-axis=\"{axis}\"] canvas')[{number}])"
    )
    return np.array(found, dtype=float).reshape(shape[1], shape[0], 3)


def shown(hu: np.ndarray, level: float, width: float) -> np.ndarray:
    return ((hu - level + width / 2) / width * 255).clip(0, 255)


def click(browser, selector: str) -> None:
    browser.run(f"document.querySelector({selector!r}).click()")
    browser.drawn()


def test_sliders_show_the_slices_they_say_in_three_planes_by_keyboard(browser, shown_report):
    browser.open(shown_report)
    browser.drawn()
    browser.run("(s => { s.value = 'nodule-1'; s.dispatchEvent(new Event('change')); })(nodule)")
    browser.drawn()
    volume = StudyResults(shown_report.parent).truth_hu("n0")
    for axis, letter in ((2, "z"), (1, "y"), (0, "x")):
        slider = f"document.querySelector('[data-axis=\"{axis}\"] .slider')"
        browser.run(f"{slider}.focus()")
        browser.press("Home", 36)
        for k in range(3):
            assert browser.run(f"Number({slider}.value)") == k
            browser.drawn()
            where = browser.run(f"{slider}.getAttribute('aria-valuetext')")
            assert where.startswith(f"{k + 1} of {SHAPE_XYZ[axis]}, {letter} = {k * SPACING[axis]:.1f} mm")
            assert ("observed" in where) == (axis == 2)
            assert ("not observed" in where) == (axis == 2 and k % 5 > 0)
            expected = shown(Cut(axis, k).view(volume), -600, 1500)
            assert np.abs(panel(browser, axis, 0)[..., 0] - expected).mean() < 6
            browser.press("ArrowRight", 39)
    observed = panel(browser, 1, 1)[::-1]
    blue = [bool((row == (31, 78, 121)).all()) for row in observed]
    assert [k for k, hidden in enumerate(blue) if not hidden] == [0, 5, 10]
    box = browser.box("[data-axis='1'] canvas")
    assert box["width"] / box["height"] == pytest.approx(20 * 0.7 / 13, rel=0.02)
    assert [words for words in browser.messages if "getImageData" not in words] == []  # which the test itself calls


def test_window_error_outlines_methods_and_nodules_are_chosen(browser, shown_report):
    browser.open(shown_report)
    browser.drawn()
    results = StudyResults(shown_report.parent)
    name = browser.run("nodule.selectedOptions[0].textContent")
    names = browser.run("[...document.querySelectorAll('[data-axis=\"2\"] figcaption')].map(e => e.textContent)")
    index = browser.run("Number(document.querySelector('[data-axis=\"2\"] .slider').value)")
    cut, at = Cut(2, index), names.index("cubic")
    truth, made = cut.view(results.truth_hu(name)), cut.view(results.image_hu(name, "cubic"))
    orange = (0xE8, 0x74, 0x1E)
    assert count(browser.picture(f"[data-axis='2'] figure:nth-child({at + 1}) canvas"), orange) > 20
    click(browser, "#outlines")
    assert count(browser.picture(f"[data-axis='2'] figure:nth-child({at + 1}) canvas"), orange) == 0
    click(browser, "input[value='40,350']")
    assert browser.run("[level.value, width.value].join()") == "40,350"
    expected = shown(made, 40, 350)
    assert np.abs(panel(browser, 2, at)[..., 0] - expected).mean() < 12
    click(browser, "input[value=actual]")
    colours = panel(browser, 2, at)
    whole = Page(shown_report.read_text())
    limit = json.loads(whole.all("noscript")[results.nodules.index(name)]["data-facts"])["limit"]
    pair = [
        picture_of(i["src"])[:, index * 20 : index * 20 + 20]
        for i in whole.all("img")
        if f"axial slices of {name}, " in i["alt"]
        and i["data-kind"] == "image"
        and i["data-method"] in ("truth", "cubic")
    ]
    part = (np.abs(pair[0] - pair[1]) / 255 * 1400 / limit).clip(0, 1)
    steps = np.array([[0, 0, 4], [66, 10, 104], [147, 38, 103], [221, 81, 58], [252, 165, 10], [252, 255, 164]])
    expected = np.stack([np.interp(part, np.linspace(0, 1, 6), steps[:, c]) for c in range(3)], axis=2)
    np.testing.assert_allclose(colours, expected, atol=3)
    assert np.abs(np.abs(made - truth).clip(0, limit) - part * limit).mean() < 25  # films are not lossless
    click(browser, "input[name=method][value=cubic]")
    after = browser.run("[...document.querySelectorAll('[data-axis=\"2\"] figcaption')].map(e => e.textContent)")
    assert after == [words for words in names if words != "cubic"] or len(after) == len(names) - 1
    assert [words for words in browser.messages if "getImageData" not in words] == []


def test_a_drag_goes_through_the_slices(browser, shown_report):
    browser.open(shown_report)
    browser.drawn()
    at = "Number(document.querySelector('[data-axis=\"2\"] .slider').value)"
    before = browser.run(at)
    box = browser.box("[data-axis='2'] canvas")
    x, y = box["x"] + 20 - browser.run("scrollX"), box["y"] + 20 - browser.run("scrollY")
    for kind, moved in (("mousePressed", 0), ("mouseMoved", 14), ("mouseReleased", 14)):
        browser.call("Input.dispatchMouseEvent", type=kind, x=x + moved, y=y, button="left", buttons=1, clickCount=1)
    assert browser.run(at) == before + 2


def test_a_finger_goes_through_slices_scrolls_the_page_and_ticks_methods(browser, shown_report):
    browser.call("Emulation.setTouchEmulationEnabled", enabled=True, maxTouchPoints=2)
    browser.open(shown_report, 390, 844)
    browser.drawn()

    def swipe(selector, part, moves):
        box = browser.box(selector)
        x, y = box["x"] + part * box["width"], box["y"] + box["height"] / 2 - browser.run("scrollY")
        for kind, points in (("touchStart", [(0, 0)]), *(("touchMove", [move]) for move in moves), ("touchEnd", [])):
            places = [{"x": x + across, "y": y + down} for across, down in points]
            browser.call("Input.dispatchTouchEvent", type=kind, touchPoints=places)

    at = "Number(document.querySelector('[data-axis=\"2\"] .slider').value)"
    ticked = "document.querySelectorAll('input[name=method]:checked').length"
    before = browser.run(at)
    swipe("[data-axis='2'] canvas", 0.2, [(6 * k, 0) for k in range(1, 4)])
    assert browser.run(at) == before + 3
    swipe("[data-axis='2'] canvas", 0.5, [(0, -10 * k) for k in range(1, 9)])
    assert browser.run(at) == before + 3  # the page moves, not the slice
    swipe("[data-axis='2'] .slider", 0.02, [])
    browser.until(f"{at} === 0")
    methods = browser.run(ticked)
    swipe(".methods label", 0.5, [])
    browser.until(f"{ticked} !== {methods}")
    browser.drawn()
    browser.call("Emulation.setTouchEmulationEnabled", enabled=False)
