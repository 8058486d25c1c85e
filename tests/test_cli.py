import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from mlops_helpers import cli
from mlops_helpers.errors import OpsLabError

PROJECT = Path(__file__).resolve().parent.parent
KERNELSPEC = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}


@pytest.fixture
def notebook(tmp_path):
    cell = {
        "cell_type": "code",
        "id": "a",
        "metadata": {"tags": ["parameters"]},
        "source": "n: int = 3  # how many",
        "outputs": [],
        "execution_count": None,
    }
    content = {"cells": [cell], "metadata": {"kernelspec": KERNELSPEC}, "nbformat": 4, "nbformat_minor": 5}
    path = tmp_path / "one.ipynb"
    path.write_text(json.dumps(content))
    return path


def opslab(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "mlops_helpers.cli", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("command", ["", *cli.COMMANDS])
def test_help(command, capsys):
    with pytest.raises(SystemExit) as leaving:
        cli.main([*filter(None, [command]), "--help"])
    assert leaving.value.code == 0
    assert "usage: opslab" in capsys.readouterr().out


def test_version(capsys):
    with pytest.raises(SystemExit):
        cli.main(["--version"])
    assert capsys.readouterr().out.startswith("opslab ")


@pytest.mark.parametrize(
    "arguments",
    [
        ["run", "{missing}"],
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
    paths = {"nb": notebook, "missing": notebook.with_name("missing.ipynb")}
    assert cli.main([argument.format(**paths) for argument in arguments]) == 2
    message = capsys.readouterr().err
    assert message.startswith("opslab: ")
    assert "Traceback" not in message


@pytest.mark.parametrize("arguments", [[], ["nonsense"], ["run", "--jobs", "0"], ["run", "--timeout", "-1"]])
def test_what_argparse_refuses_is_exit_code_2(arguments, capsys):
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


def test_a_run_from_the_command_line(notebook, tmp_path):
    good = opslab("run", notebook, "--out", tmp_path / "out", "-p", "n", "4")
    assert (good.returncode, "1 of 1 passed" in good.stdout) == (0, True), good.stderr
    assert "not compared (parameters changed: n)" in good.stderr
    content = json.loads(notebook.read_text())
    content["cells"][0]["source"] = "1 / 0"
    notebook.write_text(json.dumps(content))
    bad = opslab("run", notebook, "--out", tmp_path / "out")
    assert bad.returncode == 1
    assert "ZeroDivisionError" in bad.stderr
    assert "\x1b" not in bad.stderr + bad.stdout
    assert opslab("refresh", notebook).returncode == 1


def test_errors_on_purpose_are_messages_and_defects_keep_their_traceback(monkeypatch, capsys):
    from mlops_helpers.teach import commands

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


def test_the_iri_grammar_is_missing_for_commands_only():
    code = (
        "import sys\n"
        "from mlops_helpers import cli\n"
        "cli.main(['check', '--rules'])\n"
        "assert 'rfc3987_syntax' not in sys.modules\n"
        "import rfc3987_syntax\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_help_loads_nothing_heavy():
    code = (
        "import contextlib, sys\n"
        "from mlops_helpers import cli\n"
        "with contextlib.suppress(SystemExit):\n    cli.main(['--help'])\n"
        "heavy = {'nbformat', 'papermill', 'pydantic', 'tqdm', 'jupyter_client', 'mlops_helpers.teach'}\n"
        "sys.exit(repr(heavy & set(sys.modules)) if heavy & set(sys.modules) else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_every_command_that_a_text_or_an_error_names_is_there():
    texts = [*PROJECT.glob("mlops_helpers/**/*.py"), *PROJECT.glob("notebooks/**/*.ipynb"), PROJECT / "README.md"]
    named = {
        (name, path.name)
        for path in texts
        for name in re.findall(r"(?:Next: |`|or )opslab ([a-z]+)\b", path.read_text(encoding="utf-8"))
    }
    assert len({name for name, _ in named}) > 5
    assert [one for one in sorted(named) if one[0] not in cli.COMMANDS] == []


def test_a_reader_that_has_enough_is_no_error():
    command = f"{sys.executable} -m mlops_helpers.cli drill list | true"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60)
    assert done.stderr == ""
