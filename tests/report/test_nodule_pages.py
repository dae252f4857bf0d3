"""A study of more nodules than a page can hold: pages in groups, linked, each sound and small enough."""

import pytest
from helpers.page import Page
from helpers.report_folder import write_study

from bundle.report.build import build_report
from bundle.report.figures import draw as figures
from bundle.report.page import nodule_pages


@pytest.fixture
def report(tmp_path, monkeypatch):
    """Of seven nodules, three to a page, one failed, where an earlier study left a fourth page."""
    monkeypatch.setattr(nodule_pages, "NODULES_A_PAGE", 3)
    monkeypatch.setattr(figures, "FIGURES", {})
    root = write_study(tmp_path, count=7, methods=("linear", "cubic"), failed=[("n1", "cubic")], texture=False)
    (root / "report_pages").mkdir()
    (root / "report_pages" / "nodules_004.html").write_text("old")
    return build_report(root)


def test_every_nodule_is_on_one_page_and_the_table_leads_there(report):
    page = Page(report.read_text(encoding="utf-8"))
    links = {a["href"] for a in page.all("a") if "nodule-" in a.get("href", "")}
    away, here = {link for link in links if link[0] != "#"}, {link[1:] for link in links if link[0] == "#"}
    assert len(here) == 3  # a small, a middle and a large one
    assert here == {e["id"] for _, e in page.elements if e.get("class") == "nodule"}
    assert len(here | {link.split("#")[1] for link in away}) == 7
    files = sorted(path.name for path in (report.parent / "report_pages").iterdir())
    assert files == ["nodules_001.html", "nodules_002.html", "nodules_003.html"]
    found = []
    for name in files:
        other = Page((report.parent / "report_pages" / name).read_text(encoding="utf-8"))
        assert other.open == []
        anchors = [e["id"] for _, e in other.elements if e.get("class") == "nodule"]
        found += [f"report_pages/{name}#{anchor}" for anchor in anchors]
        for anchor in (a["href"] for a in other.all("a")):
            assert anchor[0] == "#" or (report.parent / "report_pages" / anchor).is_file()
    assert len(found) == 7
    assert away <= set(found)


def test_long_lists_are_cut_and_say_so(tmp_path, monkeypatch):
    monkeypatch.setattr(figures, "FIGURES", {})
    monkeypatch.setattr("bundle.report.page.overview.MOST_FAILURES", 2)
    monkeypatch.setattr("bundle.report.page.page.MOST_NAMED", 1)
    failed = [(f"n{i}", "cubic") for i in range(3)]
    root = write_study(tmp_path, count=4, methods=("linear", "cubic"), failed=failed, texture=False)
    text = build_report(root).read_text(encoding="utf-8")
    assert "Failed reconstructions. The first 2 rows; all are in failures.csv." in text
    assert text.count("1 observed slice | too few") == 2 + 3  # in the table, and at each nodule
