"""``make lab``, as a student comes in: chapter 00 first, links to the labs work, and the commands are found."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.support.waiting import until

PROJECT = Path(__file__).resolve().parents[3]
COMMANDS = Path(sys.prefix) / "bin"
SECONDS = 60


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[tuple[psutil.Process, str]]:
    """The process of ``make lab`` and the address that it prints, for somebody without settings; it saves nothing."""
    settings = tmp_path / ".jupyter/lab/user-settings/@jupyterlab/docmanager-extension"
    settings.mkdir(parents=True)
    (settings / "plugin.jupyterlab-settings").write_text('{"autosave": false}')
    path = [part for part in os.environ["PATH"].split(os.pathsep) if Path(part) != COMMANDS]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("JUPYTER", "XDG"))}
    environment |= {"HOME": str(tmp_path), "SHELL": shutil.which("bash") or "/bin/sh", "PATH": os.pathsep.join(path)}
    environment |= {"JUPYTER_PORT": "0", "BROWSER": "true"}
    venv, log = os.path.relpath(sys.prefix, PROJECT), tmp_path / "lab.log"
    command = ["make", f"--old-file={venv}/.ready", f"VENV={venv}", "lab"]
    with log.open("w") as output:
        make = psutil.Popen(command, cwd=PROJECT, env=environment, stdout=output, stderr=subprocess.STDOUT)
    try:
        address = until(lambda: re.search(r"http://127\.0\.0\.1\S+token=\w+|Error \d", log.read_text()), "address")
        assert address.group().startswith("http"), log.read_text()
        yield make, address.group()
    finally:
        family = [*make.children(recursive=True), make]
        for process in family:
            process.terminate()
        for process in psutil.wait_procs(family, timeout=SECONDS)[1]:
            process.kill()


def kernels(make: psutil.Process) -> list[psutil.Process]:
    return [child for child in make.children(recursive=True) if "ipykernel_launcher" in " ".join(child.cmdline())]


def test_make_lab_opens_chapter_00_follows_links_and_finds_the_commands(lab, browser, tmp_path: Path) -> None:
    make, address = lab
    page = browser.new_page()
    page.set_default_timeout(SECONDS * 1000)
    try:
        page.goto(address)
        page.get_by_role("heading", name=re.compile("^00")).first.wait_for()
        assert "notebooks/00_start_here.ipynb" in page.url
        assert page.locator(".Toastify__toast, .jp-Dialog").all_inner_texts() == []
        (kernel, *_) = until(lambda: kernels(make), "a kernel")
        assert kernel.environ()["PATH"].split(os.pathsep)[0] == str(COMMANDS)

        page.goto(address.replace("notebooks/00_start_here.ipynb", "labs/README.md"))
        page.locator(".jp-MarkdownViewer").get_by_role("link", name="quality", exact=True).click()
        page.get_by_role("tab", name="quality.ipynb").wait_for()

        page.get_by_role("menuitem", name="File").click()
        page.get_by_text("New", exact=True).first.hover()
        page.get_by_role("menuitem", name="Terminal").click()
        page.locator(".jp-Terminal .xterm-screen").click()
        paths = tmp_path / "paths"
        page.keyboard.type(f"command -v opslab ansible >{paths}; echo done >>{paths}\n")
        lines = until(lambda: paths.exists() and "done" in paths.read_text() and paths.read_text().split(), "an answer")
        assert lines == [str(COMMANDS / "opslab"), str(COMMANDS / "ansible"), "done"]
    finally:
        page.close()
