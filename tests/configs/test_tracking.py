"""``--tracking mlflow``: what a run logs into a file of its own output folder (extra ``tracking``)."""

import pytest
from helpers.nodules import ROOT
from monai.bundle import ConfigWorkflow

from bundle.study.tracking import summary_metrics

mlflow = pytest.importorskip("mlflow")


def tracked(name, output, **options):
    """Run a config as ``python -m monai.bundle run --tracking mlflow`` does; parameters and last metrics logged."""
    workflow = ConfigWorkflow(
        config_file=str(ROOT / "configs" / f"{name}.json"), workflow_type="train", tracking="mlflow",
        bundle_root=str(ROOT), device="cpu", **options,
    )  # fmt: skip
    workflow.initialize()
    workflow.run()
    workflow.finalize()
    client = mlflow.MlflowClient(f"sqlite:///{output / 'mlruns.db'}")
    runs = client.search_runs([experiment.experiment_id for experiment in client.search_experiments()])
    logged = {key: value for run in runs for key, value in run.data.metrics.items()}
    return {key: value for run in runs for key, value in run.data.params.items()}, logged


def test_a_fit_is_tracked(nodule_folder, tmp_path):
    parameters, logged = tracked(
        "fit_nodule", tmp_path / "out", ckpt_dir=str(tmp_path / "out"), datalist=str(nodule_folder(1)), epochs=2
    )
    assert parameters["max_epochs"] == "2"
    assert logged["train_loss"] > 0
    assert (tmp_path / "out" / "model.pt").is_file()


def test_a_training_is_tracked(nodule_folder, tmp_path):
    _, logged = tracked(
        "train", tmp_path / "out", ckpt_dir=str(tmp_path / "out"), datalist=str(nodule_folder(6)), epochs=2, steps=2,
        batch_size=2, train_folds=[0, 2, 3, 4], validation_strides=[5],
        **{"train#dataset#options#patch": 16, "network_def#features": [8, 8]},
    )  # fmt: skip
    assert {"train_loss", "gain_db"} <= logged.keys()


def test_a_study_is_tracked(nodule_folder, tmp_path):
    parameters, logged = tracked(
        "study", tmp_path / "out", output_dir=str(tmp_path / "out"), datalist=str(nodule_folder(2)),
        methods=["linear", "signed_distance"], workers=1, report=False,
    )  # fmt: skip
    assert parameters["stride"] == "5"
    assert logged == pytest.approx(summary_metrics(tmp_path / "out" / "summary.csv"))
    assert "linear/unobserved/global/psnr" in logged
