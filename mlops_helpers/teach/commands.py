"""The commands ``opslab run``, ``check``, ``refresh``, ``params``: arguments in, text and exit code out."""

import argparse
import sys
from pathlib import Path
from typing import Any

from mlops_helpers.errors import NotebookError, ParameterError
from mlops_helpers.teach import documents, notebooks, parameters, structure
from mlops_helpers.teach.results import NotebookResult, Report

__all__ = [
    "check",
    "check_arguments",
    "params",
    "params_arguments",
    "refresh",
    "refresh_arguments",
    "run",
    "run_arguments",
]


class _Progress:
    """A bar over all cells on a terminal, none elsewhere; each notebook's result in a line of its own."""

    def __init__(self) -> None:
        self._bar: Any = None

    def started(self, cells: int) -> None:
        """Show an empty bar."""
        from tqdm import tqdm

        if sys.stderr.isatty():
            self._bar = tqdm(total=cells, unit="cell", leave=False, dynamic_ncols=True)

    def cell(self) -> None:
        """Move the bar by one cell."""
        if self._bar is not None:
            self._bar.update()

    def finished(self, result: NotebookResult) -> None:
        """Print the notebook's line."""
        self._line(summary(result))

    def close(self) -> None:
        """Remove the bar."""
        if self._bar is not None:
            self._bar.close()

    def _line(self, text: str) -> None:
        if self._bar is None:
            print(text, file=sys.stderr, flush=True)
        else:
            self._bar.write(text, file=sys.stderr)


def summary(result: NotebookResult) -> str:
    """Return one line on one notebook."""
    checks = result.checks - len(result.mismatches)
    compared = f"not compared ({result.not_compared})" if result.not_compared else f"{checks} of {result.checks} checks"
    cells = f"{result.cells[0]} of {result.cells[1]} cells"
    facts = [f"{result.seconds:.1f} s", cells, compared, *result.cut]
    return f"{result.status:<8} {result.path}  {', '.join(facts)}"


def run_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``opslab run``."""
    _paths(parser)
    parser.add_argument(
        "-p",
        "--param",
        nargs=2,
        action="append",
        default=[],
        metavar=("NAME", "VALUE"),
        help="give a parameter",
    )
    parser.add_argument("--help-parameters", action="store_true", help="list the notebooks' parameters and stop")
    parser.add_argument("--out", type=Path, help="folder for copies, pages, index.html, results.json (build/course)")
    parser.add_argument(
        "--check",
        action=argparse.BooleanOptionalAction,
        help="compare check cells (default: yes, except where -p changed a parameter)",
    )
    _execution(parser)


def run(args: argparse.Namespace) -> int:
    """Execute notebooks; return 0 only when each ran to its end and every check cell matched."""
    if args.help_parameters:
        return params(args)
    given: dict[str, str] = {}
    for name, value in args.param:
        if name in given:
            raise ParameterError(f"parameter {name} is given twice: {given[name]!r} and {value!r}")
        given[name] = value
    progress = _Progress()
    try:
        report = notebooks.run(
            _selected(args),
            given,
            out=args.out,
            compare=args.check,
            observer=progress,
            **_options(args),
        )
    finally:
        progress.close()
    _tell(report)
    return 0 if report.passed else 1


def _tell(report: Report) -> None:
    for result in report.results:
        if text := result.explain():
            print(f"\n{text}", file=sys.stderr)
    for remark in report.remarks:
        print(f"opslab: {remark}", file=sys.stderr)
    passed = sum(result.status == "passed" for result in report.results)
    total = f"{passed} of {len(report.results)} passed in {report.seconds:.1f} s ({report.kernels})"
    print(f"{total}; see {report.index}")


def check_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``opslab check``."""
    _paths(parser)
    parser.add_argument("--rules", action="store_true", help="list the rules and stop")


def check(args: argparse.Namespace) -> int:
    """Print every breach of the structure rules; return 1 when there is one."""
    if args.rules:
        width = max(len(rule.name) for rule in structure.CHAPTER_RULES)
        for rule in structure.CHAPTER_RULES:
            print(f"{rule.name:<{width}}  {rule.summary}")
        return 0
    selected = _selected(args)
    breaches = structure.check(selected)
    for breach in breaches:
        print(breach)
    print(f"{len(selected)} notebooks checked, {len(breaches)} breaches", file=sys.stderr)
    return 1 if breaches else 0


def refresh_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``opslab refresh``."""
    _paths(parser)
    _execution(parser)


def refresh(args: argparse.Namespace) -> int:
    """Store check outputs; return 1 when a notebook raised and was left as it was."""
    progress = _Progress()
    try:
        done = notebooks.refresh(_selected(args), observer=progress, **_options(args))
    finally:
        progress.close()
    for item in done:
        if item.error is None:
            print(f"{'stored' if item.changed else 'unchanged':<9} {item.path}")
        else:
            print(f"left as it was: {item.error}", file=sys.stderr)
    return 1 if any(item.error for item in done) else 0


def params_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``opslab params``."""
    _paths(parser)


def params(args: argparse.Namespace) -> int:
    """List what the notebooks declare."""
    for path in _selected(args):
        print(parameters.describe(documents.read(path)))
    return 0


def _paths(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("paths", nargs="*", metavar="PATH", help="notebooks, folders, globs (default: notebooks/)")


def _execution(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--jobs", type=_positive, metavar="N", help="kernels at a time (default: one a processor)")
    parser.add_argument(
        "--timeout",
        type=_seconds,
        default=notebooks.CELL_TIMEOUT,
        metavar="SECONDS",
        help="longest time for one cell (default: %(default)g)",
    )
    parser.add_argument("--plain-kernels", action="store_true", help="start each kernel afresh instead of forking it")


def _options(args: argparse.Namespace) -> dict[str, Any]:
    return {"jobs": args.jobs, "timeout": args.timeout, "plain_kernels": args.plain_kernels}


def _selected(args: argparse.Namespace) -> list[Path]:
    try:
        return documents.select(args.paths)
    except NotebookError as error:
        # A path that names nothing is a wrong command line, whatever a notebook would have done.
        raise ParameterError(str(error)) from error


def _positive(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} found, a whole number from 1 is accepted, for example 2")
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} found, seconds above 0 are accepted, for example 120")
    return seconds
