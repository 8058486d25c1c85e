"""A server as a process tree: started, waited for, asked, weighed and always ended."""

import http.client
import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from benchmarks.peers.workload import Workload
from mlops_helpers.workspace import project_root

__all__ = ["HOST", "Peer", "Running", "free_port", "post"]

HOST = "127.0.0.1"
TOLERANCE = 1e-6
START_DEADLINE = 120.0
ANSWER_DEADLINE = 30.0
STOP_DEADLINE = 10.0


def free_port() -> int:
    """Return a port that nothing listens on now, for servers that cannot choose one themselves."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def post(path: str, body: Any) -> bytes:
    """Return the complete bytes of a keep-alive HTTP/1.1 request that sends ``body`` as JSON."""
    content = json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()
    head = f"POST {path} HTTP/1.1\r\nhost: {HOST}\r\ncontent-type: application/json\r\ncontent-length: {len(content)}"
    return head.encode() + b"\r\n\r\n" + content


@dataclass(frozen=True)
class Peer:
    """One way to serve the pipeline.

    ``command`` gives the arguments that start a server on a port of :data:`HOST`; ``request`` the complete bytes of an
    HTTP request that asks about a text; ``spam_score`` reads the score (0 to 1) from the body of the answer, or gives
    None where the server computes none. ``environment`` is added to this process' variables.
    """

    name: str
    command: Callable[[int], Sequence[str]]
    request: Callable[[str], bytes]
    spam_score: Callable[[bytes], float | None]
    environment: Mapping[str, str] = field(default_factory=dict)

    @contextmanager
    def start(self, workload: Workload) -> Iterator["Running"]:
        """Start the server, wait for its first correct answer, and end the whole process tree afterwards.

        Raises ``RuntimeError`` with the end of the server's log when it ends, answers wrongly or stays silent.
        """
        log = project_root() / "build" / "peers" / f"{self.name}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        port = free_port()
        command = list(self.command(port))
        with log.open("wb") as output:
            begin = time.perf_counter()
            process = subprocess.Popen(
                command,
                cwd=project_root(),
                env={**os.environ, **self.environment},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # an interrupt at the terminal reaches this process alone, which then cleans up
            )
        running = Running(self, process, port, log)
        try:
            running.await_answer(workload, begin + START_DEADLINE)
            running.seconds_to_answer = time.perf_counter() - begin
            yield running
        finally:
            running.stop()


@dataclass
class Running:
    """A server that answers; ``seconds_to_answer`` from being started to the first correct answer."""

    peer: Peer
    process: subprocess.Popen[bytes]
    port: int
    log: Path
    seconds_to_answer: float = float("nan")

    def ask(self, text: str) -> float | None:
        """Return the spam score that the server gives a text, over a connection of its own.

        Raises ``OSError`` without an answer, ``RuntimeError`` with the server's log for any status but 200.
        """
        status, body = self._exchange(self.peer.request(text))
        if status != 200:
            raise self._failure(f"answered {status}: {body[:500]!r}")
        return self.peer.spam_score(body)

    def await_answer(self, workload: Workload, deadline: float) -> None:
        """Ask until there is a correct answer, at the latest until ``deadline`` of ``time.perf_counter``."""
        request = self.peer.request(workload.texts[0])
        found = "did not listen"
        while time.perf_counter() < deadline:
            if self.process.poll() is not None:
                raise self._failure(f"ended with {self.process.returncode} before its first answer")
            with suppress(OSError):  # not listening yet
                status, body = self._exchange(request)
                if status == 200:
                    self._compare(0, self.peer.spam_score(body), workload)
                    return
                found = f"answered {status}: {body[:500]!r}"  # listening, the model not loaded yet
            time.sleep(0.005)
        raise self._failure(f"{found} within {START_DEADLINE:.0f} s")

    def verify(self, workload: Workload, n: int = 256, concurrency: int = 64) -> None:
        """Ask about ``n`` texts, ``concurrency`` at a time; raise ``RuntimeError`` when a score is another's or wrong.

        At the concurrency of the measurement, since batching is what could mix answers up.
        """
        with ThreadPoolExecutor(concurrency) as pool:
            for number, score in enumerate(pool.map(self.ask, workload.texts[:n])):
                self._compare(number, score, workload)

    def memory(self) -> int:
        """Return the resident memory of the whole process tree in bytes; shared pages count in each process."""
        total = 0
        for process in self._tree():
            with suppress(psutil.NoSuchProcess):
                total += process.memory_info().rss
        return total

    def stop(self) -> None:
        """End the whole process tree: asked first, killed after a deadline."""
        tree = self._tree()
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGTERM)
        for process in psutil.wait_procs(tree, STOP_DEADLINE)[1]:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        with suppress(ProcessLookupError):  # what was started meanwhile, or outlived its parent
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def _exchange(self, request: bytes) -> tuple[int, bytes]:
        with socket.create_connection((HOST, self.port), timeout=ANSWER_DEADLINE) as connection:
            connection.sendall(request)
            answer = http.client.HTTPResponse(connection)
            try:
                answer.begin()
                return answer.status, answer.read()
            except http.client.HTTPException as error:
                raise ConnectionError(f"{self.peer.name}: {error!r}") from error

    def _tree(self) -> list[psutil.Process]:
        try:
            root = psutil.Process(self.process.pid)
            return [root, *root.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def _compare(self, number: int, score: float | None, workload: Workload) -> None:
        expected = workload.scores[number]
        if score is not None and abs(score - expected) > TOLERANCE:
            raise self._failure(f"scored text {number} {score}, the pipeline {expected}")

    def _failure(self, what: str) -> RuntimeError:
        return RuntimeError(f"{self.peer.name} {what}. {self.log}:\n{self.log.read_text(errors='replace')[-3000:]}")
