"""Pages arrive as they were sent, and the embedded monitor sends them of services that are watched."""

import http.client
import json
import os
import threading

import pytest

from mlops_helpers.errors import MetricsError, ServiceError
from mlops_helpers.observe.objectives import Indicator, Objective
from mlops_helpers.observe.openslo import to_openslo
from mlops_helpers.observe.prometheus import Prometheus
from mlops_helpers.observe.receiver import MAX_BYTES, Receiver
from mlops_helpers.observe.webhook import send
from tests.support.monitoring import FIRING, RESOLVED, broken_service, monitor_command
from tests.support.waiting import DEADLINE_SECONDS


def test_pages_arrive_as_they_were_sent() -> None:
    with Receiver() as receiver:
        assert receiver.frame().empty and "received" in receiver.frame()
        sender = threading.Timer(0.05, send, (receiver.url, [FIRING]))
        sender.start()
        page = receiver.wait_for("TooManyErrors", seconds=DEADLINE_SECONDS)
        send(receiver.url, [RESOLVED])
        last = receiver.wait_for("TooManyErrors", "resolved", seconds=DEADLINE_SECONDS, since=page.received)
        assert receiver.pages == [page, last]
        sender.join()
    assert (page.starts_at, page.ends_at, page.annotations) == (FIRING.starts_at, None, {"summary": "503"})
    assert page.labels == {"severity": "page", "alertname": "TooManyErrors"}
    assert (last.ends_at, last.received >= page.received) == (RESOLVED.ends_at, True)
    assert receiver.frame()["status"].tolist() == ["firing", "resolved"]
    receiver.close()
    with pytest.raises(ServiceError, match="does not answer"):
        send(receiver.url, [FIRING])


def test_waiting_for_a_page_has_an_end_and_says_what_came_instead() -> None:
    with Receiver() as receiver:
        send(receiver.url, [RESOLVED])
        with pytest.raises(ServiceError, match=r"firing came within 0.05 s; came: TooManyErrors resolved"):
            receiver.wait_for("TooManyErrors", seconds=0.05)


def test_the_receiver_refuses_garbage_and_goes_on() -> None:
    with Receiver() as receiver:

        def answer(body: bytes | None, headers: dict[str, str]) -> int:
            connection = http.client.HTTPConnection(receiver.url[7:-1], timeout=DEADLINE_SECONDS)
            connection.putrequest("POST", "/")
            for name, value in headers.items():
                connection.putheader(name, value)
            connection.endheaders(body)
            status = connection.getresponse().status
            connection.close()
            return status

        assert answer(b"{}", {"content-length": "2"}) == 400
        assert answer(None, {"content-length": str(MAX_BYTES + 1)}) == 413
        assert answer(None, {}) == 411
        assert receiver.pages == []
        send(receiver.url, [FIRING])
        assert [page.alert for page in receiver.pages] == ["TooManyErrors"]


def test_a_receiver_says_when_its_port_is_taken() -> None:
    with Receiver() as receiver, pytest.raises(ServiceError, match="port 0"):
        Receiver(int(receiver.url[:-1].rpartition(":")[2]))


def test_the_embedded_monitor_says_who_is_up_and_pages_by_objectives(tmp_path) -> None:
    indicator = Indicator.of_counters("availability", "answers_total", bad='answers_total{code="500"}')
    (tmp_path / "slo.yaml").write_text(to_openslo([Objective("answered", 0.999, indicator)]))
    with broken_service() as target:
        services = [{"name": "filter-v1-0", "address": target.address}, {"name": "blog", "address": "[::1]:1"}]
        (tmp_path / "platform.json").write_text(json.dumps({"supervisor": {"pid": os.getpid()}, "services": services}))
        options = (f"--platform={tmp_path}", f"--slo={tmp_path / 'slo.yaml'}", "--time-lapse=600", "--interval=0.1")
        with monitor_command("up", "--engine=embedded", *options) as process:
            lines = [process.stdout.readline() for _ in range(3)]
            assert "blog [::1]:1 is down" in lines[1] and f"filter {target.address} is up" in lines[2]

            def says(*parts: str) -> bool:
                return any(all(part in line for part in parts) for line in process.stdout)

            assert says("PAGE ErrorBudgetBurn is firing: ", "answered")
            target.shutdown()
            target.server_close()
            assert says(f"filter {target.address} is down")


def test_a_prometheus_that_is_not_there_gives_no_answer() -> None:
    with pytest.raises(MetricsError, match=r"no answer from Prometheus at http://127.0.0.1:1"):
        Prometheus("http://127.0.0.1:1").value("up")
    with pytest.raises(MetricsError, match="no address of a server"):
        Prometheus("127.0.0.1:9090")
