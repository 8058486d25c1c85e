"""The command ``opslab labs``: arguments in, text and exit code out."""

import argparse
import os

from mlops_helpers.errors import NotebookError, ParameterError
from mlops_helpers.teach import documents, labs_rules
from mlops_helpers.teach import labs as rooms

__all__ = ["labs", "labs_arguments"]


def labs_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``opslab labs``."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    for action, text in (
        ("list", "what labs there are"),
        ("build", "make the student versions: notebooks/labs/NAME.ipynb"),
        ("check", "name every breach of the rules of labs"),
    ):
        sub = actions.add_parser(action, help=text, description=text.capitalize() + ".")
        if action == "check":
            sub.add_argument("--rules", action="store_true", help="list the rules and stop")
        sub.add_argument("names", nargs="*", metavar="NAME", help="labs, or paths of labs of your own (default: all)")


def labs(args: argparse.Namespace) -> int:
    """List, build or check labs; return 1 when a check finds a breach."""
    return {"list": _list, "build": _build, "check": _check}[args.action](args)


def _list(args: argparse.Namespace) -> int:
    for name in args.names or rooms.names():
        lab = rooms.load(name)
        levels = ", ".join(f"{question} ({lab.difficulty.get(question)})" for question in rooms.questions(lab))
        print(f"{lab.name:<17} {lab.minutes:>3} min  {lab.title}\n{'':<26}{levels}")
    return 0


def _build(args: argparse.Namespace) -> int:
    """Write the student versions, but never over one that a student has changed."""
    touched = []
    for lab in [rooms.load(name) for name in args.names or rooms.names()]:
        if os.path.lexists(lab.student) and not rooms.is_untouched(lab.student):
            touched.append(lab.student)
        else:
            documents.write(lab.student, rooms.build(lab))
            print(lab.student)
    if touched:
        raise ParameterError(
            f"not built, as they may hold a student's answers: {', '.join(map(str, touched))}; accepted: as they were "
            f"built. Next: move each away, such as: mv {touched[0]} {touched[0].with_suffix('.mine.ipynb')}"
        )
    return 0


def _check(args: argparse.Namespace) -> int:
    if args.rules:
        for name, rule in labs_rules.RULES.items():
            print(f"{name:<9} {(rule.__doc__ or '').splitlines()[0]}")
        return 0
    selected, breaches = args.names or rooms.names(), list[object]()
    for name in selected:
        try:
            breaches += labs_rules.breaches(rooms.load(name))
        except NotebookError as error:
            breaches.append(f"{name}: readable: {error}")
    print(*breaches, sep="\n", end="\n" if breaches else "")
    print(f"{len(selected)} labs checked, {len(breaches)} breaches")
    return 1 if breaches else 0
