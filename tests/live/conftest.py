"""Live tests start processes and servers on loopback; none of them may be left when a test has ended."""

from tests.support.fixtures import no_process_is_left

__all__ = ["no_process_is_left"]
