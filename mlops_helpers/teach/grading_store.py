"""The folder of results: each student's in a file of its own, so that an interrupted class is taken up again.

It is new, empty, or from an earlier run, which a file in it shows: nothing else is ever written over or removed.
"""

import contextlib
import dataclasses
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlops_helpers.errors import ParameterError, WorkspaceError
from mlops_helpers.teach.grading_results import SubmissionResult
from mlops_helpers.teach.grading_submissions import file_name
from mlops_helpers.teach.grading_worker import GRADER_FAILED
from mlops_helpers.teach.labs import Lab
from mlops_helpers.workspace import atomic_file, writable_folder

__all__ = ["Job", "Store", "at_fault", "claim", "copies", "folder_in", "holds", "lab_files"]

_MADE_BY = ".opslab-grade"  # in a folder of results
_NOT_GRADED_WITH = {"answers", "student.ipynb", "__pycache__"}  # below a lab's folder


@dataclass(frozen=True)
class Job:
    """A submission to grade: a copy of its bytes, which nothing changes any more."""

    student: str
    path: Path
    submitted_at: str
    sha256: str


class Store:
    """The results of this and earlier runs into ``out``; those of another lab, checks or options are not kept.

    Raises ``WorkspaceError`` when the folder cannot be used.
    """

    def __init__(self, out: Path, lab: Lab, options: dict[str, Any]) -> None:
        self._folder = folder_in(out, "results")
        self._made_with = {"lab_sha256": _fingerprint(lab), "options": options}

    def kept(self, job: Job) -> SubmissionResult | None:
        """Return the earlier result of the same bytes, if there is one that can be relied on."""
        try:
            record = json.loads((self._folder / f"{file_name(job.student)}.json").read_text(encoding="utf-8"))
            if record["made_with"] != self._made_with:
                return None
            result = SubmissionResult.from_dict(record["result"])
        except (OSError, ValueError, KeyError, TypeError, AttributeError):  # none yet, or not ours
            return None
        if (result.student, result.sha256) != (job.student, job.sha256) or at_fault(result):
            return None
        return dataclasses.replace(result, submitted_at=job.submitted_at)

    def keep(self, result: SubmissionResult) -> None:
        """Store a result."""
        record = {"made_with": self._made_with, "result": result.as_dict()}
        with atomic_file(self._folder / f"{file_name(result.student)}.json") as stage:
            stage.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def at_fault(result: SubmissionResult) -> bool:
    """Return whether a check, or the grader, failed of itself: points may be missing that the student earned."""
    checks = any(check.status == "error" for check in result.checks)
    return checks or any(finding.kind == GRADER_FAILED for finding in result.findings)


def claim(out: Path, *inputs: Path) -> None:
    """Take a folder for results; nothing is written before it is known to be nobody else's.

    Raises ``ParameterError`` when it is, holds or lies in one of the inputs, by whatever path that is named, and when
    it has files that no earlier run has made; ``WorkspaceError`` when it cannot be written.
    """
    remedy = "Nothing was touched. Next: name a folder of its own: --out FOLDER"
    for path in inputs:
        if holds(out, path) or holds(path, out):
            raise ParameterError(f"the output folder {out.resolve()} is, holds or lies in {path.resolve()}. {remedy}")
    mark = out / _MADE_BY
    if out.is_dir() and not mark.is_file() and (others := sorted(path.name for path in out.iterdir())):
        raise ParameterError(f"the output folder {out.resolve()} has files of others, such as {others[0]}. {remedy}")
    writable_folder(out, "--out FOLDER")
    mark.touch()


def holds(folder: Path, path: Path) -> bool:
    """Say whether a path is a folder or lies in it, also where links or letters of either case give it other names."""
    whole = path.resolve()
    return folder.exists() and any(above.exists() and above.samefile(folder) for above in (whole, *whole.parents))


@contextlib.contextmanager
def copies(out: Path) -> Iterator[Path]:
    """Give a folder for copies of submissions, ``NUMBER.ipynb``, which are removed before and in the end."""
    folder = folder_in(out, ".copies")
    _remove_copies(folder)
    try:
        yield folder
    finally:
        _remove_copies(folder)
        with contextlib.suppress(OSError):
            folder.rmdir()


def _remove_copies(folder: Path) -> None:
    for path in folder.glob("*.ipynb"):
        if path.stem.isdigit():
            path.unlink()


def folder_in(out: Path, name: str) -> Path:
    """Make a folder in ``out`` and return it; raises ``WorkspaceError`` when a link, or no folder, stands there."""
    folder = out / name
    with contextlib.suppress(FileExistsError):
        folder.mkdir(parents=True)
    if folder.is_symlink() or not folder.is_dir():
        raise WorkspaceError(f"{folder} is not a folder of its own (a link?); remove it, or name another: --out FOLDER")
    return folder


def lab_files(folder: Path) -> Iterator[tuple[Path, Path]]:
    """Yield all files of a lab that grading can depend on, each by its path below the folder and its path."""
    for path in sorted(folder.rglob("*")):
        below = path.relative_to(folder)
        if path.is_file() and not _NOT_GRADED_WITH & set(below.parts):
            yield below, path


def _fingerprint(lab: Lab) -> str:
    hashes = [
        f"{below.as_posix()} {hashlib.sha256(path.read_bytes()).hexdigest()}" for below, path in lab_files(lab.folder)
    ]
    return hashlib.sha256("\n".join(hashes).encode()).hexdigest()
