"""Inside the grading sandbox: a server that loads the libraries once and forks a fresh process for each submission.

It runs by itself (``python -m mlops_helpers.teach.grading_inside DESCRIPTOR DESCRIPTOR``) and is told over a socket by
``grading_sandbox``, one line of JSON at a time::

    <- {"imports": [[module, name], ...], "opening": [source, ...], "seconds": number,
        "confined": true, "root": true, "user": number or 0}                                       once
    -> {"ready": true}
    <- {"limits": {...}}  with two descriptors: the submission's channel, and where its output goes

Over the second socket it is the same with a fork of the server that has executed the lab's opening cells; that one ends
at once, without a word, where there are none or they leave more than memory behind (``grading_opening``).

Each submission's processes are, in namespaces of their own, a process 1 that does nothing but wait, and below it the
one that executes cells. Over its channel, with ``grading_session``::

    -> {"started": true}  or  {"failed": why}
    <- {"id": ..., "cell": source}  or  {"id": ..., "value": name}  or  {"id": ..., "call": name, "args": [...], ...}
    -> {"id": ..., "value": ...}  or one that says why not: missing, uncallable, raised, unplain, too_long

The student's code shares the process that answers, and can answer what it likes: the grader expects that.
"""

import contextlib
import gc
import importlib
import json
import os
import random
import signal
import socket
import sys
import traceback
from typing import Any

from mlops_helpers.teach import grading_confine
from mlops_helpers.teach.grading_opening import executed_alone
from mlops_helpers.teach.grading_plain import NotPlain, plain
from mlops_helpers.teach.grading_shell import made_shell, raised, run_cell
from mlops_helpers.teach.leftovers import adopt_orphans, end_children

__all__ = ["main"]

_ALWAYS = ("IPython.core.interactiveshell", "IPython.display", "numpy", "pandas")
_PR_SET_PDEATHSIG = 1


class _Lines:
    """Lines of JSON over a stream socket."""

    def __init__(self, channel: socket.socket) -> None:
        self.channel = channel
        self._buffer = b""

    def read(self) -> dict[str, Any] | None:
        while b"\n" not in self._buffer:
            data = self.channel.recv(1 << 16)
            if not data:
                return None
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\n")
        return dict(json.loads(line))

    def write(self, message: dict[str, Any]) -> None:
        self.channel.sendall(json.dumps(message).encode() + b"\n")


def _preload(imports: list[list[str]]) -> None:
    for module, name in [*((module, "") for module in _ALWAYS), *imports]:
        try:
            loaded = importlib.import_module(module)
            if name and not hasattr(loaded, name):
                importlib.import_module(f"{module}.{name}")
        except Exception as error:  # noqa: BLE001 (the cell that imports it fails by itself and says why)
            print(f"not loaded ahead: {module} {name}: {error!r}", file=sys.stderr)


def _look_up(shell: Any, request: dict[str, Any]) -> dict[str, Any]:
    name = request.get("call") or request["value"]
    if name not in shell.user_ns:
        return {"missing": True}
    value = shell.user_ns[name]
    if "call" in request:
        if not callable(value):
            return {"uncallable": True}
        value = value(*request["args"], **request["kwargs"])
    return {"value": plain(value)}


def _answer(shell: Any, request: dict[str, Any]) -> dict[str, Any]:
    try:
        return run_cell(shell, request["cell"]) if "cell" in request else _look_up(shell, request)
    except NotPlain as error:
        return {"unplain": str(error)}
    except BaseException as error:  # noqa: BLE001 (whatever the student's function raises)
        return raised(error)


def _execute(lines: _Lines, shell: Any, longest: int) -> None:
    random.seed()
    sys.modules["numpy.random"].seed()
    while (request := lines.read()) is not None:
        answer = _answer(shell, request)
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(Exception):
                stream.flush()
        try:
            text = json.dumps(answer | {"id": request["id"]})
        except ValueError as error:  # a number with thousands of digits
            text = json.dumps({"id": request["id"], "unplain": str(error)})
        if len(text) > longest:
            text = json.dumps({"id": request["id"], "too_long": len(text)})
        lines.channel.sendall(text.encode() + b"\n")


def _die_with_parent() -> None:
    import ctypes

    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def _become_submission(channel: int, output: int, limits: dict[str, Any], confined: bool, shell: Any) -> None:
    """Process 1 of a submission, and below it the process that executes it."""
    lines = _Lines(socket.socket(fileno=channel))
    try:
        if confined:
            grading_confine.own_folders(limits["disk"], limits["needed"])
        else:
            _die_with_parent()
            adopt_orphans()
        os.setsid()
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.close(output)
        grading_confine.limit_resources(limits, confined)
        if confined:
            grading_confine.protect_proc()
            grading_confine.give_up_rights()
    except OSError as error:
        lines.write({"failed": str(error)})
        return
    lines.write({"started": True})
    worker = os.fork()
    if worker == 0:
        if not confined:
            _die_with_parent()
        _execute(lines, shell, limits["message"])
        os._exit(0)
    lines.channel.close()
    while os.wait()[0] != worker:
        pass  # process 1 buries what lost its parent
    if not confined:  # the end of process 1 ends all others where it has a namespace
        end_children()


def _serve(lines: _Lines, confined: bool, shell: Any) -> None:
    while True:
        data, descriptors, _, _ = socket.recv_fds(lines.channel, 1 << 16, 2)
        if not data:
            return
        child = os.fork()
        if child == 0:
            try:
                lines.channel.close()
                if confined:
                    grading_confine.enter_namespaces()
                    if os.fork():
                        os._exit(0)
                channel, output = descriptors
                _become_submission(channel, output, json.loads(data)["limits"], confined, shell)
            except Exception:  # noqa: BLE001 (it ends here)
                traceback.print_exc()
            finally:
                os._exit(1)
        for descriptor in descriptors:
            os.close(descriptor)
        if confined:
            os.waitpid(child, 0)  # it has only made the namespaces
        else:
            while os.waitpid(-1, os.WNOHANG)[0] not in (0, child):
                pass


def _freeze() -> None:
    gc.collect()
    gc.freeze()  # a collection in a submission would copy all these pages


def _serve_opened(lines: _Lines, setup: dict[str, Any], shell: Any) -> None:
    """Serve submissions that begin with the opening cells, executed here."""
    with open(os.devnull, "w") as nowhere:  # noqa: PTH123
        os.dup2(nowhere.fileno(), 1)  # what it prints is no submission's

    def run(source: str) -> dict[str, Any]:
        answer = run_cell(shell, source)
        sys.stdout.flush()
        return answer

    if executed_alone(run, setup["opening"], setup["seconds"]):
        _freeze()
        lines.write({"ready": True})
        _serve(lines, setup["confined"], shell)


def main() -> None:
    """Serve the grader at the other ends of the inherited sockets whose descriptors are the arguments."""
    lines, opened = (_Lines(socket.socket(fileno=int(argument))) for argument in sys.argv[1:])
    setup = lines.read()
    if setup is None:
        return
    if setup["confined"] and setup["root"]:
        grading_confine.drop_root(setup["user"])
    gc.disable()  # nothing of what is loaded is garbage
    _preload(setup["imports"])
    shell = made_shell()
    gc.enable()
    _freeze()
    if setup["opening"] and os.fork() == 0:
        try:
            lines.channel.close()
            _serve_opened(opened, setup, shell)
        finally:
            os._exit(0)
    opened.channel.close()
    lines.write({"ready": True})
    _serve(lines, setup["confined"], shell)


if __name__ == "__main__":
    main()
