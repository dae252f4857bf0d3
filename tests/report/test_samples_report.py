"""A sample stands in tables of texture and in pictures, by a name that says what it is, and is ranked nowhere."""

import csv

import pytest
from helpers.report_folder import write_study

from bundle.inferers.learned.sample import NOTE
from bundle.inferers.registry import label
from bundle.report.build import build_report
from bundle.report.figures.curves import figure_paired, figure_texture
from bundle.report.options import ReportOptions
from bundle.report.page.answer import answers, forests
from bundle.report.page.overview import glance_table
from bundle.report.results import StudyResults
from bundle.report.tables.methods_tables import methods_tables
from bundle.report.tables.paper_tables import paper_tables

METHODS = ("linear", "cubic", "prior_sample", "morphological")
NAME = "prior: one sample of many"


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A study folder as a study leaves it: no row of the sample in metrics.csv."""
    root = write_study(tmp_path_factory.mktemp("sampled"), methods=METHODS)
    path = root / "metrics.csv"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(line for line in lines if ",prior_sample," not in line))
    return root


def test_it_is_neither_an_image_nor_a_mask_that_is_compared(root):
    results = StudyResults(root)
    assert label("prior_sample") == NAME
    assert results.samples == ("prior_sample",)
    assert results.image_methods == ("linear", "cubic")
    assert results.mask_methods == ("morphological",)
    assert sorted(results.methods) == sorted(METHODS)
    assert results.image_hu("n0", "prior_sample") is not None
    assert results.mask("n0", "prior_sample", results.main_threshold) is not None


def test_no_table_and_no_answer_ranks_it_but_texture_shows_it(root):
    results, options = StudyResults(root), ReportOptions()
    tables = {table.name: table for table in [*paper_tables(results), *methods_tables(results, options)]}
    told = {name: str(table.rows) for name, table in tables.items()}
    assert [name for name, text in told.items() if NAME in text or "prior_sample" in text] == [
        name for name in told if name.startswith("table2")
    ]
    assert f"prior_sample: {NOTE}." in tables["table2"].caption
    assert NOTE not in tables["table1"].caption
    assert NAME not in str(glance_table(results).rows)
    assert not any(NAME in sentence for sentence in answers(results, options))
    assert not any(NAME in row.method for forest in forests(results, options) for row in forest.rows)


def test_figures_of_texture_show_it_and_those_of_errors_do_not(root):
    results = StudyResults(root)
    drawn, _, _ = figure_texture(results)
    assert NAME in [text.replace("\n", " ") for place in drawn.axes for text in place.get_legend_handles_labels()[1]]
    paired, _ = figure_paired(results)
    assert not any("prior" in tick.get_text() for place in paired.axes for tick in place.get_yticklabels())


def test_the_report_is_built_and_names_it(root):
    build_report(root, ReportOptions())
    assert NAME in (root / "report.html").read_text()
    with (root / "tables" / "table2.csv").open(newline="") as file:
        assert "prior_sample" in {row["method"] for row in csv.DictReader(file)}
