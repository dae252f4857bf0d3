"""Figures: what they show is what is on disk, and they can be read in print and by the colour-blind."""

import base64
import io
import itertools
import json

import numpy as np
import pytest
from helpers.report_folder import SPACING, save, write_study
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.text import Text
from PIL import Image
from skimage.color import deltaE_ciede2000, rgb2lab

from bundle.inferers.registry import METHODS as BUNDLED
from bundle.inferers.registry import default_methods
from bundle.report.facts import NoduleFacts
from bundle.report.figures import draw as figures
from bundle.report.figures.style import PRINT_DPI, RC, looks
from bundle.report.figures.views import Cut, central_cut, chosen_nodules, outline, through_cuts
from bundle.report.page.films import film_window
from bundle.report.pictures import nice_limit
from bundle.report.results import StudyResults

METHODS = ("nearest", "linear", "cubic", "pchip", "morphological", "signed_distance", "siren")
# Machado, Oliveira and Fernandes 2009, severity 1: linear RGB to what is seen of it
COLOUR_BLIND = {
    "nobody": np.eye(3),
    "protanope": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranope": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritanope": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    return StudyResults(write_study(tmp_path_factory.mktemp("study"), failed=[("n1", "siren")]))


@pytest.fixture(scope="module")
def made(results):
    """Every figure, not yet saved, by its name."""
    return {name: first_of(name, results) for name in figures.FIGURES}


def first_of(name, results):
    """The first figure of a kind, and its caption."""
    plan = figures.FIGURES[name]
    return plan.draw(*next(plan.pages(results)))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**20 - 1), st.integers(1, 5))
def test_outline_is_every_edge_between_inside_and_outside(bits, rows):
    flat = np.array([bits >> i & 1 for i in range(rows * 4)], bool).reshape(rows, 4)
    padded = np.pad(flat, 1)
    expected = set()
    for y in range(rows + 2):
        for x in range(6):
            if y and padded[y, x] != padded[y - 1, x]:
                expected.add(((x - 1, y - 1), (x, y - 1)))
            if x and padded[y, x] != padded[y, x - 1]:
                expected.add(((x - 1, y - 1), (x - 1, y)))
    found = set()
    for (x, y), (x_end, y_end) in outline(flat):
        pieces = [((x + i, y), (x + i + 1, y)) for i in range(x_end - x)]
        pieces += [((x, y + i), (x, y + i + 1)) for i in range(y_end - y)]
        assert not found.intersection(pieces)
        found.update(pieces)
    assert found == expected


def test_views_stand_as_radiologists_look_at_them():
    volume = np.zeros((3, 4, 5))
    volume[2, 0, 4] = 1  # left, anterior, superior
    for cut in (Cut(2, 4), Cut(1, 0), Cut(0, 2)):
        view = cut.view(volume)
        # the patient's left (sagittal: front) to the right (sagittal: left) of the viewer, anterior or superior up
        assert view[0, 0 if cut.axis == 0 else -1] == 1
    assert Cut(2, 0).pixel((0.5, 0.6, 1.2)) == (0.6, 0.5)
    assert Cut(1, 0).pixel((0.5, 0.6, 1.2)) == (1.2, 0.5)
    assert Cut(0, 0).pixel((0.5, 0.6, 1.2)) == (1.2, 0.6)


@pytest.mark.parametrize(("axis", "expected"), [(2, {1, 0}), (1, {2, 0}), (0, {1, 2})])
def test_the_planes_along_the_gap_contain_the_decimated_axis(axis, expected):
    facts = NoduleFacts((1, 1, 1), (6, 6, 6), axis, (0, 5))
    assert {cut.axis for cut in through_cuts(np.ones((6, 6, 6), bool), facts)} == expected


def test_the_central_slice_is_unobserved_and_nearest_to_the_centre():
    mask = np.zeros((5, 5, 21), bool)
    mask[2, 2, 9:12] = True
    assert central_cut(mask, NoduleFacts((1, 1, 1), mask.shape, 2, (0, 5, 10, 15, 20))) == Cut(2, 9)
    assert central_cut(mask, NoduleFacts((1, 1, 1), mask.shape, 1, (0,))) == Cut(2, 10)
    # nothing is unobserved, nothing is inside: the middle
    assert central_cut(np.zeros((1, 1, 3), bool), NoduleFacts((1, 1, 1), (1, 1, 3), 2, (0, 1, 2))) == Cut(2, 1)


def test_nodules_are_chosen_by_size_and_not_from_those_where_methods_failed(results, tmp_path):
    assert "n1" not in chosen_nodules(results)
    many = write_study(tmp_path, count=9, methods=("linear",))
    for i in range(9):
        mask = np.zeros((20, 18, 13), np.uint8)
        mask[2 : 4 + i, 5, 5] = 1
        save(many / "nodules" / f"n{8 - i}" / "truth" / "mask.nii.gz", mask)
    assert chosen_nodules(StudyResults(many)) == ["n7", "n4", "n1"]
    assert chosen_nodules(StudyResults(many), 1) == ["n4"]


def test_one_wild_panel_does_not_stretch_the_colours():
    panels = [np.array([10.0, -30.0]), np.array([40.0]), np.array([5000.0])]
    assert nice_limit(panels) == 50
    assert nice_limit([]) == 50


def test_every_method_looks_different_also_in_grey():
    found = looks([*METHODS, "truth", "mine", "yours"])
    assert len({(str(look.linestyle), look.marker) for look in found.values()}) == len(found)
    assert looks(["linear"])["linear"] == found["linear"]


@pytest.mark.parametrize("kind", list(COLOUR_BLIND))
def test_the_colour_blind_tell_methods_apart_that_are_drawn_together_by_default(kind):
    colors = [looks([name])[name].color for name in (*default_methods(BUNDLED), "truth")]
    rgb = np.array([[int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)] for color in colors])
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    seen = np.clip(linear @ np.array(COLOUR_BLIND[kind]).T, 0, 1)
    lab = rgb2lab(np.where(seen <= 0.0031308, 12.92 * seen, 1.055 * seen ** (1 / 2.4) - 0.055)[None])[0]
    apart = [deltaE_ciede2000(one, other) for one, other in itertools.combinations(lab, 2)]
    assert min(apart) > 8  # a just noticeable difference is about 1


def test_all_text_can_be_read_in_print(made):
    assert min(v for k, v in RC.items() if k.endswith("size") and "marker" not in k) >= 7
    for name, (drawn, *_) in made.items():
        width, height = drawn.get_size_inches()
        assert width == pytest.approx(180 / 25.4), name
        assert height < 297 / 25.4 - 1, name
        written = [text for text in drawn.findobj(Text) if text.get_visible() and text.get_text().strip()]
        assert written
        assert min(text.get_fontsize() for text in written) >= 7 * 0.7, name  # exponents of powers are smaller
        plain = [text for text in written if "$" not in text.get_text()]
        assert min(text.get_fontsize() for text in plain) >= 7, name


def test_captions_say_what_data(made, tmp_path):
    assert all("phantom" in made[name][1] for name in made)
    ct = StudyResults(write_study(tmp_path, count=1, kind="lidc"))
    assert "phantom" not in first_of("figure2_errors", ct)[1]


def test_errors_are_those_of_the_volumes_on_disk(results, made):
    drawn = made["figure2_errors"][0]
    nodule = chosen_nodules(results)[0]
    cut = central_cut(results.truth_mask(nodule), results.facts[nodule])
    truth = cut.view(results.truth_hu(nodule))
    shown = [place.images[0].get_array() for place in drawn.axes if place.images]
    np.testing.assert_array_equal(shown[0], truth)
    for i, method in enumerate(results.image_methods):
        view = cut.view(results.image_hu(nodule, method))
        np.testing.assert_array_equal(shown[1 + i], view)
        np.testing.assert_array_equal(shown[1 + len(results.image_methods) + i], view - truth)
    bars = [place for place in drawn.axes if place.get_label() == "<colorbar>"]
    assert len(bars) == 1
    assert "HU" in bars[0].get_xlabel()


def test_views_along_the_gap_have_the_right_proportions_and_show_what_is_missing(results, made):
    drawn = made["figure_along_gap"][0]
    places = [place for place in drawn.axes if place.images]
    left, right, bottom, top = places[0].images[0].get_extent()
    assert right - left == pytest.approx(20 * SPACING[0])
    assert abs(bottom - top) == pytest.approx(13 * SPACING[2])
    assert all(place.get_aspect() in ("equal", 1) for place in places)
    observed = np.asarray(places[1].images[0].get_array().filled(np.nan))[::-1]
    assert [k for k in range(13) if np.isfinite(observed[k]).all()] == [0, 5, 10]
    assert not np.isfinite(observed[1]).any()


def test_curves_against_threshold_are_the_means(results, made):
    drawn = made["figure4_thresholds"][0]
    dsc = drawn.axes[1]
    lines = {line.get_label(): line for line in dsc.lines}
    np.testing.assert_allclose(lines["linear"].get_xdata(), [-500, -450, -400, -350, -300])
    np.testing.assert_allclose(lines["linear"].get_ydata(), [0.2] * 5)
    np.testing.assert_allclose(lines["SIREN"].get_ydata(), [0.6] * 5)  # without the nodule that failed
    np.testing.assert_allclose(lines["morphological"].get_ydata(), [0.8, 0.8])


def test_paired_points_are_the_nodules(results, made):
    place = made["figure_paired"][0].axes[0]
    np.testing.assert_allclose(place.lines[0].get_xdata(), [0.1, 0.2, 0.3])
    np.testing.assert_allclose(place.lines[1].get_xdata(), [0.2, 0.4, np.nan])
    assert [text.get_text() for text in place.get_yticklabels()] == ["linear", "cubic", "SIREN"]


def test_learning_curves_are_the_files(results, made):
    left, right = made["figure_learning"][0].axes
    np.testing.assert_allclose(left.lines[0].get_ydata(), 1 / np.arange(1, 21))
    assert len(left.lines) == 2 + 1  # two nodules, their median
    np.testing.assert_allclose(right.lines[0].get_ydata(), 5e-5)


def test_densities_integrate_to_one_and_spectra_end_at_nyquist(made):
    left, right = made["figure3_texture"][0].axes
    for line in left.lines:
        x, y = line.get_data()
        assert np.trapezoid(y, x) / 1000 == pytest.approx(1, abs=0.05)
    assert max(line.get_xdata()[-1] for line in right.lines) <= 1 / (2 * SPACING[0])
    assert left.lines[0].get_label() == "truth"


def test_where_rows_were_dropped_whole_axial_slices_are_shown(tmp_path):
    root = write_study(tmp_path, count=1)
    path = root / "nodules" / "n0" / "truth" / "result.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"axis": 1, "observed": [0, 5, 10, 15]}))
    rows = StudyResults(root)
    found = {name: first_of(name, rows) for name in ("figure2_errors", "figure3_texture", "figure_along_gap")}
    assert "Central axial slice" in found["figure2_errors"][1]
    assert "all axial slices" in found["figure3_texture"][1]
    axial = next(p for p in found["figure_along_gap"][0].axes if "axial" in p.get_ylabel())
    seen = found["figure_along_gap"][0].axes[found["figure_along_gap"][0].axes.index(axial) + 1].images[0].get_array()
    assert [k for k in range(18) if np.isfinite(seen.filled(np.nan)[k]).all()] == [0, 5, 10, 15]


def test_files_are_for_print_and_screen(results):
    drawn, left_out = figures.draw_figures(results)
    assert not [sentence for sentence in left_out if "nothing to show" in sentence]
    for figure in drawn:
        with Image.open(results.root / "figures" / f"{figure.name}.png") as image:
            assert image.info["dpi"] == pytest.approx((PRINT_DPI, PRINT_DPI), abs=0.5)
            assert image.width == pytest.approx(180 / 25.4 * PRINT_DPI, abs=2)
        assert (results.root / "figures" / f"{figure.name}.pdf").read_bytes().startswith(b"%PDF")
        with Image.open(io.BytesIO(base64.b64decode(figure.picture.partition(",")[2]))) as image:
            assert 1000 < image.width < 1200
        assert len(figure.picture) < 400_000


def test_a_whole_ct_is_shown_around_the_nodule_only():
    mask = np.zeros((512, 400, 300), bool)
    mask[500, 200, 150] = True
    window = film_window(mask)
    assert window.size == (128, 128, 120)
    assert window.crop(mask).sum() == 1
