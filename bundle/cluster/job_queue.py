"""Machines that a job queue lends: SLURM or PBS starts Dask workers for the study, and ends them with it."""

from __future__ import annotations

import contextlib
import importlib
import shutil
from collections.abc import Sequence
from typing import Any

from bundle.cluster.dask_cluster import GPU, DaskCluster
from bundle.errors import InputError

SYSTEMS = {"slurm": ("SLURMCluster", "sbatch"), "pbs": ("PBSCluster", "qsub")}


class JobQueueCluster(DaskCluster):
    """Jobs of SLURM or PBS, each with a worker a core, or with one that has a GPU.

    Args:
        system: ``slurm`` or ``pbs``.
        jobs: how many; pieces begin when the first of them runs.
        cores: of a job.
        memory: of a job, such as ``16GB``.
        hours: of a job at most.
        gpu: each job has one, and one worker that computes on it.
        directives: further ones of the job script, such as ``--account=x``.
        prologue: lines of the job script before the workers start, such as ``source venv/bin/activate``.
        shared_folder: see :class:`DaskCluster`.

    Raises:
        InputError: no such system, or what it takes is not installed.

    Example:
        >>> JobQueueCluster("slurm", jobs=2).options()["cores"]
        8
    """

    def __init__(
        self,
        system: str = "slurm",
        jobs: int = 4,
        cores: int = 8,
        memory: str = "16GB",
        hours: float = 12.0,
        gpu: bool = False,
        directives: Sequence[str] = (),
        prologue: Sequence[str] = (),
        shared_folder: bool = True,
    ) -> None:
        super().__init__(f"the {system} jobs of this run", shared_folder, GPU if gpu else None)
        self.system = system
        self.jobs = jobs
        self.cores = cores
        self.memory = memory
        self.hours = hours
        self.gpu = gpu
        self.directives = list(directives)
        self.prologue = list(prologue)

    def options(self) -> dict[str, Any]:
        """What dask-jobqueue is given."""
        minutes = round(self.hours * 60)
        known: dict[str, Any] = {
            "cores": self.cores,
            "processes": 1 if self.gpu else self.cores,
            "memory": self.memory,
            "walltime": f"{minutes // 60:02d}:{minutes % 60:02d}:00",
            "job_extra_directives": self.directives,
            "job_script_prologue": self.prologue,
            "scheduler_options": {"dashboard": False},
        }
        if self.gpu and self.system == "slurm":
            known["job_extra_directives"] = [*self.directives, "--gpus=1"]
        if self.gpu and self.system == "pbs":
            known["resource_spec"] = f"select=1:ncpus={self.cores}:mem={self.memory}:ngpus=1"
        if self.gpu:
            known["worker_extra_args"] = ["--resources", f"{GPU}=1"]
        return known

    def _connected(self) -> Any:
        name, command = SYSTEMS[self.system]
        try:
            kind = getattr(importlib.import_module("dask_jobqueue"), name)
        except ImportError:
            raise InputError("jobs need dask-jobqueue, which is not installed: pip install -e '.[cluster]'") from None
        if shutil.which(command) is None:
            raise InputError(f"there is no {command} here: run this on a machine that may start {self.system} jobs")
        made = kind(**self.options())
        self._stack.callback(_closed, made)
        try:
            # as its method scale does, which does not wait and so can't tell what went wrong
            for _ in range(self.jobs):
                made.worker_spec.update(made.new_worker_spec())
            made.sync(made._correct_state)
        except Exception as fault:
            raise InputError(
                f"{command} started no job ({' '.join(str(fault).split())[-200:]}): change the job's options"
            ) from fault
        self.address = made.scheduler_address
        return super()._connected()


def _closed(made: Any) -> None:
    with contextlib.suppress(Exception):  # of jobs that never were
        made.close()
