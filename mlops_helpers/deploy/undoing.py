"""Doing things whole or not at all: what fails or is interrupted is undone."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from mlops_helpers.errors import ServiceError

__all__ = ["undone_by", "uninterrupted"]


@contextmanager
def undone_by(undo: Callable[[], object]) -> Iterator[None]:
    """Undo what was done when the block fails or is interrupted; should that fail, too, the error says what is left."""
    try:
        yield
    except BaseException as error:
        try:
            undo()
        except ServiceError as second:
            left = f"What was made could not be removed: {second}. When that is repaired, end it once more"
            raise ServiceError(f"{error or 'interrupted'}. {left}") from error
        raise


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Keep Ctrl-C and SIGTERM until the block has ended, which knows then what it has made, and let them come then."""
    kept: list[tuple[int, Any]] = []
    before: dict[signal.Signals, Any] = {}
    try:
        if threading.current_thread() is threading.main_thread():  # the others are not interrupted
            for number in (signal.SIGINT, signal.SIGTERM):
                before[number] = signal.signal(number, lambda *given: kept.append(given))
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for interrupt, _ in kept:
            signal.raise_signal(interrupt)
