"""A table once, written as Markdown, CSV, LaTeX or shown on a page.

Vocabulary: a *line* of a table has *heads* (its method, region, threshold) and one *entry* for each metric: the
summary over nodules that was measured, and what the paper gives for it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from bundle.metrics.table import Metric
from bundle.report.tables.paper import Published
from bundle.report.tidy import Summary, to_csv

DASH = "–"


@dataclass(frozen=True)
class Entry:
    """One cell: ours, and the paper's; None where there is none."""

    ours: Summary | None
    paper: Published | None = None


@dataclass(frozen=True)
class Line:
    """One row of a table: what it is about, and an entry for each of the table's metrics."""

    heads: tuple[str, ...]
    entries: tuple[Entry, ...]


@dataclass(frozen=True)
class Table:
    """A table of the report.

    Attributes:
        name: of its files, and its label in LaTeX.
        caption: says what was measured on which slices, and "phantom" where that is so.
        heads: labels of the head columns.
        metrics: its metrics.
        lines: its rows; a table may have none.

    Example:
        >>> from bundle.metrics.table import metric_of
        >>> line = Line(("linear",), (Entry(Summary(0.5, 0.1, 3, 1)),))
        >>> table = Table("t", "A caption.", ("method",), (metric_of("mae"),), (line,))
        >>> table.columns, table.cells()[0]
        (('method', 'MAE', 'n', 'failed'), ('linear', '0.500 ± 0.100', '3', '1'))
    """

    name: str
    caption: str
    heads: tuple[str, ...]
    metrics: tuple[Metric, ...]
    lines: tuple[Line, ...]

    @property
    def with_paper(self) -> tuple[bool, ...]:
        """For each metric: whether the paper has a value in any line, and so a column."""
        return tuple(any(line.entries[i].paper for line in self.lines) for i in range(len(self.metrics)))

    @property
    def columns(self) -> tuple[str, ...]:
        """Labels of all columns."""
        labels = list(self.heads)
        for metric, paper in zip(self.metrics, self.with_paper, strict=True):
            labels += [metric.heading(), "paper"] if paper else [metric.heading()]
        return (*labels, "n", "failed")

    def cells(self) -> list[tuple[str, ...]]:
        """The rows as text; n and n failed are given once where they are alike, else metric by metric."""
        return [self._cells(line) for line in self.lines]

    def _cells(self, line: Line) -> tuple[str, ...]:
        fields = list(line.heads)
        for metric, entry, paper in zip(self.metrics, line.entries, self.with_paper, strict=True):
            fields.append(entry.ours.text(metric.decimals) if entry.ours else DASH)
            if paper:
                fields.append(entry.paper.text(metric.decimals) if entry.paper else DASH)
        counted = [entry.ours for entry in line.entries]
        for numbers in ([s.n if s else None for s in counted], [s.n_failed if s else None for s in counted]):
            fields.append(_alike(numbers))
        return tuple(fields)

    def markdown(self) -> str:
        """Caption and table as Markdown."""
        return f"{self.caption}\n\n{markdown_table(self.columns, self.cells())}\n"

    def csv(self) -> str:
        """One line a row and metric, floats to the last digit: heads, metric, mean, sd, n, n_failed, paper's."""
        columns = (*self.heads, "metric", "mean", "sd", "n", "n_failed", "paper_mean", "paper_sd")
        rows = []
        for line in self.lines:
            for metric, entry in zip(self.metrics, line.entries, strict=True):
                ours, paper = entry.ours, entry.paper
                numbers = (ours.mean, ours.sd, ours.n, ours.n_failed) if ours else (None, None, 0, 0)
                theirs = (paper.mean, paper.sd) if paper else (None, None)
                rows.append(dict(zip(columns, (*line.heads, metric.name, *numbers, *theirs), strict=True)))
        return to_csv(rows, columns)

    def latex(self) -> str:
        """A ``table`` environment for the booktabs package."""
        labels = " & ".join(latex_escape(label) for label in self.columns)
        columns = "l" * len(self.heads) + "r" * (len(self.columns) - len(self.heads))
        body, before = [], ""
        for line, cells in zip(self.lines, self.cells(), strict=True):
            if len(self.heads) > 1 and before and before != line.heads[0]:
                body.append(r"\addlinespace")
            before = line.heads[0]
            body.append(" & ".join(latex_escape(cell) for cell in cells) + r" \\")
        return "\n".join(
            [
                r"% needs \usepackage{booktabs}",
                r"\begin{table}",
                r"\centering\small",
                rf"\caption{{{latex_escape(self.caption)}}}",
                rf"\label{{tab:{self.name}}}",
                rf"\begin{{tabular}}{{{columns}}}",
                r"\toprule",
                labels + r" \\",
                r"\midrule",
                *body,
                r"\bottomrule",
                r"\end{tabular}",
                r"\end{table}",
                "",
            ]
        )


def markdown_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; bars and line breaks in cells are kept from breaking it.

    Example:
        >>> print(markdown_table(("a", "b"), [("1", "x|y")]))
        | a | b |
        |---|---|
        | 1 | x\\|y |
    """
    lines = [columns, *rows]
    text = ["| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in line) + " |" for line in lines]
    return "\n".join([text[0], "|" + "---|" * len(columns), *text[1:]])


_LATEX = {
    "\\": r"\textbackslash{}",
    "±": r"$\pm$",
    "–": "--",
    "−": "$-$",
    "×": r"$\times$",
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


def _alike(numbers: Sequence[int | None]) -> str:
    known = [number for number in numbers if number is not None]
    if not known:
        return DASH
    if len(set(known)) == 1:
        return str(known[0])
    return ", ".join(DASH if number is None else str(number) for number in numbers)
