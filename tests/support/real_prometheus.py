"""A real Prometheus server on a free port, fed by remote write and ended by its own process id; promtool beside it."""

import socket
import struct
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.support.waiting import until

STALE = struct.unpack("<d", struct.pack("<Q", 0x7FF0000000000002))[0]
Labels = tuple[tuple[str, str], ...]


def promtool(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["promtool", *map(str, arguments)], capture_output=True, text=True, timeout=100)


@contextmanager
def prometheus(folder: Path) -> Iterator[str]:
    """Run a server that scrapes nothing and takes what is written to it; yields its URL when it is ready."""
    (folder / "prometheus.yml").touch()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    command = [
        "prometheus",
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address={address}",
        "--web.enable-remote-write-receiver",
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


def remote_write(url: str, series: Mapping[Labels, list[tuple[int, float]]]) -> None:
    """Write samples (ms, value) of series (sorted labels) as another Prometheus would."""
    message = b"".join(
        _field(1, b"".join(_field(1, _field(1, name.encode()) + _field(2, value.encode())) for name, value in labels)
               + b"".join(_field(2, b"\x09" + struct.pack("<d", value) + b"\x10" + _varint(time))
                          for time, value in samples))
        for labels, samples in series.items()
    )  # fmt: skip
    # snappy's block format, without compressing: literals of at most 64 KiB
    blocks = (message[begin : begin + 65_536] for begin in range(0, len(message), 65_536))
    body = _varint(len(message)) + b"".join(b"\xf4" + struct.pack("<H", len(block) - 1) + block for block in blocks)
    headers = {
        "content-type": "application/x-protobuf",
        "content-encoding": "snappy",
        "x-prometheus-remote-write-version": "0.1.0",
    }
    urllib.request.urlopen(urllib.request.Request(f"{url}/api/v1/write", body, headers), timeout=10).close()


def _field(number: int, content: bytes) -> bytes:
    return bytes([number << 3 | 2]) + _varint(len(content)) + content


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes([*out, number])
