"""The rules by which MONAI's model zoo accepts a bundle, checked as its CI does: by name, from another folder.

The zoo's script is ``ci/verify_bundle.py``; its steps are tests here, written anew. A file with MONAI's schema of
metadata can be given in the environment variable ``MONAI_META_SCHEMA``; without it, the keys and types of MONAI's
bundle specification are checked.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import tomllib
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.configs import run_config, save
from helpers.nodules import ROOT, small_nodule
from monai.bundle import ConfigParser, ckpt_export, create_workflow, verify_metadata, verify_net_in_out
from monai.bundle.properties import InferProperties, MetaProperties, TrainProperties
from monai.data import load_net_with_metadata

from bundle.data import geometry_of, windows_at
from bundle.networks import slice_window, window_base

CONFIGS = ROOT / "configs"
METADATA = json.loads((CONFIGS / "metadata.json").read_text(encoding="utf-8"))
WEIGHTS = ROOT / "models" / "model.pt"
INFERENCE = str(CONFIGS / "inference.json")

# MONAI bundle specification, "metadata.json File": what it calls required, and its types
VERSION = {"type": "string", "pattern": r"^\d+\.\d+(\.\d+)?$"}
TENSOR = {
    "type": "object",
    "required": [
        "type", "format", "num_channels", "spatial_shape", "dtype", "value_range", "is_patch_data", "channel_def"
    ],
    "properties": {
        "type": {"type": "string"},
        "format": {"type": "string"},
        "modality": {"type": "string"},
        "num_channels": {"type": "integer", "minimum": 1},
        "spatial_shape": {"type": "array", "items": {"type": ["integer", "string"]}},
        "dtype": {"enum": ["float32", "float64", "int32", "uint8"]},
        "value_range": {"type": "array", "items": {"type": "number"}},
        "is_patch_data": {"type": "boolean"},
        "channel_def": {"type": "object", "patternProperties": {r"^\d+$": {"type": "string"}}, "minProperties": 1,
                        "additionalProperties": False},
    },
}  # fmt: skip
SPECIFICATION = {
    "type": "object",
    "required": [
        "version", "changelog", "monai_version", "pytorch_version", "numpy_version", "required_packages_version",
        "task", "description", "authors", "copyright", "network_data_format",
    ],
    "properties": {
        **dict.fromkeys(("version", "monai_version", "pytorch_version", "numpy_version"), VERSION),
        "changelog": {"type": "object", "additionalProperties": {"type": "string"}},
        "required_packages_version": {"type": "object", "additionalProperties": VERSION},
        "supported_apps": {"type": "object"},
        **{key: {"type": "string", "minLength": 1} for key in ("task", "description", "authors", "copyright")},
        "references": {"type": "array", "items": {"type": "string"}},
        "network_data_format": {
            "type": "object",
            "required": ["inputs", "outputs"],
            "properties": {
                "inputs": {"type": "object", "required": ["image"], "additionalProperties": TENSOR},
                "outputs": {"type": "object", "required": ["pred"], "additionalProperties": TENSOR},
            },
        },
    },
}  # fmt: skip


@pytest.fixture(autouse=True)
def elsewhere(monkeypatch, tmp_path):
    """The zoo's CI runs beside the bundles, with the bundle's root on the path."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(ROOT))


@pytest.mark.parametrize(
    "name",
    [
        "configs/metadata.json", "LICENSE", "models/model.pt", "configs/inference.json", "docs/README.md",
        "docs/data_license.txt", "configs/train.json", "configs/logging.conf",
    ],
)  # fmt: skip
def test_files_are_there_and_tracked(name):
    assert (ROOT / name).is_file()
    assert name in tracked()


def tracked() -> list[str]:
    """The files that a clone of the repository has."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a git repository")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [name for name in listed.split("\0") if name]


def test_no_file_is_larger_than_the_zoo_takes():
    files = [ROOT / name for name in tracked()]
    assert len(files) > 50
    assert not [str(path) for path in files if path.is_file() and path.stat().st_size > 25e6]


def test_version_is_in_the_changelog():
    assert METADATA["version"] in METADATA["changelog"]
    assert all(METADATA["changelog"].values())


def test_metadata_agrees_with_the_schema(tmp_path):
    """``verify_metadata`` downloads its schema, unless the file is there."""
    given = os.environ.get("MONAI_META_SCHEMA")
    schema = tmp_path / "schema.json"
    schema.write_text(Path(given).read_text(encoding="utf-8") if given else json.dumps(SPECIFICATION))
    verify_metadata(meta_file=str(CONFIGS / "metadata.json"), filepath=str(schema))


@pytest.mark.parametrize("key", ["version", "network_data_format", "changelog"])
def test_the_schema_would_notice_a_missing_key(tmp_path, key):
    (tmp_path / "schema.json").write_text(json.dumps(SPECIFICATION))
    (tmp_path / "metadata.json").write_text(json.dumps({k: v for k, v in METADATA.items() if k != key}))
    with pytest.raises(ValueError, match="Failed validating"):
        verify_metadata(meta_file=str(tmp_path / "metadata.json"), filepath=str(tmp_path / "schema.json"))


def test_the_packages_of_the_metadata_are_the_projects():
    """The zoo installs what the metadata names, and nothing else."""
    with (ROOT / "pyproject.toml").open("rb") as file:
        needed = {re.split(r"[<>=!~ \[]", line)[0] for line in tomllib.load(file)["project"]["dependencies"]}
    named = METADATA["required_packages_version"].keys() | {"monai", "torch", "numpy"}
    assert needed == named


@pytest.mark.parametrize("kind", ["inference", "train"])
def test_workflow_has_every_required_property(kind):
    workflow = create_workflow(
        workflow_type=kind,
        bundle_root=str(ROOT),
        config_file=str(CONFIGS / f"{kind}.json"),
        logging_file=str(CONFIGS / "logging.conf"),
        meta_file=str(CONFIGS / "metadata.json"),
    )
    workflow.properties = {**MetaProperties, **(InferProperties if kind == "inference" else TrainProperties)}
    assert workflow.check_properties() == []


@pytest.mark.parametrize(
    ("kind", "keys"),
    [
        ("inference", ["bundle_root", "device", "network_def", "inferer", "output_dir"]),
        (
            "train",
            [
                "bundle_root", "device", "dataset_dir", "train::trainer", "train::trainer::max_epochs",
                "train::dataset", "train::dataset::data", "train::handlers", "train::preprocessing", "train::inferer",
            ],
        ),
    ],
)  # fmt: skip
def test_keys_have_the_names_that_apps_look_for(kind, keys):
    parser = ConfigParser()
    parser.read_config(CONFIGS / f"{kind}.json")
    assert [key for key in keys if parser.get(key) is None] == []


def test_network_takes_and_gives_what_the_metadata_says():
    verify_net_in_out(
        net_id="network_def", meta_file=str(CONFIGS / "metadata.json"), config_file=INFERENCE, bundle_root=str(ROOT)
    )


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_exported_weights_give_the_networks_output(tmp_path):
    ckpt_export(
        net_id="network_def",
        filepath=str(tmp_path / "verify_model.ts"),
        ckpt_file=str(WEIGHTS),
        meta_file=str(CONFIGS / "metadata.json"),
        config_file=INFERENCE,
        bundle_root=str(ROOT),
    )
    exported, metadata, _ = load_net_with_metadata(tmp_path / "verify_model.ts")
    assert metadata["version"] == METADATA["version"]

    parser = ConfigParser()
    parser.read_config(INFERENCE)
    network = parser.get_parsed_content("network_def")
    state = torch.load(WEIGHTS, map_location="cpu", weights_only=True)
    fresh = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    network.load_state_dict(state.get("model", state))
    assert any(not torch.equal(fresh[name], tensor) for name, tensor in network.state_dict().items())

    # smooth in plane, as tissue is
    coarse = torch.rand(2, 6, 5, 6, generator=torch.Generator().manual_seed(0))
    slices = torch.nn.functional.interpolate(coarse, (21, 30), mode="bicubic").clamp(0, 1)
    at = windows_at(np.array([0.0, 5.0, 10.0, 15.0]), np.array([6.0, 2.0]))
    geometry = torch.as_tensor(geometry_of(at.offsets, at.valid[at.window], 4.0, "bell", (0.7, 0.7))).float()
    window = slice_window(slices, geometry)
    with torch.no_grad():
        expected, got = network.eval()(window), exported.eval()(window)
    assert got.shape == (2, METADATA["network_data_format"]["outputs"]["pred"]["num_channels"], 21, 30)
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-5)
    # meaningful weights change what interpolation gives, and expect an error that is neither none nor the whole window
    change = (expected[:, 0] - window_base(slices, geometry)[:, 0]).abs().mean()
    assert 1e-3 < change < 0.5
    assert 1e-3 < expected[:, 1].mean() < 0.5


def test_metadata_describes_every_channel_and_has_the_figures_of_the_methods_page():
    pred = METADATA["network_data_format"]["outputs"]["pred"]
    assert list(pred["channels"]) == [str(channel) for channel in range(pred["num_channels"])]
    page = (ROOT / "docs" / "methods.md").read_text(encoding="utf-8")
    row = next(line for line in page.splitlines() if line.startswith("| **`prior`** |")).replace("*", "").split("|")
    psnr, ssim = ([float(figure) for figure in row[column].split("/")] for column in (2, 5))
    names = ("psnr_field", "psnr_tumour", "ssim_field", "ssim_tumour")
    assert METADATA["eval_metrics"] == dict(zip(names, psnr + ssim, strict=True))


def test_the_evaluator_of_a_run_has_the_trained_network(tmp_path):
    parser = run_config(tmp_path, image=save(tmp_path / "scan.nii.gz", small_nodule((12, 10, 4))[0]), method="pchip")
    state = torch.load(WEIGHTS, map_location="cpu", weights_only=True)
    state = state.get("model", state)
    loaded = parser.get_parsed_content("evaluator").network.state_dict()
    assert state.keys() == loaded.keys()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in state.items())


def test_readme_has_the_zoos_sections_and_its_commands_exist():
    text = (ROOT / "docs" / "README.md").read_text(encoding="utf-8")
    headings = {line.strip("# *").lower() for line in text.splitlines() if line.startswith("#")}
    assert {"model overview", "data", "input", "output", "performance", "references", "license"} <= headings
    assert "models/model.pt" in text
    for path in re.findall(r"(?:configs|docs|scripts|models)/[\w./]+\w", text):
        assert (ROOT / path).exists() or path == "models/model.ts", path
