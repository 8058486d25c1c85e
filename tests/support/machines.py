"""Hosts that folders or containers play, what runs on them, and a process that makes them."""

import contextlib
import subprocess
import sys
import textwrap
from pathlib import Path

import psutil
import pytest

from mlops_helpers.deploy import hosts as h
from mlops_helpers.deploy import hosts_questions
from mlops_helpers.deploy.calls import call
from mlops_helpers.errors import ServiceError
from tests.support.leaks import shared

EVERYTHING = ["artifact", "artifact, brought", "configuration", "secret", "process", "process, replaced"]


@contextlib.contextmanager
def converged(names, release, folder):
    """Yield hosts that run a release, in a workspace of their own; share them within a module."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OPSLAB_WORKSPACE", str(folder))
        with shared(folder), h.Hosts(names) as hosts:
            assert h.converge(hosts, release).changed == dict.fromkeys(names, EVERYTHING)
            yield hosts


def versions(hosts):
    return hosts_questions.what_runs(hosts)["version"].to_dict()


def processes(folder):
    """Numbers of the processes of machines in a folder and of what configures them, zombies apart."""
    found = psutil.process_iter(["cmdline", "status"])
    here = [one for one in found if any(str(folder) in word for word in one.info["cmdline"] or ())]
    return {one.pid for one in here if one.info["status"] != psutil.STATUS_ZOMBIE}


def may_administer(machine, token):
    body = {"folder": f"{machine.root}/releases", "sha256": "0" * 64, "version": "v1"}
    with pytest.raises(ServiceError) as refused:
        call("PUT", machine.address, "/admin/model", body, token=token)
    return "answered 422" in str(refused.value)  # 401: nobody listens to that token


MAKER = """
    import sys, threading
    from mlops_helpers.deploy import hosts as h
    from mlops_helpers.deploy.release import Release
    from mlops_helpers.model import artifact
    runtime, folder = sys.argv[1:]
    hosts = h.Hosts(("alpha", "beta"), runtime=runtime).up()
    print(hosts.folder, flush=True)
    h.converge(hosts, Release("filter", "v1", artifact.load(folder)))
    print("converged", flush=True)
    threading.Event().wait()
"""


@contextlib.contextmanager
def maker(runtime, artifact):
    """A process that makes hosts and configures them, and the folder of the hosts."""
    line = [sys.executable, "-c", textwrap.dedent(MAKER), runtime, str(artifact.folder)]
    with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            yield process, Path(process.stdout.readline().strip())
        finally:
            process.kill()
