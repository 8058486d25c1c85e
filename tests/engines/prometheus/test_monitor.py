"""Foreign programs that end with us, pages that arrive, and a real Prometheus with its Alertmanager."""

import argparse
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import psutil
import pytest

from mlops_helpers.errors import MetricsError, ObjectiveError, OpsLabError, ParameterError, ServiceError
from mlops_helpers.observe import commands, guarded
from mlops_helpers.observe.guarded import Guarded, Reserved
from mlops_helpers.observe.monitor import Monitor
from mlops_helpers.observe.objectives import Indicator, Objective
from mlops_helpers.observe.openslo import to_openslo
from mlops_helpers.observe.receiver import MAX_BYTES, Receiver
from mlops_helpers.observe.webhook import Page, parse, send

SECONDS = 30  # a deadline, never a wait
WRITES_PID = "import os, pathlib, time; pathlib.Path('pid').write_text(str(os.getpid())); "


def wait_until(condition):
    limit = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < limit, "it did not happen in time"
        time.sleep(0.01)


def gone(pid):
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE  # nobody may be there to reap an orphan
    except psutil.NoSuchProcess:
        return True


@contextmanager
def running(code, *arguments):
    """Run Python code with arguments; it is killed at the end."""
    with subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)], stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.fixture
def start(tmp_path):
    """Start a Python program, guarded; return it with its process id."""
    started = []

    def starts(code, **options):
        (tmp_path / "pid").unlink(missing_ok=True)
        one = Guarded([sys.executable, "-u", "-c", WRITES_PID + code], tmp_path / "output", cwd=tmp_path, **options)
        started.append(one)
        one.wait_ready(lambda: (tmp_path / "pid").exists() and bool((tmp_path / "pid").read_text()), SECONDS)
        return one, int((tmp_path / "pid").read_text())

    yield starts
    for one in started:
        one.stop()


def test_a_program_is_ended_and_what_it_started_as_well(start):
    code = "import subprocess, sys; print(subprocess.Popen(['sleep', '60']).pid); time.sleep(60)"
    one, pid = start(code)
    wait_until(lambda: one.output.exists() and one.output.read_text().endswith("\n"))
    assert one.running
    one.stop()
    one.stop()
    assert not one.running and gone(pid)
    wait_until(lambda: gone(int(one.output.read_text())))


def test_a_program_that_takes_its_time_is_killed(start):
    one, pid = start(
        "import signal; signal.signal(15, signal.SIG_IGN); print('deaf'); time.sleep(60)", stop_seconds=0.1
    )
    wait_until(lambda: "deaf" in one.last_words())
    one.stop()
    assert gone(pid)


def test_what_a_program_prints_is_bounded(start, monkeypatch):
    monkeypatch.setattr(guarded, "OUTPUT_BYTES", 10_000)
    one, _ = start("[print('x' * 99) for _ in range(250)]; print('last')")
    wait_until(lambda: not one.running)
    before = one.output.with_name("output.1")
    assert one.last_words().endswith("x\nlast")
    assert one.output.stat().st_size <= 10_000 and 9_000 < before.stat().st_size <= 10_000


def test_the_error_of_a_program_that_ends_carries_its_last_words(tmp_path):
    one = Guarded([sys.executable, "-c", "print('no such port'); raise SystemExit(3)"], tmp_path / "out", cwd=tmp_path)
    with pytest.raises(ServiceError, match=r"exit code 3 before it was ready(.|\n)*no such port"):
        one.wait_ready(lambda: False, SECONDS)
    one = Guarded(["not-installed"], tmp_path / "out", cwd=tmp_path)
    with pytest.raises(ServiceError, match=r"not-installed ended(.|\n)*No such file"):
        one.wait_ready(lambda: False, SECONDS)


def test_a_program_that_is_never_ready_is_given_up(start):
    one, _ = start("print('busy'); time.sleep(60)")
    wait_until(lambda: "busy" in one.last_words())
    with pytest.raises(ServiceError, match=r"was not ready within 0.05 s(.|\n)*busy"):
        one.wait_ready(lambda: False, 0.05)


PARENT = """
import sys, time
from pathlib import Path
from mlops_helpers.observe.guarded import Guarded
folder = Path(sys.argv[1])
one = Guarded([sys.executable, "-c", "import os, time; print(os.getpid(), flush=True); time.sleep(60)"],
              folder / "output", cwd=folder)
one.wait_ready(lambda: (folder / "output").exists() and bool((folder / "output").read_text()), 30)
print(one._guard.pid, flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize("victim", ["parent", "guard"])
def test_killing_whoever_watches_a_program_ends_it(tmp_path, victim):
    if victim == "guard" and sys.platform != "linux":
        pytest.skip("only Linux tells a program that its parent was killed")
    with running(PARENT, tmp_path) as parent:
        guard = int(parent.stdout.readline())
        pid = int((tmp_path / "output").read_text())
        assert not gone(pid)
        os.kill(parent.pid if victim == "parent" else guard, signal.SIGKILL)
        wait_until(lambda: gone(pid))
    wait_until(lambda: gone(guard))


def test_a_reserved_port_is_for_one(monkeypatch):
    one = Reserved()
    with (
        pytest.raises(ServiceError, match="port 0 lets the system choose"),
        socket.create_server(("127.0.0.1", 0)) as taken,
    ):
        Reserved(taken.getsockname()[1])
    with socket.socket() as listening:  # what the program does
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(("127.0.0.1", one.port))
        listening.listen()
    one.free()
    one.free()


FIRING = Page("TooManyErrors", "firing", 1_700_000_000.5, labels={"severity": "page"}, annotations={"summary": "503"})
RESOLVED = Page("TooManyErrors", "resolved", FIRING.starts_at, ends_at=1_700_000_060.0)


def test_pages_arrive_as_they_were_sent():
    with Receiver() as receiver:
        threading.Timer(0.05, send, (receiver.url, [FIRING])).start()
        page = receiver.wait_for("TooManyErrors", seconds=SECONDS)
        send(receiver.url, [RESOLVED])
        last = receiver.wait_for("TooManyErrors", "resolved", seconds=SECONDS, since=page.received)
        assert receiver.pages == [page, last]
    assert (page.starts_at, page.ends_at, page.annotations) == (FIRING.starts_at, None, {"summary": "503"})
    assert page.labels == {"severity": "page", "alertname": "TooManyErrors"}
    assert (last.ends_at, last.received >= page.received) == (RESOLVED.ends_at, True)
    table = receiver.frame()
    assert table["status"].tolist() == ["firing", "resolved"]
    assert str(table["starts_at"].dt.tz) == "UTC" and table["ends_at"].isna().tolist() == [True, False]
    with pytest.raises(ServiceError, match="does not answer"):
        send(receiver.url, [FIRING])


def test_waiting_for_a_page_has_an_end_and_says_what_came_instead():
    with Receiver() as receiver:
        send(receiver.url, [RESOLVED])
        with pytest.raises(ServiceError, match=r"firing came within 0.05 s; came: TooManyErrors resolved"):
            receiver.wait_for("TooManyErrors", seconds=0.05)
    assert Receiver.frame(receiver).shape[0] == 1
    receiver.close()


def test_an_empty_receiver_has_an_empty_table():
    with Receiver() as receiver:
        assert receiver.frame().empty and "received" in receiver.frame()


ALERT = {"status": "firing", "labels": {"alertname": "A"}, "startsAt": "2026-01-01T00:00:00.123456789Z"}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xff",
        b"[" * 100_000,
        b"[]",
        b'{"version": "4"}',
        json.dumps({"version": "3", "alerts": [ALERT]}).encode(),
        json.dumps({"version": "4", "alerts": [1]}).encode(),
        json.dumps({"version": "4", "alerts": [ALERT | {"status": "broken"}]}).encode(),
        json.dumps({"version": "4", "alerts": [ALERT | {"labels": {"alertname": 1}}]}).encode(),
        json.dumps({"version": "4", "alerts": [ALERT | {"labels": {}}]}).encode(),
        json.dumps({"version": "4", "alerts": [ALERT | {"startsAt": "yesterday"}]}).encode(),
        json.dumps({"version": "4", "alerts": [ALERT | {"startsAt": "0001-01-01T00:00:00Z"}]}).encode(),
        json.dumps({"version": "4", "alerts": [ALERT | {"startsAt": "9999-12-31T23:59:59-14:00"}]}).encode(),
        json.dumps({"version": "4", "alerts": [ALERT | {"annotations": [1]}]}).encode(),
    ],
)
def test_garbage_is_no_page(body):
    with pytest.raises(MetricsError):
        parse(body)


def test_the_receiver_refuses_garbage_and_goes_on():
    with Receiver() as receiver:

        def answer(body, headers):
            connection = http.client.HTTPConnection(receiver.url[7:-1], timeout=SECONDS)
            connection.putrequest("POST", "/")
            for name, value in headers.items():
                connection.putheader(name, value)
            connection.endheaders(body)
            status = connection.getresponse().status
            connection.close()
            return status

        assert answer(b"{}", {"content-length": "2"}) == 400
        assert answer(None, {"content-length": str(MAX_BYTES + 1)}) == 413
        assert answer(None, {"content-length": "9" * 5000}) == 413
        assert answer(None, {"content-length": "-1"}) == 411
        assert answer(None, {}) == 411
        assert receiver.pages == []
        send(receiver.url, [FIRING])
        assert [page.alert for page in receiver.pages] == ["TooManyErrors"]


def test_a_receiver_says_when_its_port_is_taken():
    with Receiver() as receiver, pytest.raises(ServiceError, match="port 0"):
        Receiver(int(receiver.url[:-1].rpartition(":")[2]))


def test_a_missing_program_is_named_with_the_command_that_installs_it(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(
        ServiceError, match=r"prometheus is not on the PATH.*apt-get install prometheus prometheus-alert"
    ):
        Monitor({"blog": "127.0.0.1:1"})


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"targets": {}}, "no target"),
        ({"targets": {"blog": "http://127.0.0.1:80"}}, "host:port"),
        ({"targets": {"blog": ["127.0.0.1"]}}, "host:port"),
        ({"targets": {"": "127.0.0.1:80"}}, "host:port"),
        ({"scrape_interval": 0}, "scrape_interval"),
        ({"scrape_interval": float("nan")}, "scrape_interval"),
        ({"retention": float("inf")}, "retention"),
        ({"alert_receiver": "127.0.0.1:9000"}, "a URL"),
    ],
)
def test_a_monitor_refuses_what_makes_no_sense(options, said):
    with pytest.raises(ParameterError, match=said):
        Monitor(**{"targets": {"blog": "127.0.0.1:80"}, **options})


class Metrics(BaseHTTPRequestHandler):
    def do_GET(self):
        for code in ("200", "500") if self.server.broken else ("200",):
            self.server.answers[code] += 10
        counted = "".join(f'answers_total{{code="{code}"}} {count}\n' for code, count in self.server.answers.items())
        body = f"broken {self.server.broken:d}\n# TYPE answers_total counter\n{counted}".encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


@pytest.fixture
def target():
    with HTTPServer(("127.0.0.1", 0), Metrics) as server:
        server.broken, server.answers = True, {"200": 0, "500": 0}
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


RULES = """
groups:
- name: test
  rules:
  - alert: Broken
    expr: broken == 1
    labels: {severity: page}
    annotations: {summary: "{{ $labels.job }} is broken"}
"""


def processes_in(folder):
    return [one for one in psutil.process_iter(["cwd"]) if one.info["cwd"] == str(folder)]


@pytest.mark.engine("prometheus")
def test_a_real_alert_becomes_a_page_and_is_resolved(target, tmp_path):
    address = f"127.0.0.1:{target.server_port}"
    with Receiver() as receiver:
        targets = {"one": address, "away": "127.0.0.1:1"}
        with Monitor(targets, RULES, folder=tmp_path, alert_receiver=receiver.url, scrape_interval=0.2) as monitor:
            with pytest.raises(ObjectiveError, match=r"promtool.*(\n.*)*unclosed left parenthesis"):
                monitor.reload(rules=RULES.replace("broken == 1", "sum(broken"))
            monitor.wait_scraped(SECONDS)
            page = receiver.wait_for("Broken", seconds=SECONDS)
            assert page.labels == {"alertname": "Broken", "job": "one", "instance": address, "severity": "page"}
            assert page.annotations == {"summary": "one is broken"}
            target.broken = False
            assert receiver.wait_for("Broken", "resolved", seconds=SECONDS).ends_at > page.starts_at
            assert len(processes_in(monitor.folder)) == 4  # two programs, each with its guard
            with pytest.raises(ServiceError, match="started before"):
                monitor.up()
            monitor.reload(rules=[])
            assert monitor._asked("/api/v1/rules")["groups"] == []
        assert processes_in(monitor.folder) == [] and list(tmp_path.iterdir()) == []
        monitor.down()


@pytest.mark.engine("prometheus")
def test_rules_that_cannot_work_and_a_taken_port_leave_nothing_behind(tmp_path):
    targets, folder = {"blog": "127.0.0.1:80"}, tmp_path / "monitors"
    with pytest.raises(ObjectiveError, match="promtool check config refuses the rules"):
        Monitor(targets, "groups: 3", folder=folder).up()
    with pytest.raises(ParameterError, match="cannot be read"):
        Monitor(targets, [Path("nowhere.yml")], folder=folder).up()
    with Receiver() as taken, pytest.raises(ServiceError, match="port 0"):
        Monitor(targets, folder=folder, alertmanager_port=int(taken.url[:-1].rpartition(":")[2]))
    assert list(folder.iterdir()) == []


KILLED = """
import sys, time
from pathlib import Path
from mlops_helpers.observe.monitor import Monitor
monitor = Monitor({"blog": "127.0.0.1:80"}, folder=Path(sys.argv[1])).up()
print(monitor.folder, flush=True)
time.sleep(60)
"""


@pytest.mark.engine("prometheus")
def test_both_programs_end_when_their_owner_is_killed(tmp_path):
    with running(KILLED, tmp_path) as owner:
        folder = owner.stdout.readline().strip()
        assert len(processes_in(folder)) == 4
        owner.kill()
        wait_until(lambda: not processes_in(folder))


COMMAND = """
import argparse, sys
from mlops_helpers.observe import commands
parser = argparse.ArgumentParser()
commands.monitor_arguments(parser)
commands.monitor(parser.parse_args(sys.argv[1:]))
"""


@contextmanager
def command(*arguments):
    """Run ``opslab monitor`` with arguments; it gets SIGINT at the end, as by Ctrl-C, and has to end by it."""
    with running(COMMAND, *arguments) as process:
        yield process
        process.send_signal(signal.SIGINT)
        process.wait(SECONDS)


def test_the_embedded_monitor_says_who_is_up_and_when_that_changes(target, tmp_path):
    services = [
        {"name": "filter-v1-0", "address": f"127.0.0.1:{target.server_port}"},
        {"name": "blog", "address": "[::1]:1"},
    ]
    record = {"supervisor": {"pid": os.getpid()}, "services": services}
    (tmp_path / "platform.json").write_text(json.dumps(record))
    with command("up", "--engine=embedded", "--interval=0.1", f"--platform={tmp_path}") as process:
        lines = [process.stdout.readline() for _ in range(3)]
        assert "blog [::1]:1 is down" in lines[1] and f"filter 127.0.0.1:{target.server_port} is up" in lines[2]
        target.shutdown()
        target.server_close()
        assert f"filter 127.0.0.1:{target.server_port} is down" in process.stdout.readline()


def test_the_embedded_monitor_pages_by_objectives(target, tmp_path):
    indicator = Indicator.of_counters("availability", "answers_total", bad='answers_total{code="500"}')
    (tmp_path / "slo.yaml").write_text(to_openslo([Objective("answered", 0.999, indicator)]))
    services = f"--target=one=127.0.0.1:{target.server_port}"
    slo = (f"--slo={tmp_path / 'slo.yaml'}", "--time-lapse=600", "--interval=0.1")
    with command("up", "--engine=embedded", services, *slo) as process:
        assert next(
            line for line in process.stdout if "PAGE ErrorBudgetBurn is firing: " in line and "answered" in line
        )
        assert next(line for line in process.stdout if "answered, page 6x over 36s and 3s: firing" in line)


@pytest.mark.engine("prometheus")
def test_the_monitor_command_says_where_to_look_and_leaves_nothing(tmp_path):
    with command("up", "--target=blog=127.0.0.1:1") as process:
        found = [process.stdout.readline().split() for _ in range(2)]
        assert [name for name, _ in found] == ["Prometheus:", "Alertmanager:"]
        address = found[0][1].removeprefix("http://")
        connection = http.client.HTTPConnection(address, timeout=SECONDS)
        connection.request("GET", "/-/ready")
        assert connection.getresponse().status == 200
        connection.close()
    with pytest.raises(ConnectionRefusedError):
        connection.connect()
    assert list((tmp_path / "workspace" / "monitors").iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "nothing to scrape"),
        (["--target", "blog"], "JOB=HOST:PORT"),
        (["--target", "blog=127.0.0.1:1", "--engine", "embedded", "--rules", "x.yml"], "--slo FILE"),
        (["--target", "blog=127.0.0.1:1", "--slo", "nowhere.yaml"], "cannot be read"),
        (["--platform"], "no platform runs in .*platform. Next: opslab platform up"),
    ],
)
def test_the_monitor_command_refuses_what_it_cannot_do(arguments, said):
    parser = argparse.ArgumentParser()
    commands.monitor_arguments(parser)
    with pytest.raises(OpsLabError, match=said):
        commands.monitor(parser.parse_args(["up", *arguments]))
