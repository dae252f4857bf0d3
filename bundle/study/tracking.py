"""What ``--tracking mlflow`` logs of a study: its options, and the means of ``summary.csv``."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from monai.utils import optional_import

from bundle.errors import InputError


def summary_metrics(path: Path) -> dict[str, float]:
    """The means of a ``summary.csv`` by ``method/slices/region/metric``, with the threshold where there is one.

    Means that are nan or infinite are left out.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "summary.csv"
        >>> header = "method,slices,region,threshold_hu,metric,mean"
        >>> _ = path.write_text(f"{header}\\nlinear,all,roi,-400.0,dice,0.5\\nlinear,all,roi,,mae,nan\\n")
        >>> summary_metrics(path)
        {'linear/all/roi/dice/-400.0': 0.5}
    """
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    found = {}
    for row in rows:
        parts = [row[name] for name in ("method", "slices", "region", "metric", "threshold_hu") if row[name]]
        mean = float(row["mean"] or "nan")
        if math.isfinite(mean):
            found["/".join(parts)] = mean
    return found


def track_study(output_dir: str, options: Mapping[str, Any]) -> None:
    """Log a study that is done as one run of MLflow; nothing without tracking, or while other shards are at work.

    Args:
        output_dir: of the study.
        options: of :func:`bundle.options.check_options`; ``tracking_uri`` is there with ``--tracking`` alone.

    Raises:
        InputError: MLflow is not installed.
    """
    uri, summary = options.get("tracking_uri"), Path(output_dir) / "summary.csv"
    if uri is None or not summary.is_file():
        return
    mlflow, found = optional_import("mlflow")
    if not found:
        raise InputError("--tracking needs MLflow, which is not installed: pip install -e '.[tracking]'")
    mlflow.set_tracking_uri(uri)
    mlflow.set_experiment(options.get("experiment_name"))
    with mlflow.start_run(run_name=options.get("run_name")):
        mlflow.log_params({name: str(value)[:500] for name, value in options.items() if name != "tracking_uri"})
        metrics = list(summary_metrics(summary).items())
        for start in range(0, len(metrics), 500):  # a server takes up to 1,000 at a time
            mlflow.log_metrics(dict(metrics[start : start + 500]))
