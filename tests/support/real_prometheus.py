"""A real Prometheus server on a free port, with recorded samples, ended by its own process id; promtool beside it."""

import socket
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.waiting import until


def promtool(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["promtool", *map(str, arguments)], capture_output=True, text=True, timeout=100)


@contextmanager
def prometheus(folder: Path, samples: str) -> Iterator[str]:
    """Run a server that scrapes nothing and has ``samples`` (OpenMetrics with times); yields its URL when ready."""
    (folder / "prometheus.yml").touch()
    (folder / "samples").write_text(samples + "# EOF\n")
    filled = promtool("tsdb", "create-blocks-from", "openmetrics", folder / "samples", folder / "data")
    assert filled.returncode == 0, filled.stdout + filled.stderr
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    command = [
        "prometheus",
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        "--storage.tsdb.retention.time=90y",
        f"--web.listen-address={address}",
        "--log.level=error",
    ]
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log)

    def ready() -> bool:
        assert server.poll() is None, (folder / "log").read_text()
        try:
            with urllib.request.urlopen(f"http://{address}/-/ready", timeout=1) as response:
                return response.status == 200
        except (urllib.error.URLError, OSError):
            return False

    try:
        until(ready, "Prometheus's readiness")
        yield f"http://{address}"
    finally:
        server.kill()
        server.wait()
