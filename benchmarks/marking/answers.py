"""The answers that labs come with: how many wrong ones the checks accept, and how many right ones they reject."""

from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

from benchmarks.harness import Figure
from mlops_helpers.teach import labs, labs_answers
from mlops_helpers.teach.grading import Grader

__all__ = ["answer_figures"]

_LABS_AT_A_TIME = 2
LABS = 6


@dataclass(frozen=True)
class _Judged:
    """One lab: for each question, whether each answer got all its points (None: a check was at fault)."""

    wrong: dict[str, dict[str, bool | None]]
    right: dict[str, dict[str, bool | None]]
    solution: float


def _judge(name: str) -> _Judged:
    lab = labs.load(name)
    with Grader(lab) as grader:

        def full(question: str, text: str) -> bool | None:
            result = grader.grade(lab.source, replaced={question: text}, only=(question,))
            at_fault = result.state != "graded" or any(check.status == "error" for check in result.checks)
            return None if at_fault or not result.points else result.earned == result.points

        def by_question(kind: str) -> dict[str, dict[str, bool | None]]:
            given = labs_answers.answers(lab, kind)
            return {
                question: {name: full(question, text) for name, text in given.get(question, {}).items()}
                for question in labs.questions(lab)
            }

        solution = grader.grade(lab.source)
        return _Judged(by_question("wrong"), by_question("right"), 100 * solution.earned / solution.points)


def answer_figures() -> Iterator[Figure]:
    """Have every answer of every lab judged by the real grader."""
    names = labs.names()
    with ProcessPoolExecutor(_LABS_AT_A_TIME) as pool:
        judged = dict(zip(names, pool.map(_judge, names), strict=True))
    yield Figure("labs", float(len(names)), "count", f">= {LABS}", ", ".join(names))
    yield from _kind({name: one.wrong for name, one in judged.items()}, "wrong", 8, False)
    yield from _kind({name: one.right for name, one in judged.items()}, "right", 2, True)
    lowest = min(judged, key=lambda name: judged[name].solution)
    yield Figure("points of a lab's solution, the lowest", judged[lowest].solution, "%", ">= 100", f"lab {lowest}")


def _kind(found: dict[str, dict[str, dict[str, bool | None]]], kind: str, least: int, good: bool) -> Iterator[Figure]:
    sizes = {f"{name}, {question}": len(of) for name, lab in found.items() for question, of in lab.items()}
    fewest = min(sizes, key=lambda place: sizes[place])
    failed = [
        f"{name}/{question}/{answer}"
        for name, lab in found.items()
        for question, of in lab.items()
        for answer, full in of.items()
        if full is not good
    ]
    yield Figure(f"{kind} answers for a question, the fewest", float(sizes[fewest]), "count", f">= {least}", fewest)
    yield Figure(
        f"{kind} answers {'rejected' if good else 'accepted'}",
        float(len(failed)),
        "count",
        "<= 0",
        f"of {sum(sizes.values())} for {len(sizes)} questions" + (f"; the first: {failed[0]}" if failed else ""),
    )
