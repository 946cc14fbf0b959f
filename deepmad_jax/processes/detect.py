"""What started this process: the cluster, by JAX's own detection, told before anything waits.

JAX's detection is not public by itself, only as a part of `jax.distributed.initialize`, which says
nothing of what it found until all processes are there.
"""

import os
import warnings
from typing import Any

from jax._src.clusters import ClusterEnv

from deepmad_jax.errors import UserError
from deepmad_jax.processes.meet import Place

CLUSTERS = {
    "SlurmCluster": "SLURM",
    "OmpiCluster": "Open MPI",
    "K8sCluster": "Kubernetes",
    "GkeTpuCluster": "Cloud TPU in Kubernetes",
    "GceTpuCluster": "Cloud TPU",
}
"""JAX's name of a cluster -> ours."""


def detect(seconds: float) -> Place:
    """This process's place, as the cluster says that it runs in.

    Args:
        seconds: how long the name of process 0's host may take to become known.

    Raises:
        UserError: there is no cluster, or it does not say.
    """
    cluster = _present()
    if cluster is None:
        raise UserError(
            "--distributed=auto finds no cluster here: no SLURM step, Open MPI, Kubernetes job or "
            f"TPU pod. {_hint()}"
        )
    name = CLUSTERS.get(cluster.__name__, cluster.__name__)
    print(f"--distributed=auto finds {name}.", flush=True)
    try:
        count, index = cluster.get_process_count(), cluster.get_process_id()
        address = os.environ.get("JAX_COORDINATOR_ADDRESS") or cluster.get_coordinator_address(
            timeout_secs=seconds,
            override_coordinator_port=os.environ.get("JAX_COORDINATOR_PORT"),
        )
    except Exception as error:  # of each cluster's own client
        raise UserError(
            f"--distributed=auto finds {name}, which does not say which of how many processes this "
            f"is, or where the first one runs ({type(error).__name__}: {error}). Say it by "
            "--distributed=HOST:PORT,COUNT,INDEX."
        ) from error
    return Place(address, count, index, _devices(cluster))


def _present() -> Any:
    for cluster in ClusterEnv._cluster_types:
        # Kubernetes warns where its package is not installed; `_hint` says so.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                if not cluster.opt_in_only_method and cluster.is_env_present():
                    return cluster
            except Exception as error:
                raise UserError(
                    f"--distributed=auto could not find out whether this is "
                    f"{CLUSTERS.get(cluster.__name__, cluster.__name__)} ({error}). Say it by "
                    "--distributed=HOST:PORT,COUNT,INDEX."
                ) from error
    return None


def _devices(cluster: Any) -> list[int] | None:
    """The devices this process uses; None is all that it sees.

    JAX by itself takes one for each process of a SLURM or MPI job, even where it has a host of
    eight to itself.
    """
    has_its_host = os.environ.get("OMPI_COMM_WORLD_LOCAL_SIZE") == "1" or os.environ.get(
        "SLURM_STEP_NUM_NODES", ""
    ) == os.environ.get("SLURM_NTASKS")
    # By the user, or where the cluster shows each process only its own.
    is_chosen = "JAX_LOCAL_DEVICE_IDS" in os.environ or (
        len(os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")) == 1
        and os.environ.get("CUDA_VISIBLE_DEVICES")
    )
    local = cluster.get_local_process_id()
    return None if has_its_host or is_chosen or local is None else [local]


def _hint() -> str:
    if "SLURM_JOB_ID" in os.environ:
        return "This is a SLURM job, but no step of it: start the command by srun."
    if "OMPI_COMM_WORLD_SIZE" in os.environ:
        return (
            "This version of Open MPI does not say where process 0 runs: mpirun sh -c '... "
            "--distributed=HOST:PORT,$OMPI_COMM_WORLD_SIZE,$OMPI_COMM_WORLD_RANK'."
        )
    if "KUBERNETES_SERVICE_HOST" in os.environ:
        return (
            "In Kubernetes it needs the package kubernetes (pip install 'deepmad_jax[kubernetes]') "
            "and leave to read pods; launch/gke_jobset.yaml does without: "
            "--distributed=HOST:PORT,COUNT,INDEX."
        )
    return (
        "For several processes without a cluster give each --distributed=HOST:PORT,COUNT,INDEX, "
        "such as 10.0.0.1:4321,2,0; one process needs no --distributed for all devices of its host."
    )
