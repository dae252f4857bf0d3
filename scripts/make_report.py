"""Make the report of a study again, from its output folder: ``python scripts/make_report.py OUTPUT_DIR``."""

from __future__ import annotations

import argparse
from pathlib import Path

from bundle.errors import exit_on_mistake
from bundle.report.build import build_report


def main() -> None:
    """Read the command line, make the report, print where it is."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("output_dir", type=Path, help="output folder of a study, with its metrics.csv")
    arguments = parser.parse_args()
    print(exit_on_mistake(lambda: build_report(arguments.output_dir)))


if __name__ == "__main__":
    main()
