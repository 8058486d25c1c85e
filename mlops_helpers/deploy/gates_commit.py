"""Gates that look at a commit alone: are its settings what somebody can mean, do its tests pass."""

from collections.abc import Mapping
from typing import Any

from mlops_helpers.deploy.gates import Job
from mlops_helpers.deploy.release_settings import FILES, TrainingSettings, read
from mlops_helpers.deploy.team_code import install, newest, run_python, unpack
from mlops_helpers.errors import GateRefused, ParameterError, PipelineError

__all__ = ["configuration", "unit_tests"]

_PYTEST = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", "pytest.ini", "--tb=short", "--color=no", "tests"]


def configuration(job: Job) -> Mapping[str, Any]:
    """Refuse a setting whose name nobody knows, or whose value is not accepted."""
    wrong = []
    for name, settings in FILES.items():
        try:
            job.say(f"{name}: {read(settings, job.source, strict=True)}")
        except ParameterError as error:
            wrong.append(str(error))
    if wrong:
        raise GateRefused(f"{'; '.join(wrong)}. Next: correct the settings")
    return {"files": sorted(FILES)}


def unit_tests(job: Job) -> Mapping[str, Any]:
    """Refuse a commit whose tests fail on a machine that has its requirements, and of every other package the newest.

    Such are developers' machines: what is not required is there all the same.
    """
    machine, packages = job.scratch / "machine", job.source / "packages"
    for wheel in newest(packages).values():
        unpack(wheel, machine)
    requirements = job.source / read(TrainingSettings, job.source).requirements
    (job.source / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")  # not one of a folder above
    plugins = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTEST_ADDOPTS": ""}
    try:
        install(requirements, packages, machine)
        said = run_python(_PYTEST, path=[job.source, machine], folder=job.source, environment=plugins)
    except PipelineError as error:
        job.say(str(error))
        raise GateRefused(f"the unit tests fail:\n{error}") from error
    job.say(said)
    return {"tests": said.strip().splitlines()[-1].partition(" in ")[0]}
