"""Measure the methods side by side: run a study of them, if need be, and tabulate it.

    python scripts/methods_table.py --datalist DIR --output OUT

runs the study of configs/study.json on the nodules in DIR, or resumes it, and writes OUT/tables/methods.md and
methods.csv: PSNR, SSIM, texture and time of each density method, DSC, Hausdorff distance and ARVE of each shape
method, differences to a reference with bootstrap intervals, shares of nodules where a method is better. Without
--datalist (or --dicom-root), the study in OUT is tabulated as it is. Whatever else is given, such as --epochs 30, is
passed on to the study.
"""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from bundle.errors import InputError, exit_on_mistake
from bundle.report.tables.methods_table import SHAPE_REFERENCE
from bundle.report.tables.methods_text import write_methods_table
from bundle.report.tables.statistics_tables import REFERENCE

ROOT = Path(__file__).resolve().parents[1]


def study_command(
    output: Path,
    datalist: str | None = None,
    dicom_root: str | None = None,
    stride: int = 5,
    methods: Sequence[str] | None = None,
    more: Sequence[str] = (),
) -> list[str]:
    """The command that runs the study, to be run in the bundle's root.

    Args:
        output: its output folder.
        datalist: folder or JSON file of nodules.
        dicom_root: folder of LIDC-IDRI.
        stride: one slice in so many is observed.
        methods: names; None: those of the config.
        more: further options, as they are.

    Example:
        >>> study_command(Path("out"), "nodules", methods=["linear", "cubic"])[-2:]
        ['--methods', "['linear', 'cubic']"]
    """
    command = [sys.executable, "-m", "monai.bundle", "run", "--config_file", "configs/study.json"]
    command += ["--output_dir", str(output), "--stride", str(stride), "--report", "False", *more]
    for key, value in (("--datalist", datalist), ("--dicom_root", dicom_root)):
        command += [] if value is None else [key, str(Path(value).resolve())]
    return command + ([] if methods is None else ["--methods", str(list(methods))])


def run_study(command: Sequence[str]) -> None:
    """Run it, showing what it prints.

    Raises:
        InputError: it ended with a mistake, which it has told.
    """
    print(shlex.join(command), flush=True)
    if subprocess.run(command, cwd=ROOT).returncode:
        raise InputError("the study did not finish: see above")


def names(text: str) -> list[str]:
    """Names out of a comma-separated list.

    Example:
        >>> names("linear, cubic,")
        ['linear', 'cubic']
    """
    return [name.strip() for name in text.split(",") if name.strip()]


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line, run the study if its nodules are named, tabulate, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True, help="output folder of the study")
    parser.add_argument("--datalist", help="run the study on this folder or datalist of NIfTI nodules")
    parser.add_argument("--dicom-root", help="run the study on LIDC-IDRI's DICOM files in this folder")
    parser.add_argument("--stride", type=int, default=5, help="of the study: 1 slice in so many is observed (5)")
    parser.add_argument("--methods", type=names, help="of the study: linear,cubic,...; default: all of the config")
    parser.add_argument("--min-slices", type=int, default=11, help="least slices, table of density methods (11)")
    parser.add_argument("--shape-min-slices", type=int, default=0, help="the same, table of shape methods (0)")
    parser.add_argument("--reference", default=REFERENCE, help=f"density method to compare with ({REFERENCE})")
    parser.add_argument("--shape-reference", default=SHAPE_REFERENCE, help=f"the same, shape ({SHAPE_REFERENCE})")
    parser.add_argument("--baselines", type=names, help="methods to be better than; default: all that learn nothing")
    parser.add_argument("--slices", default="interpolated", choices=["interpolated", "unobserved"])
    parser.add_argument("--seed", type=int, default=0, help="of the bootstrap (0)")
    chosen, more = parser.parse_known_args(arguments)
    output = chosen.output.resolve()
    runs = chosen.datalist is not None or chosen.dicom_root is not None
    if not runs and (more or chosen.methods):
        parser.error(f"{' '.join(more) or '--methods'} is for a study that is run: give its --datalist too")

    def measure() -> str:
        if runs:
            run_study(study_command(output, chosen.datalist, chosen.dicom_root, chosen.stride, chosen.methods, more))
        return write_methods_table(
            output,
            chosen.min_slices,
            chosen.reference,
            chosen.baselines,
            chosen.shape_min_slices,
            chosen.shape_reference,
            chosen.slices,
            chosen.seed,
        )

    print(exit_on_mistake(measure))


if __name__ == "__main__":
    main()
