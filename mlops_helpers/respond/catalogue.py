"""Things that a scenario names: frozen dataclasses by name, whose fields are the arguments, checked by their types."""

import dataclasses
import importlib
from collections.abc import Mapping, Sequence
from typing import Any, Generic, TypeVar, get_type_hints

from mlops_helpers.errors import DrillError

__all__ = ["Catalogue"]

T = TypeVar("T")
Kind = TypeVar("Kind", bound=type)


class Catalogue(Generic[T]):
    """``what`` they are, such as "fault"; ``modules`` of this room register them when they are first asked for."""

    def __init__(self, what: str, modules: Sequence[str]) -> None:
        self._what, self._modules = what, modules
        self._known: dict[str, type] = {}

    def register(self, kind: Kind) -> Kind:
        """Make a class known under its name in lower case with underscores."""
        name = "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in kind.__name__).lstrip("_")
        self._known[name] = kind
        return kind

    def all(self) -> Mapping[str, type]:
        """Return all of them by name."""
        for module in self._modules:
            importlib.import_module(f"mlops_helpers.respond.{module}")
        return self._known

    def make(self, name: str, arguments: Mapping[str, Any]) -> T:
        """Return one by name. Raises ``DrillError`` for an unknown name, argument or a value of another type."""
        known = self.all()
        if name not in known:
            raise DrillError(f"there is no {self._what} {name!r}; accepted: {', '.join(sorted(known))}")
        kind = known[name]
        fields = {one.name: one for one in dataclasses.fields(kind)}
        accepted = ", ".join(fields) or "none"
        hints = get_type_hints(kind)
        for given, value in arguments.items():
            if given not in fields:
                raise DrillError(f"{name} has no argument {given!r}; accepted: {accepted}")
            wanted = hints[given]
            if type(value) is not wanted and not (wanted is float and type(value) is int):
                raise DrillError(f"{given} of {name} is {value!r}; accepted: a {wanted.__name__}")
        missing = [one for one, of in fields.items() if of.default is dataclasses.MISSING and one not in arguments]
        if missing:
            raise DrillError(f"{name} lacks {', '.join(missing)}; accepted: {accepted}")
        made: T = kind(**arguments)
        return made
