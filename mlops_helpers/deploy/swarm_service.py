"""A release as a swarm wants it: the specification of a service whose tasks are confined like other containers."""

from collections.abc import Mapping
from typing import Any

from mlops_helpers.deploy.containers import LOG_OPTIONS, PORT, STOP_SECONDS, TMPFS_BYTES
from mlops_helpers.deploy.limits import ulimits
from mlops_helpers.deploy.release import Release

__all__ = ["service_of"]

_SECOND = 1_000_000_000  # Docker counts in nanoseconds
_STATE = "/data/{{.Task.ID}}"


def service_of(
    release: Release, *, image: str, user: str, state: str, network: str, node: str, labels: Mapping[str, str]
) -> dict[str, Any]:
    """Return the arguments of ``create_service``: ``image`` by its id, so that no registry is asked for a newer one.

    A replica that replaces another starts before that is ended, so each has a folder of its own below ``state``.
    """
    from docker import types

    limits = release.limits
    container = types.ContainerSpec(
        image,
        args=[*release.arguments("/artifact"), "--host=0.0.0.0", f"--port={PORT}"],
        env=[f"{name}={value}" for name, value in {**release.environment, "OPSLAB_WORKSPACE": _STATE}.items()],
        user=user,
        labels=dict(labels),
        mounts=[
            types.Mount("/artifact", str(release.artifact.folder.resolve()), "bind", read_only=True),
            types.Mount("/data", state, "bind"),
            types.Mount("/tmp", None, "tmpfs", tmpfs_size=TMPFS_BYTES, tmpfs_mode=0o1777),  # noqa: S108
        ],
        read_only=True,
        init=True,
        cap_drop=["ALL"],
        stop_grace_period=int(STOP_SECONDS) * _SECOND,
    )
    container["Ulimits"] = [types.Ulimit(**one) for one in ulimits(limits)]
    resources = types.Resources(
        cpu_limit=limits.cpus and int(limits.cpus * _SECOND), mem_limit=limits.memory, mem_reservation=0
    )
    resources["Limits"] = {**resources.get("Limits", {}), **({"Pids": limits.pids} if limits.pids else {})}
    one_by_one = {"parallelism": 1, "delay": 0, "monitor": _SECOND, "order": "start-first"}
    return {
        "task_template": types.TaskTemplate(
            container,
            resources=resources,
            restart_policy=types.RestartPolicy("any", delay=_SECOND // 2),
            placement=types.Placement(constraints=[f"node.id=={node}"]),  # artifact and logs lie on this one
            log_driver=types.DriverConfig("json-file", options=LOG_OPTIONS),
            networks=[types.NetworkAttachmentConfig(network)],
        ),
        "labels": dict(labels),
        "mode": types.ServiceMode("replicated", release.replicas),
        "endpoint_spec": types.EndpointSpec("dnsrr"),  # each replica by its own address: no virtual one, no IPVS
        "update_config": types.UpdateConfig(failure_action="rollback", **one_by_one),
        "rollback_config": types.RollbackConfig(failure_action="pause", **one_by_one),
    }
