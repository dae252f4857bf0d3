"""Every word of every figure can be read, for few and many methods: no two boxes of text meet, none leaves the page."""

import itertools

import pytest
from helpers.report_folder import write_study
from matplotlib.text import Text

from bundle.inferers.registry import METHODS, default_methods, label
from bundle.report.figures import draw as figures
from bundle.report.figures.style import tick_label
from bundle.report.results import StudyResults

OTHERS = ("ours", "a_method_with_a_rather_long_name", "Supercalifragilistic", "x2", "another_lab_s_diffusion_2026")
COUNTS = {
    3: ("cubic", "siren", "morphological"),
    8: ("linear", "cubic", "pchip", "siren", "prior", "morphological", "guided_distance", "signed_distance"),
    17: tuple(default_methods(METHODS)),
    22: (*default_methods(METHODS), *OTHERS),
}
TOUCH = 0.5  # points that boxes may share: they have some air around the glyphs


def text_boxes(figure):
    """What is written and where, in points; only what a reader sees, as it is drawn."""
    figure.set_dpi(72)
    found = []
    draw = Text.draw

    def note(text, renderer, *args, **kwargs):
        if text.get_visible() and text.get_text().strip() and text.get_rotation() % 90 == 0:
            found.append((text.get_text(), text.get_window_extent(renderer)))
        return draw(text, renderer, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Text, "draw", note)
        figure.draw_without_rendering()
    return found


def faults(figure):
    """Words that run over each other or off the page."""
    boxes = text_boxes(figure)
    page = figure.bbox
    told = [
        f"{words!r} leaves the figure"
        for words, box in boxes
        if min(box.x0, box.y0, page.x1 - box.x1, page.y1 - box.y1) < -TOUCH
    ]
    for (one, a), (other, b) in itertools.combinations(boxes, 2):
        wide, high = min(a.x1, b.x1) - max(a.x0, b.x0), min(a.y1, b.y1) - max(a.y0, b.y0)
        if min(wide, high) > TOUCH:
            told.append(f"{one!r} meets {other!r}")
    return told


@pytest.mark.parametrize(("count", "nodules"), [(3, 12), (8, 3), (17, 3), (22, 1)])
def test_no_words_of_a_figure_meet_or_leave_it(tmp_path, monkeypatch, count, nodules):
    unsure = [name for name in COUNTS[count] if name.startswith(("siren", "prior", "a_method"))]
    drawn = {}
    monkeypatch.setattr(figures, "save", lambda figure, folder, name: drawn.setdefault(name, figure) and "data:,")
    _, left_out = figures.draw_figures(
        StudyResults(write_study(tmp_path, count=nodules, methods=COUNTS[count], unsure=unsure, agreement=True))
    )
    assert not left_out
    kinds = (figures.FIGURES, figures.UNCERTAINTY_FIGURES, figures.SIZE_FIGURES, figures.RADIOMICS_FIGURES)
    assert drawn.keys() >= {name for kind in kinds for name in kind}
    told = {name: faults(figure) for name, figure in drawn.items()}
    assert {name: found for name, found in told.items() if found} == {}
    assert all(figure.get_size_inches()[1] < 297 / 25.4 - 1 for figure in drawn.values())


def test_names_of_the_bundle_are_whole_beside_an_axis():
    assert [tick_label(name) for name in METHODS] == [label(name) for name in METHODS]


def test_many_methods_are_shown_in_further_figures_none_left_out(tmp_path):
    results = StudyResults(write_study(tmp_path, count=1, methods=COUNTS[22]))
    pages = figures.method_pages(results, results.image_methods, 6, figures.TUMOUR)
    assert [len(page) for page in pages] == [6, 6, 6]
    assert sorted(itertools.chain(*pages)) == sorted(results.image_methods)
    # the paper's two, and of the others those with the best mean: the last, as values grow with the place
    assert pages[0] == [name for name in results.image_methods if name in {"cubic", "siren", *OTHERS[1:]}]
