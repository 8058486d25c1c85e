"""What happened, one line of JSON an event, in the file that OPSLAB_EVENTS names; the screen stays as it is."""

import json
import os
from pathlib import Path
from typing import Any

from ansible.plugins.callback import CallbackBase

__all__ = ["CallbackModule"]

DOCUMENTATION = """
name: events
type: aggregate
short_description: results of tasks as lines of JSON
description: What ansible's own recap says in words, for programs. Results that are not to be logged come censored.
"""


class CallbackModule(CallbackBase):
    """Writes an event for each task on each host, and one when the run has come to its end."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "events"

    def _write(self, **event: Any) -> None:
        with Path(os.environ["OPSLAB_EVENTS"]).open("a", encoding="utf-8") as file:
            file.write(json.dumps(event) + "\n")

    def _task(self, state: str, result: Any) -> None:
        found = result.result
        said = found.get("msg") or found.get("censored") or ""
        if found.get("stderr"):
            said = f"{said}: {found['stderr']}"
        self._write(
            state=state,
            host=result.host.get_name(),
            task=result.task.get_name().rpartition(" : ")[2],
            changed=bool(found.get("changed")),
            said=str(said),
        )

    def v2_runner_on_ok(self, result: Any) -> None:
        """Note a task that did what it had to do."""
        self._task("ok", result)

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        """Note a task that failed."""
        self._task("failed", result)

    def v2_runner_on_unreachable(self, result: Any) -> None:
        """Note a host that cannot be reached."""
        self._task("unreachable", result)

    def v2_playbook_on_stats(self, stats: Any) -> None:
        """Note that every host had its turn."""
        self._write(state="end")
