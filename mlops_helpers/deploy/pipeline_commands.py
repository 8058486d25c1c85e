"""The commands of this room: ``opslab pipeline new``, ``run``, ``status``, ``log``, ``failed`` and ``recovered``."""

import argparse
import math
import threading
from functools import partial
from pathlib import Path

from mlops_helpers.deploy.pipeline_store import Store, refuse_overlap
from mlops_helpers.errors import ParameterError, PipelineError
from mlops_helpers.workspace import workspace_path

__all__ = ["pipeline", "pipeline_arguments"]

_SHOWN = 12  # releases, the last ones
_OUTCOMES = ("started", "ready", "blocked", "deployed", "failed", "recovered", "rolled_back")
_TOLD = ("stage", "verdict", "reason", "serves", "end", "seconds")


def pipeline_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``opslab pipeline``."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    new = actions.add_parser("new", help="write a source folder to change and to release")
    new.add_argument("source", type=Path, help="the folder to make")
    run = actions.add_parser("run", help="take a source folder to an end; exit code 1 when a gate refuses it")
    run.add_argument("source", type=Path, help="what a team commits; opslab pipeline new FOLDER makes one")
    run.add_argument("--end", default="delivery", help="integration, delivery or deployment (default: %(default)s)")
    run.add_argument("--pipeline", type=Path, help="a YAML file (default: the one that ships)")
    run.add_argument("--budget", type=float, default=math.nan, help="share of the error budget left (default: unknown)")
    run.add_argument("--runtime", default="process", help="of staging and production (default: %(default)s)")
    run.add_argument("--leave", action="store_true", help="end production, too; else it serves until Ctrl-C")
    status = actions.add_parser("status", help="show the releases and what stopped them")
    status.add_argument("release", nargs="?", default="", help="show every step of this one")
    log = actions.add_parser("log", help="show what a stage said last")
    log.add_argument("stage")
    for action, call in ((new, _new), (run, _run), (status, _status), (log, _log)):
        if action is not new:
            action.add_argument("--folder", type=Path, help="results, record, production (default: in the workspace)")
        action.set_defaults(act=call)
    for event, help_text in (("failed", "record that a release made somebody step in"), ("recovered", "... no more")):
        after = actions.add_parser(event, help=help_text)
        after.add_argument("release")
        after.add_argument("--reason", default="")
        after.add_argument("--folder", type=Path, help="of the record (default: in the workspace)")
        after.set_defaults(act=_after, event=event)


def pipeline(args: argparse.Namespace) -> int:
    """Do what ``args.action`` says."""
    return int(args.act(args))


def _store(args: argparse.Namespace) -> Store:
    return Store(args.folder or workspace_path("pipeline"))


def _new(args: argparse.Namespace) -> int:
    from mlops_helpers.deploy import release_source

    print(f"Written: {release_source.copy(args.source)}. Next: opslab pipeline run {args.source}")
    return 0


def _run(args: argparse.Namespace) -> int:
    from mlops_helpers.deploy import stages
    from mlops_helpers.deploy.gates import Target
    from mlops_helpers.deploy.pipeline import run
    from mlops_helpers.deploy.production import PlatformProduction

    refuse_overlap(args.source, args.folder or workspace_path("pipeline"))
    store, chosen = _store(args), stages.load(args.pipeline)
    production = PlatformProduction(store.folder / "production", runtime=args.runtime)
    if chosen.until(args.end)[-1].gate != "production":
        target = Target(champion=production.serving(), remaining=args.budget, runtime=args.runtime)
        done = run(chosen, args.source, target, store=store, end=args.end, say=partial(print, flush=True))
        print(done)
        if done.stopped_by == "error_budget" and math.isnan(args.budget):
            print("Next: --budget SHARE, as opslab monitor or chapter 03 has it")
        return 0 if done.outcome == "ready" else 1
    with production:
        target = Target(production, remaining=args.budget, runtime=args.runtime)
        done = run(chosen, args.source, target, store=store, end=args.end, say=partial(print, flush=True))
        print(done)
        if done.outcome == "deployed" and not args.leave:
            print(f"Readers: {production.platform.blog_url}   Ctrl-C ends it.", flush=True)
            threading.Event().wait()
    return 0 if done.outcome == "deployed" else 1


def _status(args: argparse.Namespace) -> int:
    record = _store(args).record
    if args.release:
        for entry in record.entries(args.release):
            said = ", ".join(f"{key} {entry[key]}" for key in _TOLD if key in entry)
            print(f"{entry['at'][:19]}  {entry['event']:<22} {said}")
        return 0
    last = {entry["release"]: entry for entry in record.entries() if entry["event"] in _OUTCOMES}
    if not last:
        print("No release yet. Next: opslab pipeline new FOLDER, then opslab pipeline run FOLDER")
    for name, entry in list(last.items())[-_SHOWN:]:
        print(f"{entry['at'][:19]}  {name:<12} {entry['event']}{' by ' + entry['stage'] if 'stage' in entry else ''}")
    return 0


def _log(args: argparse.Namespace) -> int:
    found = sorted(
        (_store(args).folder / "stages").glob(f"{args.stage}-*/log.txt"), key=lambda path: path.stat().st_mtime
    )
    if not found:
        raise ParameterError(f"no stage {args.stage!r} has said anything. Next: opslab pipeline status")
    print(found[-1].read_text("utf-8"), end="")
    return 0


def _after(args: argparse.Namespace) -> int:
    record = _store(args).record
    if not any(entry["event"] == "deployed" for entry in record.entries(args.release)):
        raise PipelineError(f"{args.release} was not deployed. Next: opslab pipeline status")
    record.append(args.event, args.release, reason=args.reason)
    return 0
