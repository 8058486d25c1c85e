"""The command ``opslab grade``: arguments in, progress, a table and the exit code out."""

import argparse
import os
import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from mlops_helpers.errors import ParameterError
from mlops_helpers.teach import labs
from mlops_helpers.teach.grading import SANDBOXES
from mlops_helpers.teach.grading_class import ClassReport, Graders, LocalGraders, grade_class
from mlops_helpers.teach.grading_late import LatePolicy, parse_due
from mlops_helpers.teach.grading_reports import write_reports
from mlops_helpers.teach.grading_store import at_fault, claim, holds
from mlops_helpers.teach.grading_worker import Recipe
from mlops_helpers.teach.outfolder import locked
from mlops_helpers.workspace import project_root

__all__ = ["grade", "grade_arguments"]

_LINES = 10  # of progress, where there is no terminal


def grade_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``opslab grade``."""
    parser.add_argument("submissions", type=Path, help="folder with a notebook or a folder a student, or one notebook")
    parser.add_argument("--lab", required=True, metavar="NAME", help="a lab's name, or the path of your own: ./LAB")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="where the results go (build/grades/NAME)")
    parser.add_argument("--workers", type=_positive, metavar="N", help="submissions at a time (one a processor)")
    parser.add_argument("--scheduler", metavar="ADDRESS", help="grade on a Dask cluster, such as tcp://10.0.0.1:8786")
    parser.add_argument("--roster", type=Path, metavar="CSV", help="a file with a column student: who is missing")
    parser.add_argument("--due", metavar="TIME", help="ISO 8601 with offset, such as 2030-01-31T23:59+01:00")
    parser.add_argument("--late-penalty", metavar="N%/day", help="what is taken for each day (or hour) begun late")
    parser.add_argument("--sandbox", choices=SANDBOXES, default="auto", help="default: %(default)s")
    parser.add_argument("--trust", action="store_true", help="run submissions without a sandbox: only your own")
    parser.add_argument("--seed", type=int, help="fix what checks draw at random (default: secret, new each run)")


def grade(args: argparse.Namespace) -> int:
    """Grade a class; return 0 when it was completed, whatever the points, and 1 when checks themselves failed."""
    if args.late_penalty and not args.due:
        raise ParameterError("--late-penalty is given without a due date; add --due TIME")
    if args.workers and args.scheduler:
        raise ParameterError("--workers and --scheduler are given; a cluster has its own workers, leave out --workers")
    due = parse_due(args.due) if args.due else None
    late = LatePolicy.parse(args.late_penalty) if args.late_penalty else None
    lab = labs.load(args.lab)
    options = {"sandbox": args.sandbox, "trust": args.trust, "seed": args.seed}
    out = args.out or project_root() / "build" / "grades" / lab.name
    if holds(args.submissions, lab.folder):  # its checks run here, outside every sandbox
        raise ParameterError(f"the lab {lab.folder} lies among the submissions {args.submissions}. Next: move it away")
    claim(out, args.submissions, lab.folder)
    recipe = Recipe(lab.name, lab.folder, options)
    with locked(out, "opslab grade --out FOLDER") as folder, _progress() as on_progress:
        report = grade_class(
            args.submissions,
            lab,
            folder,
            _graders(args, recipe),
            options=options,
            roster=args.roster,
            due=due,
            late=late,
            on_progress=on_progress,
        )
        write_reports(report, folder)
    _tell(report, folder)
    return 1 if any(at_fault(one.result) for one in report.students) else 0


def _graders(args: argparse.Namespace, recipe: Recipe) -> Callable[[int], Graders]:
    if args.scheduler:
        try:
            from mlops_helpers.teach.grading_dask import DaskGraders
        except ModuleNotFoundError as error:
            raise ParameterError(f"--scheduler needs {error.name}; next: make setup") from error
        return lambda jobs: DaskGraders(recipe, args.scheduler)
    processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return lambda jobs: LocalGraders(recipe, min(args.workers or processors, jobs))


@contextmanager
def _progress() -> Iterator[Callable[[int, int], None]]:
    """Show a bar on a terminal, and a line now and then elsewhere."""
    from tqdm import tqdm

    bar = tqdm(unit="submission", leave=False, dynamic_ncols=True, disable=not sys.stderr.isatty())

    def show(done: int, of: int) -> None:
        bar.total = of
        bar.update(done - bar.n)
        if bar.disable and (done % max(1, of // _LINES) == 0 or done == of):
            print(f"{done} of {of} submissions done", file=sys.stderr, flush=True)

    try:
        yield show
    finally:
        bar.close()


def _tell(report: ClassReport, out: Path) -> None:
    """Print the class as a table, what the instructor should look at, and where everything is."""
    questions = report.questions
    possible = sum(questions.values())
    rows = [("student", "state", *questions, "late", "total", "noticed")]
    for one in report.students:
        result = one.result
        earned = one.questions
        points = [f"{earned.get(question, 0):g}/{of:g}" if earned else "" for question, of in questions.items()]
        late = f"{result.late_seconds / 3600:.1f} h" if result.late_seconds else ""
        what = result.reason or ", ".join(sorted({finding.kind for finding in result.findings}))
        total = f"{one.total:g}/{possible:g}" if result.state == "graded" else "0"
        rows.append((result.student[:30], result.state, *points, late, total, what[:80]))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    for remark in report.remarks:
        print(f"opslab: {remark}", file=sys.stderr)
    for one in report.students:
        for check in one.result.checks:
            if check.status == "error":
                print(f"opslab: {one.result.student}: {check.name} is at fault: {check.message}", file=sys.stderr)
    states = [one.result.state for one in report.students]
    counts = ", ".join(f"{states.count(state)} {state}" for state in ("graded", "refused", "missing"))
    kept = f" ({report.kept} as before)" if report.kept else ""
    print(f"{counts}{kept} in {report.seconds:.1f} s; see {shlex.quote(str(out / 'gradebook.csv'))} and feedback/")


def _positive(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} found, a whole number from 1 is accepted, for example 2")
    return int(text)
