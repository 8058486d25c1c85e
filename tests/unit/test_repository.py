"""The files beside the code: locks in step with pyproject.toml and each other, links alive."""

import json
import re
import runpy
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

PROJECT = Path(__file__).resolve().parents[2]
COURSE, DEV = "requirements.lock", "requirements-dev.lock"
FIXED = {"jupyterlab", "papermill", "nbval", "scikit-learn", "pandas", "docker", "mlflow", "ipywidgets"}
SETTINGS = tomllib.loads((PROJECT / "pyproject.toml").read_text())
DEPENDENCIES = [Requirement(line) for line in SETTINGS["project"]["dependencies"]]
GROUPS = {
    name: [Requirement(line) for line in requirements] for name, requirements in SETTINGS["dependency-groups"].items()
}


def locked(lock: str) -> dict[str, set[str]]:
    """Versions by package; a package may stand there twice, with markers."""
    versions: dict[str, set[str]] = {}
    for name, pinned in re.findall(r"^([a-z0-9.-]+)==([^ ;\\]+)", (PROJECT / lock).read_text(), re.M):
        versions.setdefault(name, set()).add(pinned)
    return versions


@pytest.mark.parametrize(
    ("lock", "requirements"), [(COURSE, DEPENDENCIES + GROUPS["setup"]), (DEV, GROUPS["dev"])], ids=[COURSE, DEV]
)
def test_lock_satisfies_pyproject_by_hash_and_names_no_host(lock: str, requirements: list[Requirement]) -> None:
    pins, text = locked(lock), (PROJECT / lock).read_text()
    for requirement in requirements:
        assert requirement.name in pins, f"{requirement.name} is not in {lock}; next: make lock"
        for pinned in pins[requirement.name]:
            assert requirement.specifier.contains(pinned), f"{requirement} against {pinned}; next: make lock"
    for block in re.split(r"\n(?=[a-z])", text.strip()):
        assert "--hash=sha256:" in block, block.splitlines()[0]
    assert "://" not in text
    assert "--index" not in text


def test_locks_agree_and_students_get_no_package_of_contributors() -> None:
    course, dev = locked(COURSE), locked(DEV)
    assert {requirement.name for requirement in DEPENDENCIES} >= FIXED
    assert {name: course[name] for name in dev if name in course} == {name: dev[name] for name in dev if name in course}
    # nbval needs pytest, nbconvert needs Beautiful Soup
    assert {requirement.name for requirement in GROUPS["dev"]} & set(course) == {"beautifulsoup4", "pytest"}


def test_installed_versions_are_the_locked_ones() -> None:
    pins = locked(COURSE) | locked(DEV)
    for requirement in DEPENDENCIES + GROUPS["dev"]:
        if requirement.marker is None or requirement.marker.evaluate():
            name = requirement.name
            assert version(name) in pins[name], f"{name} {version(name)} is installed; next: make test"


def test_conda_and_binder_install_the_lock_of_the_course() -> None:
    top, binder = (yaml.safe_load((PROJECT / name / "environment.yml").read_text()) for name in (".", "binder"))
    assert top["dependencies"].pop() == {"pip": [f"-r {COURSE}"]}
    assert binder["dependencies"].pop() == {"pip": [f"-r ../{COURSE}"]}
    assert top == binder
    oldest = SETTINGS["project"]["requires-python"].removeprefix(">=")
    assert f"python={oldest}" in top["dependencies"]


def test_set_up_takes_uv_from_the_lock(tmp_path: Path) -> None:
    setup = runpy.run_path(str(PROJECT / ".ci" / "setup.py"))
    text = setup["uv_requirement"](tmp_path).read_text()
    assert text.startswith("uv==")
    assert text.count("--hash=sha256:") > 5
    assert text.count("==") == 1


def test_links_between_documents_and_notebooks_lead_somewhere() -> None:
    places = [PROJECT / "notebooks" / name for name in ("", "runbooks", "drills", "labs")]
    notebooks = [path for place in places for path in place.glob("*.ipynb")]
    documents = [path for place in (PROJECT, PROJECT / "labs", *places) for path in place.glob("*.md")]
    texts = {path: path.read_text() for path in documents}
    for path in notebooks:
        cells = json.loads(path.read_text())["cells"]
        texts[path] = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    for path, text in texts.items():
        for target in re.findall(r"\]\(([^)#][^)]*)\)", text):
            if "://" not in target:
                assert (path.parent / target.partition("#")[0]).exists(), f"{path.name} links to {target}"
    readme = texts[PROJECT / "README.md"]
    chapters = list((PROJECT / "notebooks").glob("[0-9]*.ipynb"))
    assert chapters
    assert all(f"(notebooks/{path.name})" in readme for path in chapters)
