"""What a gate is: a function that makes or judges something of a release, and can say no."""

import importlib
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from mlops_helpers.errors import PipelineError

if TYPE_CHECKING:
    from mlops_helpers.deploy.bundle import Bundle
    from mlops_helpers.deploy.production import Production
    from mlops_helpers.deploy.rollback import Tell

__all__ = ["GATES", "Gate", "Job", "Target"]


@dataclass(frozen=True)
class Target:
    """What a release goes into, and what it is measured by.

    ``champion`` is the release to be compared with; None: what serves in ``production``. ``remaining`` is the share of
    the error budget that is left, NaN: not known. ``runtime`` is what staging runs on.
    """

    production: "Production | None" = None
    champion: "Bundle | None" = None
    remaining: float = math.nan
    runtime: str = "process"

    def serving(self) -> "Bundle | None":
        """Return the release that serves now."""
        return self.champion or (self.production.serving() if self.production else None)


@dataclass(frozen=True)
class Job:
    """What a gate is given.

    ``source`` has the files of the commit that the stage declared, and no others. ``needs`` and ``facts`` are what the
    stages that it needs made and said, by name. ``output`` is an empty folder for what it makes, ``scratch`` one that
    goes with it. ``say`` writes to the stage's log, ``tell`` an event to the record of the release.
    """

    source: Path
    output: Path
    scratch: Path
    needs: Mapping[str, Path]
    facts: Mapping[str, Mapping[str, Any]]
    settings: Mapping[str, Any]
    target: Target
    say: Callable[[str], object]
    tell: "Tell"

    def setting(self, name: str, default: float) -> float:
        """Return a number that the stage was given. Raises ``PipelineError`` when it is none."""
        value = self.settings.get(name, default)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise PipelineError(f"setting {name} is {value!r}; accepted: a number, such as {default}")
        return float(value)


def _nothing(target: Target) -> object:
    return None


@dataclass(frozen=True)
class Gate:
    """``check(job)`` returns facts (plain data) or raises ``GateRefused`` with what was found and what is accepted.

    ``depends`` says of what in the target the verdict depends, beside files, needs and settings; a gate that judges the
    moment is asked ``always``.
    """

    check: Callable[[Job], Mapping[str, Any]]
    depends: Callable[[Target], object] = field(default=_nothing)
    always: bool = False


class _Gates(Mapping[str, Gate]):
    """The gates of this package by name; the modules they live in are loaded when they are needed."""

    _MODULES: ClassVar[Mapping[str, str]] = {
        "configuration": "gates_commit",
        "sources": "gates_sources",
        "unit_tests": "gates_commit",
        "data_validation": "gates_data",
        "train": "gates_model",
        "quality": "gates_model",
        "package": "gates_package",
        "dependencies": "gates_sources",
        "security": "gates_security",
        "migration": "gates_database",
        "rollback": "gates_database",
        "smoke": "gates_staging",
        "load": "gates_staging",
        "error_budget": "gates_production",
        "production": "gates_production",
    }

    def __getitem__(self, name: str) -> Gate:
        module = importlib.import_module(f"mlops_helpers.deploy.{self._MODULES[name]}")
        found = getattr(module, name)
        return found if isinstance(found, Gate) else Gate(found)

    def __iter__(self) -> Iterator[str]:
        return iter(self._MODULES)

    def __len__(self) -> int:
        return len(self._MODULES)


GATES: Mapping[str, Gate] = _Gates()
"""The gates that ``pipelines/release.yaml`` names. With one of your own: ``{**GATES, "mine": Gate(check)}``."""
