"""What an operator asks of hosts, answered by the machines themselves and not by what they ought to be."""

import tomllib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from mlops_helpers.deploy.calls import call
from mlops_helpers.deploy.hosts import Hosts
from mlops_helpers.deploy.hosts_machines import Machine
from mlops_helpers.errors import ServiceError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["connections", "parameters", "what_runs"]

_SECONDS = 5.0


def what_runs(hosts: Hosts) -> "pd.DataFrame":
    """Return a row a host: ``state`` (``answers`` or ``away``), ``version``, ``artifact`` (its hash), ``address``."""
    return _frame(hosts, _running)


def parameters(hosts: Hosts) -> "pd.DataFrame":
    """Return a row a host: what its configuration file says; nothing for one that is off or has none."""
    return _frame(hosts, _configured)


def connections(hosts: Hosts, gateway: str, token: str) -> "pd.DataFrame":
    """Return a row a host: its address, over which network, and what a gateway makes of it.

    ``gateway`` is that one's address, ``token`` its admin token. ``state`` is as the gateway has it, ``unknown`` for a
    host that it does not know. Raises ``ServiceError`` when the gateway does not answer.
    """
    states = {one["address"]: one["state"] for one in call("GET", gateway, "/admin/state", token=token)["replicas"]}

    def connected(machine: Machine) -> dict[str, Any]:
        state = states.get(machine.address, "unknown")
        return {"from": f"gateway {gateway}", "to": machine.address, "network": machine.network, "state": state}

    return _frame(hosts, connected)


def _frame(hosts: Hosts, row: Callable[[Machine], dict[str, Any]]) -> "pd.DataFrame":
    import pandas as pd

    machines = list(hosts)
    with ThreadPoolExecutor() as pool:
        rows = list(pool.map(row, machines))
    return pd.DataFrame(rows, index=pd.Index([machine.name for machine in machines], name="host"))


def _running(machine: Machine) -> dict[str, Any]:
    row = {"state": "away", "version": "", "artifact": "", "address": machine.address}
    try:
        said = call("GET", machine.address, "/version", seconds=_SECONDS)
    except ServiceError:
        return row
    return row | {"state": "answers", "version": said["version"], "artifact": said["artifact_sha256"][:12]}


def _configured(machine: Machine) -> dict[str, Any]:
    try:
        return tomllib.loads(machine.run("cat etc/filter.toml"))
    except (ServiceError, tomllib.TOMLDecodeError):
        return {}
