"""A table once, as Markdown, CSV, LaTeX, aligned text, or on a page.

Vocabulary: a *line* of a table of metrics has *heads* (its method, region, threshold) and one *entry* for each metric:
the summary over nodules that was measured, and what the paper gives for it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bundle.metrics.table import Metric
from bundle.report.tables.paper import PAPER_NODULES, Published
from bundle.report.tidy import Summary, aligned, summary_texts, to_csv
from bundle.store import ResultStore

DASH = "–"
PAPER_HEAD = ", paper"


@dataclass(frozen=True)
class Table:
    """A table of text, with the values behind it.

    Attributes:
        name: of its files; "" for one that stands on the page alone.
        caption: says what was measured on which slices, and "phantom" where that is so.
        columns: labels.
        rows: cells, one for each column; a table may have none.
        heads: columns that name a row.
        title: a few words.
        strong: (row, column) of the cells that stand out on a page.
        records: the values to the last digit, for the CSV file.
        fields: keys of the records, in order.

    Example:
        >>> table = Table("t", "A caption.", ("method", "MAE"), (("linear", "0.5"),))
        >>> print(table.text())
        method  MAE
        linear  0.5
    """

    name: str
    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    heads: int = 1
    title: str = ""
    strong: tuple[tuple[int, int], ...] = ()
    records: tuple[Mapping[str, Any], ...] = ()
    fields: tuple[str, ...] = ()

    def is_paper(self, row: Sequence[str]) -> bool:
        """Whether a row holds the paper's values."""
        return any(cell.endswith(PAPER_HEAD) for cell in row[: self.heads])

    def text(self) -> str:
        """The columns aligned, for a terminal."""
        return aligned(self.columns, self.rows, self.heads)

    def markdown(self) -> str:
        """Caption and table; bars and line breaks in cells are kept from breaking it."""
        lines = [
            "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in line) + " |"
            for line in (self.columns, *self.rows)
        ]
        return "\n".join([self.caption, "", lines[0], "|" + "---|" * len(self.columns), *lines[1:], ""])

    def csv(self) -> str:
        """The records, floats to the last digit."""
        return to_csv(self.records, self.fields)

    def latex(self) -> str:
        """A ``table`` environment for the booktabs package."""
        columns = "l" * self.heads + "r" * (len(self.columns) - self.heads)
        body, before = [], ""
        for row in self.rows:
            if self.heads > 1 and before and before != row[0].removesuffix(PAPER_HEAD):
                body.append(r"\addlinespace")
            before = row[0].removesuffix(PAPER_HEAD)
            body.append(_latex_row(row))
        return "\n".join(
            [
                r"% needs \usepackage{booktabs}",
                r"\begin{table}",
                r"\centering\small",
                rf"\caption{{{latex_escape(self.caption)}}}",
                rf"\label{{tab:{self.name}}}",
                rf"\begin{{tabular}}{{{columns}}}",
                r"\toprule",
                _latex_row(self.columns),
                r"\midrule",
                *body,
                r"\bottomrule",
                r"\end{tabular}",
                r"\end{table}",
                "",
            ]
        )


@dataclass(frozen=True)
class Entry:
    """One cell: ours, and the paper's; None where there is none."""

    ours: Summary | None
    paper: Published | None = None


@dataclass(frozen=True)
class Line:
    """One row of a table of metrics: what it is about, and an entry for each metric."""

    heads: tuple[str, ...]
    entries: tuple[Entry, ...]


def metric_table(
    name: str, caption: str, heads: tuple[str, ...], metrics: tuple[Metric, ...], lines: Iterable[Line]
) -> Table:
    """A table of means ± sd; what the paper gives stands in a row of its own below ours, where it gives anything.

    Args:
        name: see :class:`Table`.
        caption: see :class:`Table`.
        heads: labels of the head columns, ``method`` among them.
        metrics: a column each.
        lines: rows.

    Returns:
        the table. n and n failed stand once where they are alike for all metrics of a line, else metric by metric. Its
        records hold one line a row and metric: heads, metric, mean, sd, n, n_failed, the paper's mean and sd.

    Example:
        >>> from bundle.metrics.table import metric_of
        >>> line = Line(("linear",), (Entry(Summary(0.5, 0.1, 3, 1), Published(0.4)),))
        >>> metric_table("t", "A caption.", ("method",), (metric_of("mae"),), [line]).rows
        (('linear', '0.500 ± 0.100', '3', '1'), ('linear, paper', '0.400', '50', '–'))
    """
    rows: list[tuple[str, ...]] = []
    records = []
    fields = (*heads, "metric", "mean", "sd", "n", "n_failed", "paper_mean", "paper_sd")
    for line in lines:
        pairs = list(zip(metrics, line.entries, strict=True))
        measured = [entry.ours for entry in line.entries]
        counts = (_alike([s.n if s else None for s in measured]), _alike([s.n_failed if s else None for s in measured]))
        rows.append((*line.heads, *summary_texts(measured, [metric.decimals for metric in metrics]), *counts))
        if any(entry.paper for entry in line.entries):
            named = [h + PAPER_HEAD if name == "method" else h for name, h in zip(heads, line.heads, strict=True)]
            cells = [e.paper.text(m.decimals) if e.paper else DASH for m, e in pairs]
            rows.append((*named, *cells, str(PAPER_NODULES), DASH))
        for metric, entry in pairs:
            ours, paper = entry.ours, entry.paper
            numbers = (ours.mean, ours.sd, ours.n, ours.n_failed) if ours else (None, None, 0, 0)
            theirs = (paper.mean, paper.sd) if paper else (None, None)
            records.append(dict(zip(fields, (*line.heads, metric.name, *numbers, *theirs), strict=True)))
    columns = (*heads, *(metric.heading() for metric in metrics), "n", "failed")
    return Table(name, caption, columns, tuple(rows), len(heads), records=tuple(records), fields=fields)


def write_tables(store: ResultStore, tables: Iterable[Table]) -> None:
    """Write each table that has a name to ``tables/`` of a folder, as .md, .csv and .tex.

    Raises:
        InputError: the folder can't be written.
    """
    (store.root / "tables").mkdir(exist_ok=True)
    for table in tables:
        if table.name:
            for ending, text in (("md", table.markdown()), ("csv", table.csv()), ("tex", table.latex())):
                store.write_text(f"tables/{table.name}.{ending}", text)


_LATEX = {
    "\\": r"\textbackslash{}",
    "±": r"$\pm$",
    "–": "--",
    "−": "$-$",
    "×": r"$\times$",
    "∞": r"$\infty$",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": "$<$",
    ">": "$>$",
} | {sign: "\\" + sign for sign in "&%$#_{}"}


def latex_escape(text: str) -> str:
    """Text with what LaTeX would take for markup made plain.

    Example:
        >>> latex_escape("hd_mm 1.98 ± 0.55, 5 %")
        'hd\\\\_mm 1.98 $\\\\pm$ 0.55, 5 \\\\%'
    """
    minus = re.sub(r"(?<![\w-])-(?=\d)", "−", text)
    return "".join(_LATEX.get(sign, sign) for sign in minus)


def signed(value: float, decimals: int) -> str:
    """A difference with its sign; nothing that rounds to nought has one.

    Example:
        >>> signed(0.126, 2), signed(-0.0001, 2), signed(float("nan"), 2)
        ('+0.13', '0.00', '–')
    """
    if math.isnan(value):
        return DASH
    rounded = round(value, decimals)
    return f"{rounded:+.{decimals}f}".replace("-", "−") if rounded else f"{0:.{decimals}f}"


def _latex_row(cells: Sequence[str]) -> str:
    return " & ".join(latex_escape(cell) for cell in cells) + r" \\"


def _alike(numbers: Sequence[int | None]) -> str:
    known = [number for number in numbers if number is not None]
    if not known:
        return DASH
    if len(set(known)) == 1:
        return str(known[0])
    return ", ".join(DASH if number is None else str(number) for number in numbers)
