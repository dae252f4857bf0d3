"""A report and a browser to look at it."""

import pytest
from helpers.browser import BINARIES, Browser, find_chromium
from helpers.report_folder import write_study

from bundle.report.build import build_report
from bundle.report.figures import draw as figures
from bundle.report.figures import style


@pytest.fixture(scope="session")
def shown_report(tmp_path_factory):
    """A report of three nodules, one failed reconstruction, two figures."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(style, "PRINT_DPI", 150)
        few = ("figure_along_gap", "figure4_thresholds")
        patch.setattr(figures, "FIGURES", {name: figures.FIGURES[name] for name in few})
        return build_report(write_study(tmp_path_factory.mktemp("study"), failed=[("n1", "siren")]))


@pytest.fixture(scope="session")
def browser():
    binary = find_chromium()
    if binary is None:
        pytest.skip(f"no Chromium here: none of {', '.join(BINARIES)} is on the path")
    opened = Browser(binary)
    yield opened
    opened.close()
