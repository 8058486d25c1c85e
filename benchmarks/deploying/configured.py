"""Drift planted on hosts, one kind after another: is it found, repaired, and is nothing to do afterwards?"""

import statistics
import time
from collections.abc import Callable, Iterator

from benchmarks.harness import Figure
from mlops_helpers.deploy import hosts as h
from mlops_helpers.deploy import hosts_puppet
from mlops_helpers.deploy.hosts_machines import Machine
from mlops_helpers.deploy.release import Release
from mlops_helpers.model.artifact import Artifact

__all__ = ["hosts_figures"]

DRIFTS = {  # what is done to a machine by hand -> (a line of its shell, the task that has to find it)
    "edited file": ("echo '# by hand' >> etc/filter.toml", "configuration"),
    "wrong mode": ("chmod 666 etc/token", "secret"),
    "stopped process": ("{servicectl} stop .", "process"),
    "old version": ('sed -i \'s/"v1"/"v0"/\' etc/filter.toml && {servicectl} apply .', "configuration"),
    "damaged artifact": ("for file in releases/*/terms.json; do printf x >> $file; done", "artifact"),
}


def hosts_figures(exported: Artifact) -> Iterator[Figure]:
    """Plant each drift on folders and on containers as hosts, for Ansible; on folders, for Puppet."""
    release = Release("filter", "v1", exported)
    for runtime, called in (("process", "folders"), ("docker", "containers")):
        with h.Hosts(("alpha", "beta"), runtime=runtime) as hosts:
            first = h.converge(hosts, release)
            second = h.converge(hosts)
            changed = sum(map(len, second.changed.values()))
            said = f"2 hosts, after {sum(map(len, first.changed.values()))} in the first"
            yield Figure(f"Ansible, {called}: changes in the second run", changed, "count", "<= 0", said)
            yield Figure(f"Ansible, {called}: a run that changes nothing", second.seconds, "s", "", "2 hosts, one run")
            yield from _drifts(f"Ansible, {called}", hosts["alpha"], lambda: h.check(hosts), lambda: h.converge(hosts))
            if runtime == "process":
                changed = len(hosts_puppet.apply(hosts, "alpha").changed["alpha"])
                said = "what Ansible had brought about"
                yield Figure("Puppet, folders: changes where there is nothing to do", changed, "count", "<= 0", said)
                yield from _drifts(
                    "Puppet, folders",
                    hosts["alpha"],
                    lambda: hosts_puppet.apply(hosts, "alpha", noop=True),
                    lambda: hosts_puppet.apply(hosts, "alpha"),
                )


def _drifts(
    by: str, machine: Machine, check: Callable[[], h.Result], converge: Callable[[], h.Result]
) -> Iterator[Figure]:
    missed, left, seconds = [], [], []
    for drift, (line, task) in DRIFTS.items():
        machine.run(line.format(servicectl=machine.servicectl))
        if task not in check().changed[machine.name]:
            missed.append(drift)
        began = time.monotonic()
        converge()
        seconds.append(time.monotonic() - began)
        if check().changed[machine.name]:
            left.append(drift)
    said = ", ".join(DRIFTS)
    yield Figure(f"{by}: drifts not found", len(missed), "count", "<= 0", ", ".join(missed) or f"of {said}")
    yield Figure(f"{by}: drifts not repaired", len(left), "count", "<= 0", ", ".join(left) or f"of {said}")
    spread = f"{len(seconds)} repairs, {min(seconds):.1f} to {max(seconds):.1f}"
    yield Figure(f"{by}: repair, median", statistics.median(seconds), "s", "", spread)
