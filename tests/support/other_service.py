"""A spam filter of another team: another contract, other metrics, another way to change its model."""

import itertools
import json
import threading
import time
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest

BEARER = "known to the other team"


class OtherService:
    """``POST /check {"text"}``; ``GET`` and ``POST /settings``: the model ``new`` is ``bad``, and ``old`` is not.

    ``errors``, ``slow``, or all that comes is ``ham`` or ``spam`` to it; ``both`` answer in turn, new one calling
    all spam. A client asks 50 times a second. ``sent`` are the settings that were sent. Left as a context.
    """

    def __init__(self, bad: str = "errors") -> None:
        self.registry, self.sent = CollectorRegistry(), []
        self.model = "both" if bad == "both" else "new"
        self.bad, self.always = bad, False
        self.checked = Counter("spamfilter_comments", "Comments.", ["result"], registry=self.registry)
        self.seconds = Histogram("spamfilter_inference_seconds", "Inference.", registry=self.registry)
        self.by_model = Counter("spamfilter_models", "By model.", ["model", "result"], registry=self.registry)
        for result in ("ham", "spam", "error"):
            self.checked.labels(result)
            for model in ("old", "new"):
                self.by_model.labels(model, result)
        self._turn = itertools.cycle(("old", "new"))
        service = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_GET(self) -> None:
                known = {"/metrics": service.metrics, "/settings": service.settings}
                self.answer(200, known[self.path]()) if self.path in known else self.answer(404, b"{}")

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                if self.path == "/check":
                    return self.answer(*service.check(body["text"]))
                if self.headers["authorization"] != f"Bearer {BEARER}":
                    return self.answer(401, b'{"error": "who are you?"}')
                service.sent.append(body)
                service.model = body["model"]
                self.answer(200, b"{}")

            def answer(self, status: int, body: bytes) -> None:
                self.send_response(status)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.address = f"127.0.0.1:{self._server.server_port}"
        self._end = threading.Event()
        self._threads = [threading.Thread(target=self._server.serve_forever), threading.Thread(target=self._ask)]

    def check(self, text: str) -> tuple[int, bytes]:
        model = next(self._turn) if self.model == "both" else self.model
        broken = self.always or model == "new"
        with self.seconds.time():
            time.sleep(0.3 if broken and self.bad == "slow" else 0)
        good = "spam" if self.bad == "ham" else "ham"  # what the old one says
        result = (
            {"errors": "error", "ham": "ham", "spam": "spam", "both": "spam"}.get(self.bad, good) if broken else good
        )
        self.checked.labels(result).inc()
        self.by_model.labels(model, result).inc()
        return (500 if result == "error" else 200), json.dumps({"spam": result == "spam"}).encode()

    def metrics(self) -> bytes:
        return generate_latest(self.registry)

    def settings(self) -> bytes:
        return json.dumps({"serving": {"model": self.model, "since": "today"}}).encode()

    def _ask(self) -> None:
        connection = HTTPConnection(self.address, timeout=10)
        while not self._end.wait(0.02):
            connection.request("POST", "/check", json.dumps({"text": "hello"}))
            connection.getresponse().read()
        connection.close()

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._threads[1].join()
        self._server.shutdown()
        self._threads[0].join()
        self._server.server_close()
