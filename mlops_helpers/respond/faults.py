"""Faults: real, with typed arguments, and always put back.

>>> with Stage(...) as stage, faults.injected(stage, fault("process_stopped", name="filter-v1-0")):
...     ...

A fault tells the watchdog how it is undone before it happens. It is undone when its context ends, by an exception or
Ctrl-C as well, and by the watchdog when this process is killed. Faults stack: the last is undone first.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any, ClassVar, Protocol

from mlops_helpers.deploy.undoing import uninterrupted
from mlops_helpers.respond.catalogue import Catalogue
from mlops_helpers.respond.stage import Stage
from mlops_helpers.respond.undo import Entry

__all__ = ["Fault", "Undoing", "catalogue", "fault", "injected", "register"]

_CATALOGUE: Catalogue["Fault"] = Catalogue(
    "fault", ("faults_process", "faults_network", "faults_release", "faults_crowd", "faults_telemetry")
)
register = _CATALOGUE.register


class Undoing:
    """Collects how faults are undone, and tells the watchdog of what it can do as well."""

    def __init__(self, stage: Stage, stack: ExitStack) -> None:
        self.stage, self._stack = stage, stack

    def entry(self, entry: Entry) -> None:
        """Promise to undo this; call it before the change."""
        number = self.stage.watchdog.promise(entry)
        self._stack.callback(self.stage.watchdog.keep, number)

    def call(self, undo: Callable[[], object]) -> None:
        """Undo by a function: for what ends with this process anyway."""
        self._stack.callback(undo)


class Fault(Protocol):
    """A frozen dataclass whose fields are the arguments."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    def begin(self, stage: Stage, undoing: Undoing) -> None:
        """Let it happen; each change is promised to be undone first."""


def catalogue() -> Mapping[str, type]:
    """Return all faults by name."""
    return _CATALOGUE.all()


def fault(name: str, /, **arguments: Any) -> Fault:
    """Return a fault by name. Raises ``DrillError`` for an unknown name, argument or a value of another type."""
    return _CATALOGUE.make(name, arguments)


@contextmanager
def injected(stage: Stage, *faults: Fault) -> Iterator[None]:
    """Let faults happen, one after the other, until the block ends. Raises ``DrillError`` as the faults do."""
    with ExitStack() as stack:
        for one in faults:
            with uninterrupted():  # an interrupt between a change and its undoing would leave it
                one.begin(stage, Undoing(stage, stack))
        yield
