"""The catalogue is complete and well-formed, and a scenario that breaks a rule is refused with the reason."""

import argparse
import contextlib
import copy
import threading
from concurrent.futures import ThreadPoolExecutor
from importlib.resources import files

import pytest
import yaml

from mlops_helpers.errors import DrillError, ParameterError
from mlops_helpers.respond import commands, scenario
from mlops_helpers.respond.operator import ACTIONS

NAMES = scenario.names()


def text_of(name):
    return files("mlops_helpers.respond").joinpath(f"scenarios/{name}.yaml").read_text("utf-8")


@pytest.mark.parametrize("name", NAMES)
def test_a_scenario_of_the_catalogue_is_whole(name):
    one = scenario.load(name)
    assert one.id == name
    assert one.cause in one.causes and one.cause.lower() not in one.story.lower(), "the story gives it away"
    assert all(each.diagnosis == one.cause for each in one.solutions)
    assert one.solutions and one.not_solutions
    assert {step for each in one.solutions for step, _ in each.steps} <= set(ACTIONS)


def test_the_catalogue_has_scenarios_in_which_acting_is_wrong_and_of_every_area():
    every = [scenario.load(name) for name in NAMES]
    assert len(every) >= 30
    assert sum(not one.breach for one in every) >= 4
    areas = set(scenario.schema()["properties"]["area"]["enum"])
    assert {one.area for one in every} == areas
    assert {one.difficulty for one in every} == {1, 2, 3}


def test_the_schema_is_itself_valid():
    import jsonschema

    jsonschema.Draft202012Validator.check_schema(scenario.schema())


def test_a_seed_chooses_blindly_and_always_the_same():
    assert scenario.choose(3).id == scenario.choose(3).id
    assert len({scenario.choose(seed).id for seed in range(20)}) > 3
    assert scenario.choose(1, area="release").area == "release"
    with pytest.raises(DrillError, match="no scenario of area"):
        scenario.choose(1, area="weather")


BREAKS = [
    ("id", "Not An Id"),
    ("title", "x"),
    ("story", "short"),
    ("area", "weather"),
    ("difficulty", 4),
    ("difficulty", "hard"),
    ("steady_state", {}),
    ("steady_state", {"cpu": 0.9}),
    ("steady_state", {"fast": 1.5}),
    ("faults", [{}]),
    ("faults", [{"fault": "Frozen!"}]),
    ("faults", [{"fault": "process_frozen", "name": ["a"]}]),
    ("expect", {}),
    ("expect", {"breach": "cpu"}),
    ("expect", {"breach": "fast", "alert": "x"}),
    ("causes", ["one", "two"]),
    ("causes", ["the same", "the same", "the same"]),
    ("fix", "none"),
    ("fixes", {"one": ["process_stopped"]}),
    ("hints", [{"text": "free"}]),
    ("hints", [{"text": "dear", "cost": 99}]),
    ("solutions", []),
    ("solutions", [{"name": "x", "steps": [{}]}]),
    ("not_solutions", []),
    ("seconds", 1),
    ("surprise", True),
]
DEEPER = [
    ("faults", [{"fault": "earthquake"}], "there is no fault"),
    ("faults", [{"fault": "process_stopped", "who": "x"}], "no argument"),
    ("cause", "aliens came", "one of the causes"),
    ("solutions", [{"name": "x", "steps": [{"do": "pray"}]}], "does 'pray'"),
    ("fixes", [{"name": "one", "guards": [{"guard": "hope"}]}], "there is no guard"),
    ("expect", {"breach": "spam_held"}, "an SLI of steady_state"),
]


@pytest.mark.parametrize(("key", "value"), BREAKS, ids=[f"{key}-{number}" for number, (key, _) in enumerate(BREAKS)])
def test_a_broken_rule_of_the_schema_is_named(key, value):
    told = copy.deepcopy(yaml.safe_load(text_of("filter-stopped")))
    told[key] = value
    with pytest.raises(DrillError, match=r"schema\.json"):
        scenario.parse(yaml.safe_dump(told))


@pytest.mark.parametrize("key", scenario.schema()["required"])
def test_what_is_required_is_missed(key):
    told = yaml.safe_load(text_of("filter-stopped"))
    del told[key]
    with pytest.raises(DrillError, match=key):
        scenario.parse(yaml.safe_dump(told))


@pytest.mark.parametrize(("key", "value", "said"), DEEPER)
def test_what_a_schema_cannot_know_is_checked_too(key, value, said):
    told = yaml.safe_load(text_of("filter-stopped"))
    told[key] = value
    with pytest.raises(DrillError, match=said):
        scenario.parse(yaml.safe_dump(told))


def test_what_is_no_scenario_is_refused(tmp_path):
    with pytest.raises(DrillError, match="no YAML"):
        scenario.parse("a: [")
    with pytest.raises(DrillError, match="filter-stopped"):
        scenario.load("nowhere")
    with pytest.raises(DrillError, match="cannot be read"):
        scenario.load(tmp_path / "none.yaml")
    with pytest.raises(DrillError, match="accepted: restart the filter"):
        scenario.load("filter-stopped").responder("somebody")


def test_the_command_lists_scenarios_and_refuses_what_there_is_not(capsys):
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


def test_two_drills_on_a_new_machine_train_once(tmp_path, monkeypatch):
    from mlops_helpers.respond import world as worlds

    monkeypatch.setenv("OPSLAB_CACHE", str(tmp_path))
    trained, both, together = [], threading.Barrier(2), threading.Barrier(2)

    def train(models):
        trained.append(1)
        with contextlib.suppress(threading.BrokenBarrierError):
            together.wait(0.3)  # the other one would come here too, if it did not wait
        for path in models.values():
            path.mkdir()
            (path / "manifest.json").touch()

    def come():
        both.wait(10)
        return worlds.world.__wrapped__()

    monkeypatch.setattr(worlds, "_train", train)
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(lambda _: come(), range(2))
    assert first == second
    assert trained == [1]
