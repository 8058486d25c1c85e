"""A real Prometheus with its Alertmanager: pages come and end, and nothing is left behind."""

import urllib.error
import urllib.request
from pathlib import Path

import psutil
import pytest

from mlops_helpers.errors import ObjectiveError, ParameterError, ServiceError
from mlops_helpers.observe.monitor import Monitor
from mlops_helpers.observe.monitor_config import Configuration
from mlops_helpers.observe.receiver import Receiver
from tests.support.monitoring import broken_service, monitor_command, running
from tests.support.waiting import DEADLINE_SECONDS, until

RULES = """
groups:
- name: test
  rules:
  - alert: Broken
    expr: broken == 1
    labels: {severity: page}
    annotations: {summary: "{{ $labels.job }} is broken"}
"""


def processes_in(folder: Path | str) -> list[psutil.Process]:
    return [process for process in psutil.process_iter(["cwd"]) if process.info["cwd"] == str(folder)]


def test_a_real_alert_becomes_a_page_and_is_resolved(tmp_path: Path) -> None:
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "mine").touch()
    with broken_service() as target, Receiver() as receiver:
        targets = {"one": target.address, "away": "127.0.0.1:1"}
        with Monitor(targets, RULES, folder=tmp_path, alert_receiver=receiver.url, scrape_interval=0.2) as monitor:
            with pytest.raises(ObjectiveError, match=r"promtool.*(\n.*)*unclosed left parenthesis"):
                monitor.reload(rules=RULES.replace("broken == 1", "sum(broken"))
            monitor.wait_scraped(DEADLINE_SECONDS)
            page = receiver.wait_for("Broken", seconds=DEADLINE_SECONDS)
            assert page.labels == {"alertname": "Broken", "job": "one", "instance": target.address, "severity": "page"}
            assert page.annotations == {"summary": "one is broken"}
            target.broken = False
            resolved = receiver.wait_for("Broken", "resolved", seconds=DEADLINE_SECONDS)
            assert resolved.ends_at > page.starts_at
            assert len(processes_in(monitor.folder)) == 4  # two programs, each with its guard
            with pytest.raises(ServiceError, match="started before"):
                monitor.up()
            monitor.reload(rules=[])
            with urllib.request.urlopen(f"{monitor.prometheus_url}/api/v1/rules") as answer:
                assert b'"groups":[]' in answer.read()
        assert processes_in(monitor.folder) == []
        assert [path for path in tmp_path.rglob("*") if path.is_file()] == [tmp_path / "config" / "mine"]
        monitor.down()


def test_rules_that_cannot_work_and_a_taken_port_leave_nothing_behind(tmp_path: Path) -> None:
    targets, folder = {"blog": "127.0.0.1:80"}, tmp_path / "monitors"
    with pytest.raises(ObjectiveError, match="promtool check config refuses the rules"):
        Monitor(targets, "groups: 3", folder=folder).up()
    with pytest.raises(ParameterError, match="name a file of rules"):
        Monitor(targets, [Path("nowhere.yml")], folder=folder).up()
    with Receiver() as taken, pytest.raises(ServiceError, match="port 0"):
        Monitor(targets, folder=folder, alertmanager_port=int(taken.url[:-1].rpartition(":")[2]))
    assert list(folder.iterdir()) == []


def test_a_configuration_that_is_refused_changes_and_removes_nothing(tmp_path: Path) -> None:
    (tmp_path / "next").mkdir()
    (tmp_path / "next" / "mine").touch()
    Configuration({"blog": "127.0.0.1:80"}, RULES, 1.0, "127.0.0.1:1").write(tmp_path, "promtool")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert len(before) == 4
    with pytest.raises(ObjectiveError):
        Configuration({"blog": "127.0.0.1:81"}, "groups: 3", 1.0, "127.0.0.1:2").write(tmp_path, "promtool")
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


KILLED = """
import sys, time
from pathlib import Path
from mlops_helpers.observe.monitor import Monitor
monitor = Monitor({"blog": "127.0.0.1:80"}, folder=Path(sys.argv[1])).up()
print(monitor.folder, flush=True)
time.sleep(60)
"""


def test_both_programs_end_when_their_owner_is_killed(tmp_path: Path) -> None:
    with running(KILLED, tmp_path) as owner:
        folder = owner.stdout.readline().strip()
        assert len(processes_in(folder)) == 4
        owner.kill()
        until(lambda: not processes_in(folder))


def test_the_monitor_command_says_where_to_look_and_leaves_nothing(workspace_folder: Path) -> None:
    with monitor_command("up", "--target=blog=127.0.0.1:1") as process:
        (first, url), (second, _) = (process.stdout.readline().split() for _ in range(2))
        assert (first, second) == ("Prometheus:", "Alertmanager:")
        with urllib.request.urlopen(f"{url}/-/ready") as answer:
            assert answer.status == 200
        assert any("blog 127.0.0.1:1 is down: " in line and "refused" in line for line in process.stdout)
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(f"{url}/-/ready")
    assert list((workspace_folder / "monitors").iterdir()) == []
