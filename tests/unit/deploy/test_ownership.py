"""Nothing that a command did not make itself is ever removed; an output folder never holds its input."""

import hashlib
import json
from pathlib import Path

import pytest

from mlops_helpers import cli
from mlops_helpers.deploy import bundle as bundles
from mlops_helpers.deploy import hosts_machines, occupancy, release_source, wheels
from mlops_helpers.deploy.fleet import Fleet
from mlops_helpers.deploy.ownership import MARK
from mlops_helpers.deploy.pipeline_store import Store
from mlops_helpers.deploy.production import PlatformProduction
from mlops_helpers.deploy.rollback import silent
from mlops_helpers.errors import ParameterError, PipelineError, ServiceError
from mlops_helpers.workspace import workspace
from tests.support.pipeline_world import World


def tree(folder):
    """Every file and folder below a folder, with its bytes."""
    return {path.relative_to(folder): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


def add_users_files(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"of the user: {name}")


@pytest.mark.parametrize("output", [".", "..", "out/deeper", None], ids=str)
def test_pipeline_folder_that_holds_the_source_or_lies_in_it_is_refused_and_nothing_touched(
    tmp_path, monkeypatch, capsys, output
):
    source = release_source.copy(tmp_path / "release")
    add_users_files(tmp_path, "release/work/notes.txt", "release/stages/notes.txt", "work/notes.txt")
    before = tree(tmp_path)
    monkeypatch.chdir(source)
    monkeypatch.delenv("OPSLAB_WORKSPACE")  # the default is a folder of the source as well, here
    assert cli.main(["pipeline", "run", ".", *([f"--folder={output}"] if output else [])]) == 2
    message = capsys.readouterr().err
    assert "folder is" in message
    assert "Next: name another one, such as" in message
    assert tree(tmp_path) == before


def test_run_refuses_a_store_that_holds_its_source(tmp_path):
    world = World(tmp_path)
    world.store = Store(tmp_path)
    before = tree(tmp_path)
    with pytest.raises(ParameterError, match="Next: name another one"):
        world.run()
    assert tree(tmp_path) == before


def test_pipeline_leaves_what_others_have_in_its_folder(tmp_path):
    world = World(tmp_path)
    names = ["work/notes.txt", "stages/mine/notes.txt", ".work-mine/notes.txt", "production/bundles/mine/notes.txt"]
    add_users_files(world.store.folder, *names)
    before = tree(world.store.folder)
    assert world.run().outcome == "deployed"
    world.write("code.txt", "code two")
    assert world.run().outcome == "deployed"
    assert before.items() <= tree(world.store.folder).items()


def test_pipeline_refuses_the_place_of_a_result_that_has_something_else(tmp_path):
    world = World(tmp_path)
    place = world.run(end="integration").stages["tests"].folder
    world.store = Store(tmp_path / "other")
    add_users_files(tmp_path, f"other/stages/{place.name}/notes.txt")
    with pytest.raises(PipelineError, match=r"is no stage's result\. Next: move it away"):
        world.run(end="integration")
    assert [path.name for path in (tmp_path / "other" / "stages" / place.name).iterdir()] == ["notes.txt"]


def make_bundle(folder, number):
    folder.mkdir()
    (folder / "number").write_text(str(number))
    (folder / "bundle.json").write_text(json.dumps({"files": {}, "number": number}))
    return folder


@pytest.fixture
def production(tmp_path, monkeypatch):
    """A production that keeps its copies and starts nothing, and a function that gives it another bundle."""

    class Copy:
        def __init__(self, folder):
            self.folder = folder
            self.sha256 = hashlib.sha256((folder / "bundle.json").read_bytes()).hexdigest()
            self.version = f"r-{self.sha256[:10]}"

        copy = bundles.Bundle.copy

    monkeypatch.setattr(bundles, "load", lambda folder, sha256=None: Copy(folder))
    for method in ("_open", "_replace"):
        monkeypatch.setattr(PlatformProduction, method, lambda *given: None)
    made = PlatformProduction(tmp_path / "production")

    def release(number):
        bundle = Copy(make_bundle(tmp_path / f"bundle-{number}", number))
        made.release(bundle, silent)
        return bundle.version

    return made, release


def test_production_removes_its_own_old_copies_and_no_others(production):
    made, release = production
    add_users_files(made.folder, "bundles/mine/notes.txt")
    first, second, third = (release(number) for number in range(3))
    assert {path.name for path in (made.folder / "bundles").iterdir()} == {"mine", second, third}
    assert first not in made._state()["copies"]


def test_production_refuses_the_place_of_a_copy_that_has_something_else(production, tmp_path):
    _, release = production
    version = release(0)
    other = PlatformProduction(tmp_path / "other")
    add_users_files(other.folder, f"bundles/{version}/notes.txt")
    before = tree(other.folder / "bundles")
    with pytest.raises(PipelineError, match="Next: move it away"):
        other.release(bundles.load(tmp_path / "bundle-0"), silent)
    assert tree(other.folder / "bundles") == before


def test_platform_refuses_a_folder_with_somebodys_files_and_touches_nothing(tmp_path, monkeypatch, capsys):
    names = ["platform.json", "up.log", "gateway/state.json", "model/manifest.json", "blog.log", "lock"]
    add_users_files(tmp_path, *names)
    before = tree(tmp_path)
    monkeypatch.chdir(tmp_path)
    for options in ([], ["--detach"]):
        assert cli.main(["platform", "up", "--folder=.", *options]) != 0
        assert "Next: " in capsys.readouterr().err
    with pytest.raises(ParameterError, match="Next: name another one, such as"):
        Fleet(tmp_path, fronts=()).open()
    assert tree(tmp_path) == before


def test_folder_of_a_platform_stays_one(tmp_path):
    occupancy.claim(tmp_path)
    add_users_files(tmp_path, "blog.log")
    occupancy.claim(tmp_path)


def test_down_removes_what_killed_platforms_made_and_no_folder_with_a_name_of_somebodys_own(monkeypatch):
    monkeypatch.setenv("DOCKER_HOST", "nonsense://")  # this is about folders
    killed, own = workspace("platforms", "killed"), workspace("platforms", "mine")
    dead = {"supervisor": {"pid": 2**22 + 1, "created": 1.0}, "by": "a program", "services": []}
    for folder in (killed, own):
        (folder / "platform.json").write_text(json.dumps(dead))
    (killed / MARK).write_text(str(2**22 + 1))
    add_users_files(own, "notes.txt")
    assert cli.main(["platform", "down", "--all"]) == 0
    assert not killed.exists()
    assert (own / "notes.txt").exists()


def test_machine_leaves_a_folder_that_was_there_before(tmp_path):
    add_users_files(tmp_path, "machines/alpha/notes.txt")
    before = tree(tmp_path)
    machine = hosts_machines.Folders(tmp_path).machine("alpha")
    with pytest.raises(ServiceError, match=r"is there already\. Next: "):
        machine.boot()
    machine.off()
    assert tree(tmp_path) == before


def test_downloaded_wheels_leave_what_else_is_in_the_folder(tmp_path, monkeypatch):
    add_users_files(
        tmp_path, "thesis.txt", "other-1.0-py3-none-any.whl", "requirements.txt", "h11-1.0-py3-none-any.whl"
    )
    before = tree(tmp_path)
    content = b"a wheel"
    pins = "".join(f"{n}==1.0 \\\n    --hash=sha256:{hashlib.sha256(content).hexdigest()}\n" for n in wheels.SERVICE)
    monkeypatch.setattr(wheels, "requirements", lambda packages: pins)

    class Pip:
        """Downloads what it should, without a network."""

        returncode, stderr, stdout = 0, "", ""

        def __init__(self, command, **options):
            into = Path(command[command.index("--dest") + 1])
            for name in wheels.SERVICE:
                (into / f"{name.replace('-', '_')}-1.0-py3-none-any.whl").write_bytes(content)

    monkeypatch.setattr(wheels.subprocess, "run", Pip)
    assert wheels.download(tmp_path) == tmp_path
    after = tree(tmp_path)
    changed = {str(path) for path in before if before[path] != after[path]}
    assert changed == {"h11-1.0-py3-none-any.whl"}  # a damaged wheel of the same name
    assert len(after) == len(before) + len(wheels.SERVICE) - 1
