"""The files beside the code: derived ones in step, links alive, set-up that says what is missing."""

import json
import os
import re
import runpy
import shutil
import stat
import subprocess
import sys
import tomllib
from importlib.metadata import requires, version
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

PROJECT = Path(__file__).resolve().parent.parent
FIXED = {"jupyterlab", "papermill", "nbval", "scikit-learn", "pandas", "docker", "mlflow", "ipywidgets"}


def locked() -> dict[str, set[str]]:
    """Versions by package; a package may stand there twice, with markers."""
    found: dict[str, set[str]] = {}
    for name, pinned in re.findall(r"^([a-z0-9.-]+)==([^ ;\\]+)", (PROJECT / "requirements.lock").read_text(), re.M):
        found.setdefault(name, set()).add(pinned)
    return found


def tracked() -> list[Path]:
    if not (PROJECT / ".git").exists():
        pytest.skip("not a checkout: what is tracked is not known")
    done = subprocess.run(["git", "ls-files"], cwd=PROJECT, capture_output=True, text=True, check=True, timeout=30)
    return [PROJECT / line for line in done.stdout.splitlines() if (PROJECT / line).exists()]


def test_the_lock_satisfies_what_the_project_asks_for() -> None:
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    asked = [Requirement(line) for line in project["dependencies"] + project["optional-dependencies"]["dev"]]
    pins = locked()
    assert {one.name for one in asked} >= FIXED
    for requirement in asked:
        assert requirement.name in pins, f"{requirement.name} is not in requirements.lock; next: make lock"
        for pinned in pins[requirement.name]:
            assert requirement.specifier.contains(pinned), f"{requirement} against {pinned}; next: make lock"


def test_every_locked_package_has_a_hash_and_none_an_address() -> None:
    text = (PROJECT / "requirements.lock").read_text()
    for block in re.split(r"\n(?=[a-z])", text.strip()):
        assert "--hash=sha256:" in block, block.splitlines()[0]
    assert "://" not in text
    assert "--index" not in text


def test_what_is_installed_is_what_is_locked() -> None:
    pins = locked()
    for line in requires("mlops-helpers") or []:
        name = Requirement(line).name
        assert version(name) in pins[name], f"{name} {version(name)} is installed; next: make setup"


def test_conda_and_binder_environments_are_in_step_with_each_other_and_the_lock() -> None:
    top, binder = (yaml.safe_load((PROJECT / name / "environment.yml").read_text()) for name in (".", "binder"))
    for environment, lock in ((top, "requirements.lock"), (binder, "../requirements.lock")):
        *conda, pip = environment["dependencies"]
        assert conda == ["python=3.11", "pip"]
        assert pip == {"pip": [f"-r {lock}"]}
    assert {**top, "dependencies": 0} == {**binder, "dependencies": 0}
    assert (PROJECT / "binder" / "../requirements.lock").resolve() == PROJECT / "requirements.lock"
    for script in ("postBuild", "start"):
        assert (PROJECT / "binder" / script).stat().st_mode & stat.S_IXUSR
        assert subprocess.run(["bash", "-n", PROJECT / "binder" / script], timeout=30).returncode == 0
    minimum = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]["requires-python"]
    assert minimum == ">=3.11"


def test_workflows_run_what_ci_runs() -> None:
    github = yaml.safe_load((PROJECT / ".github/workflows/ci.yml").read_text())
    gitlab = yaml.safe_load((PROJECT / ".gitlab-ci.yml").read_text())
    assert "bash .ci/run" in [step.get("run") for step in github["jobs"]["test"]["steps"]]
    assert gitlab["test"]["script"] == ["bash .ci/run"]
    assert subprocess.run(["bash", "-n", PROJECT / ".ci/run"], timeout=30).returncode == 0


def test_the_lab_image_is_portable_and_not_root() -> None:
    lines = (PROJECT / "Dockerfile").read_text().splitlines()
    assert "ARG BASE_IMAGE=python:3.11-slim" in lines
    users = [line.split()[1] for line in lines if line.startswith("USER ")]
    assert users and users[-1] not in {"root", "0"}
    assert "--mount" not in "\n".join(lines), "older engines build without BuildKit"
    assert "token=''" not in "\n".join(lines)


def test_links_between_documents_and_notebooks_lead_somewhere() -> None:
    notebooks = sorted((PROJECT / "notebooks").rglob("*.ipynb"))
    assert notebooks
    texts = {path: path.read_text() for path in [PROJECT / "README.md", *(PROJECT / "labs").glob("*.md")]}
    for path in notebooks:
        cells = json.loads(path.read_text())["cells"]
        texts[path] = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    for path, text in texts.items():
        for target in re.findall(r"\]\(([^)#][^)]*)\)", text):
            if "://" not in target:
                assert (path.parent / target.partition("#")[0]).exists(), f"{path.name} links to {target}"


def test_the_readme_lists_every_chapter() -> None:
    readme = (PROJECT / "README.md").read_text()
    for path in (PROJECT / "notebooks").glob("[0-9]*.ipynb"):
        assert f"(notebooks/{path.name})" in readme


def test_nothing_tracked_is_large_or_names_this_machine() -> None:
    place = str(PROJECT) + "/"
    for path in tracked():
        assert path.stat().st_size < 800_000, f"{path} is large"
        if path.name != "Dockerfile":  # inside the lab image, its folder is the place
            assert place not in path.read_text(encoding="utf-8", errors="ignore"), f"{path} names {place}"


def run_setup(prelude: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    run = "sys.argv = ['setup.py', 'env']; runpy.run_path('.ci/setup.py', run_name='__main__')"
    code = f"import runpy, sys; {prelude}; {run}"
    return subprocess.run([sys.executable, "-c", code], cwd=cwd, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize(
    ("prelude", "said"),
    [
        ("sys.version_info = (3, 9, 2)", "needed is 3.11 or newer; next: "),
        ("sys.modules['ensurepip'] = None", "has no module ensurepip; next: apt-get install python3."),
        ("sys.modules['venv'] = None", "has no module venv; next: apt-get install python3."),
    ],
)
def test_set_up_says_in_one_line_what_is_missing_and_what_mends_it(prelude: str, said: str, tmp_path: Path) -> None:
    (tmp_path / ".ci").mkdir()
    shutil.copy(PROJECT / ".ci" / "setup.py", tmp_path / ".ci")
    done = run_setup(prelude, tmp_path)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert said in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == [".ci"]


def test_set_up_takes_uv_from_the_lock(tmp_path: Path) -> None:
    setup = runpy.run_path(str(PROJECT / ".ci" / "setup.py"))
    text = setup["uv_requirement"](tmp_path).read_text()
    assert text.startswith("uv==")
    assert text.count("--hash=sha256:") > 5
    assert text.count("==") == 1


def test_a_second_make_sets_up_nothing() -> None:
    if not (PROJECT / ".venv" / ".ready").exists():
        pytest.skip("this environment was not made by make; make course and make test do it")
    done = subprocess.run(["make", "setup"], cwd=PROJECT, capture_output=True, text=True, timeout=60, env=os.environ)
    assert "Nothing to be done" in done.stdout or not done.stdout.strip(), done.stdout
