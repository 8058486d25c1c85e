"""The answers that a lab comes with: wrong ones, which its checks must reject, and other right ones.

``answers/right/QUESTION/NAME.py`` holds what takes the place of the question's solution region.
``answers/wrong/QUESTION.yaml`` has the wrong ones by name: either such a text, too, or edits of the solution, each
``old`` lines and the ``new`` ones in their place, without the region's indentation.
"""

import textwrap

from mlops_helpers.errors import StructureError
from mlops_helpers.teach import labs, labs_regions
from mlops_helpers.teach.labs import Lab

__all__ = ["KINDS", "answers"]

KINDS = ("wrong", "right")


def answers(lab: Lab, kind: str) -> dict[str, dict[str, str]]:
    """Return, by question and name, what takes the place of the solution: of the ``wrong`` or the ``right`` ones.

    Raises ``StructureError`` for a file that is none of these, and for an edit of what the solution has not just once.
    """
    import yaml

    folder = lab.folder / "answers" / kind
    found = {
        one.name: {path.stem: path.read_text("utf-8") for path in sorted(one.glob("*.py"))}
        for one in sorted(folder.glob("*"))
        if one.is_dir()
    }
    asked = labs.questions(lab)
    for path in sorted(folder.glob("*.yaml")):
        solution = labs_regions.find(asked[path.stem])[0].text if path.stem in asked else ""
        told = yaml.safe_load(path.read_text("utf-8"))
        if not isinstance(told, dict):
            raise StructureError(f"{path} is {type(told).__name__}; accepted: names, each with a text or edits")
        texts = found.setdefault(path.stem, {})
        for name, change in told.items():
            texts[str(name)] = change if isinstance(change, str) else _edited(solution, change, f"{path}, {name}")
    return found


def _edited(solution: str, edits: object, place: str) -> str:
    text = f"\n{textwrap.dedent(solution)}\n"
    for edit in edits if isinstance(edits, list) else [edits]:
        if not (isinstance(edit, dict) and edit.keys() == {"old", "new"}):
            raise StructureError(f"{place}: {edit!r}; accepted: old and new, lines of the solution and other ones")
        old, new = f"\n{edit['old']}\n", f"\n{edit['new']}\n" if edit["new"] else "\n"
        if text.count(old) != 1:
            times = text.count(old)
            raise StructureError(f"{place}: the solution has these lines {times} times, not once: {edit['old']}")
        text = text.replace(old, new)
    return text.strip("\n")
