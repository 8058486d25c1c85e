"""The pipeline that ships, from a source folder to a platform that readers use."""

import argparse
import multiprocessing
import os
import signal

import pytest

from mlops_helpers.deploy import bundle, pipeline_commands, release_source, stages
from mlops_helpers.deploy.calls import call
from mlops_helpers.deploy.gates import Target
from mlops_helpers.deploy.migrations import names
from mlops_helpers.deploy.pipeline import run
from mlops_helpers.deploy.pipeline_store import Store
from mlops_helpers.deploy.production import PlatformProduction, all_at_once
from mlops_helpers.deploy.rollback import silent
from mlops_helpers.errors import PipelineError, ServiceError, TamperedArtifactError
from tests.support.leaks import ended, held, marked_processes, shared
from tests.support.release_sources import change
from tests.support.waiting import until

QUICK = stages.SHIPPED.read_text("utf-8").replace("seconds: 2", "seconds: 0.5")
FORK = multiprocessing.get_context("fork")


class World:
    """A production, and a source that is released into it."""

    def __init__(self, folder):
        self.folder, self.source = folder, release_source.copy(folder / "source")
        self.change("training.toml", "n_comments = 2000", "n_comments = 1000")
        self.store, self.production = Store(folder / "store"), PlatformProduction(folder / "production")

    def change(self, *replaced):
        change(self.source, *replaced)

    def run(self, *without, remaining=0.4, **more):
        target = Target(self.production, remaining=remaining)
        return run(stages.parse(QUICK).without(*without), self.source, target, store=self.store, **more)

    def bundle(self, done):
        return bundle.load(done.bundle, done.stages["package"].facts["bundle"])


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    made = World(tmp_path_factory.mktemp("pipeline"))
    with shared(made.folder):
        try:
            made.first = made.run()
            yield made
        finally:
            made.production.close()


def test_template_passes_every_gate_and_readers_get_it(world):
    assert (world.first.outcome, world.first.reason) == ("deployed", "")
    assert list(world.first.stages) == [stage.name for stage in stages.load().stages]
    version = world.first.stages["package"].facts["version"]
    assert world.production.platform.weights() == {version: 1.0}
    verdict = call("POST", world.production.platform.gateway, "/v1/classify", {"text": "subscribe to my channel"})
    assert (verdict["spam"], verdict["version"]) == (True, version)
    steps = [entry.get("stage", entry["event"]) for entry in world.store.record.entries(world.first.release)]
    assert steps == ["started", *list(world.first.stages)[:-1], "migrated", "switched", "production", "deployed"]


def test_unchanged_source_is_not_built_again(world):
    world.run()  # who serves has changed, so the quality gate compares once more
    again = world.run()
    assert again.release == world.first.release
    assert [name for name, one in again.stages.items() if not one.reused] == ["error_budget", "production"]


def test_spent_budget_stops_a_feature_and_lets_an_emergency_fix_through(world):
    world.change("training.toml", "c = 10.0", "c = 9.0")
    blocked = world.run("load", remaining=-0.3)
    assert (blocked.outcome, blocked.stopped_by) == ("blocked", "error_budget")
    assert "waits: feature, the budget is spent (130 %)" in blocked.reason
    assert world.production.serving().version == world.first.stages["package"].facts["version"]
    world.change("release.toml", '"feature"', '"emergency fix"')
    fixed = world.run("load", remaining=-0.3)
    assert fixed.outcome == "deployed"
    assert fixed.stages["error_budget"].facts["reason"].startswith("ships: emergency fix")
    assert world.production.serving().version == fixed.stages["package"].facts["version"]
    assert world.production.platform.weights()[world.production.serving().version] == 1.0


def test_release_can_be_taken_back_once_with_its_migration(world):
    old = world.production.serving()
    (world.source / "migrations" / "0003_more.sql").write_text("CREATE INDEX by_state ON comments (state);")
    (world.source / "migrations" / "0003_more.undo.sql").write_text("DROP INDEX by_state;")
    assert world.run("load").outcome == "deployed"
    told = []
    back = world.production.roll_back(lambda event, **facts: told.append((event, facts)))
    assert (back.serves, back.changed) == (old.version, True)
    assert world.production.platform.weights() == {old.version: 1.0}
    assert ("migrations_taken_back", {"names": ["0003_more"]}) in told
    assert world.production.serving().sha256 == old.sha256
    assert world.production.roll_back() is None
    assert world.run("load").outcome == "deployed"  # the migration can be made again
    world.production.roll_back()


def test_release_that_does_not_start_leaves_production_as_it_was(world):
    before, weights = world.production.serving(), world.production.platform.weights()
    world.change("service.toml", "[environment]", '[environment]\nOPSLAB_TEXT_UTILITY = "nothing"')
    try:
        done = world.run("smoke", "load")
        assert (done.outcome, done.stopped_by) == ("blocked", "production")
        assert "OPSLAB_TEXT_UTILITY=nothing cannot be used" in done.reason
        assert world.production.serving().sha256 == before.sha256
        assert world.production.platform.weights() == weights
        blocked = world.run("load")
        assert blocked.stopped_by == "smoke"
    finally:
        world.change("service.toml", '\nOPSLAB_TEXT_UTILITY = "nothing"', "")


def test_failed_rollout_gives_readers_back(world, monkeypatch):
    def fails(platform, new, old, tell):
        all_at_once(platform, new, old, tell)
        raise ServiceError("the canary was worse")

    before = world.production.serving()
    world.change("training.toml", "c = 9.0", "c = 9.5")
    with monkeypatch.context() as patched:
        patched.setattr(world.production, "_rollout", fails)
        done = world.run("load")
    assert (done.stopped_by, "the canary was worse" in done.reason) == ("production", True)
    assert world.production.platform.weights() == {before.version: 1.0}


def test_tampered_bundle_never_reaches_readers(world):
    before = world.production.serving()
    done = world.run("load", end="delivery")
    made = world.bundle(done)
    path = made.folder / "app" / "text_utility.py"
    text = path.read_text("utf-8")
    path.write_text(text + "\n", "utf-8")
    with pytest.raises(TamperedArtifactError):
        world.run("load")
    with pytest.raises(TamperedArtifactError):
        world.production.release(made, silent)
    path.write_text(text, "utf-8")
    assert world.production.serving().sha256 == before.sha256


def test_two_releases_at_once_into_one_production_do_not_mix(world):
    done = world.run("load", end="delivery")
    other = PlatformProduction(world.production.folder)
    with world.production._one_release(), pytest.raises(PipelineError, match=r"another release is under way.*Next"):
        other.release(world.bundle(done), silent)


def test_run_killed_while_it_deploys_goes_on_and_nothing_is_left_running(world):
    world.production.close()
    pids = world.folder / "pids"

    def rollout(platform, new, old, tell):
        platform.set_weights({new: 1.0})
        pids.write_text(" ".join(str(one.pid) for one in platform.status()))
        os.kill(os.getpid(), signal.SIGKILL)

    def work():
        world.production = PlatformProduction(world.production.folder, rollout=rollout)
        world.run("load")

    child = FORK.Process(target=work)
    child.start()
    child.join(60)
    assert child.exitcode == -signal.SIGKILL
    for pid in map(int, pids.read_text().split()):
        until(lambda pid=pid: ended(pid))
    before = world.production.serving().sha256
    done = world.run("load")
    assert done.outcome == "deployed"
    assert world.production.serving().sha256 == done.stages["package"].facts["bundle"] != before
    assert done.release == world.store.record.entries()[-1]["release"]


def test_production_goes_on_with_what_it_served(world):
    serving = world.production.serving()
    world.production.close()
    before = held()
    with PlatformProduction(world.production.folder) as reopened:
        assert reopened.platform.weights() == {serving.version: 1.0}
        assert held().children > before.children
    assert held().children == before.children


@pytest.fixture
def opslab(capsys):
    """Return a function that runs ``opslab pipeline`` here and returns its exit code and what it printed."""

    def run_command(*words):
        parser = argparse.ArgumentParser()
        pipeline_commands.pipeline_arguments(parser)
        return pipeline_commands.pipeline(parser.parse_args([*words])), capsys.readouterr().out

    return run_command


def test_commands_show_the_record(world, opslab, tmp_path):
    folder = f"--folder={world.store.folder}"
    assert "release-1    deployed" in opslab("status", folder)[1]
    assert "stage quality, verdict passed" in opslab("status", "release-1", folder)[1]
    assert "100 probes, 0 shifted" in opslab("log", "smoke", folder)[1]
    assert opslab("failed", "release-1", "--reason", "spam is published", folder)[0] == 0
    assert bool(world.store.record.frame().loc["release-1", "failed"])
    with pytest.raises(PipelineError, match="no release 'release-99'"):
        opslab("recovered", "release-99", folder)
    assert "No release yet" in opslab("status", f"--folder={tmp_path / 'empty'}")[1]
    assert opslab("new", str(tmp_path / "mine"))[0] == 0
    assert names(tmp_path / "mine" / "migrations")


def test_command_takes_a_source_to_an_end_and_ends_what_it_started(world, opslab, tmp_path):
    run_it = ("run", str(world.source), f"--folder={world.store.folder}")
    before = marked_processes()
    code, printed = opslab(*run_it, "--end=integration")
    assert (code, "security         passed   not run again" in printed) == (0, True)
    (tmp_path / "quick.yaml").write_text(QUICK, "utf-8")
    about = world.source / "release.toml"
    urgent = about.read_text("utf-8")
    about.write_text(urgent.replace("emergency fix", "feature"), "utf-8")
    quick = f"--pipeline={tmp_path / 'quick.yaml'}"
    code, printed = opslab(*run_it, "--end=delivery", quick)
    assert (code, "waits: feature" in printed, "Next: --budget SHARE" in printed) == (1, True, True)
    code, printed = opslab(*run_it, "--end=deployment", quick, "--budget=0.2", "--leave")
    assert (code, "deployed" in printed) == (0, True)
    assert marked_processes() <= before
