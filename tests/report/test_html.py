"""The report as a page: sound HTML, and in a real browser pictures that are seen and a slider that works."""

import base64
import io
import itertools
import re

import numpy as np
import pytest
from helpers.browser import BINARIES, Browser, find_chromium
from helpers.page import Page, count
from helpers.report_folder import DENSITY, SHAPE_XYZ, SPACING, write_study
from PIL import Image

from bundle.report.build import build_report
from bundle.report.figures import draw as figures
from bundle.report.figures import style
from bundle.report.figures.views import Cut
from bundle.report.results import StudyResults


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """A report of three nodules, one failed reconstruction, two figures."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(style, "PRINT_DPI", 150)
        few = ("figure_along_gap", "figure4_thresholds")
        patch.setattr(figures, "FIGURES", {name: figures.FIGURES[name] for name in few})
        return build_report(write_study(tmp_path_factory.mktemp("study"), failed=[("n1", "siren")]))


@pytest.fixture(scope="module")
def browser():
    binary = find_chromium()
    if binary is None:
        pytest.skip(f"no Chromium here: none of {', '.join(BINARIES)} is on the path")
    opened = Browser(binary)
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def page(report):
    return Page(report.read_text())


def test_the_page_is_sound_and_loads_nothing(report, page):
    assert page.open == []
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    for _, attributes in page.elements:
        for name in ("href", "src"):
            value = attributes.get(name, "#")
            assert value.startswith(("#", "data:")), value[:80]
            assert value == "#" or value[0] != "#" or value[1:] in ids
        for name in ("for", "aria-labelledby"):
            assert attributes.get(name, ids[0]) in ids
    style_sheet = page.words["style"]
    assert "url(" not in style_sheet
    assert "@import" not in style_sheet
    assert "default-src 'none'" in report.read_text()


def test_landmarks_names_and_alternatives(page):
    assert [len(page.all(tag)) for tag in ("header", "nav", "main", "footer", "h1")] == [1] * 5
    assert page.all("html")[0]["lang"] == "en"
    assert all(len(image["alt"]) > 10 for image in page.all("img"))
    assert all(scroll.get("aria-label") for _, scroll in page.elements if scroll.get("role") in ("region", "group"))
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch(r"h\d", tag)]
    assert all(b - a <= 1 for a, b in itertools.pairwise(levels))
    assert all(cell.get("scope") for cell in page.all("th"))


def test_what_the_study_says_is_escaped_and_all_there(report):
    text = report.read_text()
    assert "configs/study.json &lt;b&gt;&amp;" in text
    assert "<b>&</b>" not in text
    for words in ("phantom data, not CT", "1 observed slice | too few", "a fallback was taken", "1.6.1", "26.26"):
        assert words in text
    assert len(report.read_bytes()) < 1_000_000


def test_films_are_the_volumes(report, page):
    results = StudyResults(report.parent)
    sources = [i["src"] for i in page.all("img") if "axial slices of n2, " in i["alt"]]
    volumes = [results.truth_hu("n2"), *(results.image_hu("n2", m) for m in DENSITY), results.truth_hu("n2")]
    assert len(sources) == len(volumes)
    for source, volume in zip(sources, volumes, strict=True):
        with Image.open(io.BytesIO(base64.b64decode(source.partition(",")[2]))) as image:
            film = np.asarray(image.convert("L"), dtype=float)
        expected = np.concatenate([Cut(2, k).view(volume) for k in range(SHAPE_XYZ[2])], axis=1)
        low, high = style.LUNG_WINDOW
        hu = film / 255 * (high - low) + low
        assert np.abs(hu - expected.clip(low, high)).mean() < 20  # not lossless


def grey(png: bytes, size: tuple[int, int]) -> np.ndarray:
    with Image.open(io.BytesIO(png)) as image:
        return np.asarray(image.convert("L").resize(size, Image.Resampling.BOX), dtype=float)


@pytest.mark.parametrize("width", [1280, 400])
def test_it_opens_from_disk_without_a_complaint_and_its_pictures_are_seen(browser, report, width):
    browser.open(report, width)
    assert browser.messages == []
    assert {url.split(":")[0] for url in browser.requests} == {"file", "data"}
    assert len([url for url in browser.requests if url.startswith("file:")]) == 1
    images = browser.run(
        "Promise.all([...document.images].map(i => i.decode().then(() =>"
        "[i.naturalWidth, i.getBoundingClientRect().width, i.getBoundingClientRect().height])))"
    )
    assert len(images) == 2 + 3 * (1 + len(DENSITY) + 1) - 1
    assert all(min(image) > 20 for image in images)
    assert browser.run("document.documentElement.scrollWidth") <= width
    for selector in (".picture img", "#nodule-1 .frame", "#nodule-3 .frame"):
        assert grey(browser.picture(selector), (40, 40)).std() > 10
    assert browser.messages == []


def test_the_slider_shows_the_slice_it_says_by_keyboard(browser, report):
    browser.open(report)
    results = StudyResults(report.parent)
    browser.run("document.querySelector('#nodule-2 .outlines').click()")
    browser.run("document.querySelector('#nodule-2 .slider').focus()")
    at = "Number(document.querySelector('#nodule-2 .slider').value)"
    start = browser.run(at)
    browser.press("ArrowRight", 39)
    assert browser.run(at) == start + 1
    browser.press("Home", 36)
    assert browser.run(at) == 0
    volume, low, high = results.truth_hu("n1"), *style.LUNG_WINDOW
    views = [(Cut(2, k).view(volume).clip(low, high) - low) / (high - low) * 255 for k in range(SHAPE_XYZ[2])]
    for k in range(SHAPE_XYZ[2]):
        assert browser.run(at) == k
        where = browser.run("document.querySelector('#nodule-2 .where').textContent")
        assert where.startswith(f"{k} ({k + 1} of 13), z = {k * SPACING[2]:.1f} mm")
        assert ("observed one" not in where) == (k % 5 == 0)
        assert ("beyond" in where) == (k > 10)
        box = browser.box("#nodule-2 .frame")
        assert box["width"] / box["height"] == pytest.approx(20 / 18, rel=0.02)
        # without the bar below, that marks an observed slice
        picture = grey(browser.picture("#nodule-2 .frame"), (20, 18))[:-1]
        distances = [np.abs(picture - view[:-1]).mean() for view in views]
        assert np.argmin(distances) == k
        assert distances[k] < 5
        browser.press("ArrowRight", 39)
    assert browser.run(at) == SHAPE_XYZ[2] - 1


def test_switches_hide_outlines_and_show_differences(browser, report):
    browser.open(report)
    frame = "#nodule-1 .film:nth-child(2) .frame"
    # the colours of the readers' outline and of the method's
    assert min(count(browser.picture(frame), color) for color in ((0x56, 0xB4, 0xE9), (0xE8, 0x74, 0x1E))) > 50
    outline = "getComputedStyle(document.querySelector('#nodule-1 .outline')).display"
    assert browser.run(outline) != "none"
    browser.run("document.querySelector('#nodule-1 .outlines').click()")
    assert browser.run(outline) == "none"
    assert count(browser.picture(frame), (0xE8, 0x74, 0x1E)) == 0
    before = grey(browser.picture(frame), (20, 18))
    for expected in (True, False):
        browser.run("document.querySelector('#nodule-1 .difference').click()")
        after = grey(browser.picture(frame), (20, 18))
        # the reconstruction differs from the truth by noise of 40 HU alone
        assert (after[:-1].mean() < before[:-1].mean() / 2) == expected
    np.testing.assert_array_equal(after, before)
    assert browser.messages == []


def test_without_a_script_it_is_a_strip_through_z(browser, report):
    browser.open(report, script=False)
    box = browser.box("#nodule-1 .strip")
    assert box["width"] == pytest.approx(SHAPE_XYZ[2] * 128, abs=2)
    frame = browser.box("#nodule-1 .frame")
    assert frame["width"] < box["width"]
    assert browser.run("document.querySelector('#nodule-1 .slider').offsetParent") is None
    assert browser.run("getComputedStyle(document.querySelector('#nodule-1 .frame')).overflowX") == "auto"
    assert grey(browser.picture("#nodule-1 .frame"), (40, 10)).std() > 10


def test_it_prints(browser, report):
    browser.open(report)
    pdf = base64.b64decode(browser.call("Page.printToPDF", printBackground=False)["data"])
    assert pdf.startswith(b"%PDF")
    assert 2 <= len(re.findall(rb"/Type\s*/Page\b", pdf)) < 20
    browser.call("Emulation.setEmulatedMedia", media="print")
    assert browser.run("getComputedStyle(document.querySelector('nav')).display") == "none"
    assert grey(browser.picture("#nodule-1 .frame"), (40, 40)).std() > 10
    browser.call("Emulation.setEmulatedMedia", media="")


def test_dark_and_light_have_contrast(browser, report):
    browser.open(report)
    for scheme in ("light", "dark"):
        browser.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        for selector in ("p", "figcaption", "nav a", ".paper", ".bad", ".kind"):
            colors = browser.run(
                f"[getComputedStyle(document.querySelector({selector!r})).color,"
                "getComputedStyle(document.body).backgroundColor]"
            )
            ink, paper = (luminance(color) for color in colors)
            assert (max(ink, paper) + 0.05) / (min(ink, paper) + 0.05) >= 4.5, (scheme, selector)
    browser.call("Emulation.setEmulatedMedia", features=[])


def luminance(color: str) -> float:
    """Relative luminance of ``rgb(r, g, b)``, as WCAG has it."""
    rgb = np.array([float(v) for v in re.findall(r"[\d.]+", color)[:3]]) / 255
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])
