"""The ten release problems: each a change that somebody makes in good faith, and the one gate that stops it.

>>> problem = problems.load()["too_slow"]
>>> problem.break_source(source)      # a folder of release_source.copy
>>> problem.repair_source(source)     # as a reference: what a learner may do better

They lie as data in ``problems/``: the change as replacements in files, the gate, and the SLI that suffers when nobody
asks that gate.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from mlops_helpers.errors import ParameterError

__all__ = ["Edit", "Export", "Problem", "load"]


@dataclass(frozen=True)
class Edit:
    """In ``file``, ``new`` instead of each ``old``; an empty ``old``: the file is new."""

    file: str
    new: str
    old: str = ""

    def make(self, source: Path) -> None:
        """Make the change. Raises ``ParameterError`` when the file is not as it was when this was written."""
        if self.old:
            _replace(source / self.file, self.old, self.new)
        else:
            _new(source / self.file).write_bytes(self.new.encode())

    def undo(self, source: Path) -> None:
        """Take the change back. Raises ``ParameterError`` when it is not there."""
        if self.old:
            _replace(source / self.file, self.new, self.old)
        else:
            _remove(source / self.file)


@dataclass(frozen=True)
class Export:
    """Comments of another repository in ``file``, half of them spam; ``inverted``: label 1 says that it is none."""

    file: str
    inverted: bool
    n_comments: int = 1600
    seed: int = 4

    def write(self, source: Path) -> None:
        """Write them."""
        from mlops_helpers.model.simulate import simulate

        frame = simulate(n_comments=self.n_comments, seed=self.seed, spam_rate=0.5)
        label = 1 - frame["label"] if self.inverted else frame["label"]
        columns = ["comment_id", "text", "label", "created_at", "group"]
        frame.assign(label=label)[columns].to_csv(_new(source / self.file), index=False)


@dataclass(frozen=True)
class Problem:
    """A release problem: ``stopped_by`` names a stage of the pipeline, ``hurts`` a function of ``serve.sli``.

    ``taken_back`` says that it hurts when the release is rolled back. ``symptom`` is what readers see, ``repair`` what
    to do.
    """

    name: str
    number: int
    title: str
    stopped_by: str
    hurts: str
    symptom: str
    repair: str
    change: tuple[Edit, ...]
    comments: tuple[Export, ...] = ()
    taken_back: bool = False

    def break_source(self, source: Path) -> None:
        """Make the change in a source folder. Raises ``ParameterError`` when a file is not the template's."""
        for edit in self.change:
            edit.make(source)
        for export in self.comments:
            export.write(source)

    def repair_source(self, source: Path) -> None:
        """Take the change back. Raises ``ParameterError`` when it is not there, or only in part."""
        for export in self.comments:
            _remove(source / export.file)
        for edit in reversed(self.change):
            edit.undo(source)


def load() -> dict[str, Problem]:
    """Return the problems by name, in the order of their numbers."""
    folder = files("mlops_helpers.deploy") / "problems"
    read = [
        _problem(Path(file.name).stem, tomllib.loads(file.read_text("utf-8")))
        for file in folder.iterdir()
        if file.name.endswith(".toml")
    ]
    return {one.name: one for one in sorted(read, key=lambda one: one.number)}


def _problem(name: str, given: Mapping[str, Any]) -> Problem:
    change = tuple(Edit(**one) for one in given.get("change", ()))
    comments = tuple(Export(**one) for one in given.get("comments", ()))
    return Problem(name=name, **{**given, "change": change, "comments": comments})


def _replace(path: Path, old: str, new: str) -> None:
    before = path.read_bytes().decode() if path.is_file() else ""
    if old not in before or (old in new and new in before):
        raise _changed(path)
    path.write_bytes(before.replace(old, new).encode())  # bytes: line ends stay as they are


def _new(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def _remove(path: Path) -> None:
    if not path.is_file():
        raise _changed(path)
    path.unlink()
    if not any(path.parent.iterdir()):
        path.parent.rmdir()


def _changed(path: Path) -> ParameterError:
    return ParameterError(
        f"{path} is not as this change expects it: it was changed. Next: release_source.copy(FOLDER) gives a fresh one"
    )
