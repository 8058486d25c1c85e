"""What tests of the monitor share: a service with a fault, and programs that end as users end them."""

import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

from mlops_helpers.observe.webhook import Page
from tests.support.waiting import DEADLINE_SECONDS

FIRING = Page("TooManyErrors", "firing", 1_700_000_000.5, labels={"severity": "page"}, annotations={"summary": "503"})
RESOLVED = Page("TooManyErrors", "resolved", FIRING.starts_at, ends_at=1_700_000_060.0)
_COMMAND = """
import argparse, sys
from mlops_helpers.observe import commands
parser = argparse.ArgumentParser()
commands.monitor_arguments(parser)
commands.monitor(parser.parse_args(sys.argv[1:]))
"""


class Broken(HTTPServer):
    """A service whose answers are errors too while it is ``broken``."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Metrics)
        self.broken, self.answers = True, {"200": 0, "500": 0}
        self.address = f"127.0.0.1:{self.server_port}"


class _Metrics(BaseHTTPRequestHandler):
    server: Broken

    def do_GET(self) -> None:
        for code in ("200", "500") if self.server.broken else ("200",):
            self.server.answers[code] += 10
        counted = "".join(f'answers_total{{code="{code}"}} {count}\n' for code, count in self.server.answers.items())
        body = f"broken {self.server.broken:d}\n# TYPE answers_total counter\n{counted}".encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def broken_service() -> Iterator[Broken]:
    with Broken() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@contextmanager
def running(code: str, *arguments: object) -> Iterator["subprocess.Popen[str]"]:
    """Run Python code with arguments; it is killed at the end."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


@contextmanager
def monitor_command(*arguments: object) -> Iterator["subprocess.Popen[str]"]:
    """Run ``opslab monitor`` with arguments; it gets SIGINT at the end, as by Ctrl-C, and has to end by it."""
    with running(_COMMAND, *arguments) as process:
        yield process
        process.send_signal(signal.SIGINT)
        process.wait(DEADLINE_SECONDS)
