"""Make the report of a study or a sweep again, from its output folder: ``python -m bundle.report OUTPUT_DIR``.

Of several studies, one of their cohorts side by side: ``python -m bundle.report OUT_1 OUT_2 --to FOLDER``.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from bundle.errors import InputError, exit_on_mistake
from bundle.report.build import build_report
from bundle.report.options import SLICES, ReportOptions
from bundle.report.side_by_side import build_cohort_report


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line, make the report, print where it is."""
    parser = argparse.ArgumentParser(prog="python -m bundle.report", description=__doc__)
    parser.add_argument("output_dir", nargs="+", help="output folder of a study or a sweep; several: cohorts")
    parser.add_argument("--to", metavar="FOLDER", help="of the report of several studies")
    parser.add_argument("--reference", help="method of brightness to compare with (cubic, else the first)")
    parser.add_argument("--baselines", nargs="+", help="methods to be better than (those that learn from one scan)")
    parser.add_argument("--slices", choices=SLICES, help="of the table of brightness (%(default)s)")
    parser.add_argument("--min-slices", type=int, help="least slices of its nodules (%(default)s)")
    parser.add_argument("--mask-reference", help="mask method to compare with (morphological, else the first)")
    parser.add_argument("--mask-min-slices", type=int, help="least slices, table of mask methods (%(default)s)")
    parser.add_argument("--seed", type=int, help="of the bootstrap (%(default)s)")
    parser.set_defaults(**vars(ReportOptions()))
    chosen = vars(parser.parse_args(arguments))
    folders, to = chosen.pop("output_dir"), chosen.pop("to")
    print(exit_on_mistake(lambda: _report(folders, to, ReportOptions(**chosen))))


def _report(folders: Sequence[str], to: str | None, options: ReportOptions) -> Path:
    if len(folders) > 1:
        return build_cohort_report(folders, to, options)
    if to is not None:
        raise InputError(f"--to {to} is for several studies: the report of one lies in its own folder")
    return build_report(folders[0], options)


if __name__ == "__main__":
    main()
