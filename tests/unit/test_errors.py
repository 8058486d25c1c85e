"""The exception tree."""

from mlops_helpers import errors


def test_error_tree_is_drawn_whole() -> None:
    for name in errors.__all__:
        assert issubclass(getattr(errors, name), errors.OpsLabError)
        assert name in errors.__doc__
