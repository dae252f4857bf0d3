"""Make the report of a study again, from its output folder: ``python -m bundle.report OUTPUT_DIR``."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from bundle.errors import exit_on_mistake
from bundle.report.build import build_report
from bundle.report.options import SLICES, ReportOptions


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line, make the report, print where it is."""
    parser = argparse.ArgumentParser(prog="python -m bundle.report", description=__doc__)
    parser.add_argument("output_dir", help="output folder of a study, with its metrics.csv")
    parser.add_argument("--reference", help="method of brightness to compare with (cubic, else the first)")
    parser.add_argument("--baselines", nargs="+", help="methods to be better than (those that learn from one scan)")
    parser.add_argument("--slices", choices=SLICES, help="of the table of brightness (%(default)s)")
    parser.add_argument("--min-slices", type=int, help="least slices of its nodules (%(default)s)")
    parser.add_argument("--mask-reference", help="mask method to compare with (morphological, else the first)")
    parser.add_argument("--mask-min-slices", type=int, help="least slices, table of mask methods (%(default)s)")
    parser.add_argument("--seed", type=int, help="of the bootstrap (%(default)s)")
    parser.set_defaults(**vars(ReportOptions()))
    chosen = vars(parser.parse_args(arguments))
    output_dir = chosen.pop("output_dir")
    print(exit_on_mistake(lambda: build_report(output_dir, ReportOptions(**chosen))))


if __name__ == "__main__":
    main()
