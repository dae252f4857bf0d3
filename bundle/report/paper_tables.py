"""The paper's Tables 1, 2 and 3 over a study's nodules, with the paper's values in a column beside ours.

Each table comes for all unobserved slices (the paper's), and again without the slices beyond the last observed
one, where methods extrapolate; Table 3 also for the whole crop.
"""

from __future__ import annotations

from collections.abc import Sequence

from bundle.report.paper import PAPER, PAPER_NODULES, published
from bundle.report.results import TRUTH, StudyResults
from bundle.report.text_table import Entry, Line, Metric, Table
from bundle.store import ResultStore

RADIOMETRIC = (
    Metric("mae", "MAE", 3),
    Metric("rmse", "RMSE", 3),
    Metric("psnr", "PSNR dB", 2),
    Metric("ssim", "SSIM", 3),
)
TEXTURE = (
    Metric("mean_hu", "mean HU", 0),
    Metric("sd_hu", "sd HU", 0),
    Metric("sd_ratio", "sd ratio", 2),
    Metric("kurtosis", "kurtosis", 2),
)
GEOMETRIC = (Metric("dsc", "DSC", 3), Metric("hd_mm", "HD mm", 2), Metric("arve", "ARVE", 3))
REGIONS = {"global": "field of view", "tumour": "tumour"}
SLICES = {
    "unobserved": "all unobserved slices",
    "interpolated": "unobserved slices between observed ones",
    "all": "the whole crop, observed slices included",
}


def paper_tables(results: StudyResults) -> list[Table]:
    """All tables that the rows allow; those of the paper's own slices first, and only they have its values."""
    tables = []
    for slices, suffix in (("unobserved", ""), ("interpolated", "_interpolated"), ("all", "_all")):
        tables += [
            _by_region(results, f"table1{suffix}", "Table 1. Brightness", RADIOMETRIC, slices, results.density_methods),
            _by_region(results, f"table2{suffix}", "Table 2. Texture", TEXTURE, slices, _textured(results)),
            _table_3(results, f"table3{suffix}", slices),
        ]
    return sorted((table for table in tables if table.lines), key=lambda table: len(table.name) > len("table1"))


def write_paper_tables(results: StudyResults, tables: Sequence[Table]) -> None:
    """Write each table to ``tables/`` of the output folder as .md, .csv and .tex."""
    store = ResultStore(results.root)
    (results.root / "tables").mkdir(exist_ok=True)
    for table in tables:
        for ending, text in (("md", table.markdown()), ("csv", table.csv()), ("tex", table.latex())):
            store.write_text(f"tables/{table.name}.{ending}", text)


def _textured(results: StudyResults) -> tuple[str, ...]:
    methods = dict.fromkeys(row["method"] for row in results.texture)
    return tuple(sorted(methods, key=lambda name: name != TRUTH))


def _by_region(
    results: StudyResults, name: str, title: str, metrics: Sequence[Metric], slices: str, methods: Sequence[str]
) -> Table:
    lines = []
    for region, words in REGIONS.items():
        for method in methods:
            entries = tuple(_entry(results, method, slices, region, None, metric.name) for metric in metrics)
            if any(entry.ours for entry in entries):
                lines.append(Line((words, method), entries))
    return Table(name, _caption(results, title, slices, lines), ("region", "method"), tuple(metrics), tuple(lines))


def _table_3(results: StudyResults, name: str, slices: str) -> Table:
    lines = []
    for method in results.methods:
        for threshold in (None, *results.thresholds):
            entries = tuple(
                # the Hausdorff distance is between the masks of the whole crop
                _entry(results, method, slices, "roi", threshold, m.name, fallback="all" if m.name == "hd_mm" else "")
                for m in GEOMETRIC
            )
            if any(entry.ours for entry in entries):
                lines.append(Line((method, "–" if threshold is None else f"{threshold:g}"), entries))
    caption = _caption(results, "Table 3. Shape", slices, lines)
    if slices != "all":
        caption += " HD is that of the whole crop."
    return Table(name, caption, ("method", "HU >"), GEOMETRIC, tuple(lines))


def _entry(
    results: StudyResults,
    method: str,
    slices: str,
    region: str,
    threshold: float | None,
    metric: str,
    fallback: str = "",
) -> Entry:
    summaries = results.summaries
    ours = summaries.get((method, slices, region, threshold, metric))
    if ours is None and fallback:
        ours = summaries.get((method, fallback, region, threshold, metric))
    return Entry(ours, published(method, region, threshold, metric) if slices == "unobserved" else None)


def _caption(results: StudyResults, title: str, slices: str, lines: Sequence[Line]) -> str:
    caption = (
        f"{title} on {SLICES[slices]} of {len(results.nodules)} nodules ({results.kind_words}; "
        f"{results.protocol_words}): mean ± sd over nodules."
    )
    if any(entry.paper for line in lines for entry in line.entries):
        caption += f" paper: {PAPER}, {PAPER_NODULES} nodules of LIDC-IDRI."
    counts = [(s.n, s.n_failed) for line in lines for entry in line.entries if (s := entry.ours)]
    if len(set(counts)) > 1:
        caption += " n, failed: where they differ between metrics, in the order of the columns."
    return caption
