"""Set-up says in one line what is missing, keeps an environment that is there; nothing tracked is of one machine."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]


def set_up(prelude: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run .ci/setup.py of a folder after some lines of Python."""
    (folder / ".ci").mkdir()
    shutil.copy(PROJECT / ".ci" / "setup.py", folder / ".ci")
    run = "sys.argv = ['setup.py', 'env']; runpy.run_path('.ci/setup.py', run_name='__main__')"
    code = f"import runpy, sys; {prelude}; {run}"
    return subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize(
    ("prelude", "message"),
    [
        ("sys.version_info = (3, 9, 2)", "needed is 3.11 or newer; next: "),
        ("sys.modules['ensurepip'] = None", "has no module ensurepip; next: apt-get install python3."),
        ("sys.modules['venv'] = None", "has no module venv; next: apt-get install python3."),
    ],
)
def test_set_up_names_what_is_missing_and_the_next_command(prelude: str, message: str, tmp_path: Path) -> None:
    done = set_up(prelude, tmp_path)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert message in line
    assert [path.name for path in tmp_path.iterdir()] == [".ci"]


def test_installer_that_fails_leaves_no_mark_and_names_the_next_command(tmp_path: Path) -> None:
    (tmp_path / "env" / "bin").mkdir(parents=True)
    python = tmp_path / "env" / "bin" / "python"  # has uv, which cannot reach anything
    python.write_text('#!/bin/sh\ncase "$*" in *"-m uv"*) echo "error: no route" >&2; exit 2;; *) exit 0;; esac\n')
    python.chmod(0o755)
    (tmp_path / "requirements.lock").write_text("uv==1 \\\n    --hash=sha256:0\n")
    done = set_up("pass", tmp_path)
    assert done.returncode == 1
    assert "error: no route" in done.stderr
    assert "next: check network, mirror and disk, then make again" in done.stderr.splitlines()[-1]
    assert not (tmp_path / "env" / ".ready").exists()


@pytest.mark.parametrize("mark", [".ready", ".ready-dev"])
def test_environment_that_is_ready_is_not_made_again(mark: str) -> None:
    venv = os.path.relpath(sys.prefix, PROJECT)
    if not (PROJECT / venv / mark).exists():
        pytest.skip("this environment was not made by make; make course and make test do it")
    asked = subprocess.run(["make", f"VENV={venv}", "--question", f"{venv}/{mark}"], cwd=PROJECT, timeout=60)
    assert asked.returncode == 0, "locks or pyproject.toml are newer than the environment; next: make test"


def test_nothing_tracked_is_large_or_names_this_machine() -> None:
    if not (PROJECT / ".git").exists():
        pytest.skip("not a checkout: what is tracked is not known")
    done = subprocess.run(["git", "ls-files"], cwd=PROJECT, capture_output=True, text=True, check=True, timeout=30)
    place = f"{PROJECT}/"
    for path in (PROJECT / line for line in done.stdout.splitlines()):
        if path.is_file():
            assert path.stat().st_size < 800_000, f"{path} is large"
            if path.name != "Dockerfile":  # inside the lab image, its folder is the place
                assert place not in path.read_text(encoding="utf-8", errors="ignore"), f"{path} names {place}"
