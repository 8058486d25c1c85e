"""``opslab``: a thin face on the package. Each command loads only what it needs.

Exit codes: 0 when all is well, 1 when a notebook or a rule failed, 2 for a wrong command, path or parameter,
130 after Ctrl-C, 143 after SIGTERM.
"""

import argparse
import contextlib
import importlib
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from mlops_helpers import __version__
from mlops_helpers.errors import OpsLabError, ParameterError

__all__ = ["COMMANDS", "Command", "main"]


class Command(NamedTuple):
    """A command: one line of help, and ``module:name`` where ``name_arguments`` and ``name`` are.

    ``name_arguments(parser)`` declares the arguments, ``name(args) -> int`` does the work and returns the
    exit code. ``anywhere``: whether it works on other systems than Linux, too.
    """

    help: str
    target: str
    anywhere: bool = False


COMMANDS = {
    "run": Command("execute notebooks and compare their check cells", "mlops_helpers.teach.commands:run"),
    "check": Command("check the structure of notebooks", "mlops_helpers.teach.commands:check", anywhere=True),
    "refresh": Command("execute notebooks and store their check outputs", "mlops_helpers.teach.commands:refresh"),
    "data": Command(
        "load comments and report what is wrong with them", "mlops_helpers.model.commands:data", anywhere=True
    ),
    "serve": Command("serve one model: the spam filter", "mlops_helpers.serve.commands:serve"),
    "gateway": Command("share comments out among filters", "mlops_helpers.serve.commands:gateway"),
    "blog": Command("run the blog", "mlops_helpers.serve.commands:blog"),
    "platform": Command("run blog, gateway and filters together", "mlops_helpers.deploy.commands:platform"),
    "image": Command("make the image of the services, and what it needs", "mlops_helpers.deploy.image_commands:image"),
    "pipeline": Command("run a release through its gates", "mlops_helpers.deploy.pipeline_commands:pipeline"),
    "monitor": Command("scrape services, evaluate alerts and print pages", "mlops_helpers.observe.commands:monitor"),
    "drill": Command("break a service, and see who notices: drills", "mlops_helpers.respond.commands:drill"),
    "labs": Command("list labs, make their student versions, check them", "mlops_helpers.teach.labs_commands:labs"),
    "grade": Command("grade submissions of a lab", "mlops_helpers.teach.grading_commands:grade"),
    "params": Command("list the parameters of notebooks", "mlops_helpers.teach.commands:params", anywhere=True),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return the exit code.

    Errors raised on purpose are printed as their message; any other exception keeps its traceback.
    """
    with _without_iri_grammar(), _termination_unwinds():
        try:
            args = _parsed(list(sys.argv[1:] if argv is None else argv))
            code = int(args.call(args))
            sys.stdout.flush()
            return code
        except OpsLabError as error:
            print(f"opslab: {error}", file=sys.stderr)
            return 2 if isinstance(error, ParameterError) else 1
        except BrokenPipeError:  # who reads, such as head, has enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 1
        except KeyboardInterrupt:
            print("opslab: interrupted; nothing is left running", file=sys.stderr)
            return 130


def _parsed(arguments: list[str]) -> argparse.Namespace:
    # Only the chosen command's module is loaded: the others' parsers stay empty.
    chosen = next((word for word in arguments if not word.startswith("-")), "")
    parser = argparse.ArgumentParser(prog="opslab", description="The Operations Lab's command line.")
    parser.add_argument("--version", action="version", version=f"opslab {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, command in COMMANDS.items():
        sub = commands.add_parser(name, help=command.help, description=command.help.capitalize() + ".")
        if name == chosen and not {"-h", "--help"} & set(arguments):
            _refuse_other_systems(name)
        if name == chosen:
            module, _, function = command.target.partition(":")
            room = importlib.import_module(module)
            getattr(room, f"{function}_arguments")(sub)
            sub.set_defaults(call=getattr(room, function))
    return parser.parse_args(arguments)


def _refuse_other_systems(name: str) -> None:
    if sys.platform != "linux" and not COMMANDS[name].anywhere:
        raise ParameterError(
            f"{name} needs Linux, and this is {sys.platform}. Accepted: Linux, on Windows WSL2, elsewhere the Docker "
            "image. Next: docker build -t opslab . && docker run --rm -p 127.0.0.1:8888:8888 opslab"
        )


@contextlib.contextmanager
def _termination_unwinds() -> Iterator[None]:
    """Let SIGTERM end a command like an exception, so that everything it started is ended with it."""

    def terminate(signum: int, frame: object) -> None:
        raise SystemExit(128 + signum)

    before = signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextlib.contextmanager
def _without_iri_grammar() -> Iterator[None]:
    """Keep jsonschema from building the grammar of international web addresses, which takes a second.

    ``nbformat`` imports jsonschema, whose optional check of the format "iri" builds that grammar on import;
    no Jupyter schema uses it. jsonschema does without when the package is missing, so it is missing in this
    process while a command runs. Kernels are processes of their own and have it.
    """
    name = "rfc3987_syntax"
    if name in sys.modules:
        yield
        return
    sys.modules[name] = None  # type: ignore[assignment]  # the documented way to make an import fail
    try:
        yield
    finally:
        del sys.modules[name]


if __name__ == "__main__":
    sys.exit(main())
