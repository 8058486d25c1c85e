"""Traffic in a process of its own, so that whatever the notebook computes meanwhile does not disturb its clock."""

import contextlib
import subprocess
import sys
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import orjson

from mlops_helpers.errors import ParameterError, ServiceError, WorkspaceError
from mlops_helpers.serve.blackbox import LATE_SECONDS, may_be_replaced, read_lines, read_record
from mlops_helpers.serve.drive import Settings
from mlops_helpers.serve.plan import Arrival

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Progress", "Traffic"]

_START_SECONDS = 30.0
_POLL_SECONDS = 0.01


@dataclass(frozen=True)
class Progress:
    """How far a run is: ``recorded`` of ``planned`` arrivals, counted by outcome, ``seconds`` after its start.

    ``generator_late`` is True when the generator noticed more than one arrival in a hundred later than 10 ms after
    it was due (p99 > 10 ms): the latencies then tell about the generator's machine, not about the service.
    """

    seconds: float
    planned: int
    recorded: int
    outcomes: Mapping[str, int]
    generator_late: bool


class Traffic:
    """Sends a plan's arrivals to ``target`` (``"host:port"``) and writes what became of each to the file ``record``.

    In the open loop (``concurrency=None``) each request is sent when its time has come, whether or not earlier ones
    were answered; when ``connections`` requests are unanswered, further arrivals are recorded as ``no_connection``.
    In a closed loop at most ``concurrency`` requests are under way and later arrivals wait for one of them to end:
    what many load generators do, and why they do not see a server stall.

    ``api`` is ``blog``, or ``classify`` for a filter or gateway (comments only). ``timeout`` in seconds is how long
    an answer is waited for; a comment whose answer does not come is sent up to ``retries`` times more. ``token`` is
    the moderators' bearer token. ``run`` goes in front of each comment's key; without it each run has one of its own,
    so that a plan can be sent twice to the same blog.

    A context manager: its end, an interrupt or the death of this process ends the traffic. The record of an earlier
    run is replaced, no other file. Raises ``ParameterError`` for a value that is not accepted.
    """

    def __init__(
        self,
        target: str,
        arrivals: Sequence[Arrival],
        record: Path,
        *,
        api: str = "blog",
        timeout: float = 2.0,
        connections: int = 512,
        concurrency: int | None = None,
        retries: int = 0,
        token: str = "",
        run: str | None = None,
    ) -> None:
        host, colon, port = target.rpartition(":")
        if not (host and colon and port.isdecimal() and 0 < int(port) < 65536):
            raise ParameterError(f'target is {target!r}; accepted is host:port, for example "127.0.0.1:8080"')
        if api not in ("blog", "classify"):
            raise ParameterError(f"api is {api!r}; accepted are blog, classify")
        if api == "classify" and any(arrival.kind != "comment" for arrival in arrivals):
            raise ParameterError(
                "the plan has readers or moderators, but api='classify' takes comments only; "
                "accepted is a plan with reads_per_comment=0 and moderators=None"
            )
        if timeout <= 0 or min(connections, 1 if concurrency is None else concurrency) < 1 or retries < 0:
            raise ParameterError(
                f"timeout={timeout!r}, connections={connections!r}, concurrency={concurrency!r}, retries={retries!r}; "
                "accepted are timeout > 0, connections >= 1, concurrency >= 1 or None, retries >= 0"
            )
        run = f"{uuid.uuid4().hex[:8]}-" if run is None else run
        self.settings = Settings(host.strip("[]"), int(port), api, timeout, connections, concurrency, retries, run)
        self.record = Path(record)
        self._arrivals, self._token = list(arrivals), token
        self._process: subprocess.Popen[bytes] | None = None
        self._complaints = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as this object
        self.started_at = 0.0  # seconds since 1970; the record's times count from here
        self._read_to = self._late = 0
        self._outcomes: Counter[str] = Counter()

    def start(self) -> Self:
        """Start the traffic and return once its clock runs.

        Raises ``ServiceError`` when it cannot start, ``WorkspaceError`` when ``record`` cannot be written or is
        another file than a record.
        """
        try:
            self.record.parent.mkdir(parents=True, exist_ok=True)
            if not may_be_replaced(self.record):
                raise WorkspaceError(f"{self.record} is no record of traffic and stays. Next: name another file")
            self.record.unlink(missing_ok=True)
        except OSError as error:
            raise WorkspaceError(f"cannot write the record {self.record}: {error}. Next: name another file") from error
        plan = orjson.dumps(self._arrivals)
        order = {
            "settings": asdict(self.settings),
            "record": str(self.record.absolute()),
            "token": self._token,
            "plan_bytes": len(plan),
        }
        self._process = subprocess.Popen(
            [sys.executable, "-m", "mlops_helpers.serve.drive"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=self._complaints,
            start_new_session=True,  # an interrupt is for this process, which then decides what becomes of the traffic
        )
        assert self._process.stdin is not None
        try:
            with contextlib.suppress(BrokenPipeError):  # it ended, and below is said why
                self._process.stdin.write(orjson.dumps(order) + b"\n" + plan)
                self._process.stdin.flush()
            self._wait_for_start(time.monotonic() + _START_SECONDS)
        except BaseException:
            self._end(0.0)
            raise
        return self

    def _wait_for_start(self, deadline: float) -> None:
        assert self._process is not None
        while True:
            status = self._process.poll()
            with contextlib.suppress(FileNotFoundError):
                lines, self._read_to = read_lines(self.record)
                if lines:
                    self.started_at = datetime.fromisoformat(lines[0]["started_at"]).timestamp()
                    return self._count(lines[1:])
            if status is not None:
                raise ServiceError(f"the traffic did not start: {self._complaint()}")
            if time.monotonic() > deadline:
                raise ServiceError(f"the traffic did not start within {_START_SECONDS:g} s; next: try again")
            time.sleep(_POLL_SECONDS)

    def _complaint(self) -> str:
        self._complaints.seek(0)
        lines = self._complaints.read().decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else "its process was killed"

    @property
    def running(self) -> bool:
        """Whether the traffic goes on, which includes waiting for the last answers."""
        return self._process is not None and self._process.poll() is None

    def wait(self, timeout: float | None = None) -> Self:
        """Return when every arrival of the plan is recorded; without ``timeout`` (seconds) however long that takes.

        Raises ``ServiceError`` when the traffic still runs after ``timeout``, or ended before its plan did.
        """
        if self._process is None:
            raise ServiceError("the traffic was not started. Next: start()")
        try:
            self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise ServiceError(f"the traffic still runs after {timeout:g} s. Next: wait longer, or stop()") from None
        if self._process.returncode:
            raise ServiceError(f"the traffic broke down: {self._complaint()}")
        return self

    def stop(self) -> None:
        """Send nothing more, wait for the answers under way (at most as long as they may take), end the process."""
        retries = self.settings.retries + 1
        self._end(retries * (self.settings.timeout + retries) + 5.0)

    def _end(self, seconds: float) -> None:
        if self._process is None:
            return
        assert self._process.stdin is not None
        try:
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.close()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(seconds)
        finally:
            self._process.kill()
            self._process.wait()

    def progress(self) -> Progress:
        """Return how far the run is, by what is written of its record; cheap enough to be asked often.

        Raises ``ServiceError`` when the traffic was not started.
        """
        if self._process is None:
            raise ServiceError("the traffic was not started. Next: start()")
        lines, self._read_to = read_lines(self.record, self._read_to)
        self._count(lines)
        recorded = self._outcomes.total()
        late = self._late > recorded / 100
        return Progress(time.time() - self.started_at, len(self._arrivals), recorded, dict(self._outcomes), late)

    def _count(self, records: list[dict[str, Any]]) -> None:
        arrivals = [record for record in records if record["kind"] != "decide"]
        self._outcomes.update(record["outcome"] for record in arrivals)
        self._late += sum(record["late"] > LATE_SECONDS for record in arrivals)

    def frame(self) -> "pd.DataFrame":
        """Return what is recorded by now; see :func:`mlops_helpers.serve.blackbox.read_record`."""
        return read_record(self.record)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()
