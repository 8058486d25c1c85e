"""Faults by name, and what cannot be one."""

import pytest

from mlops_helpers.errors import DrillError, ParameterError
from mlops_helpers.respond import faults, guards, wires


def test_every_fault_says_what_it_is():
    known = faults.catalogue()
    assert len(known) >= 20
    for name, kind in known.items():
        assert kind.__doc__, name
        assert not kind.__doc__.startswith(kind.__name__ + "("), f"{name} has no words of its own"


@pytest.mark.parametrize(
    ("name", "arguments", "accepted"),
    [
        ("earthquake", {}, "process_frozen"),
        ("process_frozen", {}, "lacks name"),
        ("process_frozen", {"name": 3}, "a str"),
        ("process_frozen", {"name": "x", "for": 3}, "no argument 'for'"),
        ("load_spike", {"factor": "much"}, "a float"),
    ],
)
def test_impossible_fault_is_refused(name, arguments, accepted):
    with pytest.raises(DrillError, match=accepted):
        faults.fault(name, **arguments)
    with pytest.raises(DrillError, match="there is no guard 'hope'; accepted: automatic_rollback"):
        guards.guard("hope")


@pytest.mark.parametrize("values", [{"delay": -1}, {"loss": 1.5}, {"rewrite": ("long", "longer")}])
def test_impossible_wire_is_refused(values):
    with pytest.raises(ParameterError, match="accepted"):
        wires.Quality(**values)
