"""The bundle as MONAI sees it: properties, metadata, network shapes, and the commands that users run."""

import json
import subprocess
import sys

import pytest
import torch
from helpers.nodules import ROOT
from monai.bundle import ConfigParser, ConfigWorkflow
from monai.bundle.scripts import verify_net_in_out

import bundle

CONFIGS = ROOT / "configs"
METADATA = json.loads((CONFIGS / "metadata.json").read_text())


def run_bundle(*arguments: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "monai.bundle", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)


@pytest.mark.parametrize("kind", ["train", "inference"])
def test_required_properties(kind):
    workflow = ConfigWorkflow(
        config_file=str(CONFIGS / f"{kind}.json"),
        meta_file=str(CONFIGS / "metadata.json"),
        logging_file=str(CONFIGS / "logging.conf"),
        workflow_type="train" if kind == "train" else "infer",
    )
    workflow.initialize()
    assert workflow.check_properties() == []


def test_network_takes_and_gives_what_the_metadata_says():
    verify_net_in_out("network_def", str(CONFIGS / "metadata.json"), str(CONFIGS / "inference.json"), device="cpu")


@pytest.mark.parametrize("name", ["inference", "train", "study"])
def test_the_weights_are_of_the_network_of_every_config(name):
    """The three configs that name the network must mean the same one."""
    parser = ConfigParser()
    parser.read_config(CONFIGS / f"{name}.json")
    parser["bundle_root"] = str(ROOT)
    network = parser.get_parsed_content("prior_network" if name == "study" else "network_def")
    network = network() if name == "study" else network
    network.load_state_dict(torch.load(ROOT / "models" / "model.pt", map_location="cpu", weights_only=True))


def test_metadata():
    needed = {"version", "monai_version", "pytorch_version", "numpy_version", "required_packages_version", "task"}
    needed |= {"description", "authors", "copyright", "network_data_format", "changelog"}
    assert needed <= METADATA.keys()
    assert METADATA["version"] == bundle.__version__
    assert METADATA["version"] in METADATA["changelog"]
    assert "optional_packages_version" not in METADATA


def test_every_config_is_read_by_people():
    for path in set(CONFIGS.glob("*.json")) - {CONFIGS / "metadata.json", CONFIGS / "cohort.json"}:
        assert max(len(line) for line in path.read_text().splitlines()) <= 120, path


def test_model_is_a_trained_state_of_the_network():
    parser = ConfigParser()
    parser.read_config(CONFIGS / "inference.json")
    parser["bundle_root"] = str(ROOT)
    network = parser.get_parsed_content("network_def")
    fresh = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    state = torch.load(ROOT / "models" / "model.pt", map_location="cpu", weights_only=True)
    network.load_state_dict(state.get("model", state))
    assert any(not torch.equal(fresh[name], tensor) for name, tensor in network.state_dict().items())
    assert (ROOT / "models" / "model.pt").stat().st_size < 25e6


def test_a_siren_is_fitted_to_one_nodule(nodule_folder, tmp_path):
    done = run_bundle(
        "run", "--config_file", "configs/fit_nodule.json", "--datalist", str(nodule_folder(1)), "--epochs", "3",
        "--ckpt_dir", str(tmp_path / "models"), "--device", "cpu",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    state = torch.load(tmp_path / "models" / "model.pt", weights_only=True)
    assert "layers.0.linear.weight" in state.get("model", state)


def test_no_image_is_tracked():
    """No CT voxels are in the repository."""
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False).stdout.split()
    assert not [name for name in tracked if name.endswith((".nii", ".nii.gz", ".dcm", ".mha", ".nrrd"))]
