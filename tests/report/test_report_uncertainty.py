"""What the report shows of expected errors, and that it shows nothing where no method gives any."""

import base64
import io
import json

import numpy as np
import pytest
from helpers.browser import BINARIES, Browser, find_chromium
from helpers.page import Page, count
from helpers.report_folder import LEVELS, SHAPE_XYZ, save, write_study
from PIL import Image

from bundle.report.build import build_report
from bundle.report.figures import draw as figures
from bundle.report.figures import style
from bundle.report.figures.slices import figure_expected_errors
from bundle.report.figures.uncertainty import figure_reliability
from bundle.report.figures.views import Cut, central_cut
from bundle.report.results import StudyResults
from bundle.report.tables.uncertainty_tables import levels_of, uncertainty_tables

UNSURE = ("cubic", "siren")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return write_study(tmp_path_factory.mktemp("unsure"), failed=[("n1", "siren")], unsure=UNSURE)


@pytest.fixture(scope="module")
def report(root):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(style, "PRINT_DPI", 75)
        patch.setattr(style, "SCREEN_DPI", 75)
        patch.setattr(figures, "FIGURES", {})
        return build_report(root)


def test_rows_and_maps_are_read(root):
    results = StudyResults(root)
    assert results.unsure_methods == UNSURE
    assert results.error_hu("n0", "siren").shape == SHAPE_XYZ
    assert results.error_hu("n0", "linear") is None
    assert results.error_hu("n1", "siren") is None
    assert results.values("cubic", "unobserved", "tumour", None, "coverage_90") == pytest.approx(
        {"n0": 0.85, "n1": 0.85, "n2": 0.85}
    )
    assert results.problems == []
    assert levels_of(results) == {f"{level:g}": level / 100 for level in LEVELS}


def test_tables_hold_every_level_and_count_failures(root):
    tables = {table.name: table for table in uncertainty_tables(StudyResults(root))}
    assert list(tables) == ["table_uncertainty", "table_uncertainty_interpolated"]
    table = tables["table_uncertainty"]
    assert "phantom data, not CT" in table.caption
    rows = {cells[:2]: cells[2:] for cells in table.rows}
    assert rows["tumour", "siren"][:4] == tuple(f"{level / 100 - 0.05:.3f} ± 0.000" for level in LEVELS)
    assert rows["field of view", "siren"][4:] == ("271 ± 1", "1.00 ± 0.00", "0.40 ± 0.00", "2", "1")
    assert rows["field of view", "cubic"][-2:] == ("3", "0")


def test_the_figures_show_what_is_on_disk(root):
    results = StudyResults(root)
    drawn, caption = figure_reliability(results)
    assert "phantom data, not CT" in caption
    for place, less in zip(drawn.axes, (0, 0.05), strict=True):
        lines = {line.get_label(): line for line in place.get_lines()}
        assert set(lines) == {"as meant", "cubic", "SIREN"}
        np.testing.assert_allclose(lines["cubic"].get_ydata(), np.array(LEVELS) / 100 - less)
        np.testing.assert_allclose(lines["cubic"].get_xdata(), np.array(LEVELS) / 100, atol=0.01)
    drawn, caption = figure_expected_errors(results, UNSURE)
    assert "phantom data, not CT" in caption
    arrays = [np.asarray(image.get_array()) for place in drawn.axes for image in place.get_images()]
    facts, mask = results.facts["n0"], results.truth_mask("n0")
    cut = central_cut(mask, facts)
    assert cut.index in facts.unobserved
    actual = np.abs(results.image_hu("n0", "cubic") - results.truth_hu("n0"))
    for wanted in (actual, results.error_hu("n0", "cubic")):
        assert any(np.array_equal(array, cut.view(wanted)) for array in arrays)


def test_without_maps_the_report_says_nothing_of_them(tmp_path, monkeypatch):
    monkeypatch.setattr(figures, "FIGURES", {})
    root = write_study(tmp_path, count=1)
    text = build_report(root).read_text()
    assert "ncertainty" not in text
    assert "expected error" not in text
    assert 'data-kind="error"' not in text
    assert not list(root.glob("*/*uncertainty*"))
    assert StudyResults(root).problems == []


def test_the_page_has_a_section_and_films_of_both_errors(report, root):
    page = Page(report.read_text())
    assert page.open == []
    assert "#uncertainty" in {a.get("href") for a in page.all("a")}
    assert {p.name for p in (root / "figures").iterdir()} == {
        f"{name}.{end}" for name in ("figure_reliability", "figure_expected_errors") for end in ("png", "pdf")
    }
    names = {p.name for p in (root / "tables").iterdir() if "uncertainty" in p.name}
    assert names == {f"table_uncertainty{s}.{end}" for s in ("", "_interpolated") for end in ("md", "csv", "tex")}
    films = {(a["data-kind"], a["data-method"]): a["src"] for a in page.all("img") if " of n0, lowest" in a["alt"]}
    assert {method for kind, method in films if kind == "error"} == {"siren", "cubic"}
    others = {a["data-method"] for a in page.all("img") if " of n1, lowest" in a["alt"] and a["data-kind"] == "error"}
    assert others == {"cubic"}
    with Image.open(io.BytesIO(base64.b64decode(films["error", "cubic"].partition(",")[2]))) as image:
        film = np.asarray(image.convert("L"), dtype=float)
    expected = StudyResults(root).error_hu("n0", "cubic")
    strip = np.concatenate([Cut(2, k).view(expected) for k in range(SHAPE_XYZ[2])], axis=1)
    limit = json.loads(page.all("noscript")[0]["data-facts"])["limit"]
    assert np.abs(film / 255 * limit - strip.clip(0, limit)).mean() < 5  # not lossless


def test_broken_maps_are_named_and_left_out(tmp_path):
    root = write_study(tmp_path, count=1, unsure=UNSURE)
    save(root / "nodules/n0/cubic/uncertainty.nii.gz", np.zeros((3, 3, 3), np.float32))
    (root / "nodules/n0/siren/uncertainty.nii.gz").unlink()
    results = StudyResults(root)
    assert figure_expected_errors(results, UNSURE) is None
    assert "n0/cubic/uncertainty.nii.gz has shape (3, 3, 3)" in "\n".join(results.problems)
    assert "n0/siren/uncertainty.nii.gz is absent" in "\n".join(results.problems)
    (root / "uncertainty.csv").write_text("a,b\n1,2\n")
    results = StudyResults(root)
    assert results.unsure_methods == ()
    assert any("the table of uncertainty is left out" in problem for problem in results.problems)


def test_a_browser_shows_the_maps(report):
    binary = find_chromium()
    if binary is None:
        pytest.skip(f"no Chromium here: none of {', '.join(BINARIES)} is on the path")
    browser = Browser(binary)
    try:
        browser.open(report, 400)
        browser.drawn()
        browser.run("document.querySelector('input[value=error]').click()")
        key = browser.box("#compare .heat i")
        assert key["width"] > 20
        assert count(browser.picture("#compare .heat i"), (0xDD, 0x51, 0x3A)) > 5
        browser.drawn()
        names = browser.run("[...document.querySelectorAll('[data-axis=\"2\"] figcaption')].map(e => e.textContent)")
        at = names.index("SIREN")
        with Image.open(io.BytesIO(browser.picture(f"[data-axis='2'] figure:nth-child({at + 1}) canvas"))) as image:
            colors = np.asarray(image.convert("RGB"), dtype=float)
        # in colours, where CT is grey
        assert np.ptp(colors, axis=2).mean() > 20
        assert browser.messages == []
    finally:
        browser.close()
