"""Running a lab's checks: pytest in the grader's process, with the student's work as a fixture.

Nothing of the checks goes to the student but the messages of their assertions: pytest's rewriting of assertions, which
would show what is compared, is off.
"""

import importlib.util
import os
import random
import sys
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

from mlops_helpers.errors import NotebookError
from mlops_helpers.teach.grading_checks import Student
from mlops_helpers.teach.grading_results import CheckResult, Status
from mlops_helpers.teach.grading_sandbox import SandboxLost
from mlops_helpers.teach.labs import Lab

__all__ = ["Checks"]

_MODULE = "opslab_lab_checks"
_LONGEST = 1000  # characters of a message
_WITHOUT = (
    "cacheprovider debugging doctest faulthandler junitxml legacypath logging nose pastebin recwarn reports setuponly "
    "setupplan stepwise terminal threadexception unittest unraisableexception warnings"
)


class Checks:
    """The checks of one lab, loaded once.

    Raises ``NotebookError`` when they cannot be loaded, or there are none.
    """

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self._module = _load(lab)
        skipped = self.without_work("")
        if not skipped:
            raise NotebookError(f"{lab.checks} has no check: accepted are functions test_... marked by worth")

    def without_work(self, reason: str, only: Sequence[str] = ()) -> tuple[CheckResult, ...]:
        """Return all checks as skipped."""
        return self._run(_Plugin(self._lab, self._module, only, None, "", reason))

    def judge(self, work: Callable[[], Student], secret: str, only: Sequence[str] = ()) -> tuple[CheckResult, ...]:
        """Run the checks (of the questions ``only``, if given) on the work; ``secret`` seeds their inputs.

        Raises ``SandboxLost`` when the sandbox, not the work, is to blame.
        """
        return self._run(_Plugin(self._lab, self._module, only, work, secret, ""))

    def _run(self, plugin: "_Plugin") -> tuple[CheckResult, ...]:
        import pytest

        arguments = [str(self._lab.checks), "-c", os.devnull, f"--rootdir={self._lab.folder}", "--noconftest"]
        arguments += [f"--confcutdir={self._lab.folder}"]  # else it lists every folder above
        arguments += ["--assert=plain", "--capture=no", "-o", "addopts="]
        arguments += [word for name in _WITHOUT.split() for word in ("-p", f"no:{name}")]
        others = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTEST_ADDOPTS": "", "PYTEST_PLUGINS": ""}
        before = {name: os.environ.get(name) for name in (*others, "PYTEST_CURRENT_TEST")}
        os.environ |= others
        try:
            status = pytest.main(arguments, plugins=[plugin])
        finally:
            for name, value in before.items():
                os.environ.pop(name, None)
                if value is not None:
                    os.environ[name] = value
        if plugin.lost is not None:
            raise plugin.lost
        if status == pytest.ExitCode.INTERRUPTED:
            raise KeyboardInterrupt
        if status not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED, pytest.ExitCode.NO_TESTS_COLLECTED):
            raise NotebookError(f"{self._lab.checks}: pytest could not run it: {plugin.trouble or status!r}")
        return tuple(plugin.results.values())


def _load(lab: Lab) -> ModuleType:
    spec = importlib.util.spec_from_file_location(_MODULE, lab.checks)
    if spec is None or spec.loader is None or not lab.checks.is_file():
        raise NotebookError(f"{lab.folder} has no checks.py: nothing can be graded. Next: opslab labs list")
    module = sys.modules[_MODULE] = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise NotebookError(f"{lab.checks} cannot be loaded: {type(error).__name__}: {error}") from error
    return module


class _Plugin:
    """What this grader adds to pytest: the module, the fixtures, and the results."""

    def __init__(
        self,
        lab: Lab,
        module: ModuleType,
        only: Sequence[str],
        work: Callable[[], Student] | None,
        secret: str,
        reason: str,
    ) -> None:
        self.results: dict[str, CheckResult] = {}
        self.lost: SandboxLost | None = None
        self.trouble = ""
        self._lab, self._module, self._only = lab, module, only
        self._work, self._secret, self._reason = work, secret, reason

    def pytest_configure(self, config: Any) -> None:
        config.pluginmanager.register(_fixtures(self._lab, self._work, self._secret))

    def pytest_pycollect_makemodule(self, module_path: Any, parent: Any) -> Any:
        import pytest

        loaded = self._module

        class Loaded(pytest.Module):
            def _getobj(self) -> ModuleType:
                return loaded

        return Loaded.from_parent(parent, path=module_path)

    def pytest_collectreport(self, report: Any) -> None:
        if report.failed:
            self.trouble = str(report.longrepr)[-_LONGEST:]

    def pytest_collection_modifyitems(self, items: list[Any]) -> None:
        if self._only:
            items[:] = [item for item in items if _worth(item)[0] in self._only]

    def pytest_runtest_protocol(self, item: Any) -> Any:
        if self._work is None or self.lost is not None:
            self._note(item, "skipped", self._reason)
            return True
        return None

    def pytest_runtest_makereport(self, item: Any, call: Any) -> None:
        if call.excinfo is None:
            if call.when == "call":
                self._note(item, "passed", "")
        else:
            self._failed(item, call.excinfo.value)

    def _failed(self, item: Any, error: BaseException) -> None:
        import pytest

        if isinstance(error, SandboxLost):
            self.lost = error
        elif isinstance(error, pytest.skip.Exception):
            self._note(item, "skipped", str(error))
        elif isinstance(error, AssertionError | pytest.fail.Exception):
            self._note(item, "failed", str(error) or "The check was not met.")
        else:
            said = f"{type(error).__name__}: {error}"
            self._note(item, "error", f"The check itself is at fault, which your instructor sees ({said})")

    def _note(self, item: Any, status: Status, message: str) -> None:
        question, points, hint = _worth(item)
        message = message.encode("utf-8", "replace").decode()
        message = message if len(message) <= _LONGEST else message[:_LONGEST] + "..."
        earned = points if status == "passed" else 0.0
        self.results[item.nodeid] = CheckResult(item.name, question, points, earned, status, message, hint)


def _fixtures(lab: Lab, work: Callable[[], Student] | None, secret: str) -> ModuleType:
    import pytest

    # Of the session, so that checks with Hypothesis can have it: it refuses fixtures that are made for each test.
    @pytest.fixture(scope="session")
    def student() -> Student:
        assert work is not None
        return work()

    @pytest.fixture
    def rng(request: pytest.FixtureRequest) -> random.Random:
        return random.Random(f"{secret}:{request.node.name}")

    holder = ModuleType("opslab_lab_fixtures")  # fixtures of the session may not be methods
    vars(holder).update(student=student, rng=rng, lab=pytest.fixture(scope="session", name="lab")(lambda: lab))
    return holder


def _worth(item: Any) -> tuple[str, float, str]:
    worth: tuple[str, float, str] = getattr(item.function, "worth", ("", 0.0, ""))
    return worth
