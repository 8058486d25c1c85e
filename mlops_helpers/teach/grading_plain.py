"""Inside the grading sandbox: plain JSON data from what a student's function returns.

Nothing here can be relied on, since the student's code runs in the same process: the grader judges what arrives.
"""

import dataclasses
import datetime
import decimal
import enum
import fractions
import sys
from collections.abc import Mapping, Set
from pathlib import PurePath
from typing import Any

__all__ = ["NotPlain", "plain"]

_DEEPEST = 40


class NotPlain(TypeError):
    """The value cannot be said in JSON; the message names its type."""


def plain(value: Any, depth: int = 0) -> Any:
    """Return the value in lists, dicts with text as keys, text, numbers, booleans and None.

    Raises :class:`NotPlain` for what is no data, such as a function or a module, and for what is nested too deeply.
    """
    if value is None or type(value) in (bool, int, float, str):
        return value
    if depth > _DEEPEST:
        raise NotPlain(f"data that is nested more than {_DEEPEST} levels deep")
    pandas = sys.modules.get("pandas")
    if pandas is not None:
        if value is pandas.NA or value is pandas.NaT:
            return None
        if isinstance(value, pandas.DataFrame):
            value = {name: value[name] for name in value.columns}
    if isinstance(value, enum.Enum):
        return plain(value.value, depth + 1)
    if hasattr(value, "tolist"):  # arrays and numbers of numpy, series and indexes of pandas
        return plain(value.tolist(), depth + 1)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {_key(key): plain(item, depth + 1) for key, item in value.items()}
    if isinstance(value, list | tuple | Set | range):
        return [plain(item, depth + 1) for item in value]
    return _single(value)


def _key(key: Any) -> str:
    return key if type(key) is str else str(plain(key, _DEEPEST))


def _single(value: Any) -> Any:
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float | decimal.Decimal | fractions.Fraction):
        return float(value)
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, datetime.timedelta):
        return value.total_seconds()
    if isinstance(value, PurePath):
        return str(value)
    raise NotPlain(type(value).__name__)
