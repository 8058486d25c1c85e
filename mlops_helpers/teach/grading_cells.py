"""What of a submission is executed, and what was done to the lab's cells in it.

Cells are known by nbgrader's ``grade_id`` and judged by the lab's own metadata, never by the submission's. Locked cells
are executed as the lab has them; visible checks are not executed, as points come from the lab's own checks. Cells of
the student's own are executed where they stand; of a question's cell that is there twice both are, so that the last
one counts, as in Jupyter.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlops_helpers.errors import NotebookError
from mlops_helpers.teach import labs_regions
from mlops_helpers.teach.documents import Document, parse
from mlops_helpers.teach.grading_handed import Refused, read
from mlops_helpers.teach.grading_results import Finding

__all__ = ["Runnable", "Submission", "open_submission", "opening"]

_MOST_CELLS = 2_000
_KERNEL = "python3"


@dataclass(frozen=True)
class Runnable:
    """A cell that is executed: its ``grade_id`` or, for one of the student's own, its place; and its source."""

    name: str
    source: str


@dataclass(frozen=True)
class Submission:
    """What is executed, in order, and what was noticed before that."""

    cells: tuple[Runnable, ...]
    findings: tuple[Finding, ...]
    sha256: str


def open_submission(path: Path, lab: str, original: Document, replaced: Mapping[str, str] | None = None) -> Submission:
    """Read a submission of ``lab``, whose student version is ``original``.

    ``replaced`` puts other text in place of the solution regions of the questions it names.

    Raises :class:`Refused` when it is no notebook of this lab.
    """
    handed = read(path)
    try:
        document = parse(path, handed.content)
    except NotebookError as error:
        if isinstance(error.__cause__, ValueError):
            raise Refused(f"is not a notebook: not valid JSON ({error.__cause__})"[:300]) from error
        raise Refused(str(error).removeprefix(f"{path}: ").replace(str(path), path.name)) from error
    except RecursionError as error:
        raise Refused("is not a notebook: its JSON is nested too deeply") from error
    try:
        cells = document.cells
        names = [_grade_id(raw) for raw in document.content["cells"]]
        metadata = document.content.get("metadata", {})
        said = metadata.get("opslab", {}).get("lab", lab)
        kernel = metadata.get("kernelspec", {}).get("name")
    except (AttributeError, TypeError) as error:
        raise Refused("is not a notebook: its cells or its metadata are not what nbformat 4 says") from error
    if len(cells) > _MOST_CELLS:
        raise Refused(f"has {len(cells)} cells; accepted: at most {_MOST_CELLS}")
    known = _known(original)
    if said != lab or not set(names) & set(known):
        what = f"says that it is lab {str(said)[:100]!r}" if said != lab else "has none of the lab's cells"
        raise Refused(f"is not lab {lab!r}: it {what}. Next: hand in the notebook that you were given for {lab!r}")
    runnable = []
    for cell, name in zip(cells, names, strict=True):
        about, source = known.get(name, ({}, ""))
        if not cell.is_code or (about.get("grade") and not about.get("solution")):
            continue
        text = source if about.get("locked") else cell.source
        if replaced and name in replaced:
            text = labs_regions.replace(text, replaced[name])
        runnable.append(Runnable(name if about else f"cell {cell.index + 1}", text))
    findings = (*_differences(document, names, known), *_kernel(kernel))
    return Submission(tuple(runnable), findings, handed.sha256)


def opening(original: Document) -> tuple[str, ...]:
    """Return the sources of the lab's own cells before the student's first: every submission begins with them."""
    sources = []
    for cell, raw in zip(original.cells, original.content["cells"], strict=True):
        if cell.is_code:
            about = raw.get("metadata", {}).get("nbgrader", {})
            if not about.get("locked") or about.get("grade"):
                break
            sources.append(cell.source)
    return tuple(sources)


def _grade_id(raw: dict[str, Any]) -> str:
    about = raw.get("metadata", {}).get("nbgrader", {})
    name = about.get("grade_id", "") if isinstance(about, dict) else ""
    return name if isinstance(name, str) else ""


def _known(original: Document) -> dict[str, tuple[dict[str, Any], str]]:
    found = {}
    for cell, raw in zip(original.cells, original.content["cells"], strict=True):
        if name := _grade_id(raw):
            found[name] = (raw["metadata"]["nbgrader"], cell.source)
    return found


def _differences(
    document: Document, names: list[str], known: Mapping[str, tuple[dict[str, Any], str]]
) -> Iterator[Finding]:
    times = Counter(names)
    for name, (about, source) in known.items():
        if not times[name]:
            yield Finding("cell-missing", name, f"The lab's cell {name!r} is not in the notebook.")
        elif times[name] > 1:
            rest = "the last one counts" if about.get("solution") else "it counts once"
            yield Finding("cell-duplicated", name, f"The cell {name!r} is there {times[name]} times: {rest}.")
        texts = [cell.source for cell, own in zip(document.cells, names, strict=True) if own == name]
        if about.get("locked") and any(text.strip() != source.strip() for text in texts):
            yield Finding("cell-edited", name, f"The locked cell {name!r} was changed: the lab's own was used.")


def _kernel(name: object) -> Iterator[Finding]:
    if name != _KERNEL:
        said = f"names the kernel {name[:100]!r}" if isinstance(name, str) else "names no kernel"
        yield Finding("kernel", "", f"The notebook {said}: it was executed with {_KERNEL}.")
