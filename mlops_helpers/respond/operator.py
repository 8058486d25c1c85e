"""What somebody can do in a drill: look, act and tell; everything is on record, also what was not a good idea."""

import inspect
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from mlops_helpers.deploy.rollback import rollback
from mlops_helpers.errors import DrillError, OpsLabError
from mlops_helpers.respond.journal import Journal
from mlops_helpers.respond.judge import shares
from mlops_helpers.respond.stage import Stage
from mlops_helpers.respond.wires import Quality

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["ACTIONS", "Operator"]


class Operator:
    """The hands of whoever responds. ``by`` is who does it; ``causes`` is what a diagnosis may name.

    Looking: :meth:`status`, :meth:`weights`, :meth:`slis`, :meth:`alerts`, :meth:`logs`. Acting: :meth:`act` with a
    name in ``ACTIONS``. Telling: :meth:`acknowledge`, :meth:`diagnose`, :meth:`tell`, :meth:`resolve`.
    """

    def __init__(self, stage: Stage, journal: Journal, causes: list[str], by: str = "operations") -> None:
        self._stage, self._journal, self.causes, self.by = stage, journal, causes, by
        self.since = 0.0  # pages from then on are about this drill

    def wait_for_page(self, seconds: float) -> bool:
        """Return whether a page comes (or has come) within so many seconds."""
        limit = time.monotonic() + seconds
        while not (fired := any(page["status"] == "firing" for page in self.alerts())) and time.monotonic() < limit:
            time.sleep(0.05)
        return fired

    def acknowledge(self) -> None:
        """Say that somebody is at it."""
        self._journal.note("acknowledged", by=self.by)

    def diagnose(self, cause: str) -> None:
        """Say what the cause is; the last diagnosis counts. Raises ``DrillError`` for a cause that is not offered."""
        if cause not in self.causes:
            raise DrillError(f"the cause is {cause!r}; accepted: {', '.join(self.causes)}")
        self._journal.note("diagnosed", by=self.by, cause=cause)

    def tell(self, text: str, audience: str = "public") -> None:
        """Tell the public, or the team, how it stands."""
        if audience not in ("public", "team"):
            raise DrillError(f"audience is {audience!r}; accepted: public, team")
        self._journal.note("update", by=self.by, audience=audience, text=text)

    def resolve(self, note: str = "") -> None:
        """Say that it is over, or that it was nothing."""
        self._journal.note("resolved", by=self.by, note=note)

    def status(self) -> "pd.DataFrame":
        """Return what there is to know of each service."""
        import pandas as pd

        table = pd.DataFrame([vars(one) for one in self._stage.platform.status()])
        self._saw("status", ", ".join(f"{row['name']} {row['state']}" for row in table.to_dict("records")))
        return table

    def weights(self) -> dict[str, float]:
        """Return each version's share of the comments."""
        weights = self._stage.platform.weights()
        self._saw("weights", str(weights))
        return weights

    def slis(self, seconds: float = 3.0) -> dict[str, float]:
        """Return the share of good events by SLI in the last seconds of the readers' record (NaN: no events)."""
        end = self._stage.settled()
        found = {name: share.ratio for name, share in shares(self._stage.frame(), end - seconds, end).items()}
        self._saw("slis", ", ".join(f"{name} {ratio:.2f}" for name, ratio in found.items()))
        return found

    def alerts(self) -> list[dict[str, Any]]:
        """Return the pages so far, those of resolved alerts as well."""
        return [page for page in self._journal.of("alert") if page["at"] >= self.since]

    def logs(self, name: str, lines: int = 20) -> list[str]:
        """Return the last lines that a service printed."""
        from mlops_helpers.deploy.output import last_lines

        said = last_lines(self._stage.platform.folder / f"{name}.log", lines)
        self._saw(f"logs of {name}", "; ".join(said[-3:]))
        return said

    def act(self, action: str, /, **arguments: Any) -> bool:
        """Do one of ``ACTIONS``; return whether it worked: if not, the journal says why.

        Raises ``DrillError`` for an unknown action or argument.
        """
        if action not in ACTIONS:
            raise DrillError(f"there is no action {action!r}; accepted: {', '.join(ACTIONS)}")
        try:
            inspect.signature(ACTIONS[action]).bind(self._stage, **arguments)
        except TypeError as error:
            wanted = [name for name in inspect.signature(ACTIONS[action]).parameters if name != "stage"]
            raise DrillError(f"{action}: {error}; accepted: {', '.join(wanted) or 'no argument'}") from None
        detail = ""
        try:
            ACTIONS[action](self._stage, **arguments)
        except OpsLabError as error:
            detail = str(error)
        self._journal.note("acted", by=self.by, action=action, arguments=arguments, ok=not detail, detail=detail)
        return not detail

    def _saw(self, what: str, found: str) -> None:
        self._journal.note("observed", by=self.by, what=what, found=found)


def _restart(stage: Stage, name: str) -> None:
    if stage.status(name).state in ("stopped", "failed"):
        stage.platform.start(name)
    else:
        stage.platform.kill(name)
        stage.platform.wait_ready(name, 20.0)


def _roll_back(stage: Stage, to: str = "v1") -> None:
    rollback(stage.platform, to)


def _restore_configuration(stage: Stage) -> None:
    stage.restore_configuration()


def _replace_filter(stage: Stage) -> None:
    """Have a second filter of v1 at another place, and send everything there."""
    stage.platform.scale("v1", 2)
    stage.tell_gateway("upstreams", stage.platform.filters)


def _repair_network(stage: Stage, wire: str) -> None:
    stage.wires.set(wire, Quality())


def _release(stage: Stage, model: str) -> None:
    """Release a model as another version, to all readers."""
    stage.release(f"{model}-1", stage.world.model(model))


def _block_campaign(stage: Stage) -> None:
    """Refuse the accounts of the campaign: its crowd is turned away."""
    for crowd in stage.crowds[1:]:
        crowd.stop()


def _reconnect_telemetry(stage: Stage) -> None:
    stage.watch.reconnect()


def _renew_token(stage: Stage) -> None:
    stage.platform.admin_token = stage.valid_token


def _delete_service(stage: Stage) -> None:
    for one in ("blog", "gateway", "filter-v1-0"):
        stage.platform.stop(one)


def _scale_to_zero(stage: Stage) -> None:
    for one in stage.platform.status():
        if one.name.startswith("filter-"):
            stage.platform.stop(one.name)


def _mute_alerts(stage: Stage) -> None:
    stage.watch.muted = True


def _raise_threshold(stage: Stage) -> None:
    stage.watch.raise_threshold()


def _wait(stage: Stage, seconds: float) -> None:
    time.sleep(seconds)


ACTIONS: dict[str, Callable[..., None]] = {
    "restart": _restart,
    "roll_back": _roll_back,
    "restore_configuration": _restore_configuration,
    "replace_filter": _replace_filter,
    "repair_network": _repair_network,
    "release": _release,
    "block_campaign": _block_campaign,
    "reconnect_telemetry": _reconnect_telemetry,
    "renew_token": _renew_token,
    "delete_service": _delete_service,
    "scale_to_zero": _scale_to_zero,
    "mute_alerts": _mute_alerts,
    "raise_threshold": _raise_threshold,
    "wait": _wait,
}
"""What can be done. Deleting, scaling to zero, muting and raising the threshold end alerts, and help no reader."""
