"""The commands of this room: ``opslab platform up``, ``status`` and ``down``."""

import argparse
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops_helpers.deploy import cgroups, leftovers, occupancy
from mlops_helpers.deploy.calls import wait_ready
from mlops_helpers.deploy.containers import Container, current, each
from mlops_helpers.deploy.docker_errors import connect
from mlops_helpers.deploy.fleet import memory
from mlops_helpers.deploy.ownership import FOLDER, MARK, owner_lives
from mlops_helpers.deploy.runtime import RUNTIMES
from mlops_helpers.errors import ParameterError, RegistryError, RuntimeUnavailable, ServiceError
from mlops_helpers.workspace import workspace, writable_folder

if TYPE_CHECKING:
    from mlops_helpers.model.artifact import Artifact

__all__ = ["platform", "platform_arguments"]

_BY = "opslab platform up"
_LAST = "To end it"  # how the last line begins that `up` prints
_DOWN_SECONDS = 60.0  # three drains in a row take a second; what hangs is killed after 15 each
_POLL_SECONDS = 0.05


def platform_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``opslab platform``."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    up = actions.add_parser("up", help="start blog, gateway and filters; end them with Ctrl-C")
    up.add_argument("--artifact", type=Path, help="folder of the model's artifact (default: the registry's champion)")
    up.add_argument("--sha256", help="the artifact's hash; another one is refused")
    up.add_argument("--replicas", type=int, default=1, help="filters (default: %(default)s)")
    up.add_argument("--runtime", choices=RUNTIMES, default="process", help="of the filters (default: %(default)s)")
    up.add_argument("--port", type=int, default=0, help="port of the blog (default: a free one)")
    up.add_argument("--durability", choices=("ack", "async"), default="ack", help="record answers first, or soon")
    up.add_argument("--detach", action="store_true", help="return when all is ready; end it with: opslab platform down")
    status = actions.add_parser("status", help="show what runs; exit code 0 when all of it is ready")
    status.add_argument("--json", action="store_true", help="as JSON, with tokens")
    down = actions.add_parser("down", help="end the platform, return when all of it is gone")
    down.add_argument("--all", action="store_true", help="all platforms of this command, and what killed ones left")
    for action, call in ((up, _up), (status, _status), (down, _down)):
        action.add_argument("--folder", type=Path, help="its state and logs (default: platform in the workspace)")
        action.set_defaults(act=call)


def platform(args: argparse.Namespace) -> int:
    """Do what ``args.action`` says, in the platform's folder."""
    args.folder = writable_folder(args.folder, "--folder FOLDER") if args.folder else workspace("platform")
    return int(args.act(args))


def _up(args: argparse.Namespace) -> int:
    if args.sha256 and not args.artifact:
        raise ParameterError("--sha256 without --artifact: the registry knows its champion's hash itself")
    occupancy.refuse_if_running(args.folder)
    occupancy.claim(args.folder)
    if args.detach:
        return _detach(args)
    from mlops_helpers.deploy.platform import Platform

    version, artifact, origin = _model(args)
    settings = {name: getattr(args, name) for name in ("replicas", "durability", "port", "runtime")}
    with Platform({version: artifact}, folder=args.folder, by=_BY, **settings):
        print(f"{version} is {origin}, artifact {artifact.sha256[:12]}.")
        _show(occupancy.running(args.folder) or {}, args.folder)
        print(f"{_LAST}: opslab platform down --folder {args.folder}, or Ctrl-C where it was started.", flush=True)
        threading.Event().wait()  # until a signal raises: KeyboardInterrupt, or what main() makes of SIGTERM
    return 0


def _detach(args: argparse.Namespace) -> int:
    """Run ``opslab platform up`` in a session of its own; return when it has said everything, or ended."""
    names = ("folder", "artifact", "sha256", "replicas", "port", "durability", "runtime")
    given = {name: getattr(args, name) for name in names}
    options = [f"--{name}={value}" for name, value in given.items() if value is not None]
    log = args.folder / "up.log"
    log.unlink(missing_ok=True)
    log.touch(0o600)  # the moderators' address is in it
    with log.open("wb") as output:
        child = subprocess.Popen(
            [sys.executable, "-P", "-m", "mlops_helpers.cli", "platform", "up", *options],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        while child.poll() is None and _LAST not in log.read_text("utf-8"):
            time.sleep(_POLL_SECONDS)
    except BaseException:
        child.terminate()
        child.wait()
        raise
    print(log.read_text("utf-8"), end="", file=sys.stderr if child.returncode else sys.stdout)
    return child.returncode or 0


def _model(args: argparse.Namespace) -> "tuple[str, Artifact, str]":
    """Return version, artifact and where it comes from."""
    from mlops_helpers.model import artifact

    if args.artifact:
        return "v1", artifact.load(args.artifact.resolve(), args.sha256), f"the artifact in {args.artifact}"
    if (workspace("registry") / "mlflow.db").exists():  # MLflow takes seconds to say that there is nothing
        from mlops_helpers.model.registry import Registry

        try:
            registry = Registry()
            champion = registry.get("champion")
            return f"v{champion.number}", registry.artifact(champion.number), "the registry's champion"
        except RegistryError:
            pass
    print(f"No champion in {workspace('registry')}: training a small model on simulated comments.", flush=True)
    from mlops_helpers.model import data, training

    comments = data.load("simulated", n_comments=2000)
    model = training.train(comments.frame, comments.sha256)
    origin = "a small model of simulated comments (chapter 02 registers a better one, when run in JupyterLab)"
    return "v1", artifact.export(model, args.folder / "model"), origin


def _status(args: argparse.Namespace) -> int:
    record = occupancy.running(args.folder)
    if record is None:
        print(json.dumps({"ready": False, "services": []}) if args.json else _nothing(args.folder))
        return 1
    for service in record["services"]:
        service["memory"] = memory(service["pid"])
    if record.get("runtime", "process") != "process":
        with contextlib.closing(connect()) as client:  # Docker restarts replicas and tells nobody
            record["services"] += [asdict(one) for one in each(current(client, args.folder), Container.status)]
    for service in record["services"]:
        if service["state"] == "ready":
            with contextlib.suppress(ServiceError):
                wait_ready(service["address"], 1.0)
                continue
            service["state"] = "not ready"  # it runs, but says no
    record["ready"] = record["ready"] and all(service["state"] == "ready" for service in record["services"])
    if args.json:
        print(json.dumps(record, indent=2))
    else:
        _show(record, args.folder)
    return 0 if record["ready"] else 1


def _down(args: argparse.Namespace) -> int:
    refused = []
    for folder in _folders() if args.all else [args.folder]:
        record = occupancy.running(folder)
        try:
            _end(folder, record)
        except ServiceError as error:
            refused.append(str(error))
        else:
            print(f"The platform in {folder} has ended." if record else _nothing(folder))
    for name in _remove_leftovers(None if args.all else args.folder):
        print(f"Removed what a killed one has left: {name}")
    if refused:
        raise ServiceError("\n".join(refused))
    return 0


def _folders() -> list[Path]:
    """Return where platforms are, or were when they were killed: the usual place, and those of programs."""
    return [workspace("platform"), *(path.parent for path in workspace("platforms").glob("*/platform.json"))]


def _end(folder: Path, record: dict[str, Any] | None) -> None:
    """End the platform of a folder. Raises ``ServiceError`` when it is not this command's, or does not end."""
    if record is not None:
        pid = record["supervisor"]["pid"]
        if record["by"] != _BY:
            raise ServiceError(f"{record['by']} (process {pid}) runs the platform in {folder}. Next: its down() there")
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
            if not occupancy.wait_gone(folder, record, _DOWN_SECONDS):
                os.kill(pid, signal.SIGKILL)  # its services end by themselves then
    if not occupancy.wait_gone(folder, record, _DOWN_SECONDS):
        raise ServiceError(f"processes of the platform in {folder} do not end. Next: look for them with ps")


def _remove_leftovers(folder: Path | None) -> list[str]:
    """Remove what killed ones have left, in a folder or anywhere, and return what that was."""
    names = []
    if folder is None:
        for group in cgroups.abandoned():
            group.remove()
            names += [f"control group {path}" for path in group.folders.values()]
        owners = [mark for place in ("platforms", "hosts") for mark in workspace(place).glob(f"*/{MARK}")]
        dead = [path.parent for path in owners if not owner_lives(path.read_text("utf-8"))]
        for path in dead:
            shutil.rmtree(path, ignore_errors=True)
            names.append(f"folder {path}")
    with contextlib.suppress(RuntimeUnavailable), contextlib.closing(connect()) as client:
        names += leftovers.remove_abandoned(client, *([f"{FOLDER}={folder}"] if folder else []))
    return names


def _nothing(folder: Path) -> str:
    return f"No platform runs in {folder}. Next: opslab platform up --folder {folder}"


def _show(record: dict[str, Any], folder: Path) -> None:
    """Print what runs as a table, and where to go."""
    rows: list[tuple[str, ...]] = [("service", "version", "state", "address", "pid", "restarts", "memory")]
    for one in record["services"]:
        resident = f"{one['memory'] / 1e6:.0f} MB" if one["memory"] else ""
        cells = (one["name"], one["version"], one["state"], one["address"], one["pid"], one["restarts"], resident)
        rows.append(tuple("" if cell is None else str(cell) for cell in cells))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    for who in ("readers", "moderators"):
        address = record.get("blog_url" if who == "readers" else "moderation_url", "(not yet)")
        print(f"The blog, for {who + ':':<13}{address}")
    print(f"State and logs:            {folder}")
    print("Next: open the blog, write a comment that advertises something, and see it as a moderator.")
