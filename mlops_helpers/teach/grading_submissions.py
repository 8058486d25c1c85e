"""Finding what a class handed in, and the names that students get in file names.

Nothing here trusts a name: names may be any bytes, and what they name may be a link to anywhere.
"""

import csv
import hashlib
import os
import re
import unicodedata
from dataclasses import dataclass
from pathlib import Path

from mlops_helpers.errors import ParameterError

__all__ = ["Submission", "file_name", "find", "read_roster"]

_LAYOUTS = "STUDENT.ipynb, STUDENT/{lab}.ipynb, STUDENT/lab.ipynb or STUDENT/{lab}/{lab}.ipynb"


@dataclass(frozen=True)
class Submission:
    """Where one student's notebook lies. ``problem`` is what is wrong with it (the rest of a sentence), or empty.

    ``path`` is None where there is no notebook.
    """

    student: str
    path: Path | None
    problem: str = ""


def find(place: Path, lab: str) -> tuple[list[Submission], list[str]]:
    """Return the submissions in a folder (or one notebook), sorted by student, and the names of what is none.

    Raises ``ParameterError`` when the place is not there or cannot be listed.
    """
    if place.is_file():
        return [Submission(_student(place.stem), place.resolve())], []
    try:
        entries = sorted(place.iterdir())
    except OSError as error:
        raise ParameterError(
            f"{place}: {error.strerror}. Accepted: one notebook, or a folder with {_LAYOUTS.format(lab=lab)}"
        ) from error
    found: dict[str, list[Path]] = {}
    empty: dict[str, Submission] = {}
    others = []
    for path in entries:
        name = path.name
        if name.startswith("."):
            continue
        if name.endswith(".ipynb"):
            found.setdefault(_student(name.removesuffix(".ipynb")), []).append(path)
        elif path.is_symlink() and path.is_dir():
            found.setdefault(_student(name), []).append(path)
        elif path.is_dir():
            student = _student(name)
            try:
                notebooks = _in_folder(path, lab)
            except OSError as error:
                empty[student] = Submission(student, None, f"cannot be read: its folder: {error.strerror}")
                continue
            found.setdefault(student, []).extend(notebooks)
            empty[student] = Submission(student, None)
        else:
            others.append(_student(name))
    chosen = {student: _one(student, paths, place) for student, paths in found.items() if paths}
    return [one for _, one in sorted((empty | chosen).items())], others


def _in_folder(folder: Path, lab: str) -> list[Path]:
    named = [folder / lab / f"{lab}.ipynb", folder / f"{lab}.ipynb", folder / "lab.ipynb"]
    entries = sorted(folder.iterdir())
    return [path for path in named if os.path.lexists(path)] or [
        path for path in entries if path.name.endswith(".ipynb") and not path.name.startswith(".")
    ]


def _one(student: str, paths: list[Path], place: Path) -> Submission:
    below = [path.relative_to(place) for path in paths]
    if len(paths) > 1:
        names = ", ".join(_student(path.as_posix()) for path in below)
        return Submission(student, None, f"has {len(paths)} notebooks, one is needed: {names}")
    for part in (below[0], *below[0].parents[:-1]):
        if (place / part).is_symlink():  # it may lead to another's work, or anywhere
            return Submission(
                student, None, f"is a link: {_student(part.as_posix())}. Next: hand in the notebook itself"
            )
    return Submission(student, paths[0])


def _student(name: str) -> str:
    """Return a name that can be shown: what is not UTF-8 and what cannot be printed stands there as an escape."""
    text = unicodedata.normalize("NFC", name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace"))
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text).strip()


def read_roster(path: Path) -> list[str]:
    """Return the students that a CSV file's column ``student`` names.

    Raises ``ParameterError`` when it cannot be read, has no such column, nobody in it, or somebody twice.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            if "student" not in (reader.fieldnames or ()):
                columns = ", ".join(reader.fieldnames or ()) or "none"
                raise ParameterError(f"{path}: columns found: {columns}; a column named student is needed")
            students = [_student(row["student"] or "") for row in reader]
    except OSError as error:
        raise ParameterError(f"{path}: the roster cannot be read: {error.strerror}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise ParameterError(f"{path}: the roster is no CSV file in UTF-8: {error}") from error
    if "" in students or not students:
        raise ParameterError(f"{path}: {'a line' if students else 'the roster'} names no student")
    twice = sorted({one for one in students if students.count(one) > 1})
    if twice:
        raise ParameterError(f"{path}: named twice: {', '.join(twice)}; each student is named once")
    return students


def file_name(student: str) -> str:
    """Return a name for a student's files that is safe on every system and nobody else's.

    Plain names stay as they are. All others carry a hash, and so does a plain name that looks like one with a hash:
    otherwise a student could choose a name that writes over another's files.
    """
    reserved = re.fullmatch(r"con|prn|aux|nul|com\d|lpt\d|.*-[0-9a-f]{16}", student)  # by Windows, and by us
    if re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,63}", student) and not reserved:
        return student
    plain = re.sub(r"[^a-z0-9_-]+", "_", student.lower()).strip("_-")[:40] or "student"
    return f"{plain}-{hashlib.sha256(student.encode('utf-8', 'backslashreplace')).hexdigest()[:16]}"
