"""The model registry: MLflow on a local SQLite store, with what it takes to trust a version later.

A registered version carries, as tags, the hash of its data, of its code, of its artifact and of its pickled pipeline;
its run carries parameters, metrics and the artifact itself. Aliases say which version serves: ``champion``, and
``challenger`` for the one that would like to.
"""

import hashlib
import logging
import os
import pickle
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pandas as pd

from mlops_helpers.errors import RegistryError, TamperedArtifactError
from mlops_helpers.model import artifact as artifacts
from mlops_helpers.model.provenance import git_commit, pinned_requirements
from mlops_helpers.workspace import atomic_file, cache, workspace, writable_folder

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from sklearn.pipeline import Pipeline

    from mlops_helpers.model.evaluation import Evaluation
    from mlops_helpers.model.training import TrainedModel

__all__ = ["MODEL_NAME", "Registry", "Version"]

MODEL_NAME = "spam-filter"
_PICKLE = "model.pkl"


def _sqlite(path: Path) -> str:
    return f"sqlite:///{quote(str(path))}"  # unquoted, a % in the path would be read as an escape


@dataclass(frozen=True)
class Version:
    """A registered version: its number, the aliases that point to it, its hashes (``tags``) and metrics."""

    number: int
    aliases: tuple[str, ...]
    run_id: str
    tags: dict[str, str]
    metrics: dict[str, float]

    @property
    def artifact_sha256(self) -> str:
        """Hash of the artifact that this version stands for."""
        return self.tags["artifact_sha256"]


class Registry:
    """Versions of one registered model in a folder (by default ``registry`` in the workspace), made if missing."""

    def __init__(self, folder: Path | None = None, name: str = MODEL_NAME) -> None:
        self.folder = folder or workspace("registry")
        self.name = name
        self.uri = _sqlite(self.folder / "mlflow.db")
        self._prepare()
        self.client: MlflowClient = self._mlflow().MlflowClient(self.uri, self.uri)

    @staticmethod
    def _mlflow() -> Any:
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # read when mlflow is imported
        import mlflow
        import mlflow.sklearn
        import mlflow.store.model_registry.sqlalchemy_store  # the first client of a local store loads these two;
        import mlflow.store.tracking.sqlalchemy_store  # named here, they are seen by what loads libraries ahead

        return mlflow

    def _prepare(self) -> None:
        """Put an empty, migrated database there: MLflow's migrations take seconds, a copy of their result none."""
        database = self.folder / "mlflow.db"
        if database.exists():
            return
        template = cache("mlflow") / f"empty-{version('mlflow')}.db"
        if not template.exists():
            mlflow = self._mlflow()
            with atomic_file(template) as fresh, _quiet("mlflow.store.db.utils"):
                mlflow.MlflowClient(_sqlite(fresh)).search_experiments(max_results=1)
        folder = writable_folder(self.folder, "Registry(FOLDER)")
        with tempfile.TemporaryDirectory(prefix=".fresh-", dir=folder) as scratch:
            with atomic_file(Path(scratch) / "mlflow.db") as fresh:
                shutil.copyfile(template, fresh)
            with suppress(FileExistsError):  # never replaced: another process may have opened its own meanwhile
                os.link(Path(scratch) / "mlflow.db", database)

    def register(self, model: "TrainedModel", evaluation: "Evaluation", **tags: str) -> Version:
        """Log a model with its evaluation as a run and register it as a new version.

        ``tags`` are added to the run. The version is made last, so that an interrupted registration leaves none.

        Raises ``ArtifactError`` when the model cannot be exported, ``RegistryError`` when MLflow cannot store it.
        """
        mlflow = self._mlflow()
        from mlflow.models import ModelSignature
        from mlflow.types import ColSpec, Schema

        hashes = {
            "data_sha256": model.data_sha256,
            "code_version": model.code_version,
            "git_commit": git_commit(),
            "threshold": repr(model.threshold),
        }
        with tempfile.TemporaryDirectory(dir=self.folder) as scratch, _tracking(mlflow, self.uri):
            exported = artifacts.export(model, Path(scratch) / "artifact")
            experiment = self.client.get_experiment_by_name(self.name)
            experiment_id = (
                experiment.experiment_id
                if experiment
                else self.client.create_experiment(self.name, artifact_location=(self.folder / "runs").as_uri())
            )
            with mlflow.start_run(experiment_id=experiment_id, tags=tags | hashes) as run:
                mlflow.log_params({**model.hyperparameters, "threshold": model.threshold})
                mlflow.log_metrics({name: estimate.value for name, estimate in evaluation.estimates().items()})
                mlflow.log_artifacts(str(exported.folder), "artifact")
                with _quiet("mlflow"):  # it warns of pickle, which is why pipeline() checks the hash
                    logged = mlflow.sklearn.log_model(
                        model.pipeline,
                        name="pipeline",
                        serialization_format="pickle",
                        pip_requirements=pinned_requirements(),
                        signature=ModelSignature(Schema([ColSpec("string", "text")]), Schema([ColSpec("long")])),
                    )
            files = Path(mlflow.artifacts.download_artifacts(logged.model_uri))
            hashes |= {
                "artifact_sha256": exported.sha256,
                "pipeline_sha256": hashlib.sha256((files / _PICKLE).read_bytes()).hexdigest(),
            }
            if not self.client.search_registered_models(f"name = '{self.name}'"):
                self.client.create_registered_model(self.name)
            made = self.client.create_model_version(
                self.name, logged.model_uri, run.info.run_id, tags=hashes, model_id=logged.model_id
            )
        return self.get(int(made.version))

    def get(self, which: int | str) -> Version:
        """Return a version by number or alias. Raises ``RegistryError`` naming what there is."""
        from mlflow.exceptions import MlflowException

        try:
            if isinstance(which, int):
                found = self.client.get_model_version(self.name, str(which))
            else:
                found = self.client.get_model_version_by_alias(self.name, which)
        except MlflowException as error:
            raise RegistryError(f"no version {which!r} of {self.name} in {self.folder}. {self._inventory()}") from error
        run_id = str(found.run_id)
        metrics = self.client.get_run(run_id).data.metrics
        return Version(int(found.version), tuple(sorted(found.aliases)), run_id, dict(found.tags), dict(metrics))

    def _inventory(self) -> str:
        known = self.client.search_model_versions(f"name = '{self.name}'")
        if not known:
            return "There is none yet. Next: Registry().register(model, evaluation), as chapter 02 does"
        aliases = ", ".join(sorted(self.client.get_registered_model(self.name).aliases))
        return f"Versions: {len(known)}; aliases: {aliases or 'none'}"

    def set_alias(self, alias: str, which: int | str) -> Version:
        """Let ``alias`` point to a version; the one it pointed to is kept as ``previous-ALIAS`` for a rollback."""
        target = self.get(which)
        holder = self.client.get_registered_model(self.name).aliases.get(alias)
        if holder is not None and int(holder) != target.number:
            self.client.set_registered_model_alias(self.name, f"previous-{alias}", holder)
        self.client.set_registered_model_alias(self.name, alias, str(target.number))
        return self.get(target.number)

    def roll_back(self, alias: str = "champion") -> Version:
        """Let ``alias`` point to the version before the last :meth:`set_alias`, once.

        Raises ``RegistryError`` when there is none, or when the version's artifact is not whole: then nothing changes.
        """
        previous = self.get(f"previous-{alias}")
        self.artifact(previous.number)
        self.client.set_registered_model_alias(self.name, alias, str(previous.number))
        self.client.delete_registered_model_alias(self.name, f"previous-{alias}")
        return self.get(previous.number)

    def artifact(self, which: int | str) -> artifacts.Artifact:
        """Return a version's artifact, verified against the hash that was registered with it."""
        found = self.get(which)
        run = self.client.get_run(found.run_id)
        folder = Path(self._mlflow().artifacts.download_artifacts(f"{run.info.artifact_uri}/artifact"))
        return artifacts.load(folder, expected_sha256=found.artifact_sha256)

    def pipeline(self, which: int | str) -> "Pipeline":
        """Return a version's fitted pipeline; its pickle is read only if it has the registered hash.

        Raises ``TamperedArtifactError`` otherwise: unpickling runs code.
        """
        found = self.get(which)
        source = self.client.get_model_version_download_uri(self.name, str(found.number))
        content = (Path(self._mlflow().artifacts.download_artifacts(source)) / _PICKLE).read_bytes()
        if hashlib.sha256(content).hexdigest() != found.tags["pipeline_sha256"]:
            raise TamperedArtifactError(
                f"the pickled pipeline of version {found.number} is not the registered one; it was not opened. "
                "Next: train and register again"
            )
        return pickle.loads(content)  # noqa: S301 (its hash was verified just now)

    def history(self) -> pd.DataFrame:
        """Return one row a version: number (index), aliases, mcc, data, code and artifact (first 12 hex digits)."""
        known = self.client.search_model_versions(f"name = '{self.name}'")
        rows = {
            v.number: {
                "aliases": ", ".join(v.aliases),
                "mcc": v.metrics.get("mcc"),
                "data": v.tags["data_sha256"][:12],
                "code": v.tags["code_version"][:12],
                "artifact": v.artifact_sha256[:12],
            }
            for v in map(self.get, sorted(int(one.version) for one in known))
        }
        return pd.DataFrame.from_dict(rows, orient="index").rename_axis("version")


@contextmanager
def _tracking(mlflow: Any, uri: str) -> Iterator[None]:
    """Point MLflow's global state to our store, and back afterwards: the caller may track elsewhere."""
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(uri)
    try:
        yield
    except mlflow.exceptions.MlflowException as error:
        what = str(error).splitlines()[0]
        raise RegistryError(f"MLflow cannot store in {uri}: {what}. Next: free space, or another workspace") from error
    finally:
        mlflow.set_tracking_uri(before)


@contextmanager
def _quiet(name: str) -> Iterator[None]:
    logger = logging.getLogger(name)
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
