"""A spam filter of another team: another contract, other metrics, another way to change its model."""

import itertools
import json
import threading
from contextlib import closing
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest

BEARER = "known to the other team"


class OtherService:
    """``POST /check {"text"}``; ``GET`` and ``POST /settings``. Its model ``new`` fails, ``old`` finds all ham.

    Model ``both``: they answer in turn, and the new one finds all spam. ``always``: the old one fails as well. A client
    asks 50 times a second. ``sent`` are the settings that were sent. Left as a context.
    """

    def __init__(self, model: str = "new") -> None:
        self.registry, self.sent = CollectorRegistry(), []
        self.model, self.always = model, False
        self.checked = Counter("spamfilter_comments", "Comments.", ["result"], registry=self.registry)
        self.seconds = Histogram("spamfilter_inference_seconds", "Inference.", registry=self.registry)
        self.by_model = Counter("spamfilter_models", "By model.", ["model", "result"], registry=self.registry)
        for result in ("ham", "spam", "error"):
            self.checked.labels(result)
            for name in ("old", "new"):
                self.by_model.labels(name, result)
        self._turn = itertools.cycle(("old", "new"))
        service = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_GET(self) -> None:
                pages = {"/metrics": service.metrics, "/settings": service.settings}
                self.answer(200, pages[self.path]())

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                if self.path == "/check":
                    return self.answer(service.check(), b"{}")
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

    def check(self) -> int:
        model = next(self._turn) if self.model == "both" else self.model
        failing = self.model != "both" and (self.always or model == "new")
        result = "error" if failing else "ham" if model == "old" else "spam"
        with self.seconds.time():
            self.checked.labels(result).inc()
        self.by_model.labels(model, result).inc()
        return 500 if failing else 200

    def metrics(self) -> bytes:
        return generate_latest(self.registry)

    def settings(self) -> bytes:
        return json.dumps({"serving": {"model": self.model, "since": "today"}}).encode()

    def _ask(self) -> None:
        with closing(HTTPConnection(self.address, timeout=10)) as connection:
            while not self._end.wait(0.02):
                connection.request("POST", "/check", json.dumps({"text": "hello"}))
                connection.getresponse().read()

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
