"""Fixtures that the live and engines tiers share."""

from collections.abc import Iterator

import pytest

from tests.support import leaks


@pytest.fixture(autouse=True)
def no_process_is_left() -> Iterator[None]:
    """Fail a test that leaves a process running, other than those of fixtures that more than one test use."""
    before = leaks.marked_processes()
    yield
    if left := leaks.left_over(before):
        pytest.fail(f"left running: {'; '.join(left)}", pytrace=False)
