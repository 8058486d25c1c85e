"""Tests of what a machine may lack; as in ``live``, no process may be left when a test has ended."""

from tests.support.fixtures import no_process_is_left

__all__ = ["no_process_is_left"]
