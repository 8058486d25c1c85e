"""A stage ends with its maker, however that ends; so does the process that runs trials."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from mlops_helpers.errors import ServiceError
from mlops_helpers.respond import trials
from tests.support.leaks import ended
from tests.support.waiting import until

MAKER = """
import sys, time
from pathlib import Path
from mlops_helpers.respond import faults, stage
with stage.Stage(Path(sys.argv[1]), seed=0, time_lapse=360.0, notify=print) as held:
    with faults.injected(held, faults.fault("process_frozen", name="filter-v1-0")):
        print("under way", flush=True)
        time.sleep(600)
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_interrupted_stage_leaves_nothing(number, tmp_path):
    command = [sys.executable, "-c", MAKER, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as maker:
        assert maker.stdout.readline() == "under way\n"
        started = [process.pid for process in psutil.Process(maker.pid).children(recursive=True)]
        assert len(started) >= 5, "blog, gateway, filter, wires and watchdog"
        maker.send_signal(number)
        maker.wait(60)
    until(lambda: all(map(ended, started)), "every process of the stage has ended")
    platforms = Path(os.environ["OPSLAB_WORKSPACE"]) / "platforms"
    until(lambda: not list(platforms.glob("*")), "the platform's folder is removed")


def test_process_of_the_trials_says_what_cannot_be_drilled(tmp_path):
    with pytest.raises(ServiceError, match="has no responder 'pray'"):
        trials.trials([trials.Job("filter-stopped", "pray", "passed")], tmp_path, at_once=1)
