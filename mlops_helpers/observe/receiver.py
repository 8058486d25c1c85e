"""Where pages arrive while one learns and tests: a webhook on the loopback address that keeps what it is told."""

import threading
import time
from collections.abc import Callable
from dataclasses import asdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import TYPE_CHECKING

from mlops_helpers.errors import MetricsError, ServiceError
from mlops_helpers.observe.guarded import HOST
from mlops_helpers.observe.webhook import Page, parse

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Receiver"]

MAX_BYTES = 1_000_000
MAX_PAGES = 10_000
_CLIENT_SECONDS = 5.0

Notify = Callable[[list[Page]], None]


class Receiver:
    """Receives the calls of an Alertmanager, in a thread, from its making until :meth:`close` (or within ``with``).

    A body above a megabyte is refused with 413, one that cannot be understood with 400. The last 10,000 pages are kept;
    ``notify`` is told what came, in a thread of the receiver.

    Raises ``ServiceError`` when the port is taken (0: the system chooses).
    """

    def __init__(self, port: int = 0, *, notify: Notify = lambda pages: None) -> None:
        self._pages: list[Page] = []
        self._notify = notify
        self._came = threading.Condition()
        try:
            self._server = _Server(port, self._take)
        except (OSError, OverflowError) as error:
            raise ServiceError(f"cannot take {HOST}:{port}: {error}. Next: port 0 lets the system choose") from error
        self.url = f"http://{HOST}:{self._server.server_port}/"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), name="receiver of pages", daemon=True).start()

    def _take(self, pages: list[Page]) -> None:
        with self._came:
            self._pages = [*self._pages, *pages][-MAX_PAGES:]
            self._came.notify_all()
        self._notify(pages)

    @property
    def pages(self) -> list[Page]:
        """What came, in its order."""
        return self._pages

    def wait_for(self, alert: str, status: str = "firing", *, seconds: float = 30.0, since: float = 0.0) -> Page:
        """Return the first page of an alert with this status that was received after ``since`` (epoch seconds).

        Raises ``ServiceError`` saying what came instead when there is none within ``seconds``.
        """
        limit = time.monotonic() + seconds
        with self._came:
            while True:
                for page in self._pages:
                    if (page.alert, page.status) == (alert, status) and page.received > since:
                        return page
                if not self._came.wait(max(0.0, limit - time.monotonic())) and time.monotonic() > limit:
                    came = ", ".join(f"{page.alert} {page.status}" for page in self._pages[-10:]) or "none"
                    raise ServiceError(f"no page of {alert} that is {status} came within {seconds:g} s; came: {came}")

    def frame(self) -> "pd.DataFrame":
        """Return the pages as a table in the order of their arrival, with times in UTC."""
        import pandas as pd

        frame = pd.DataFrame([asdict(page) for page in self._pages], columns=list(Page.__dataclass_fields__))
        for column in ("starts_at", "ends_at", "received"):
            frame[column] = pd.to_datetime(frame[column].astype("float64"), unit="s", utc=True)
        return frame

    def close(self) -> None:
        """End the thread and free the port; safe twice. The pages stay."""
        self._server.shutdown()
        self._server.server_close()

    def __enter__(self) -> "Receiver":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, port: int, take: Notify) -> None:
        super().__init__((HOST, port), _Handler)
        self.take = take

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: who hung up, hung up."""


class _Handler(BaseHTTPRequestHandler):
    timeout = _CLIENT_SECONDS
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_POST(self) -> None:
        length = self.headers.get("content-length", "")
        if not (length.isascii() and length.isdigit()):
            return self._answer(411, "a content-length is needed")
        if len(length) > 10 or int(length) > MAX_BYTES:
            return self._answer(413, f"the body has {length:.10} bytes; accepted: at most {MAX_BYTES}")
        try:
            self.server.take(parse(self.rfile.read(int(length))))
        except MetricsError as error:
            return self._answer(400, str(error))
        return self._answer(200, "")

    def _answer(self, status: int, text: str) -> None:
        body = text.encode()
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        if status != 200:  # what was not read is not the next request
            self.send_header("connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Print nothing."""
