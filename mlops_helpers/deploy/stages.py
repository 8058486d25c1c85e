"""Stages as data: a YAML file that says what happens to a commit, in which order, and where it may end.

``pipelines/release.yaml`` is the one that ships, and says what each word means.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from mlops_helpers.errors import ObjectiveError, PipelineError
from mlops_helpers.observe import yaml_text

__all__ = ["SHIPPED", "Pipeline", "Stage", "load", "parse"]

_KEYS = {"gate": str, "files": list, "needs": list, "with": dict}
SHIPPED = Path(__file__).parent / "pipelines" / "release.yaml"
"""The pipeline that ships."""

_NEXT = "Next: see mlops_helpers/deploy/pipelines/release.yaml"


@dataclass(frozen=True)
class Stage:
    """A step of a pipeline.

    ``gate`` names what judges or makes something, ``files`` (patterns) what it sees of the source, ``needs`` the stages
    whose results it takes, ``settings`` what it is told.
    """

    name: str
    gate: str
    files: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Pipeline:
    """Stages in the order in which they run, and by name the last stage of each way to ``end``."""

    stages: tuple[Stage, ...]
    ends: Mapping[str, str]

    def until(self, end: str) -> tuple[Stage, ...]:
        """Return the stages of a way to end. Raises ``PipelineError`` for an unknown one."""
        if end not in self.ends:
            raise PipelineError(f"no end is called {end!r}; accepted: {', '.join(self.ends)}")
        names = [stage.name for stage in self.stages]
        return self.stages[: names.index(self.ends[end]) + 1]

    def without(self, *names: str) -> "Pipeline":
        """Return the same pipeline with some stages left out, to see what they are good for.

        Raises ``PipelineError`` for an unknown stage, or one that a way to end names.
        """
        _refuse_unknown(names, {stage.name for stage in self.stages}, "stage")
        if ends := [f"{end} ends with {last}" for end, last in self.ends.items() if last in names]:
            raise PipelineError(f"{'; '.join(ends)}. Next: leave out another stage, or name another end")
        kept = (stage for stage in self.stages if stage.name not in names)
        return Pipeline(
            tuple(replace(one, needs=tuple(need for need in one.needs if need not in names)) for one in kept), self.ends
        )


def load(path: Path | None = None) -> Pipeline:
    """Read a pipeline from a file; None: the one that ships. Raises ``PipelineError`` as :func:`parse` does."""
    try:
        return parse((path or SHIPPED).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise PipelineError(f"the pipeline {path} cannot be read: {error}. {_NEXT}") from error


def parse(text: str) -> Pipeline:
    """Return the pipeline that a YAML text describes.

    Raises ``PipelineError`` with the reason when it is no such YAML, a key or a needed stage is unknown, stages need
    each other in a circle, or an end is no stage.
    """
    try:
        documents = yaml_text.load(text)
    except ObjectiveError as error:
        raise PipelineError(f"{error}. {_NEXT}") from error
    if len(documents) != 1 or not isinstance(documents[0], dict) or set(documents[0]) != {"stages", "ends"}:
        raise PipelineError(f"a pipeline is one YAML document with stages and ends, and nothing else. {_NEXT}")
    described, ends = documents[0]["stages"], documents[0]["ends"]
    if not (isinstance(described, dict) and described and isinstance(ends, dict) and ends):
        raise PipelineError(f"stages and ends are mappings, and not empty. {_NEXT}")
    stages = {str(name): _stage(str(name), given) for name, given in described.items()}
    for stage in stages.values():
        _refuse_unknown(stage.needs, stages, f"stage that {stage.name} needs")
    _refuse_unknown([str(last) for last in ends.values()], stages, "stage to end with")
    return Pipeline(_ordered(stages), {str(end): str(last) for end, last in ends.items()})


def _stage(name: str, given: Any) -> Stage:
    given = {} if given is None else given
    if not isinstance(given, dict):
        raise PipelineError(f"stage {name} is {given!r}; accepted: a mapping with {', '.join(_KEYS)}")
    _refuse_unknown([str(key) for key in given], _KEYS, f"key of stage {name}")
    for key, value in given.items():
        if not isinstance(value, _KEYS[key]) or (
            key in ("files", "needs") and not all(isinstance(v, str) for v in value)
        ):
            wanted = {"gate": "a name", "with": "a mapping"}.get(key, "a list of names")
            raise PipelineError(f"stage {name}: {key} is {value!r}; accepted: {wanted}")
    return Stage(
        name,
        given.get("gate", name),
        tuple(given.get("files", ())),
        tuple(given.get("needs", ())),
        given.get("with", {}),
    )


def _ordered(stages: Mapping[str, Stage]) -> tuple[Stage, ...]:
    """Return the stages in their order, each after those that it needs."""
    done: dict[str, Stage] = {}
    while len(done) < len(stages):
        ready = [one for one in stages.values() if one.name not in done and all(need in done for need in one.needs)]
        if not ready:
            raise PipelineError(
                f"these stages need each other in a circle: {_circle(stages, done)}. Next: remove one of these needs"
            )
        done[ready[0].name] = ready[0]
    return tuple(done.values())


def _circle(stages: Mapping[str, Stage], done: Collection[str]) -> str:
    way = [next(name for name in stages if name not in done)]
    while way[-1] not in way[:-1]:  # each has a need that is not done, else it would be ready
        way.append(next(need for need in stages[way[-1]].needs if need not in done))
    return " needs ".join(way[way.index(way[-1]) :])


def _refuse_unknown(names: Collection[str], known: Collection[str], what: str) -> None:
    if unknown := [name for name in names if name not in known]:
        raise PipelineError(f"no {what} is called {', '.join(map(repr, unknown))}; there are: {', '.join(known)}")
