"""Tidy tables: one value a row, as text files that anyone's tools read.

A *tidy row* is a dictionary with the keys of :data:`COLUMNS`; ``threshold_hu`` is None where there is none,
``value`` is nan where a method failed or a metric is undefined.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bundle.errors import InputError

COLUMNS = ("nodule_id", "method", "slices", "region", "threshold_hu", "metric", "value")
CLINICAL = ("nodule_id", "method", "reference", "quantity", "unit", "value", "reason")
RADIOMICS = ("nodule_id", "method", "resampling", "class", "feature", "value", "reason")
KEY = ("method", "slices", "region", "threshold_hu", "metric")


def number_text(value: float, decimals: int) -> str:
    """A value in a cell: a dash where it is undefined, the sign of infinity where it is that.

    Example:
        >>> number_text(0.126, 2), number_text(-0.2, 0), number_text(math.inf, 2), number_text(math.nan, 2)
        ('0.13', '0', '∞', '–')
    """
    if math.isnan(value):
        return "–"
    return f"{value:z.{decimals}f}".replace("inf", "∞")


@dataclass(frozen=True)
class Summary:
    """A value over nodules.

    Attributes:
        mean: over the nodules that have a value; infinite if one is, as the PSNR of a perfect reconstruction; nan if
            there is none.
        sd: sample standard deviation (n - 1) over the same; nan if n < 2, or the mean is infinite.
        n: nodules that have a value.
        n_failed: the other nodules: the method failed there, or the metric is undefined.
    """

    mean: float
    sd: float
    n: int
    n_failed: int

    def text(self, decimals: int) -> str:
        """``mean ± sd``, a dash where there is nothing to show."""
        spread = "" if math.isnan(self.sd) else f" ± {self.sd:.{decimals}f}"
        return number_text(self.mean, decimals) + spread


def summary_texts(summaries: Sequence[Summary | None], decimals: Sequence[int]) -> list[str]:
    """The cells of one row; one that stands for fewer nodules than another says for how many.

    A Hausdorff distance is undefined where a method finds nothing: its mean is over what was found alone, and must not
    look like one over all nodules.

    Args:
        summaries: of one method, metric by metric; None where there is none.
        decimals: of each.

    Example:
        >>> summary_texts([Summary(0.5, 0.1, 3, 0), Summary(1.2, math.nan, 1, 2), None], (2, 1, 2))
        ['0.50 ± 0.10', '1.2, of 1', '–']
    """
    most = max((found.n for found in summaries if found), default=0)
    cells = []
    for found, places in zip(summaries, decimals, strict=True):
        few = "" if found is None or found.n in (0, most) else f", of {found.n}"
        cells.append(found.text(places) + few if found else "–")
    return cells


def summarise(values: Iterable[float]) -> Summary:
    """Mean and sample sd of the values that are defined, and how many are not.

    Example:
        >>> summarise([1.0, 3.0, float("nan")])
        Summary(mean=2.0, sd=1.4142135623730951, n=2, n_failed=1)
    """
    array = np.asarray(list(values), dtype=np.float64)
    defined = array[~np.isnan(array)]
    finite = bool(np.isfinite(defined).all())
    mean = float(defined.mean()) if len(defined) else math.nan
    sd = float(defined.std(ddof=1)) if len(defined) > 1 and finite else math.nan
    return Summary(mean, sd, len(defined), len(array) - len(defined))


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


def read_rows(path: str | Path, columns: Sequence[str] = COLUMNS) -> list[dict[str, Any]]:
    """Read a tidy file back; ``value`` and ``threshold_hu`` as numbers.

    Raises:
        InputError: the file is absent, or has other columns.
    """
    return list(iterate_rows(path, columns))


def iterate_rows(path: str | Path, columns: Sequence[str] = COLUMNS) -> Iterator[dict[str, Any]]:
    """The rows of :func:`read_rows`, one after the other, of a file that is too long to be held.

    Raises:
        InputError: as there.
    """
    try:
        with Path(path).open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            if tuple(reader.fieldnames or ()) != columns:
                raise InputError(f"{path} has columns {reader.fieldnames}, expected {','.join(columns)}")
            numbers = [key for key in ("threshold_hu", "value") if key in columns]
            for row in reader:
                yield row | {key: float(row[key]) if row[key] else None for key in numbers}
    except OSError as fault:
        raise InputError(f"{path} can't be read ({fault.strerror}): give a metrics.csv of a study") from fault


def _field(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return repr(int(value)) if value else "0"
    return repr(float(value)) if isinstance(value, float) else value
