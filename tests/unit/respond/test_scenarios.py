"""The catalogue is complete and well-formed, and a scenario that breaks a rule is refused with the reason."""

import argparse
import fcntl
from importlib.resources import files

import pytest
import yaml

from mlops_helpers.errors import DrillError, ParameterError
from mlops_helpers.respond import commands, scenario
from mlops_helpers.respond import world as worlds
from mlops_helpers.respond.operator import ACTIONS

NAMES = scenario.names()


def text_of(name):
    return files("mlops_helpers.respond").joinpath(f"scenarios/{name}.yaml").read_text("utf-8")


def test_catalogue_is_whole():
    for name in NAMES:
        chosen = scenario.load(name)
        assert chosen.id == name
        assert chosen.cause in chosen.causes
        assert chosen.cause.lower() not in chosen.story.lower(), f"{name}: the story gives it away"
        assert all(each.diagnosis == chosen.cause for each in chosen.solutions), name
        assert chosen.solutions, name
        assert chosen.not_solutions, name
        assert {step for each in chosen.solutions for step, _ in each.steps} <= set(ACTIONS), name


def test_seed_chooses_blindly_and_always_the_same():
    assert scenario.choose(3).id == scenario.choose(3).id
    assert len({scenario.choose(seed).id for seed in range(20)}) > 3
    assert scenario.choose(1, area="release").area == "release"
    with pytest.raises(DrillError, match="no scenario of area"):
        scenario.choose(1, area="weather")


BREAKS = [
    ("id", "Not An Id", "schema.json"),
    ("story", "short", "schema.json"),
    ("area", "weather", "schema.json"),
    ("difficulty", "hard", "schema.json"),
    ("steady_state", {"cpu": 0.9}, "schema.json"),
    ("steady_state", {"fast": 1.5}, "schema.json"),
    ("faults", [{}], "schema.json"),
    ("expect", {"breach": "fast", "alert": "x"}, "schema.json"),
    ("causes", ["the same", "the same", "the same"], "schema.json"),
    ("fixes", [{"name": "one", "guards": []}], "schema.json"),
    ("fixes", [{"name": "one", "guards": [{"guard": "replicas"}], "expect": "refuted"}], "schema.json"),
    ("hints", [{"text": "dear", "cost": 99}], "schema.json"),
    ("solutions", [], "schema.json"),
    ("surprise", True, "schema.json"),
    ("faults", [{"fault": "earthquake"}], "there is no fault"),
    ("faults", [{"fault": "process_stopped", "who": "x"}], "no argument"),
    ("cause", "aliens came", "one of the causes"),
    ("solutions", [{"name": "x", "steps": [{"do": "pray"}]}], "does 'pray'"),
    ("fixes", [{"name": "one", "guards": [{"guard": "hope"}]}], "there is no guard"),
    ("fixes", [{"name": "one", "guards": [{"guard": "replicas"}]}] * 2, "a name of its own"),
    ("expect", {"breach": "spam_held"}, "an SLI of steady_state"),
]


def changed(key, value):
    return yaml.safe_dump(yaml.safe_load(text_of("filter-stopped")) | {key: value})


@pytest.mark.parametrize(("key", "value", "reason"), BREAKS)
def test_broken_rule_is_named(key, value, reason):
    with pytest.raises(DrillError, match=reason):
        scenario.parse(changed(key, value))


def test_required_key_is_missed():
    for key in scenario.schema()["required"]:
        incomplete = yaml.safe_load(text_of("filter-stopped"))
        del incomplete[key]
        with pytest.raises(DrillError, match=key):
            scenario.parse(yaml.safe_dump(incomplete))


def test_unknown_scenario_is_refused(tmp_path):
    with pytest.raises(DrillError, match="no YAML"):
        scenario.parse("a: [")
    with pytest.raises(DrillError, match="filter-stopped"):
        scenario.load("nowhere")
    with pytest.raises(DrillError, match="cannot be read"):
        scenario.load(tmp_path / "none.yaml")
    with pytest.raises(DrillError, match="accepted: restart the filter"):
        scenario.load("filter-stopped").responder("somebody")


def test_command_lists_scenarios_and_refuses_unknown_ones(capsys):
    parser = argparse.ArgumentParser()
    commands.drill_arguments(parser)
    assert commands.drill(parser.parse_args(["list"])) == 0
    assert len(capsys.readouterr().out.splitlines()) == len(NAMES)
    with pytest.raises(ParameterError, match="opslab drill list"):
        commands.drill(parser.parse_args(["list", "--area", "weather"]))
    with pytest.raises(DrillError, match="there is no scenario"):
        commands.drill(parser.parse_args(["run", "nowhere"]))
    with pytest.raises(DrillError, match="no responder"):
        commands.drill(parser.parse_args(["run", "filter-stopped", "--responder", "somebody"]))


def test_world_is_trained_once_and_under_a_lock(tmp_path, monkeypatch):
    monkeypatch.setenv("OPSLAB_CACHE", str(tmp_path))
    trained = []

    def train(models):
        lock = next(iter(models.values())).parent / "lock"
        with lock.open() as file, pytest.raises(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # a second drill waits
        trained.append(models)
        for path in models.values():
            path.mkdir()
            (path / "manifest.json").touch()

    monkeypatch.setattr(worlds, "_train", train)
    make = worlds.world.__wrapped__
    assert make() == make()
    assert len(trained) == 1
