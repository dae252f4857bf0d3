"""Machines that work on many independent pieces."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from bundle.cluster.base import Cluster, Cost, Death, Portable, Work
from bundle.cluster.processes import LocalProcesses, leave_unguarded_import

if TYPE_CHECKING:
    from bundle.cluster.dask_cluster import DaskCluster
    from bundle.cluster.job_queue import JobQueueCluster

__all__ = [
    "Cluster",
    "Cost",
    "DaskCluster",
    "Death",
    "JobQueueCluster",
    "LocalProcesses",
    "Portable",
    "Work",
    "leave_unguarded_import",
    "open_machines",
]

# loaded when first asked for, as Dask takes its time
_LATER = {"DaskCluster": "dask_cluster", "JobQueueCluster": "job_queue"}


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_LATER[name]}"), name)


def open_machines(
    cluster: str | None = None,
    shared_folder: bool = True,
    worker_resource: str | None = None,
    workers: int | None = None,
    device: str = "cpu",
) -> Cluster:
    """The machines that a config asks for.

    Args:
        cluster: address of a Dask scheduler; None: this machine's processes.
        shared_folder: see :class:`DaskCluster`.
        worker_resource: see :class:`DaskCluster`; None: ``GPU`` where the device is one.
        workers: see :class:`LocalProcesses`.
        device: where networks are fitted and run.

    Example:
        >>> open_machines(workers=2), open_machines("tcp://10.0.0.1:8786", device="cuda:0").resource
        (LocalProcesses(workers=2, device='cpu'), 'GPU')
    """
    if cluster is None:
        return LocalProcesses(workers, device)
    from bundle.cluster.dask_cluster import GPU, DaskCluster

    on_gpu = str(device).startswith("cuda")
    return DaskCluster(cluster, shared_folder, worker_resource or (GPU if on_gpu else None))
