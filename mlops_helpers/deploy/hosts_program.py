"""A program that configures machines: run to its end, or ended with everything that it has started."""

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from mlops_helpers.errors import ServiceError

__all__ = ["Done", "run", "tail"]

Done = subprocess.CompletedProcess[str]

_SECONDS = 600.0  # what takes longer hangs
_END_SECONDS = 5.0
_TAIL = 12  # lines of what it said that an error shows


def run(line: Sequence[str], folder: Path, environment: Mapping[str, str], content: str = "") -> Done:
    """Run a command in a folder, with ``content`` as its input, and return what came of it.

    An interrupt ends it. Raises ``ServiceError`` when it does not end within ten minutes.
    """
    with subprocess.Popen(
        line,
        cwd=folder,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # an interrupt is for this process, which then ends the program
    ) as process:
        try:
            output, errors = process.communicate(content, _SECONDS)
        except BaseException as error:
            _end(process)
            if isinstance(error, subprocess.TimeoutExpired):
                raise ServiceError(f"{line[0]} did not end within {_SECONDS:g} s. Next: try again") from None
            raise
    return Done(line, process.returncode, output, errors)


def _end(process: "subprocess.Popen[str]") -> None:
    """End a program and all that it has started, sessions of their own included."""
    import psutil

    try:
        family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    except psutil.NoSuchProcess:
        return
    process.terminate()  # it may have something to tidy up
    for left in psutil.wait_procs(family, _END_SECONDS)[1]:
        left.kill()


def tail(done: Done, *noise: str) -> str:
    """Return the last lines that a program said as errors, without those that hold ``noise``, as lines of an error."""
    said = [line for line in done.stderr.splitlines() if line.strip() and not any(word in line for word in noise)]
    return "\n  ".join([f"exit code {done.returncode}", *said[-_TAIL:]])
