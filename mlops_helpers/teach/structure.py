"""The anatomy of a chapter as a list of named rules over a parsed notebook.

A rule yields the cells that break it and what to do. ``CHAPTER_RULES`` is the list for chapters; other kinds of
notebooks take a shorter list of the same functions.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from mlops_helpers.errors import NotebookError
from mlops_helpers.teach import documents
from mlops_helpers.teach import rules_anatomy as anatomy
from mlops_helpers.teach import rules_content as content
from mlops_helpers.teach.documents import Cell, Document

__all__ = ["CHAPTER_RULES", "Breach", "Rule", "check"]


@dataclass(frozen=True)
class Rule:
    """A named rule; ``apply`` yields (cell or None for the whole notebook, what to do)."""

    name: str
    apply: Callable[[Document], Iterator[tuple[Cell | None, str]]]

    @property
    def summary(self) -> str:
        """What the rule demands, in one line."""
        return (self.apply.__doc__ or "").splitlines()[0]


@dataclass(frozen=True)
class Breach:
    """One place where a notebook breaks a rule."""

    path: Path
    cell: Cell | None
    rule: str
    remedy: str

    def __str__(self) -> str:
        place = f"{self.cell.id or '-'} ({self.cell.index})" if self.cell else "notebook"
        return f"{self.path}:{place}: {self.rule}: {self.remedy}"


def check(paths: Iterable[str | Path] = (), rules: Sequence[Rule] | None = None) -> list[Breach]:
    """Return every breach of every rule in every notebook; all chapters and their rules by default.

    A file that is not a notebook is a breach of the rule ``readable``. Raises ``NotebookError`` for a path
    without notebooks.
    """
    breaches = []
    for path in documents.select(paths):
        try:
            document = documents.read(path)
        except NotebookError as error:
            breaches.append(Breach(path, None, "readable", str(error)))
            continue
        for rule in CHAPTER_RULES if rules is None else rules:
            breaches += [Breach(path, cell, rule.name, remedy) for cell, remedy in rule.apply(document)]
    return breaches


CHAPTER_RULES: tuple[Rule, ...] = (
    Rule("format", anatomy.valid_format),
    Rule("kernel", anatomy.python_kernel),
    Rule("title", anatomy.title_first),
    Rule("parameters", anatomy.parameters_typed),
    Rule("validation", anatomy.validation_follows),
    Rule("imports", anatomy.one_imports_cell),
    Rule("markdown-first", anatomy.markdown_first),
    Rule("short-cells", content.short_cells),
    Rule("plain-python", content.plain_python),
    Rule("star-imports", content.no_star_imports),
    Rule("sys-path", content.no_sys_path),
    Rule("checks", content.enough_checks),
    Rule("other-outputs", content.no_other_outputs),
    Rule("errors", content.no_errors),
    Rule("machine-paths", content.no_machine_paths),
    Rule("pictures", content.no_pictures_in_checks),
    Rule("clean-up", anatomy.clean_up_last),
    Rule("summary", anatomy.summary_last),
)
