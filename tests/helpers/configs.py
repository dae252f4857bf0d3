"""The bundle's configs as objects in this process, and volumes on disk for them."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from helpers.nodules import ROOT
from monai.bundle import ConfigParser

from bundle.errors import mistake_behind

AFFINE = np.diag([-0.5, -0.5, 2.0, 1.0])


def make_study(datalist, output_dir, methods, **overrides):
    parser = ConfigParser()
    parser.read_config(ROOT / "configs" / "study.json")
    parser.update({"bundle_root": str(ROOT), "datalist": datalist and str(datalist), "output_dir": str(output_dir)})
    parser.update({"methods": methods, "workers": 1, "device": "cpu", "report": False, **overrides})
    return parser.get_parsed_content("study")


def make_sweep(datalist, output_dir, methods, **overrides):
    parser = ConfigParser()
    parser.read_config([ROOT / "configs" / name for name in ("study.json", "sweep.json")])
    parser.update({"bundle_root": str(ROOT), "datalist": datalist and str(datalist), "output_dir": str(output_dir)})
    parser.update({"methods": methods, "workers": 1, "device": "cpu", "report": False, **overrides})
    return parser.get_parsed_content("sweep")


def make_evaluation(datalist, reconstructions, output_dir, **overrides):
    parser = ConfigParser()
    parser.read_config([ROOT / "configs" / name for name in ("study.json", "evaluate.json")])
    parser.update({"bundle_root": str(ROOT), "datalist": str(datalist), "output_dir": str(output_dir)})
    parser.update({"reconstructions": str(reconstructions), "workers": 1, "report": False, **overrides})
    return parser.get_parsed_content("study")


def run_config(folder, **options):
    """Run the config in this process; its parser."""
    parser = ConfigParser()
    parser.read_config(ROOT / "configs" / "inference.json")
    parser.update({"bundle_root": str(ROOT), "output_dir": str(folder), "device": "cpu", **options})
    parser.get_parsed_content("initialize")
    parser.get_parsed_content("run")
    return parser


def mistake_in(call, *arguments, **options) -> str:
    """The one sentence of the user's mistake that a call ends with; MONAI wraps what its parts raise."""
    with pytest.raises(Exception) as stop:  # noqa: PT011
        call(*arguments, **options)
    mistake = mistake_behind(stop.value)
    assert mistake is not None, stop.value
    assert "\n" not in str(mistake)
    return str(mistake)


def save(path: Path | str, volume: np.ndarray, affine: np.ndarray = AFFINE) -> str:
    """Save a volume, in a folder that need not exist; its path as text."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(volume, affine), path)
    return str(path)
