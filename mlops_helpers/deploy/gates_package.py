"""The gate that makes what ships: model, text utility, packages, configuration and migrations, as one sealed bundle."""

import json
import shutil
from collections.abc import Mapping
from typing import Any

from mlops_helpers.deploy import bundle
from mlops_helpers.deploy.gates import Job
from mlops_helpers.deploy.gates_model import SCORES
from mlops_helpers.deploy.release_settings import ServiceSettings, read
from mlops_helpers.deploy.team_code import UTILITY, run_python, stage_utility
from mlops_helpers.errors import GateRefused, PipelineError

__all__ = ["package"]

_PROBES = 100  # of the test comments: enough to see that scores shift, few enough to ask at every start


def package(job: Job) -> Mapping[str, Any]:
    """Make the bundle, and refuse one whose text utility cannot be imported with what the bundle has."""
    settings = read(ServiceSettings, job.source)
    app = job.output / "app"
    try:
        stage_utility(job.source, settings.text_utility, settings.files, settings.requirements, app)
        # -S: what happens to be installed here is not part of the bundle
        run_python(["-S", "-c", f"import {UTILITY}"], path=[app], folder=app, environment=settings.environment)
    except PipelineError as error:
        raise GateRefused(f"the text utility does not work as it ships: {error}") from error
    shutil.copytree(job.needs["train"] / "artifact", job.output / "artifact")
    shutil.copyfile(job.source / "service.toml", job.output / "service.toml")
    (job.output / "migrations").mkdir()
    for path in sorted((job.source / "migrations").glob("*.sql")):
        shutil.copyfile(path, job.output / "migrations" / path.name)
    judged = json.loads((job.needs["train"] / SCORES).read_text("utf-8"))
    probes = {name: judged[name][:_PROBES] for name in ("texts", "scores")}
    (job.output / "probes.json").write_text(json.dumps(probes), encoding="utf-8")
    made = bundle.seal(job.output)
    job.say(f"bundle {made.sha256}")
    return {"bundle": made.sha256, "version": made.version}
