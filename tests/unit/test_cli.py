"""The command line: arguments in, text and exit code out."""

import re
from pathlib import Path

import pytest

from mlops_helpers import cli
from mlops_helpers.errors import OpsLabError
from mlops_helpers.teach import commands
from tests.support.tiny_notebooks import parameters, save

PROJECT = Path(__file__).resolve().parents[2]


@pytest.fixture
def notebook(tmp_path):
    return save(tmp_path / "one.ipynb", parameters("n: int = 3  # how many"))


@pytest.mark.parametrize("command", ["", *cli.COMMANDS])
def test_help_is_shown_on_any_system(command, monkeypatch, capsys):
    monkeypatch.setattr("sys.platform", "darwin")
    with pytest.raises(SystemExit) as leaving:
        cli.main([*filter(None, [command]), "--help"])
    assert leaving.value.code == 0
    assert "usage: opslab" in capsys.readouterr().out


@pytest.mark.parametrize("command", [name for name in cli.COMMANDS if name not in {"check", "data", "params"}])
@pytest.mark.parametrize("platform", ["darwin", "win32"])
def test_command_that_needs_linux_is_refused_in_one_line_elsewhere(command, platform, monkeypatch, capsys):
    monkeypatch.setattr("sys.platform", platform)
    assert cli.main([command]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"opslab: {command} needs Linux, and this is {platform}")
    assert "WSL2" in line
    assert "Next: docker build -t opslab . && docker run" in line


def test_structure_and_parameters_are_shown_on_any_system(notebook, monkeypatch):
    monkeypatch.setattr("sys.platform", "darwin")
    assert cli.main(["params", str(notebook)]) == 0
    assert cli.main(["check", "--rules"]) == 0


def test_version_is_shown(capsys):
    with pytest.raises(SystemExit):
        cli.main(["--version"])
    assert capsys.readouterr().out.startswith("opslab ")


@pytest.mark.parametrize(
    "arguments",
    [
        ["run", "{missing}"],
        ["run", "{nb}", "--out", "{folder}"],
        ["run", "{nb}", "-p", "m", "1"],
        ["run", "{nb}", "-p", "n", "x"],
        ["run", "{nb}", "-p", "n", "\udcff"],
        ["run", "{nb}", "-p", "n", "1", "-p", "n", "2"],
        ["check", "{missing}"],
        ["refresh", "{missing}"],
        ["params", "{missing}"],
    ],
)
def test_wrong_usage_is_exit_code_2_and_a_message(arguments, notebook, capsys):
    paths = {"nb": notebook, "missing": notebook.with_name("missing.ipynb"), "folder": notebook.parent}
    assert cli.main([argument.format(**paths) for argument in arguments]) == 2
    message = capsys.readouterr().err
    assert message.startswith("opslab: ")
    assert "Traceback" not in message


@pytest.mark.parametrize("arguments", [[], ["nonsense"], ["run", "--jobs", "0"], ["run", "--timeout", "-1"]])
def test_wrong_arguments_are_exit_code_2(arguments, capsys):
    with pytest.raises(SystemExit) as leaving:
        cli.main(arguments)
    assert leaving.value.code == 2
    assert "usage:" in capsys.readouterr().err


def test_parameters_are_listed(notebook, capsys):
    assert cli.main(["params", str(notebook)]) == 0
    assert cli.main(["run", str(notebook), "--help-parameters"]) == 0
    first, second = capsys.readouterr().out.split(str(notebook))[1:]
    assert first.split() == second.split() == ["n", "int", "=", "3", "how", "many"]


def test_breaches_are_exit_code_1_and_rules_are_published(notebook, capsys):
    assert cli.main(["check", str(notebook)]) == 1
    assert "one.ipynb:notebook: checks:" in capsys.readouterr().out
    assert cli.main(["check", "--rules"]) == 0
    assert "parameters" in capsys.readouterr().out


def test_error_on_purpose_is_a_message_and_a_defect_keeps_its_traceback(monkeypatch, capsys):
    def fail(args):
        raise OpsLabError("what was found, what is accepted")

    def defect(args):
        raise KeyError("a defect")

    monkeypatch.setattr(commands, "check", fail)
    assert cli.main(["check"]) == 1
    assert capsys.readouterr().err == "opslab: what was found, what is accepted\n"
    monkeypatch.setattr(commands, "check", defect)
    with pytest.raises(KeyError):
        cli.main(["check"])


def test_every_command_that_a_text_or_an_error_names_exists():
    texts = [*PROJECT.glob("mlops_helpers/**/*.py"), *PROJECT.glob("notebooks/**/*.ipynb"), *PROJECT.glob("*.md")]
    named = {
        (name, path.name)
        for path in texts
        for name in re.findall(r"(?:Next: |`|or )opslab ([a-z]+)\b", path.read_text(encoding="utf-8"))
    }
    assert len({name for name, _ in named}) > 5
    assert [(name, path) for name, path in sorted(named) if name not in cli.COMMANDS] == []
