"""Job queues: the scripts that SLURM and PBS would be given, and queues that start each job at once."""

import importlib
import os

import pytest
from helpers.configs import make_study
from helpers.dask_machines import Marked
from helpers.nodules import ROOT
from monai.bundle import ConfigParser

pytest.importorskip("dask_jobqueue")

from bundle.cluster import JobQueueCluster
from bundle.errors import InputError

ASKED = {"jobs": 1, "cores": 1, "memory": "4GB", "hours": 0.5}
ASKED |= {"directives": ["--account=x"], "prologue": ["export SAID=1"]}
LINES = {
    "slurm": ("#SBATCH --account=x", "#SBATCH -t 00:30:00", "#SBATCH --cpus-per-task=1", "#SBATCH --mem=4G"),
    "pbs": ("#PBS --account=x", "#PBS -l walltime=00:30:00", "#PBS -l select=1:ncpus=1:mem=3815MB"),
}
COMMANDS = {"slurm": ("sbatch", "scancel"), "pbs": ("qsub", "qdel")}


@pytest.fixture
def queue(tmp_path, monkeypatch):
    """Make the commands of a queue; where its jobs lie, each a file by the number of its process."""

    def make(system):
        jobs, commands = tmp_path / "jobs", tmp_path / "bin"
        for folder in (jobs, commands):
            folder.mkdir()
        start, stop = COMMANDS[system]
        script = f"{jobs}/script-$$"  # that which was handed over is deleted as soon as the command is back
        number = "$!" if system == "slurm" else "$!.server"
        scripts = {
            start: f'cp "$1" {script}; setsid bash {script} > {jobs}/log-$$ 2>&1 & touch {jobs}/$!; echo {number}',
            stop: f'for job in "$@"; do kill -- -${{job%.server}}; rm {jobs}/${{job%.server}}; done',
        }
        for name, text in scripts.items():
            (commands / name).write_text(f"#!/bin/bash\n{text}\n", encoding="utf-8")
            (commands / name).chmod(0o755)
        monkeypatch.setenv("PATH", f"{commands}{os.pathsep}{os.environ['PATH']}")
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), str(ROOT / "tests")]))
        monkeypatch.chdir(tmp_path)
        return jobs

    return make


def running(jobs):
    return [path.name for path in jobs.iterdir() if path.name.isdigit()]


def check(jobs, system, count):
    """So many jobs were started by the script that they should have, and none is left."""
    scripts = [path.read_text(encoding="utf-8") for path in jobs.glob("script-*")]
    assert len(scripts) == count
    for script in scripts:
        assert set(LINES[system]) < set(script.splitlines())
        assert script.index("export SAID=1") < script.index("distributed.cli.dask_worker")
    assert running(jobs) == [], "the job is ended"


def test_a_job_works_and_is_ended(queue, tmp_path):
    jobs, marks = queue("slurm"), tmp_path / "marks"
    marks.mkdir()
    with JobQueueCluster("slurm", **ASKED) as machines:
        assert dict(machines.run(Marked(marks), range(2), "pieces")).keys() == {0, 1}
        assert len(running(jobs)) == 1
    check(jobs, "slurm", 1)


@pytest.mark.slow
def test_a_study_through_two_jobs_is_that_of_one_process(queue, nodule_folder, tmp_path):
    jobs, folder, methods = queue("pbs"), nodule_folder(2), ["linear", "siren"]
    work = {"_target_": "bundle.cluster.JobQueueCluster", "system": "pbs", **ASKED, "jobs": 2}
    make_study(folder, tmp_path / "queued", methods, epochs=2, machines=work).run()
    check(jobs, "pbs", 2)
    make_study(folder, tmp_path / "one", methods, epochs=2).run()
    for table in ("metrics.csv", "texture.csv", "failures.csv", "summary.csv"):
        assert (tmp_path / "queued" / table).read_bytes() == (tmp_path / "one" / table).read_bytes()


@pytest.mark.parametrize(
    ("system", "kind", "line"),
    [
        ("slurm", "SLURMCluster", "#SBATCH --gpus=1"),
        ("pbs", "PBSCluster", "#PBS -l select=1:ncpus=8:mem=16GB:ngpus=1"),
    ],
)
def test_a_job_with_a_gpu_asks_for_it_and_has_one_worker(system, kind, line):
    options = JobQueueCluster(system, cores=8, memory="16GB", gpu=True).options()
    with getattr(importlib.import_module("dask_jobqueue"), kind)(**options) as made:
        script = made.job_script()
    assert line in script.splitlines()
    assert "--resources GPU=1" in script
    assert "--nworkers" not in script, "one, with all cores"


def test_a_queue_that_starts_nothing_is_one_sentence(queue, tmp_path):
    queue("slurm")
    (tmp_path / "bin" / "sbatch").write_text("#!/bin/bash\necho no such account >&2\nexit 1\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"sbatch started no job .*no such account"), JobQueueCluster("slurm", **ASKED):
        pass
    (tmp_path / "bin" / "sbatch").unlink()
    with pytest.raises(InputError, match="there is no sbatch here"), JobQueueCluster("slurm", **ASKED):
        pass


@pytest.mark.parametrize("config", ["study", "inference"])
def test_the_overlay_fits_every_config_that_has_machines(config):
    parser = ConfigParser()
    parser.read_config([ROOT / "configs" / f"{name}.json" for name in (config, "slurm")])
    parser.update({"bundle_root": str(ROOT), "device": "cpu", "job_system": "pbs", "jobs": 7, "shared_folder": False})
    parser.get_parsed_content("checked")
    made = parser.get_parsed_content("machines")
    assert isinstance(made, JobQueueCluster)
    assert (made.system, made.jobs, made.shared_folder) == ("pbs", 7, False)


def test_the_overlay_fits_stored_reconstructions(tmp_path):
    (tmp_path / "ours").mkdir()
    parser = ConfigParser()
    parser.read_config([ROOT / "configs" / f"{name}.json" for name in ("study", "evaluate", "slurm")])
    parser.update({"bundle_root": str(ROOT), "device": "cpu", "reconstructions": str(tmp_path)})
    assert list(parser.get_parsed_content("inferers")()) == ["ours"]
