"""YAML that a machine wrote for people to read; and YAML of unknown origin, read without surprises."""

from collections.abc import Hashable, Mapping
from typing import Any

import yaml

from mlops_helpers.errors import ObjectiveError

__all__ = ["dump", "load"]

_MOST_CHARACTERS, _MOST_LEVELS = 1_000_000, 50
# ten times faster, where PyYAML was built with them
_FastLoader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_FastDumper: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


def dump(*documents: Mapping[str, Any], head: str = "") -> str:
    """Return documents as YAML below the comment ``head``; a text of several lines becomes a block."""
    comment = "".join(f"# {line}\n" for line in head.splitlines())
    return comment + yaml.dump_all(documents, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)


def load(text: str) -> list[Any]:
    """Return the documents of a YAML text, as plain data; empty ones are left out.

    Raises ``ObjectiveError`` for what is no YAML, is too long or too deep, gives a key twice, or has tags or aliases (a
    few lines of which can stand for gigabytes).
    """
    if len(text) > _MOST_CHARACTERS:
        raise ObjectiveError(f"the YAML has {len(text)} characters; accepted: at most {_MOST_CHARACTERS}")
    try:
        _refuse_bombs(text)
        return [document for document in yaml.load_all(text, Loader=_Loader) if document is not None]
    except yaml.YAMLError as error:
        raise ObjectiveError(f"this YAML cannot be read: {' '.join(str(error).split())}") from error
    except ValueError as error:  # a date such as 2024-99-99
        raise ObjectiveError(f"this YAML cannot be read: {error}") from error


def _refuse_bombs(text: str) -> None:
    level = 0
    for event in yaml.parse(text, Loader=_FastLoader):
        if isinstance(event, yaml.AliasEvent):
            raise yaml.MarkedYAMLError(problem="aliases are not accepted; write it out", problem_mark=event.start_mark)
        if getattr(event, "tag", None):  # PyYAML fails on some, such as !!int ""
            raise yaml.MarkedYAMLError(problem=f"the tag {event.tag} is not accepted", problem_mark=event.start_mark)
        level += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if level > _MOST_LEVELS:
            raise yaml.MarkedYAMLError(problem=f"more than {_MOST_LEVELS} levels", problem_mark=event.start_mark)


class _Loader(_FastLoader):
    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in seen:
                raise yaml.MarkedYAMLError(problem=f"{key.value!r} is given twice", problem_mark=key.start_mark)
            seen.add(str(key.value))
        return super().construct_mapping(node, deep)


class _Dumper(_FastDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True


_Dumper.add_representer(
    str,
    lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None),
)
