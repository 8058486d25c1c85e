"""A live platform, comments that arrive all the time while something else happens, and what it tells meanwhile."""

import contextlib
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

from mlops_helpers import cli
from mlops_helpers.deploy.calls import call
from mlops_helpers.deploy.platform import Platform
from mlops_helpers.errors import OpsLabError, ServiceError
from tests.support.leaks import shared

UNLIMITED = 10**6  # comments a minute: tests are faster than readers
TEXT = "Check out my NEW channel!!! http://www.example.com/x?y=1"
COMMENT = {"id": "c1", "text": TEXT}


@contextlib.contextmanager
def live_platform(versions, folder: Path, **settings) -> Iterator[Platform]:
    """Yield a running platform of artifacts by version; share it within a module."""
    settings = {"comments_per_minute": UNLIMITED, **settings}
    with shared(folder), Platform(versions, folder=folder, **settings) as platform:
        yield platform


@contextlib.contextmanager
def comments_arrive(address: str, senders: int = 1) -> Iterator[list[dict]]:
    """Send comments to a gateway; give the list of answers, which grows. In the end none of them has failed."""
    failed, answered, done = [], [], threading.Event()

    def send():
        while not done.wait(0.005):  # the machine has other things to do
            try:
                answered.append(call("POST", address, "/v1/classify", {"id": f"c{len(answered)}", "text": TEXT}))
            except ServiceError as error:
                failed.append(error)

    threads = [threading.Thread(target=send) for _ in range(senders)]
    for thread in threads:
        thread.start()
    try:
        yield answered
    finally:
        done.set()
        for thread in threads:
            thread.join()
    assert failed == []
    assert answered


class Told(list):
    """What a release tells of its steps, as a list of dictionaries; call it as the function that is told."""

    def __call__(self, event, /, **facts):
        self.append({"event": event, **facts})

    @property
    def events(self) -> list[str]:
        return [entry["event"] for entry in self]


@contextlib.contextmanager
def platform_commands(folder: Path, *arguments: str):
    """Yield a function that starts ``opslab platform up`` in the foreground; what is left of it is ended."""
    started = []

    def up(*more: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "mlops_helpers.cli", "platform", "up", f"--folder={folder}"]
        started.append(
            subprocess.Popen([*command, *arguments, *more], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        )
        return started[-1]

    yield up
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()
    with contextlib.suppress(OpsLabError):
        cli.main(["platform", "down", f"--folder={folder}"])
