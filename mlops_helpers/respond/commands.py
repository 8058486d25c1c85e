"""The commands ``opslab drill list`` and ``opslab drill run``."""

import argparse
from pathlib import Path

from mlops_helpers.errors import ParameterError

__all__ = ["drill", "drill_arguments"]


def drill_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``opslab drill``."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    show = actions.add_parser("list", help="show the scenarios, without what is behind them")
    show.add_argument("--area", default="", help="only of this area")
    show.set_defaults(act=_list)
    run = actions.add_parser("run", help="run a scenario headlessly; exit code 0 when it is passed")
    run.add_argument("scenario", nargs="?", default="", help="id, or a file.yaml (default: the seed chooses)")
    run.add_argument("--responder", default="", help="a solution or not_solution by name, or 'do nothing'")
    run.add_argument("--seed", type=int, default=0, help="decides what readers write, and when (default: %(default)s)")
    run.add_argument("--time-lapse", type=float, default=360.0, help="1 is real time (default: %(default)s)")
    run.add_argument("--prevented-by", default="", metavar="FIX", help="replay with a fix of the scenario on")
    run.add_argument("--folder", type=Path, help="for journal and readers' record (default: in the workspace)")
    run.set_defaults(act=_run)


def drill(args: argparse.Namespace) -> int:
    """Do what ``args.action`` says."""
    return int(args.act(args))


def _list(args: argparse.Namespace) -> int:
    from mlops_helpers.respond import scenario

    found = [one for one in map(scenario.load, scenario.names()) if args.area in ("", one.area)]
    if not found:
        raise ParameterError(f"--area {args.area}: there is no scenario of it. Next: opslab drill list")
    for one in found:
        print(f"{one.id:24} {one.area:14} {'*' * one.difficulty:4} {one.title}")
    return 0


def _run(args: argparse.Namespace) -> int:
    from mlops_helpers.respond import drill as drills
    from mlops_helpers.respond import responders, scenario

    chosen = scenario.load(args.scenario) if args.scenario else scenario.choose(args.seed)
    responder = responders.NOTHING if args.responder == responders.NOTHING.name else None
    if args.responder and responder is None:
        responder = chosen.responder(args.responder)
    settings = {"seed": args.seed, "time_lapse": args.time_lapse, "prevented_by": args.prevented_by}
    found = drills.run(chosen, responder, folder=args.folder, **settings)
    print(f"{chosen.id}: {found.outcome}, {found.points:g} of 100 points, {found.seconds:.0f} s")
    if found.reason:
        print(f"  {found.reason}")
    for part in found.parts if found.passed else ():
        print(f"  {part.part:14} {part.points:5.1f} of {part.of:g}  {part.reason}")
    print(f"Journal: {found.folder / 'journal.jsonl'}")
    return 0 if found.passed else 1
