"""What a release source says of itself in its TOML files: strictly read by the gate, leniently by what runs later.

Leniently is how most programs read their settings: a name that nobody knows is passed over, and the default holds. That
is why somebody must read strictly before.
"""

import tomllib
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from mlops_helpers.deploy.release import Limits
from mlops_helpers.errors import ParameterError
from mlops_helpers.observe.policy import CHANGES

__all__ = ["FILES", "DataSettings", "ModelSettings", "ReleaseSettings", "ServiceSettings", "TrainingSettings", "read"]


def _inside(name: str) -> str:
    path = PurePosixPath(name)
    if not name or path.is_absolute() or ".." in path.parts or "\\" in name:
        raise ValueError("accepted: the path of a file in the source folder, with /")
    return name


def _known(change: str) -> str:
    if change not in CHANGES:
        raise ValueError(f"accepted: {', '.join(CHANGES)}")
    return change


FileName = Annotated[str, AfterValidator(_inside)]


class _Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class DataSettings(_Settings):
    """Which comments: ``simulated``, a corpus, or the path of a CSV file in the source folder."""

    source: str = "simulated"
    n_comments: int = Field(default=2000, ge=100, le=1_000_000)
    seed: int = Field(default=0, ge=0)


class ModelSettings(_Settings):
    """As ``model.training.train`` takes them."""

    c: float = Field(default=10.0, gt=0)
    threshold: float = Field(default=0.5, gt=0, lt=1)


class _TextSettings(_Settings):
    text_utility: FileName = "text_utility.py"
    files: tuple[FileName, ...] = ()
    requirements: FileName = "requirements.txt"


class TrainingSettings(_TextSettings):
    """``training.toml``."""

    data: DataSettings = DataSettings()
    model: ModelSettings = ModelSettings()


class ServiceSettings(_TextSettings):
    """``service.toml``."""

    replicas: int = Field(default=1, ge=1, le=100)
    memory_mb: int = Field(default=0, ge=0)
    environment: dict[str, str] = {}

    @property
    def limits(self) -> Limits:
        """What each replica may use."""
        return Limits(memory_mb=self.memory_mb or None)


class ReleaseSettings(_Settings):
    """``release.toml``; ``revisions`` says of which state of which repository the release is made."""

    change: Annotated[str, AfterValidator(_known)] = "feature"
    rework: bool = False
    committed_at: datetime = Field(default_factory=lambda: datetime.now(UTC))
    revisions: dict[str, str] = {}


FILES: Mapping[str, type[_Settings]] = {
    "release.toml": ReleaseSettings,
    "training.toml": TrainingSettings,
    "service.toml": ServiceSettings,
}
S = TypeVar("S", bound=_Settings)


def read(settings: type[S], folder: Path, *, strict: bool = False) -> S:
    """Read one of :data:`FILES`; unknown names are passed over unless ``strict``.

    Raises ``ParameterError`` naming file and setting when it cannot be read or a value is not accepted.
    """
    name = next(file for file, kind in FILES.items() if kind is settings)
    try:
        content = tomllib.loads((folder / name).read_text("utf-8"))
        return settings.model_validate(content if strict else _known_only(settings, content))
    except (OSError, ValueError) as error:
        said = _said(error) if isinstance(error, ValidationError) else str(error)
        raise ParameterError(f"{name}: {said}") from error


def _known_only(settings: type[BaseModel], content: dict[str, Any]) -> dict[str, Any]:
    kept = {}
    for name, value in content.items():
        if name in settings.model_fields:
            inner = settings.model_fields[name].annotation
            nested = isinstance(inner, type) and issubclass(inner, BaseModel) and isinstance(value, dict)
            kept[name] = _known_only(inner, value) if nested else value  # type: ignore[arg-type]
    return kept


def _said(error: ValidationError) -> str:
    parts = []
    for one in error.errors():
        where = ".".join(map(str, one["loc"]))
        if one["type"] == "extra_forbidden":
            parts.append(f"nothing is called {where}")
        else:
            parts.append(f"{where} is {one['input']!r}: {one['msg']}")
    return "; ".join(parts)
