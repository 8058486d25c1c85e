"""Helpers that tests import: ``from tests.support.leaks import marked_processes``."""
