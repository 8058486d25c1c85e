"""The commands ``opslab drill list``, ``run`` and ``check``."""

import argparse
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from mlops_helpers.errors import ParameterError

if TYPE_CHECKING:
    from mlops_helpers.respond.trials import Trial

__all__ = ["drill", "drill_arguments"]


def drill_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``opslab drill``."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    show = actions.add_parser("list", help="show the scenarios, without what is behind them")
    show.add_argument("--area", default="", help="only of this area")
    show.set_defaults(act=_list)
    run = actions.add_parser("run", help="run a scenario headlessly; exit code 0 if passed, or prevented")
    run.add_argument("scenario", nargs="?", default="", help="id, or a file.yaml (default: the seed chooses)")
    run.add_argument("--responder", default="", help="a solution or not_solution by name, or 'do nothing'")
    run.add_argument("--seed", type=int, default=0, help="decides what readers write, and when (default: %(default)s)")
    run.add_argument("--time-lapse", type=float, default=360.0, help="1 is real time (default: %(default)s)")
    run.add_argument("--fix", default="", metavar="NAME", help="replay with a fix on, and nobody who responds")
    run.add_argument("--folder", type=Path, help="for journal and readers' record (default: in the workspace)")
    run.set_defaults(act=_run)
    check = actions.add_parser(
        "check",
        help="run scenarios with every responder; exit code 0 when the right ones pass, no other, and none is void",
    )
    check.add_argument("scenarios", nargs="*", metavar="SCENARIO", help="ids or files.yaml (default: the catalogue)")
    check.add_argument("--share", type=float, help="a share of the catalogue, and at least one of each area")
    check.add_argument("--few", action="store_true", help="one right and one wrong responder of each, not all")
    check.add_argument("--seed", type=int, default=0, help="chooses the share and the few (default: %(default)s)")
    check.add_argument("--at-once", type=int, default=2, help="drills at the same time (default: %(default)s)")
    check.set_defaults(act=_check)


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
    settings = {"seed": args.seed, "time_lapse": args.time_lapse, "fix": args.fix}
    found = drills.run(chosen, responder, folder=args.folder, **settings)
    scored = "nobody responded" if args.fix else f"{found.points:g} of 100 points"
    print(f"{chosen.id}: {found.outcome}, {scored}, {found.seconds:.0f} s")
    if found.reason:
        print(f"  {found.reason}")
    for one in found.journal:
        if one["kind"] == "guarded":
            print(f"  {one['guard']}: {one['did']}")
    for part in found.parts if found.passed and not args.fix else ():
        print(f"  {part.part:14} {part.points:5.1f} of {part.of:g}  {part.reason}")
    print(f"Journal: {found.folder / 'journal.jsonl'}")
    return 0 if found.passed else 1


def _check(args: argparse.Namespace) -> int:
    from mlops_helpers.respond import scenario, trials

    if args.at_once < 1 or not 0 <= (args.share or 0) <= 1:
        raise ParameterError("accepted: --at-once of 1 or more, --share from 0 to 1")
    if args.scenarios and args.share is not None:
        raise ParameterError("--share is of the catalogue. Next: name scenarios, or a share, not both")
    chosen = args.scenarios or (scenario.names() if args.share is None else trials.some(args.share, args.seed))
    wanted = [job for one in chosen for job in (trials.few(one, args.seed) if args.few else trials.jobs(one))]
    print(f"{len(wanted)} drills of {len(chosen)} scenarios, {args.at_once} at once, --seed {args.seed}", flush=True)
    with TemporaryDirectory() as folder:
        found = trials.trials(wanted, Path(folder), at_once=args.at_once, each=_tell)
    held, void = sum(trial.held for trial in found), sum(trial.outcome == "void" for trial in found)
    print(f"{held} as they should be, {len(found) - held - void} not, {void} void")
    return 0 if held == len(found) else 1


def _tell(trial: "Trial") -> None:
    verdict = "as it should" if trial.held else f"NOT {trial.job.expected}: {trial.reason}"
    if trial.outcome == "void":
        verdict = f"says nothing, {trial.tries} times: {trial.reason}"
    print(f"{trial.outcome:9} {trial.seconds:4.0f} s  {trial.job}  {verdict}", flush=True)
