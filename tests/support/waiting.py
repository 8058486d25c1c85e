"""Waiting for a condition, with a deadline that only a defect reaches."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

Value = TypeVar("Value")

DEADLINE_SECONDS = 60
_PAUSE_SECONDS = 0.005


def until(condition: Callable[[], Value], what: str = "the condition") -> Value:
    """Call ``condition`` until its value is true, and return that value; fail after the deadline."""
    limit = time.monotonic() + DEADLINE_SECONDS
    while not (value := condition()):
        assert time.monotonic() < limit, f"{what} did not hold within {DEADLINE_SECONDS} s"
        time.sleep(_PAUSE_SECONDS)
    return value


async def until_async(condition: Callable[[], Value | Awaitable[Value]], what: str = "the condition") -> Value:
    """Wait like ``until`` without blocking the event loop; ``condition`` may be a coroutine function."""
    limit = time.monotonic() + DEADLINE_SECONDS
    while True:
        value = condition()
        if isinstance(value, Awaitable):
            value = await value
        if value:
            return value
        assert time.monotonic() < limit, f"{what} did not hold within {DEADLINE_SECONDS} s"
        await asyncio.sleep(_PAUSE_SECONDS)
