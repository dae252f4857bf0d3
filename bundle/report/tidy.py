"""Tidy tables: one value a row, as text files that anyone's tools read.

A *tidy row* is a dictionary with the keys of :data:`COLUMNS`; ``threshold_hu`` is None where there is none,
``value`` is nan where a method failed or a metric is undefined.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bundle.errors import InputError

COLUMNS = ("nodule_id", "method", "slices", "region", "threshold_hu", "metric", "value")
KEY = ("method", "slices", "region", "threshold_hu", "metric")


@dataclass(frozen=True)
class Summary:
    """A value over nodules.

    Attributes:
        mean: over the nodules whose value is finite; nan if there is none.
        sd: sample standard deviation (n - 1) over the same; nan if n < 2.
        n: nodules whose value is finite.
        n_failed: the other nodules: the method failed there, or the metric is undefined.
    """

    mean: float
    sd: float
    n: int
    n_failed: int

    def text(self, decimals: int) -> str:
        """``mean ± sd``, a dash where there is nothing to show."""
        if self.n == 0:
            return "–"
        spread = "" if math.isnan(self.sd) else f" ± {self.sd:.{decimals}f}"
        return f"{self.mean:.{decimals}f}{spread}"


def summarise(values: Iterable[float]) -> Summary:
    """Mean and sample sd of the finite values, and how many are not.

    Example:
        >>> summarise([1.0, 3.0, float("nan")])
        Summary(mean=2.0, sd=1.4142135623730951, n=2, n_failed=1)
    """
    array = np.asarray(list(values), dtype=np.float64)
    finite = array[np.isfinite(array)]
    mean = float(finite.mean()) if len(finite) else math.nan
    sd = float(finite.std(ddof=1)) if len(finite) > 1 else math.nan
    return Summary(mean, sd, len(finite), len(array) - len(finite))


def summarise_rows(rows: Iterable[Mapping[str, Any]]) -> dict[tuple, Summary]:
    """Summaries over nodules for each (method, slices, region, threshold_hu, metric), in order of appearance.

    Example:
        >>> row = dict(nodule_id="a", method="linear", slices="unobserved", region="global")
        >>> summarise_rows([row | dict(threshold_hu=None, metric="mae", value=0.1)])
        {('linear', 'unobserved', 'global', None, 'mae'): Summary(mean=0.1, sd=nan, n=1, n_failed=0)}
    """
    groups: dict[tuple, list[float]] = {}
    for row in rows:
        groups.setdefault(tuple(row[key] for key in KEY), []).append(row["value"])
    return {key: summarise(values) for key, values in groups.items()}


def to_csv(rows: Iterable[Mapping[str, Any]], columns: Sequence[str] = COLUMNS) -> str:
    """CSV text with a header; floats to the last digit, None as an empty field, nan as ``nan``.

    Example:
        >>> to_csv([{"a": 0.1, "b": None}], ("a", "b"))
        'a,b\\n0.1,\\n'
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([_field(row[column]) for column in columns] for row in rows)
    return text.getvalue()


def aligned(columns: Sequence[str], rows: Iterable[Sequence[str]], heads: int = 1) -> str:
    """Rows of text with their columns aligned, for a terminal.

    Args:
        columns: labels.
        rows: cells, one for each column.
        heads: columns that name a row: to the left, all others to the right.

    Example:
        >>> print(aligned(("method", "MAE"), [("linear", "0.1"), ("cubic", "10.1")]))
        method   MAE
        linear   0.1
        cubic   10.1
    """
    lines = [tuple(columns), *map(tuple, rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(columns))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if i < heads else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def read_rows(path: str | Path) -> list[dict[str, Any]]:
    """Read a tidy file back.

    Raises:
        InputError: the file is absent, or has other columns.
    """
    try:
        with Path(path).open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            if tuple(reader.fieldnames or ()) != COLUMNS:
                raise InputError(f"{path} has columns {reader.fieldnames}, expected {','.join(COLUMNS)}")
            return [
                row
                | {
                    "threshold_hu": float(row["threshold_hu"]) if row["threshold_hu"] else None,
                    "value": float(row["value"]),
                }
                for row in reader
            ]
    except OSError as fault:
        raise InputError(f"{path} can't be read ({fault.strerror}): give a metrics.csv of a study") from fault


def _field(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return repr(int(value)) if value else "0"
    return repr(float(value)) if isinstance(value, float) else value
