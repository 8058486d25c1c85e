"""Helpers that tests import: ``from tests.support.leaks import marked_processes``."""

import pytest

pytest.register_assert_rewrite("tests.support.runtime_contract", "tests.support.platforms")  # they assert as tests do
