"""What all tests share. The folder says what a test may need: ``unit`` nothing, ``live`` processes, ``engines`` more.

``tests/engines/NAME/`` holds the tests of the engine NAME; they are skipped where it is missing, and fail there when
``OPSLAB_REQUIRE`` (comma-separated) names it. The end of a run names what is missing and how to get it.
"""

import os
import signal
from pathlib import Path

import hypothesis
import pytest

from tests.support import leaks
from tests.support.engines import ENGINES, chromium_path

TESTS = Path(__file__).resolve().parent
REQUIRED = {name for name in os.environ.get("OPSLAB_REQUIRE", "").split(",") if name}
# one variety on every change, all of them each night: OPSLAB_SEEDS=all, or one: OPSLAB_SEEDS=7
_CHOSEN = os.environ.get("OPSLAB_SEEDS", "0")
SEEDS = list(range(10)) if _CHOSEN == "all" else [int(_CHOSEN)]
_left_running: list[str] = []

hypothesis.settings.register_profile("fixed", derandomize=True, deadline=None)
hypothesis.settings.register_profile("any", deadline=None, print_blob=True)
hypothesis.settings.load_profile("any" if _CHOSEN == "all" else "fixed")


def tier_and_engine(path: Path) -> tuple[str, str]:
    """Return the tier of a test file (unit, live, engines) and the engine that its folder names, or none."""
    parts = path.relative_to(TESTS).parts
    return parts[0], parts[1] if parts[0] == "engines" and len(parts) > 2 else ""


def pytest_configure(config: pytest.Config) -> None:
    # a script's background jobs ignore it, and so would all that the tests start and interrupt
    signal.signal(signal.SIGINT, signal.default_int_handler)
    leaks.mark_this_process()
    config.addinivalue_line("markers", "engine(name): needs one more engine than its folder says")
    unknown = REQUIRED - set(ENGINES)
    if unknown:
        raise pytest.UsageError(f"OPSLAB_REQUIRE names {', '.join(sorted(unknown))}; there are: {', '.join(ENGINES)}")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark each test with the engine of its folder."""
    for item in items:
        if engine := tier_and_engine(item.path)[1]:
            item.add_marker(pytest.mark.engine(engine))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log):
    """With ``--dist=loadgroup``, keep a file's tests on one worker, as they share fixtures; docker's are one group.

    The marks of xdist 3.8 do nothing with pytest 9.2, which has other node ids than xdist writes the groups into.
    """
    if config.getvalue("dist") != "loadgroup":
        return None
    from xdist.scheduler import LoadScopeScheduling

    class ByFile(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            path = nodeid.partition("::")[0]
            return "docker" if tier_and_engine(TESTS.parent / path)[1] in {"docker", "swarm"} else path

    return ByFile(config, log)


def pytest_runtest_setup(item: pytest.Item) -> None:
    for marker in item.iter_markers("engine"):
        name = marker.args[0]
        if not ENGINES[name].works():
            message = f"engine {name} is not here; to get it: {ENGINES[name].remedy}"
            if name in REQUIRED:
                pytest.fail(message, pytrace=False)
            pytest.skip(message)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node) -> None:
    _left_running.extend(getattr(node, "workeroutput", {}).get("left_running", []))


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail the run when a process that its tests started is still there at its end."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["left_running"] = leaks.left_over(set())
    elif not session.config.getoption("numprocesses", None):
        _left_running.extend(leaks.left_over(set()))
    if _left_running:
        print(f"\nleft running by the tests: {'; '.join(_left_running)}", flush=True)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for name, engine in ENGINES.items():
        state = "found" if engine.works() else f"NOT FOUND, its tests did not run; to get it: {engine.remedy}"
        terminalreporter.write_line(f"engine {name}: {state}")


@pytest.fixture(autouse=True)
def workspace_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give every test a workspace of its own."""
    folder = tmp_path / "workspace"
    monkeypatch.setenv("OPSLAB_WORKSPACE", str(folder))
    return folder


@pytest.fixture(params=SEEDS, ids=lambda seed: f"seed{seed}")
def seed(request: pytest.FixtureRequest) -> int:
    """A seed for what may vary: one value on every change, ten each night (``make nightly``)."""
    return request.param


@pytest.fixture(scope="session")
def comments():
    """1,000 clean simulated comments; not to be changed in place."""
    from mlops_helpers.model import data

    return data.load("simulated", n_comments=1000, seed=5)


@pytest.fixture(scope="session")
def model(comments):
    """A model trained on all of ``comments``."""
    from mlops_helpers.model import training

    return training.train(comments.frame, comments.sha256)


@pytest.fixture(scope="session")
def artifact(model, tmp_path_factory):
    """The exported artifact of ``model``; not to be changed."""
    from mlops_helpers.model import artifact

    return artifact.export(model, tmp_path_factory.mktemp("artifact") / "v1")


@pytest.fixture(scope="module")
def browser():
    """A browser without a window."""
    from playwright.sync_api import sync_playwright

    flags = "no-sandbox disable-gpu disable-background-networking disable-component-update disable-sync no-first-run"
    with leaks.shared(Path("chrom")), sync_playwright() as playwright:  # it replaces processes between two tests
        arguments = [f"--{flag}" for flag in flags.split()]
        browser = playwright.chromium.launch(executable_path=chromium_path(), args=arguments)
        yield browser
        browser.close()
