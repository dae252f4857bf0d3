"""Download the study's CT from the Imaging Data Commons: the cohort's 39 series of LIDC-IDRI, or all thin ones.

    python scripts/download_lidc.py --output_dir /data/LIDC-IDRI --dry-run     what it would take; needs no network
    python scripts/download_lidc.py --output_dir /data/LIDC-IDRI

What is there already is kept: run it again to resume. A series is *complete* when its folder,
``OUTPUT_DIR/<patient>/<SeriesInstanceUID>``, holds as many ``.dcm`` files and as many bytes as idc-index says. That
index comes inside the package (``pip install idc-index``), so the list and the check need no network.
"""

from __future__ import annotations

import argparse
import logging
import shutil
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from bundle.data import load_cohort
from bundle.data.lidc.annotations import candidate_series
from bundle.errors import InputError, exit_on_mistake
from bundle.report.tidy import aligned

ENDPOINTS = {"aws": "https://s3.amazonaws.com", "gcs": "https://storage.googleapis.com"}
INSTALL = 'pip install -e ".[download]" (or pip install idc-index)'
LICENCE = """\
LIDC-IDRI is distributed by The Cancer Imaging Archive under CC BY 3.0 (https://creativecommons.org/licenses/by/3.0/):
use and share it freely, and cite doi 10.7937/K9/TCIA.2015.LO9QL9SX; docs/data_license.txt has the full citations."""


@dataclass(frozen=True)
class Series:
    """One CT series as the index describes it.

    Attributes:
        patient: LIDC-IDRI's identifier, e.g. ``LIDC-IDRI-0066``.
        uid: SeriesInstanceUID.
        files: how many DICOM files it has.
        size: bytes of them all.
    """

    patient: str
    uid: str
    files: int
    size: int

    def folder(self, root: Path) -> Path:
        """Where its files lie below the output folder."""
        return root / self.patient / self.uid

    def present(self, root: Path) -> tuple[int, int]:
        """Files and bytes of it that are there."""
        sizes = [path.stat().st_size for path in self.folder(root).glob("*.dcm")]
        return len(sizes), sum(sizes)

    def complete(self, root: Path) -> bool:
        """Whether as many files and bytes are there as the index says."""
        return self.present(root) == (self.files, self.size)


def wanted_series(thin_mm: float | None = None) -> dict[str, str]:
    """SeriesInstanceUID -> patient of what to download.

    Args:
        thin_mm: None: the series of ``configs/cohort.json``; else every series whose slices are that thin (mm,
            inclusive) and in which a reader outlined a nodule, whatever its malignancy.

    Example:
        >>> len(wanted_series())
        39
    """
    if thin_mm is None:
        return {row["series_uid"]: row["patient_id"] for row in load_cohort()}
    found = candidate_series(max_slice_thickness=thin_mm, min_malignancy=0.0)
    if not found:
        raise InputError(f"no series of LIDC-IDRI has slices of {thin_mm:g} mm or less: the thinnest have 0.6 mm")
    return found


def read_index(wanted: Mapping[str, str]) -> list[Series]:
    """Look series up in the index that idc-index carries; by patient, then UID.

    Raises:
        InputError: idc-index is not installed, or its index lacks a series.
    """
    try:
        path = import_module("idc_index_data").IDC_INDEX_PARQUET_FILEPATH
        read_parquet: Any = import_module("pandas").read_parquet
    except ImportError as missing:
        raise InputError(f"{missing.name} is not installed, which knows where LIDC-IDRI lies: {INSTALL}") from missing
    columns = ["SeriesInstanceUID", "instanceCount", "series_size_MB"]
    table = read_parquet(
        path, columns=columns, filters=[("collection_id", "==", "lidc_idri"), ("Modality", "==", "CT")]
    )
    known = {row.SeriesInstanceUID: row for row in table.itertuples()}
    absent = sorted(set(wanted) - known.keys())
    if absent:
        raise InputError(
            f"{len(absent)} of {len(wanted)} series are not in the index of this version of idc-index, "
            f"the first is {absent[0]}: install another version of it"
        )
    # the index gives megabytes of 10^6 bytes, to the byte
    found = [
        Series(patient, uid, int(known[uid].instanceCount), round(known[uid].series_size_MB * 1e6))
        for uid, patient in wanted.items()
    ]
    return sorted(found, key=lambda series: (series.patient, series.uid))


def table_of(series: Sequence[Series], root: Path | None) -> str:
    """The series, their sizes and what is there of them, as text."""
    rows = []
    for one in series:
        files = one.present(root)[0] if root else 0
        there = "complete" if root and one.complete(root) else f"{files} files" if files else "-"
        rows.append((one.patient, one.uid, str(one.files), f"{one.size / 1e6:.1f}", there))
    table = aligned(("patient", "SeriesInstanceUID", "files", "MB", "there"), rows, heads=2)
    return f"{table}\n{summary_of(series)}"


def summary_of(series: Sequence[Series]) -> str:
    """How many series and files, and how large.

    Example:
        >>> summary_of([Series("LIDC-IDRI-0001", "1.2.3", 133, 70_000_000)])
        '1 series, 133 files, 0.07 GB'
    """
    files, size = sum(one.files for one in series), sum(one.size for one in series)
    return f"{len(series)} series, {files:,} files, {size / 1e9:.2f} GB"


def check_folder(root: Path, missing: Iterable[Series]) -> None:
    """Make the folder and see that what is missing can be written there.

    Raises:
        InputError: it can't be made or written to, or the disk has too little room.
    """
    try:
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=root):
            pass
    except OSError as fault:
        raise InputError(f"{root} can't be written to ({fault.strerror}): give another --output_dir") from fault
    needed = sum(one.size - min(one.size, one.present(root)[1]) for one in missing)
    free = shutil.disk_usage(root).free
    if free < needed:
        raise InputError(
            f"{root} has {free / 1e9:.2f} GB free and {needed / 1e9:.2f} GB are needed: "
            "make room, or give an --output_dir on another disk"
        )


def check_network(source: str = "aws", timeout: float = 10) -> None:
    """See that the archive's server answers at all; honours the usual proxy variables.

    Raises:
        InputError: it does not.
    """
    try:
        urllib.request.urlopen(urllib.request.Request(ENDPOINTS[source], method="HEAD"), timeout=timeout).close()
    except urllib.error.HTTPError:
        return  # it answered; a server of buckets has no front page
    except OSError as fault:
        reason = getattr(fault, "reason", fault)
        raise InputError(
            f"{ENDPOINTS[source]} can't be reached ({reason}): check the network or HTTPS_PROXY, or try --source "
            f"{'gcs' if source == 'aws' else 'aws'}; --dry-run needs no network"
        ) from fault


def download(series: Sequence[Series], root: Path, client: Any, source: str = "aws", attempts: int = 2) -> list[Series]:
    """Fetch what is missing, series by series, each checked when it has come.

    Args:
        series: what to fetch; complete ones are passed over.
        root: the output folder.
        client: an ``idc_index.IDCClient``.
        source: "aws" or "gcs".
        attempts: how often to try a series.

    Returns:
        the series that are still not complete.
    """
    missing = [one for one in series if not one.complete(root)]
    for number, one in enumerate(missing, 1):
        print(f"[{number}/{len(missing)}] {one.patient}: {one.files} files, {one.size / 1e6:.0f} MB", flush=True)
        for _ in range(attempts):
            client.download_from_selection(
                downloadDir=str(root),
                seriesInstanceUID=[one.uid],
                dirTemplate="%PatientID/%SeriesInstanceUID",
                # copies only what is absent or of another size
                use_s5cmd_sync=one.present(root)[0] > 0,
                source_bucket_location=source,
                quiet=True,
            )
            if one.complete(root):
                break
        else:
            files, size = one.present(root)
            print(f"  {files} of {one.files} files, {size:,} of {one.size:,} bytes", file=sys.stderr, flush=True)
    return [one for one in series if not one.complete(root)]


def make_client() -> Any:
    """An ``idc_index.IDCClient``; reads all of the index, which takes some seconds.

    Raises:
        InputError: idc-index or its copying program, s5cmd, is not installed.
    """
    try:
        client = import_module("idc_index").IDCClient()
    except (ImportError, OSError) as fault:
        raise InputError(f"idc-index, which downloads, can't be used ({fault}): {INSTALL}") from fault
    logging.getLogger("idc_index.index").setLevel(logging.ERROR)
    return client


def run(arguments: argparse.Namespace) -> None:
    """List, or download and check."""
    root: Path | None = None if arguments.output_dir is None else arguments.output_dir.expanduser()
    if arguments.limit is not None and arguments.limit < 1:
        raise InputError(f"--limit is {arguments.limit}, expected 1 or more series")
    series = read_index(wanted_series(arguments.thin))[: arguments.limit]
    print(LICENCE, end="\n\n")
    if arguments.dry_run:
        print(table_of(series, root))
        return
    if root is None:
        raise InputError("--output_dir is missing: name the folder for the files, or ask for --dry-run")
    print(f"{summary_of(series)}, into {root}")
    missing = [one for one in series if not one.complete(root)]
    check_folder(root, missing)
    if missing:
        check_network(arguments.source)
        missing = download(missing, root, make_client(), arguments.source)
    if missing:
        raise InputError(
            f"{len(missing)} of {len(series)} series are not complete, the first is {missing[0].patient}'s "
            f"{missing[0].uid}: run the same command again, it fetches only what is missing"
        )
    print(f"complete: every file that the index lists is there. Next: --dicom_root {root}")


def main(argv: Sequence[str] | None = None) -> None:
    """Read the command line; end with one sentence and status 1 where something is wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output_dir", type=Path, help="folder for the DICOM files")
    parser.add_argument("--dry-run", action="store_true", help="list series and sizes, download nothing")
    parser.add_argument(
        "--thin", type=float, nargs="?", const=1.0, metavar="MM",
        help="not the cohort alone: all series with slices of MM mm or less (default 1.0) and an outlined nodule",
    )  # fmt: skip
    parser.add_argument("--limit", type=int, help="the first N series only")
    parser.add_argument("--source", choices=sorted(ENDPOINTS), default="aws", help="where from (default: %(default)s)")
    arguments = parser.parse_args(argv)
    try:
        exit_on_mistake(lambda: run(arguments))
    except KeyboardInterrupt:
        raise SystemExit("error: stopped; run the same command again to go on") from None


if __name__ == "__main__":
    main()
