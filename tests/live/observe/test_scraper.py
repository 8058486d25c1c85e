"""Scraping in the background: targets of every kind of trouble, clocks that jump, targets that come and go."""

import socket
import socketserver
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from mlops_helpers.errors import MetricsError
from mlops_helpers.observe.scraper import Scraper
from mlops_helpers.observe.store import Store

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain; version=0.0.4\r\n"


class Site(socketserver.ThreadingTCPServer):
    """Answers each path with what ``pages`` has for it: bytes, or a function of the connection."""

    daemon_threads, block_on_close, request_queue_size = True, False, 128

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Visit)
        self.address = f"127.0.0.1:{self.server_address[1]}"
        self.over = threading.Event()
        self.hits, self.connections = 0, 0
        self.pages: dict[str, bytes | Callable[[Visit], None]] = {"/metrics": lambda visit: visit.send(self.body())}

    def handle_error(self, request: object, client_address: object) -> None:
        """A scraper that goes away is no error of the site."""

    def body(self) -> bytes:
        self.hits += 1
        return b"# TYPE hits_total counter\nhits_total %d\n" % self.hits


class Visit(socketserver.StreamRequestHandler):
    server: Site
    asked = 0

    def handle(self) -> None:
        self.server.connections += 1
        while line := self.rfile.readline():
            while self.rfile.readline().strip():
                pass
            page = self.server.pages[line.split()[1].decode()]
            if callable(page):
                page(self)
            else:
                self.wfile.write(page)
                return

    def send(self, body: bytes) -> None:
        self.wfile.write(HEAD + b"content-length: %d\r\n\r\n%b" % (len(body), body))

    def drip(self, piece: bytes) -> None:
        while not self.server.over.wait(0.02):
            self.wfile.write(piece)


@pytest.fixture
def site() -> Iterator[Site]:
    with Site() as made:
        thread = threading.Thread(target=made.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield made
        finally:
            made.over.set()
            made.shutdown()
            thread.join()


def test_scrapes_at_the_interval_on_one_connection(site: Site) -> None:
    store, began = Store(), time.time()
    with Scraper(store, {"site": [site.address]}, interval=0.05) as scraper:
        scraper.wait_for(5)
        assert store.value("hits_total")["value"][0] >= 5
    samples = store.series("hits_total", began - 1, time.time())
    assert 0.01 < samples["time"].diff().dt.total_seconds().median() < 1
    failed = (store.series("up", began - 1, time.time())["value"] == 0).sum()  # a busy machine may time out
    assert site.connections <= 1 + failed, "kept alive"
    assert not [thread for thread in threading.enumerate() if thread.name == "scraper"]


TROUBLE: dict[str, tuple[bytes | Callable[[Visit], None], str]] = {
    "/status": (b"HTTP/1.1 503 Busy\r\ncontent-length: 3\r\n\r\nno\n", "HTTP 503; accepted: 200"),
    "/html": (HEAD + b"content-length: 14\r\n\r\n<html></html>\n", "looks like a web page"),
    "/half": (HEAD + b"content-length: 600\r\n\r\nx 1\n", "closed before the end"),
    "/torn": (HEAD + b"\r\nx 1\nx_total 12", "cut off"),
    "/not-http": (b"SSH-2.0-server\r\n\r\n", "no HTTP"),
    "/huge": (HEAD + b"content-length: 99999999\r\n\r\n" + b"# fill\n" * 20_000, "more than 100,000 bytes"),
    "/headers": (lambda visit: visit.wfile.write(HEAD + b"x: y\r\n" * 30_000), "more than 100,000 bytes"),
    "/silent": (lambda visit: visit.server.over.wait(20), "no whole answer within"),
    "/drip-header": (lambda visit: (visit.wfile.write(HEAD + b"x: "), visit.drip(b"y")), "no whole answer within"),
}


def test_every_trouble_is_told_and_stops_nothing(site: Site) -> None:
    """All at once beside good ones, which are scraped on as if they were alone."""
    chunked = HEAD + b"transfer-encoding: chunked\r\n\r\n4\r\nx 1\n\r\n0\r\n\r\n"
    site.pages |= {path: page for path, (page, _) in TROUBLE.items()} | {"/chunked": chunked}
    targets = {path: [f"http://{site.address}{path}"] for path in [*TROUBLE, "/chunked"]}
    targets |= {"good": [site.address], "gone": ["127.0.0.1:1"]}
    expected = {path: (0, says) for path, (_, says) in TROUBLE.items()}
    expected |= {"gone": (0, "onnect"), "good": (1, ""), "/chunked": (1, "")}
    store = Store()
    told: dict[str, tuple[float, str]] = {}

    def as_expected() -> bool:
        for target in store.targets().to_dict("records"):
            up, says = expected[target["job"]]
            if target["up"] == up and says in target["error"]:  # on a busy machine any of them may time out once
                told[target["job"]] = (target["up"], target["error"])
        return set(told) == set(expected) and len(store.series('hits_total{job="good"}', 0, time.time())) >= 3

    with Scraper(store, targets, interval=0.3, most_bytes=100_000) as scraper:
        scraper.wait_for(as_expected, within=30)
    assert set(store.value("up")["job"]) == set(expected)


def test_a_target_that_comes_back_on_the_same_address_is_up_again(site: Site) -> None:
    store, answer = Store(), site.pages["/metrics"]
    with Scraper(store, {"site": [site.address]}, interval=0.05) as scraper:
        scraper.wait_for(lambda: store.value("hits_total")["value"][0] > 1)
        site.pages["/metrics"] = b""
        scraper.wait_for(lambda: store.value("up")["value"][0] == 0)
        assert store.value("hits_total").empty, "stale"
        site.pages["/metrics"] = answer
        scraper.wait_for(lambda: not store.value("hits_total").empty)


@pytest.mark.parametrize("patience", [1, 2], ids=["after an answer", "when asked again"])
def test_a_server_that_closes_connections_is_never_down(site: Site, patience: int) -> None:
    def page(visit: Visit) -> None:
        visit.asked += 1
        if visit.asked == 1:
            visit.send(site.body())
        if visit.asked == patience:
            visit.request.shutdown(socket.SHUT_RDWR)

    site.pages["/metrics"], store, errors = page, Store(), set()
    with Scraper(store, {"site": [site.address]}, interval=0.05) as scraper:
        for _ in range(6):
            scraper.wait_for(1)
            errors.add(store.targets()["error"][0])
    assert errors <= {"", "no whole answer within 0.05 s"}
    assert site.connections > 4


def test_targets_come_and_go_while_it_runs(site: Site) -> None:
    store = Store()
    with Scraper(store, {}, interval=0.05) as scraper:
        assert store.targets().empty
        scraper.add("late", site.address)
        scraper.wait_for(1)
        assert store.value("up")["value"][0] == 1
        with pytest.raises(MetricsError, match="is scraped already"):
            scraper.add("late", site.address)
        scraper.remove("late", site.address)
        assert store.value("hits_total").empty and store.value("up").empty
        with pytest.raises(MetricsError, match=r"is not scraped; there are: none"):
            scraper.remove("late", site.address)
        scraper.add("other", site.address)
        scraper.wait_for(1)
        assert list(store.targets()["job"]) == ["other"]


def test_a_clock_that_jumps_stops_nothing(site: Site) -> None:
    now, store = [1_700_000_000.0], Store()

    def clock() -> float:
        now[0] += 0.05
        return now[0]

    with Scraper(store, {"site": [site.address]}, interval=0.05, clock=clock) as scraper:
        scraper.wait_for(3)
        now[0] -= 1_000
        scraper.wait_for(3)
        assert "out of order" in store.targets()["error"][0]
        now[0] += 100_000
        scraper.wait_for(3)
        assert store.targets()["error"][0] == ""
    assert store.series("hits_total", 0, 2e9)["time"].is_monotonic_increasing


def test_what_was_pushed_is_exposed_at_the_interval(site: Site) -> None:
    store = Store()
    store.push("batch", "rows 5\n", at=time.time())
    with Scraper(store, {"site": [site.address]}, interval=0.05) as scraper:
        scraper.wait_for(lambda: len(store.series("rows", 0, time.time())) > 3)


def test_waiting_ends_with_the_reason(site: Site) -> None:
    store = Store()
    with Scraper(store, {"site": [site.address]}, interval=0.05) as scraper:
        with pytest.raises(MetricsError, match=r"not so within 0.2 s; no metric 'hit_total'.*'up': 1.0"):
            scraper.wait_for(lambda: store.value("hit_total"), within=0.2)
        with pytest.raises(ZeroDivisionError):
            scraper.wait_for(lambda: 1 / 0)
    scraper.stop()
    with pytest.raises(MetricsError, match="the scraper does not run"):
        scraper.wait_for(1)


@pytest.mark.parametrize("address", ["", "ftp://a", "a:99999", "a:1\r\nx: y"])
def test_an_address_that_is_none_is_refused(address: str) -> None:
    with pytest.raises(MetricsError, match=r"is no target; accepted: host:port"):
        Scraper(Store(), {"site": [address]})


def test_an_interval_that_cannot_be_is_refused() -> None:
    for interval, timeout in ((0, None), (1, 2)):
        with pytest.raises(MetricsError, match="0 < timeout <= interval"):
            Scraper(Store(), {}, interval=interval, timeout=timeout)
