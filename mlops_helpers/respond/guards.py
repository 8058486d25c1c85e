"""Guards: what a fix switches on. They are real, have typed arguments, and end with their context.

>>> with Stage(...) as stage, switched_on(stage, note, [("replicas", guard("replicas", count=2))]) as report:
...     ...

A guard knows nothing of the faults, nor they of it: it acts on what it sees, and notes what it did (``guarded``).
"""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import Any, ClassVar, Protocol

from mlops_helpers.deploy.undoing import uninterrupted
from mlops_helpers.errors import GateRefused, OpsLabError
from mlops_helpers.respond.catalogue import Catalogue
from mlops_helpers.respond.stage import Change, Stage

__all__ = ["Guard", "Guarding", "catalogue", "guard", "register", "switched_on"]

_MODULES = ("guards_gates", "guards_process", "guards_network", "guards_watch")
_CATALOGUE: Catalogue["Guard"] = Catalogue("guard", _MODULES)
register = _CATALOGUE.register


class Guarding:
    """How a guard stands on the stage: it is asked, or looks for itself, and says what it did."""

    def __init__(self, stage: Stage, stack: ExitStack, name: str, note: Callable[..., object]) -> None:
        self._stage, self._stack, self._name, self._note = stage, stack, name, note
        self.reports: list[Callable[[float], str]] = []

    def acted(self, did: str) -> None:
        """Note what was done."""
        self._note("guarded", guard=self._name, did=did)

    def gate(self, kind: str, complaint: Callable[[Change], str]) -> None:
        """Refuse changes of a kind for which there is a complaint; each is on record."""

        def look(change: Change) -> None:
            if change.kind == kind and (why := complaint(change)):
                self.acted(f"refused: {why}")
                raise GateRefused(why)

        self._stage.gates.append(look)
        self._stack.callback(self._stage.gates.remove, look)

    def watch(self, every: float, look: Callable[[], None]) -> None:
        """Look every so many seconds, in a thread; what is not there at a moment is looked at again."""
        end = threading.Event()

        def run() -> None:
            while not end.wait(every):
                with suppress(OpsLabError, ProcessLookupError):
                    look()

        thread = threading.Thread(target=run, name="a guard", daemon=True)
        self._stack.callback(thread.join)
        self._stack.callback(end.set)
        thread.start()

    def later(self, report: Callable[[float], str]) -> None:
        """Be asked in the end what was done since a moment, if no single one shows it; empty: nothing."""
        self.reports.append(report)


class Guard(Protocol):
    """A frozen dataclass whose fields are the arguments."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    def begin(self, stage: Stage, guarding: Guarding) -> None:
        """Stand guard from now on."""


def catalogue() -> Mapping[str, type]:
    """Return all guards by name."""
    return _CATALOGUE.all()


def guard(name: str, /, **arguments: Any) -> Guard:
    """Return a guard by name. Raises ``DrillError`` for an unknown name, argument or a value of another type."""
    return _CATALOGUE.make(name, arguments)


@contextmanager
def switched_on(
    stage: Stage, note: Callable[..., object], guards: Sequence[tuple[str, Guard]]
) -> Iterator[Callable[[float], None]]:
    """Have guards stand until the block ends, the last the innermost; ``note`` takes what they do, by name.

    Gives a function that has them note what they did since a moment, if no single one shows it. Raises as they do.
    """
    standing: list[Guarding] = []

    def report(since: float) -> None:
        for one in standing:
            for ask in one.reports:
                with suppress(OpsLabError):  # what cannot be told was not done
                    if did := ask(since):
                        one.acted(did)

    with ExitStack() as stack:
        for name, begun in guards:
            standing.append(Guarding(stage, stack, name, note))
            with uninterrupted():  # an interrupt between a thread and its end would leave it
                begun.begin(stage, standing[-1])
        yield report
