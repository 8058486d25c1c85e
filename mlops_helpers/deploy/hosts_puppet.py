"""The same state by Puppet, which runs on the machine itself: here, where a folder plays it and ``puppet`` is at hand.

What it did is read from its report: ``puppet apply --noop --detailed-exitcodes`` exits with 0 in spite of drift.
"""

import json
import os
import shutil
import tarfile
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from mlops_helpers.deploy import hosts_files
from mlops_helpers.deploy import hosts_program as program
from mlops_helpers.deploy.hosts import Hosts, HostsFailed, Result
from mlops_helpers.deploy.hosts_machines import CONTENT
from mlops_helpers.errors import ParameterError, ServiceError

__all__ = ["apply"]

_FOLDERS = ("conf", "code", "log", "public", "run", "ssl", "var")
_NOISE = "Facter:"  # what it may not know of this machine does not matter


class _Report(yaml.SafeLoader):
    """Puppet's reports name Ruby classes; their content is plain."""


_Report.add_multi_constructor("!ruby/", lambda loader, _, node: loader.construct_mapping(node, deep=True))


def apply(hosts: Hosts, name: str, *, noop: bool = False) -> Result:
    """Bring one machine to what the folder of the hosts says; ``noop``: only say what would change.

    ``changed`` of the result names resources, as that of Ansible names tasks.

    Raises ``ServiceError`` when Puppet is not here or does not understand the manifest, :class:`HostsFailed` when it
    cannot do something on the machine, ``ParameterError`` for a machine that is a container.
    """
    hosts.require_up()
    if hosts.runtime != "process":
        raise ParameterError("Puppet runs on the machine itself, and the image has none; accepted: runtime='process'")
    if shutil.which("puppet") is None:
        raise ServiceError("puppet is not here. Next: apt-get install --no-install-recommends puppet")
    hosts[name].run("true")  # a machine that is off says so
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="run-", dir=hosts.folder) as folder:
        scratch = Path(folder)
        _write_data(hosts, name, scratch)
        line = ["puppet", "apply", *(f"--{one}dir={scratch / one}" for one in _FOLDERS), "--color=false"]
        line += [f"--hiera_config={scratch / 'hiera.yaml'}", "--show_diff", *(["--noop"] if noop else [])]
        line.append(str(CONTENT / "puppet" / "filter.pp"))
        done = program.run(line, scratch, {**os.environ, "LC_ALL": "C.UTF-8", "TMPDIR": str(scratch)})
        report = scratch / "var" / "state" / "last_run_report.yaml"
        found = yaml.load(report.read_text("utf-8"), _Report) if report.exists() else {}  # noqa: S506  # a safe loader
    resources = found.get("resource_statuses")
    if done.returncode or not resources:
        raise ServiceError(f"puppet did not get as far as the machine: {program.tail(done, _NOISE)}")
    changed, failed = (_names(resources, which) for which in ("out_of_sync", "failed"))
    errors = {name: f"failed ({', '.join(failed)}): {program.tail(done, _NOISE)}"} if failed else {}
    result = Result({name: changed}, errors, done.stdout, time.monotonic() - began)
    if failed:
        raise HostsFailed(result)
    return result


def _write_data(hosts: Hosts, name: str, scratch: Path) -> None:
    """Write the values of the manifest's parameters, the secret among them, where only this user may read them."""
    written = yaml.safe_load(hosts_files.release(hosts.folder).read_text("utf-8"))
    defaults = yaml.safe_load((CONTENT / "roles" / "filter" / "defaults" / "main.yml").read_text("utf-8"))
    given = defaults | hosts[name].variables() | written
    with tarfile.open(given["filter_archive"]) as tar:
        # the parameter ``filter`` came with 3.11.4, and distributions still have 3.11.2
        tar.extraction_filter = getattr(tarfile, "data_filter", None)
        tar.extractall(scratch)  # noqa: S202
    values = {f"filter::{key.removeprefix('filter_')}": value for key, value in given.items()}
    values |= {
        "filter::artifact": str(scratch / given["filter_release"]),
        "filter::token": hosts.admin_token,
        "lookup_options": {"filter::token": {"convert_to": "Sensitive"}},
    }
    (scratch / "data").mkdir()
    (scratch / "data" / "values.json").write_text(json.dumps(values), encoding="utf-8")
    level = {"name": "values", "datadir": "data", "data_hash": "json_data", "path": "values.json"}
    (scratch / "hiera.yaml").write_text(yaml.safe_dump({"version": 5, "hierarchy": [level]}), encoding="utf-8")


def _names(resources: Mapping[str, Mapping[str, Any]], which: str) -> list[str]:
    """Return the resources of the manifest for which something holds; files of the artifact count as the artifact."""
    titles = [one["title"] for one in resources.values() if one[which]]
    return list(dict.fromkeys("artifact" if title.startswith("/") else title for title in titles))
