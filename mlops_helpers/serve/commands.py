"""The commands of this room: ``opslab serve``, ``opslab gateway`` and ``opslab blog``, one process each.

All of them print one line of JSON when requests are accepted, end after SIGTERM when what is under way is answered, and
end when the process that holds the other end of ``--lifeline`` is gone.
"""

import argparse
import gc
import json
import os
import signal
import socket
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from mlops_helpers.errors import ParameterError
from mlops_helpers.workspace import workspace, writable_folder

if TYPE_CHECKING:  # a service loads what it needs, and no more: starting fast is part of being available
    from mlops_helpers.serve.server import Application

__all__ = ["blog", "blog_arguments", "gateway", "gateway_arguments", "serve", "serve_arguments"]


def _common(parser: argparse.ArgumentParser, port: int) -> None:
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s, loopback)")
    parser.add_argument("--port", type=int, default=port, help="port, 0 for a free one (default: %(default)s)")
    parser.add_argument("--folder", type=Path, help="folder for state and logs (default: in the workspace)")
    parser.add_argument("--fd", type=int, help="file descriptor of a socket that listens already, instead of a port")
    parser.add_argument("--lifeline", type=int, help="file descriptor; when its other end is closed, end")


def _folder(args: argparse.Namespace, name: str) -> Path:
    return writable_folder(args.folder, "--folder FOLDER") if args.folder else workspace("services", name)


def _run(args: argparse.Namespace, service: str, app: "Application") -> int:
    from mlops_helpers.serve.server import listening_socket, run

    try:
        sock = listening_socket(args.host, args.port) if args.fd is None else socket.socket(fileno=args.fd)
    except OSError as error:
        raise ParameterError(f"--fd {args.fd} is no socket: {error}") from error
    if args.lifeline is not None:
        threading.Thread(target=_end_with_parent, args=(args.lifeline,), daemon=True).start()
    host, port = sock.getsockname()[:2]

    def ready() -> None:
        gc.collect()
        gc.freeze()  # what is there now stays: collections need not look at it again
        line = {"ready": True, "service": service, "address": f"{host}:{port}", "pid": os.getpid()}
        print(json.dumps(line), flush=True)

    run(app, sock, ready)
    return 0


def _end_with_parent(descriptor: int) -> None:
    while os.read(descriptor, 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def serve_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``opslab serve``."""
    parser.add_argument("artifact", type=Path, help="folder of a model's artifact")
    parser.add_argument("--sha256", help="the artifact's hash, as the registry knows it; another one is refused")
    parser.add_argument("--name", default="v1", help="version that answers and records name (default: %(default)s)")
    parser.add_argument("--durability", choices=("ack", "async"), default="ack", help="record first, or soon")
    parser.add_argument("--concurrency", type=int, default=256, help="requests under way; more get 503")
    _common(parser, 8080)
    parser.epilog = "OPSLAB_ADMIN_TOKEN, if set, allows PUT /admin/model with that bearer token."


def serve(args: argparse.Namespace) -> int:
    """Serve one model until SIGTERM or Ctrl-C."""
    from mlops_helpers.model import artifact
    from mlops_helpers.serve.asgi import Limits
    from mlops_helpers.serve.filter import make_filter
    from mlops_helpers.serve.preparing import prepared
    from mlops_helpers.serve.scoring import ServedModel

    model = ServedModel.of(args.name, prepared(artifact.load(args.artifact, args.sha256)))
    limits = Limits(concurrency=args.concurrency)
    token = os.environ.pop("OPSLAB_ADMIN_TOKEN", "")
    log = _folder(args, f"filter-{args.name}") / "predictions"
    return _run(args, "filter", make_filter(model, log, durability=args.durability, limits=limits, admin_token=token))


def gateway_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``opslab gateway``."""
    parser.add_argument(
        "--upstream",
        action="append",
        default=[],
        metavar="VERSION=HOST:PORT",
        help="a replica; repeatable",
    )
    parser.add_argument(
        "--weight",
        action="append",
        default=[],
        metavar="VERSION=SHARE",
        help="share of the comments (default: all for the first)",
    )
    parser.add_argument("--timeout", type=float, default=1.0, help="seconds for one try (default: %(default)s)")
    _common(parser, 8081)
    parser.epilog = "OPSLAB_ADMIN_TOKEN, if set, allows the calls below /admin with that bearer token."


def _pairs(option: str, given: list[str]) -> list[tuple[str, str]]:
    pairs = [text.partition("=") for text in given]
    for name, sign, value in pairs:
        if not (name and sign and value):
            raise ParameterError(f"{option} {name}{sign}{value}; accepted: VERSION=VALUE, for example {option} v1=...")
    return [(name, value) for name, _, value in pairs]


def gateway(args: argparse.Namespace) -> int:
    """Pass comments on to the filters until SIGTERM or Ctrl-C."""
    from mlops_helpers.serve.gateway import make_gateway

    upstreams: dict[str, list[str]] = {}
    for version, address in _pairs("--upstream", args.upstream):
        upstreams.setdefault(version, []).append(address)
    try:
        weights = {version: float(share) for version, share in _pairs("--weight", args.weight)} or None
    except ValueError as error:
        raise ParameterError(f"--weight: {error}; accepted: VERSION=SHARE, for example --weight v1=0.9") from error
    token = os.environ.pop("OPSLAB_ADMIN_TOKEN", "") or None
    app = make_gateway(
        _folder(args, "gateway"), upstreams=upstreams, weights=weights, admin_token=token, timeout=args.timeout
    )
    return _run(args, "gateway", app)


def blog_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``opslab blog``."""
    parser.add_argument("--gateway", required=True, metavar="HOST:PORT", help="where comments are judged")
    parser.add_argument("--comments-per-minute", type=int, default=30, help="from one address (default: %(default)s)")
    parser.add_argument(
        "--trusted-proxy",
        action="append",
        default=[],
        metavar="ADDRESS",
        help="believe its x-forwarded-for",
    )
    _common(parser, 8082)
    parser.epilog = "OPSLAB_MODERATOR_TOKEN must be set: moderators sign in with it."


def blog(args: argparse.Namespace) -> int:
    """Run the blog until SIGTERM or Ctrl-C."""
    from mlops_helpers.serve.blog import make_blog

    token = os.environ.pop("OPSLAB_MODERATOR_TOKEN", "")
    if not token:
        raise ParameterError("OPSLAB_MODERATOR_TOKEN is not set; next: export OPSLAB_MODERATOR_TOKEN=$(uuidgen)")
    app = make_blog(
        _folder(args, "blog"),
        gateway=args.gateway,
        moderator_token=token,
        comments_per_minute=args.comments_per_minute,
        trusted_proxies=tuple(args.trusted_proxy),
    )
    return _run(args, "blog", app)
